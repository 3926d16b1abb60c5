"""Sinks: where the numbers of a run go. `Sink` says what one can offer, `RunInfo` what it may know about the run."""

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptx.units.options import Configured

_messages = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInfo:
    folder: Path
    name: str  # what differs from the other runs of the group: schedule=cosine,seed=0
    group: str  # the sweep
    steps: int  # of the whole run
    start: int  # steps already made when it was resumed
    config: dict  # resolved, plain values
    choices: dict[str, str]  # the recipe: config group -> option
    overrides: list[str]
    git: dict  # sha, dirty
    tags: list[str]
    budget: dict[str, float] = field(default_factory=dict)  # tokens and FLOPs of the whole run


class Sink(Configured):
    """Records a run, on rank 0 alone. Its annotated attributes are the options of its YAML."""

    warned: set[str] = field(init=False, default_factory=set)

    def open(self, run: RunInfo) -> None:
        """Called before the first step."""

    def __call__(self, step: int, scalars: dict) -> None:
        """Called after every step with all its numbers; some values are text, such as a sample."""

    def event(self, step: int, kind: str, facts: dict) -> None:
        """Called for a spike, a diagnosis, a rollback; `facts["text"]` is one line on it, the rest plain values."""

    def close(self, outcome: str) -> None:
        """Called at the end, also if `open` failed; `outcome` is finished, failed, interrupted or preempted."""

    def attempt(self, output: str, step: int, write: Callable, *args: Any, **options: Any) -> None:
        """Write to an output; the first time that this fails, one warning says so, and training goes on."""
        try:
            write(*args, **options)
        except (OSError, ValueError) as error:  # ValueError: a stream that is closed, or lacks a character
            if output not in self.warned:
                reason = getattr(error, "strerror", None) or error
                _messages.warning("%s lacks step %d (%s); training goes on", output, step, reason)
            self.warned.add(output)


def shown(folder: Path) -> Path:
    """The folder as one would type it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def typed_command(command: str, *words: str) -> str:
    """A command of gptx as one types it in a shell, quoted where needed."""
    return shlex.join(["python", "-m", *(["gptx.train"] if command == "train" else ["gptx", command]), *words])


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
