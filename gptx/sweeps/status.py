"""The state, the cost and the remaining time of the runs of a sweep."""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

from gptx.config.errors import ConfigError
from gptx.ingredients.log import typed_command
from gptx.runs.folder import RunFolder
from gptx.runs.metrics import validation_words
from gptx.runs.run import Run
from gptx.runs.same import of_another
from gptx.units.amounts import clock, power


@dataclass(frozen=True)
class Work:
    """The progress of a run and its cost; of a run that branched off another, without what the other one did."""

    step: int = 0
    own: int = 0  # steps that it made itself
    steps: int = 0  # in all; 0 if not known
    tokens: int = 0
    seconds: float = 0.0  # in steps
    wall: float = 0.0  # from start to end, with validation and saves; of a finished run only
    flops: float = 0.0

    @property
    def cost(self) -> list[str]:
        """Time in steps, tokens and FLOPs, in words; without those that are zero."""
        found = [clock(self.seconds)] if self.seconds else []
        found += [f"{self.tokens:,} tokens"] if self.tokens else []
        return found + ([f"{power(self.flops)} FLOPs"] if self.flops else [])


def work(folder: Path, config: dict | None = None) -> Work:
    """The work of the run in `folder`; nothing if it has not begun, or is a run of another `config`."""
    run = Run.of(folder)
    record = run.record
    if config and of_another(record, config):
        return Work()
    at, sums = run.metrics["train/tokens"]  # counted over the origin and the branch
    before = at[0] - 1 if len(at) else 0  # steps of the origin, whose tokens are taken to be those of the first step
    tokens = int(sums[-1] - sums[0] * before / at[0]) if len(at) else 0
    seconds, wall = run.seconds or 0.0, 0.0
    if run.state == "finished" and {"started", "ended"} <= record.keys():
        began, ended = (datetime.fromisoformat(record[key]) for key in ("started", "ended"))
        wall = (ended - began).total_seconds()
    own, steps = max(0, run.metrics.steps - int(before)), record.get("recipe", {}).get("steps", 0)
    flops = tokens * (run.flops_per_token or 0.0)
    return Work(run.metrics.steps, own, steps, tokens, seconds, max(wall, seconds), flops)


def standing(
    folder: Path, job: str, jobs: dict[str, str], made: Work | None = None, config: dict | None = None
) -> tuple[str, str]:
    """(state, details) of one run; `made` is its work, `job` the id of its last SLURM job or "", `jobs` the queue.

    If the folder holds a run of another `config`, this one has failed: another command took its folder.
    """
    run = RunFolder(folder)
    try:
        run.check()
        record, state = run.record, run.state
    except (ConfigError, OSError) as error:
        return "unreadable", str(error)
    if config and (other := of_another(record, config)):
        return "failed", other
    made = made or work(folder, config)
    if state == "finished":
        return state, ", ".join([validation_words(record.get("result", {})), *made.cost])
    queued = jobs.get(job)
    if queued and not (queued == "COMPLETING" and state == "failed"):
        state = "running" if queued == "RUNNING" else "queued"  # a job that is being ended may be requeued
    words = [
        record.get("error", "") * (state == "failed"),
        *_progress(folder, made, state),
        f"job {job}" * bool(queued),
    ]
    return state, ", ".join(filter(None, words))


def _progress(folder: Path, made: Work, state: str) -> list[str]:
    """Steps, cost, and the seconds since a running run last recorded something."""
    if not made.step:
        return []
    ago = f"{time.time() - (folder / 'metrics.jsonl').stat().st_mtime:.0f} s ago" if state == "running" else ""
    return [f"step {made.step} of {made.steps or '?'}", *made.cost, ago]


def total(each: list[tuple[str, Work]], at_once: int = 0) -> str:
    """Progress, cost and remaining time of a sweep, from the (state, work) of its runs; `at_once` runs at a time, by
    default as many as are running."""
    states = [state for state, _ in each]
    line = f"{states.count('finished')} of {len(each)} finished"
    done = _sum([made for _, made in each])
    longest = max(made.steps for _, made in each)
    if not done.step or not longest:
        return line
    steps = sum(made.steps or longest for _, made in each)
    words = [line, f"{done.step:,} of {steps:,} steps", *done.cost]
    at_once = at_once or max(1, states.count("running"))
    if rest := _rest(each, done, longest):
        words.append(f"about {clock(sum(rest) / at_once)} left at {at_once} at a time")
    return ", ".join(words)


def _rest(each: list[tuple[str, Work]], done: Work, longest: int) -> list[float]:
    """The remaining seconds of every unfinished run; `done` is the sum of all work.

    A run that has not begun is expected to take as long as the finished ones took on average, with their start; before
    one has finished, as long as the steps of the `longest` run take at the average speed.
    """
    finished = [made for state, made in each if state == "finished" and made.seconds]
    whole = _sum(finished)
    usual, overhead = longest * done.seconds / done.own, 1.0
    if finished:  # which includes validation, saves and the start
        usual, overhead = whole.wall / len(finished), whole.wall / whole.seconds
    left = [made for state, made in each if state != "finished"]
    return [((m.steps or longest) - m.step) * m.seconds / m.own * overhead if m.own else usual for m in left]


def _sum(works: list[Work]) -> Work:
    return Work(*map(sum, zip(*map(astuple, works), strict=True)))


def table(runs: Mapping[Path, dict | None], ids: Mapping[Path, str] | None = None) -> int:
    """Print the state of each run of a sweep, their sum, and the command that compares them; the number of unfinished.

    `runs` has the config of each folder if it is known, `ids` its last SLURM job.
    """
    ids, each = ids or {}, []
    try:
        jobs = queue() if any(ids.values()) else {}
    except ValueError as error:
        jobs = {}
        print(f"warning: {error}; queued runs are shown as missing", file=sys.stderr)
    for folder, config in runs.items():
        made = work(folder, config)
        state, details = standing(folder, ids.get(folder, ""), jobs, made, config)
        print(f"{state:12} {folder}  {details}".rstrip())
        each.append((state, made))
    print(f"{total(each)}\ncompare      {typed_command('report', str(next(iter(runs)).parent))}")
    return sum(state != "finished" for state, _ in each)


def queue() -> dict[str, str]:
    """The state of every SLURM job that waits, runs or is being ended, by its id: 42, or 42_0 in an array.

    Raises ValueError if SLURM does not answer.
    """
    if not shutil.which("squeue"):
        return {}
    asked = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True)
    if asked.returncode:
        raise ValueError(f"SLURM does not say which jobs it has: {' '.join(asked.stderr.split())}")
    return dict(line.split() for line in asked.stdout.splitlines())
