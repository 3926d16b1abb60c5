"""What a sweep consists of and how its cells stand:  python -m gptx status runs/NAME

`sweep.jsonl` beside the cells has a line for each cell of every sweep of that name: folder, overrides, command, time;
and one for each job that was submitted for it. What a later line says of a folder is added to the earlier ones.
"""

import json
import shutil
import subprocess
import time
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, TypeGuard

from gptx import files, runs
from gptx.config.errors import ConfigError
from gptx.ingredients.log.jsonl import row_of
from gptx.runs import plain, schema
from gptx.runs.folder import RunFolder
from gptx.units.amounts import clock, power
from gptx.units.printable import without_credentials

LARGEST = 1_000_000_000  # bytes of a sweep.jsonl


def note(sweep: Path, cells: list[dict]) -> None:
    """Add what is known of some cells, each with its `folder` below the sweep's."""
    sweep.mkdir(parents=True, exist_ok=True)
    file = sweep / "sweep.jsonl"
    torn = file.exists() and not file.read_bytes().endswith(b"\n")  # by a kill or a full disk
    with files.opened(file, "a", encoding="utf-8") as lines:
        lines.write("\n" * torn + "".join(without_credentials(json.dumps(cell)) + "\n" for cell in cells))


def cells(sweep: Path) -> dict[str, dict]:
    """All that was noted of each cell, by its folder, in the order of the first mention; a torn line says nothing."""
    file, found = sweep / "sweep.jsonl", dict[str, dict]()
    try:
        lines = plain.content(file, LARGEST).splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        cell = row_of(line)
        if is_cell(cell, file):
            found[cell["folder"]] = found.get(cell["folder"], {}) | cell
    return found


def is_cell(cell: Any, file: Path) -> TypeGuard[dict]:
    """True if a line of sweep.jsonl is of a folder below the sweep's: a stranger's may name any other."""
    try:
        schema.validated(cell, schema.Noted, file)
    except ConfigError:
        return False
    folder = PurePath(cell.get("folder", ""))
    return bool(folder.parts) and not folder.is_absolute() and ".." not in folder.parts and "\0" not in cell["folder"]


def queue() -> dict[str, str]:
    """State of every job of SLURM that waits, runs or is being ended, by its id: 42, or 42_0 in an array.

    Raises ValueError if SLURM does not answer.
    """
    if not shutil.which("squeue"):
        return {}
    asked = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True)
    if asked.returncode:
        raise ValueError(f"SLURM does not tell which jobs it has: {' '.join(asked.stderr.split())}")
    return dict(line.split() for line in asked.stdout.splitlines())


@dataclass(frozen=True)
class Work:
    """What a run has done, of how many updates, and what that cost; of a branch without what its origin did."""

    updates: int = 0  # where it stands
    own: int = 0  # that it made itself
    steps: int = 0  # in all; 0 if not known
    tokens: int = 0
    seconds: float = 0.0  # in updates
    wall: float = 0.0  # with validation, saves and start, of a run that is finished
    flops: float = 0.0


def standing(
    folder: Path, job: str, jobs: dict[str, str], made: Work | None = None, config: dict | None = None
) -> tuple[str, str]:
    """State of a cell that `made` so much and what is to be said of it; `job` was the last submitted for it, if any.
    One that holds a run of another `config` has failed: another command took its folder."""
    run = RunFolder(folder)
    try:
        run.check()
        record, state = run.record, run.state
    except (ConfigError, OSError) as error:
        return "unreadable", str(error)
    if config and (other := runs.of_another(record, config)):
        return "failed", other
    made = made or work(folder, config)
    if state == "finished":
        from gptx.train import spell

        return state, ", ".join([spell(record.get("result", {})), *cost(made)])
    if job in jobs and not (jobs[job] == "COMPLETING" and state == "failed"):
        state = "running" if jobs[job] == "RUNNING" else "queued"  # what is being ended may be put back
    words = [record.get("error", "") if state == "failed" else ""]
    if made.updates:
        ago = f"{time.time() - (folder / 'metrics.jsonl').stat().st_mtime:.0f} s ago"
        words += [f"update {made.updates} of {made.steps or '?'}", *cost(made), ago if state == "running" else ""]
    return state, ", ".join(filter(None, [*words, f"job {job}" if job in jobs else ""]))


def work(folder: Path, config: dict | None = None) -> Work:
    """The work of the run in `folder`; none where it has not begun, or is a run of another `config`."""
    from gptx.runs.cells import cell

    run = cell(folder, folder)
    if config and runs.of_another(run.record, config):
        return Work()
    at, sums = run.metrics["train/tokens"]  # over origin and branch
    before = at[0] - 1 if len(at) else 0  # updates of the origin, taken to be as long as the first one here
    tokens = int(sums[-1] - sums[0] * before / at[0]) if len(at) else 0
    seconds, record = run.seconds or 0.0, run.record
    times = [datetime.fromisoformat(record[key]) for key in ("started", "ended") if key in record]
    wall = (times[1] - times[0]).total_seconds() if run.state == "finished" and len(times) == 2 else 0.0
    steps = record.get("recipe", {}).get("steps", 0)
    own = max(0, run.metrics.steps - int(before))
    return Work(
        run.metrics.steps, own, steps, tokens, seconds, max(wall, seconds), tokens * (run.flops_per_token or 0.0)
    )


def cost(made: Work) -> list[str]:
    """Time in updates, tokens and floating-point operations, in words; none where it is nothing."""
    found = [clock(made.seconds)] if made.seconds else []
    found += [f"{made.tokens:,} tokens"] if made.tokens else []
    return found + ([f"{power(made.flops)} FLOPs"] if made.flops else [])


def total(each: list[tuple[str, Work]], at_once: int = 0) -> str:
    """How far a sweep is, what it cost so far and how long the rest takes, from the speed of its own cells.

    Without `at_once`, as many are taken to run at a time as do so now. A cell that has not begun is taken to last as
    long as finished ones did in the mean, which may have ended before their last update; where none is, to be as long
    as the longest and as fast as the mean of the others.
    """
    line = f"{sum(state == 'finished' for state, _ in each)} of {len(each)} finished"
    done = Work(*(sum(column) for column in zip(*(astuple(made) for _, made in each), strict=True)))
    longest = max(made.steps for _, made in each)
    if not done.updates or not longest:
        return line
    pace = [made.seconds / made.own for _, made in each if made.own]
    whole = [made for state, made in each if state == "finished" and made.seconds]
    usual = sum(made.seconds for made in whole) / len(whole) if whole else longest * sum(pace) / len(pace)
    rest = [  # seconds
        ((made.steps or longest) - made.updates) * made.seconds / made.own if made.own else usual
        for state, made in each
        if state != "finished"
    ]
    beside = sum(made.wall for made in whole) / sum(made.seconds for made in whole) if whole else 1.0
    running = at_once or max(1, sum(state == "running" for state, _ in each))
    steps = sum(made.steps or longest for _, made in each)
    words = [line, f"{done.updates:,} of {steps:,} updates", *cost(done)]
    left = f"about {clock(sum(rest) * beside / running)} left at {running} at a time"
    return ", ".join(words + [left] * bool(rest))
