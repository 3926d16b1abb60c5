"""Runs as their folders tell of them, whatever became of them."""

import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy
from numpy import ndarray

from gptx.config.errors import ConfigError
from gptx.runs.folder import RunFolder
from gptx.runs.metrics import Metrics
from gptx.sweeps import status


@dataclass(frozen=True)
class Cell:
    """One run: finished, under way, failed, or only meant by a sweep and not begun (then without record)."""

    folder: Path
    name: str  # below what all folders have in common
    state: str
    record: dict  # run.json
    config: dict  # config.yaml, resolved, nested
    problem: str = ""  # why it, or a part of it, cannot be read

    @cached_property
    def metrics(self) -> Metrics:
        """What it recorded; read when it is first asked for, and nothing where that cannot be read."""
        try:
            return RunFolder(self.folder).metrics
        except ConfigError:
            return Metrics()

    @property
    def seed(self) -> int:
        return self.config.get("seed", 0)

    @property
    def order(self) -> int:
        """The seed of the order of its batches."""
        seed = (self.config.get("data") or {}).get("seed")
        return self.seed if seed is None else seed

    @property
    def flops_per_token(self) -> float | None:
        """6 N, N without embeddings: what the model needs for a token of training; None where N is not known."""
        body = self.record.get("parameters", {}).get("non_embedding")
        return 6.0 * body if body else None

    @cached_property
    def spent(self) -> ndarray:
        """Seconds of each update, tokens over tokens per second; empty where they are not known.

        The first update of a run that branched off another counts the tokens of all before it; its own are their mean.
        """
        (steps, tokens), speed = self.metrics["train/tokens"], self.metrics["train/tokens_per_second"][1]
        if not len(speed) or len(speed) != len(tokens):
            return numpy.empty(0)
        made = numpy.diff(tokens, prepend=tokens[0] - tokens[0] / steps[0])
        return numpy.divide(made, speed, out=numpy.zeros(len(speed)), where=numpy.nan_to_num(speed) > 0)

    @property
    def seconds(self) -> float | None:
        """Time spent in updates; validation and saves are not in it."""
        return float(self.spent.sum()) if len(self.spent) else None

    @property
    def ended_at(self) -> int | None:
        """The step at which a finished run ended, where that is before the last one that was asked for."""
        step, steps = self.record.get("step"), self.config.get("steps")
        return step if self.state == "finished" and step and steps and step < steps else None

    def result(self, key: str) -> float | None:
        """The value of a metric at the end; NaN where the run diverged, None where there is none or more is to come.

        A run that a guard ended, as it does when the loss is no number any more, has diverged.
        """
        last = self.metrics.last(key)
        if self.state == "failed" and (
            self.record.get("diverged") or not math.isfinite(last if last is not None else 0.0)
        ):
            return math.nan
        if self.state != "finished":
            return None
        return self.metrics.end(key)


def find(folders: list[Path]) -> list[Cell]:
    """The runs in `folders`: each is one itself, or has them one or two levels below; with those that a sweep there
    means and that did not begin. In the order of the sweeps, then by name. A folder without runs is a cell with that
    problem. Raises ValueError where there is no run at all, or no such folder."""
    for root in folders:
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder; a run is a folder such as runs/NAME/ARM, a sweep runs/NAME")
    found = {root: below(root) for root in folders}
    there = list(dict.fromkeys(folder for here in found.values() for folder in here))
    empty = [root for root, here in found.items() if not here]
    if not there:
        raise ValueError(f"{', '.join(map(str, empty))}: no run there; a run folder holds run.json and metrics.jsonl")
    common = folders[0] if len(folders) == 1 else Path(*shared([folder.absolute().parts for folder in there]))
    return [
        *(cell(folder, common) for folder in there),
        *(Cell(root, str(root), "unreadable", {}, {}, "no run there; left out.") for root in empty),
    ]


def below(root: Path) -> list[Path]:
    """The run folders at or below `root`."""
    if (root / "run.json").exists():
        return [root]
    meant = [root / name for name in status.cells(root)]
    there = [file.parent for pattern in ("*/run.json", "*/*/run.json") for file in sorted(root.glob(pattern))]
    return list(dict.fromkeys([*meant, *there]))


def cell(folder: Path, common: Path) -> Cell:
    """The run in `folder`. One with a file that is not what it should be is `unreadable`, and has that problem."""
    name = os.path.relpath(folder, common)
    name = folder.name if name == "." else name
    run = RunFolder(folder)
    try:
        run.check()
        return Cell(folder, name, run.state, run.record, run.config)
    except (ConfigError, OSError) as error:
        return Cell(folder, name, "unreadable", {}, {}, f"{error}; left out.")


def shared(paths: list[tuple[str, ...]]) -> list[str]:
    shared = []
    for parts in zip(*(path[:-1] for path in paths), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return shared
