"""The state, the cost and the remaining time of the runs of a sweep:  python -m gptx status runs/NAME"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path

from gptx.ingredients.log import typed_command
from gptx.runs import manifest
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
        found = [(self.seconds, clock(self.seconds)), (self.tokens, f"{self.tokens:,} tokens")]
        return [text for amount, text in [*found, (self.flops, f"{power(self.flops)} FLOPs")] if amount]

    @property
    def progress(self) -> list[str]:
        """The step and the cost, in words; nothing before the first step."""
        return [f"step {self.step} of {self.steps or '?'}", *self.cost] if self.step else []


def work(run: Run) -> Work:
    """The work of a run; nothing if it has not begun."""
    at, sums = run.metrics["train/tokens"]  # counted over the origin and the branch
    before = at[0] - 1 if len(at) else 0  # steps of the origin, whose tokens are taken to be those of the first step
    tokens = int(sums[-1] - sums[0] * before / at[0]) if len(at) else 0
    seconds, wall = run.seconds or 0.0, 0.0
    if run.state == "finished" and {"started", "ended"} <= run.record.keys():
        began, ended = (datetime.fromisoformat(run.record[key]) for key in ("started", "ended"))
        wall = (ended - began).total_seconds()
    own, steps = max(0, run.metrics.steps - int(before)), run.record.get("recipe", {}).get("steps", 0)
    flops = tokens * (run.flops_per_token or 0.0)
    return Work(run.metrics.steps, own, steps, tokens, seconds, max(wall, seconds), flops)


def standing(folder: Path, config: dict | None = None, job: str = "", jobs: Mapping = {}) -> tuple[str, Work, str]:
    """(state, work, details) of a run, failed where the folder holds another `config`; `job` is its last SLURM id."""
    run = Run.of(folder)
    if config and (other := of_another(run.record, config)):
        return "failed", Work(), other
    made, state, queued = work(run), run.state, jobs.get(job)
    if run.problem:
        return state, made, run.problem
    if state == "finished":
        return state, made, ", ".join([validation_words(run.record.get("result", {})), *made.cost])
    if queued:  # a job that is being ended may be requeued
        state = {"RUNNING": "running", "COMPLETING": state if state == "failed" else "queued"}.get(queued, "queued")
    words = [run.record.get("error", "") * (state == "failed"), *made.progress]
    if made.step and state == "running":
        words.append(f"{time.time() - (folder / 'metrics.jsonl').stat().st_mtime:.0f} s ago")
    return state, made, ", ".join(filter(None, [*words, f"job {job}" * bool(queued)]))


def total(each: list[tuple[str, Work]], at_once: int = 0) -> str:
    """Progress, cost and remaining time of a sweep, `at_once` runs at a time, by default as many as are running."""
    states = [state for state, _ in each]
    words = [f"{states.count('finished')} of {len(each)} finished"]
    done, longest = _sum(made for _, made in each), max(made.steps for _, made in each)
    if done.step and longest:
        steps = sum(made.steps or longest for _, made in each)
        words += [f"{done.step:,} of {steps:,} steps", *done.cost]
        at_once = at_once or max(1, states.count("running"))
        if rest := _rest(each, done, longest):
            words.append(f"about {clock(sum(rest) / at_once)} left at {at_once} at a time")
    return ", ".join(words)


def _rest(each: list[tuple[str, Work]], done: Work, longest: int) -> list[float]:
    """The remaining seconds of every unfinished run; one that has not begun takes as long as the finished ones did on
    average, with their start; before one has finished, the steps of the `longest` at the average speed."""
    finished = [made for state, made in each if state == "finished" and made.seconds]
    usual, overhead = longest * done.seconds / done.own, 1.0
    if finished:  # which includes validation, saves and the start
        whole = _sum(finished)
        usual, overhead = whole.wall / len(finished), whole.wall / whole.seconds
    left = [made for state, made in each if state != "finished"]
    return [((m.steps or longest) - m.step) * m.seconds / m.own * overhead if m.own else usual for m in left]


def _sum(works: Iterable[Work]) -> Work:
    return Work(*map(sum, zip(*map(astuple, works), strict=True)))


def status(sweep: str, /) -> bool:
    """Show the state of every run of a sweep, and the time that is left.

      python -m gptx status runs/schedules

    Each line has state, folder, result or progress, then time in steps, tokens and FLOPs (6 N per token). States are
    finished, running, queued, failed, killed, preempted, interrupted and missing. The exit code is 0 if all are
    finished. The command that began the sweep, given again, runs or submits the others.

    Options:
    sweep: folder of the sweep
    """
    root = Path(sweep)
    ids = {root / name: known.get("job", "") for name, known in manifest.noted(root).items()}
    folders = dict.fromkeys([*ids, *(path.parent for path in sorted(root.glob("*/run.json")))])
    if not folders:
        raise ValueError(f"{sweep}: no sweep there; one is a folder such as runs/NAME")
    return table(folders, ids) > 0


def table(runs: Mapping[Path, dict | None], ids: Mapping[Path, str] | None = None) -> int:
    """Print the state of each run (folder -> config, if known) and their sum; the number that are not finished."""
    ids, jobs, each = ids or {}, dict[str, str](), []
    try:
        jobs = queue() if any(ids.values()) else {}
    except ValueError as error:
        print(f"warning: {error}; queued runs are shown as missing", file=sys.stderr)
    for folder, config in runs.items():
        state, made, details = standing(folder, config, ids.get(folder, ""), jobs)
        print(f"{state:12} {folder}  {details}".rstrip())
        each.append((state, made))
    print(f"{total(each)}\ncompare      {typed_command('report', str(next(iter(runs)).parent))}")
    return sum(state != "finished" for state, _ in each)


def queue() -> dict[str, str]:
    """The state of every SLURM job by its id: 42, or 42_0 in an array. Raises ValueError if SLURM does not answer."""
    if not shutil.which("squeue"):
        return {}
    asked = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True)
    if asked.returncode:
        raise ValueError(f"SLURM does not say which jobs it has: {' '.join(asked.stderr.split())}")
    return dict(line.split() for line in asked.stdout.splitlines())
