"""Run: one run as its folder tells of it, whatever became of it; `find` collects the runs below some folders."""

import itertools
import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy
from numpy import ndarray

from gptx.config.errors import ConfigError
from gptx.runs import manifest
from gptx.runs.folder import RunFolder
from gptx.runs.metrics import Metrics


@dataclass(frozen=True)
class Run:
    """One run in any state, also listed by a sweep and not begun (then without record)."""

    folder: Path
    name: str  # below what all folders have in common
    state: str
    record: dict  # run.json
    config: dict  # config.yaml, resolved, nested
    problem: str = ""  # why it, or a part of it, cannot be read
    noted: dict = field(default_factory=dict)  # of it in the sweep.jsonl of its folder

    @classmethod
    def of(cls, folder: Path, common: Path | None = None, noted: dict | None = None) -> "Run":
        """The run in `folder`; `unreadable`, with its problem, if a file is not what it should be."""
        name = os.path.relpath(folder, common or folder)
        name, run = folder.name if name == "." else name, RunFolder(folder)
        try:
            run.check()
            return cls(folder, name, run.state, run.record, run.config, noted=noted or {})
        except (ConfigError, OSError) as error:
            return cls(folder, name, "unreadable", {}, {}, str(error))

    @cached_property
    def metrics(self) -> Metrics:
        """What it recorded; empty if that cannot be read."""
        try:
            return RunFolder(self.folder).metrics
        except ConfigError:
            return Metrics()

    @property
    def role(self) -> str:
        """What it is besides an arm of a sweep: "confirm", a "length" of the base, or "" for neither."""
        return "confirm" if self.noted.get("confirm") else "length" if self.noted.get("length", 1) != 1 else ""

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
        """6 N, with N the parameters without embeddings: FLOPs of one token of training; None if N is not known."""
        body = self.record.get("parameters", {}).get("non_embedding")
        return 6.0 * body if body else None

    @cached_property
    def clocks(self) -> dict[str, ndarray]:
        """Steps, tokens, FLOPs and seconds ("time") after each step that it recorded; empty where not known. The first
        step of a branched run counts as the mean of its recorded tokens."""
        (steps, tokens), speed = self.metrics["train/tokens"], self.metrics["train/tokens_per_second"][1]
        flops = tokens * self.flops_per_token if self.flops_per_token else numpy.empty(0)
        found = {"steps": steps, "tokens": tokens, "flops": flops, "time": numpy.empty(0)}
        if len(speed) and len(speed) == len(tokens):
            made = numpy.diff(tokens, prepend=tokens[0] - tokens[0] / steps[0])
            spent = numpy.divide(made, speed, out=numpy.zeros(len(speed)), where=numpy.nan_to_num(speed) > 0)
            found["time"] = numpy.cumsum(spent)
        return found

    @property
    def seconds(self) -> float | None:
        """Time in training steps, without validation and saves."""
        return float(self.clocks["time"][-1]) if len(self.clocks["time"]) else None

    @property
    def ended_at(self) -> int | None:
        """The step at which a finished run ended, if before the last one of its config."""
        step, steps = self.record.get("step"), self.config.get("steps")
        return step if self.state == "finished" and step and steps and step < steps else None

    def result(self, key: str) -> float | None:
        """The value of a metric at the end; NaN if the run diverged, None if not recorded or more is to come."""
        lost = self.record.get("diverged") or not math.isfinite(self.metrics.last(key) or 0.0)
        if self.state == "failed" and lost:
            return math.nan
        return self.metrics.end(key) if self.state == "finished" else None


def find(folders: list[Path]) -> list[Run]:
    """The runs in `folders` or up to two levels below, those of a sweep in its order. A folder without runs becomes an
    unreadable run. Raises ValueError without any run, or for no folder."""
    found = {root: _below(root) for root in folders}
    there = list(dict.fromkeys(itertools.chain(*found.values())))
    if not there:
        raise ValueError(f"{', '.join(map(str, found))}: no run there; a run folder holds run.json and metrics.jsonl")
    parents = [folder.parent for folder in there]
    common = folders[0] if len(folders) == 1 else Path(os.path.commonpath(list(map(os.path.abspath, parents))))
    empty = [Run(root, str(root), "unreadable", {}, {}, "no run there") for root in found if not found[root]]
    noted = {sweep / name: line for sweep in {*folders, *parents} for name, line in manifest.noted(sweep).items()}
    return [Run.of(folder, common, noted.get(folder)) for folder in there] + empty


def _below(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; a run is a folder such as runs/NAME/ARM, a sweep runs/NAME")
    if (root / "run.json").exists():
        return [root]
    there = [file.parent for pattern in ("*/run.json", "*/*/run.json") for file in sorted(root.glob(pattern))]
    return [root / name for name in manifest.noted(root)] + there
