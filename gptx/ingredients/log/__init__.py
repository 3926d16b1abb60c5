"""Where the numbers of a run go. A sink is called with (step, scalars) after every update, by rank 0 alone.

What happens to a run beside its updates (a spike, a diagnosis, a rollback) comes as `event(step, kind, facts)`,
where `facts["text"]` says it in one line and the rest is plain values.

The command calls `open(run)` before the first update and `close(outcome)` in a `finally`, where `outcome` is one of
"finished", "failed", "interrupted" and "preempted". Values are floats, or text such as a sample.
"""

import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class RunInfo:
    """What a sink may know about the run that it records."""

    folder: Path
    name: str  # what differs from the other runs of the group: schedule=cosine,seed=0
    group: str  # the sweep
    steps: int  # updates in all
    start: int  # updates already made when it was resumed
    config: dict  # resolved, plain values
    choices: dict[str, str]  # the recipe: config group -> option
    overrides: list[str]
    git: dict  # sha, dirty
    tags: list[str]
    budget: dict[str, float] = field(default_factory=dict)  # tokens and operations of the whole run


def shown(folder: Path) -> Path:
    """The folder as one would type it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def typed(command: str, *words: str) -> str:
    """A command of gptx as one types it in a shell, whatever signs its words have: names of folders have many."""
    return shlex.join(["python", "-m", *(["gptx.train"] if command == "train" else ["gptx", command]), *words])


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
