"""How many steps runs of several batch sizes and learning rates took to a target loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import Gt
from typing_extensions import TypedDict

from gptx.compare.factors import confounded
from gptx.compare.outcomes import common_environment, environment
from gptx.config.groups import decides
from gptx.fit.page import incomparable, recorded_fit
from gptx.fit.tradeoff import lowest
from gptx.runs.run import Run, find
from gptx.units.phrases import joined

_KEYS = "batch.tokens", "optim.lr"  # what distinguishes the runs, with the seed and what follows from these
_Positive = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class _Attempt:
    """One run, with the names of fit.json: its steps to the target, interpolated between two validations; None where
    it did not get there."""

    batch: Annotated[int, Gt(0)]
    rate: _Positive
    seed: int
    updates: _Positive | None


@dataclass(frozen=True)
class _NoiseScale:
    """The noise scale that a run ended with, in tokens, with its 90 % band."""

    batch: Annotated[int, Gt(0)]
    rate: _Positive
    seed: int
    tokens: float
    low: float
    high: float


class _Recorded(TypedDict):
    """What a fit.json has of the runs."""

    target: float
    runs: list[_Attempt]
    noise_scale: list[_NoiseScale]
    waiting: NotRequired[list[str]]
    environment: dict[str, Any]


@dataclass(frozen=True)
class _RateArm:
    """One learning rate at a batch size: the steps of each seed to the target, None where it did not get there."""

    rate: float
    seeds: list[float | None]

    @property
    def measured(self) -> list[float]:
        return [steps for steps in self.seeds if steps is not None]

    @property
    def steps(self) -> float:
        """The mean over seeds; infinite where one of them did not reach the target."""
        return sum(self.measured) / len(self.seeds) if None not in self.seeds else math.inf


class BatchSize:
    """The arms of one batch size, in the order of their learning rates, with the steps and tokens of the best one
    (infinite where no learning rate brought every seed to the target)."""

    def __init__(self, batch: int, arms: list[_RateArm]):
        self.batch, self.arms = batch, arms
        self.best = min(arms, key=lambda arm: arm.steps)
        self.steps = self.best.steps
        self.tokens = self.steps * batch
        self.lowest, self.highest = self.best is arms[0], self.best is arms[-1]

    @property
    def edge(self) -> bool:
        """True if the best learning rate is the lowest or highest that was tried: a better one may lie beyond."""
        return self.lowest or self.highest

    @property
    def rate(self) -> float:
        """The best learning rate, by a parabola through the best arm and its neighbours if all reached the target."""
        place = self.arms.index(self.best)
        near = [arm for arm in self.arms[max(0, place - 1) : place + 2] if math.isfinite(arm.steps)]
        return lowest([arm.rate for arm in near], [arm.steps for arm in near]) if len(near) == 3 else self.best.rate

    def at(self, rate: float) -> float | None:
        """Steps at a learning rate, along a line in logs between two that were tried; None outside of those, infinite
        next to one that did not reach the target."""
        away = [math.log(arm.rate) - math.log(rate) for arm in self.arms]
        for arm, distance in zip(self.arms, away, strict=True):
            if abs(distance) < 1e-9:
                return arm.steps
        if away[0] > 0 or away[-1] < 0:
            return None
        above = next(i for i, distance in enumerate(away) if distance > 0)
        part = away[above - 1] / (away[above - 1] - away[above])
        return self.arms[above - 1].steps ** (1 - part) * self.arms[above].steps ** part


@dataclass(frozen=True)
class Sweep:
    """Runs to one target loss, and the noise scales that some of them measured. `waiting` are the names of runs that
    have not ended and are left out, `cells` those that have."""

    target: float
    runs: list[_Attempt]
    noise: list[_NoiseScale]
    waiting: list[str]
    cells: list[Run]
    environment: dict

    @cached_property
    def sizes(self) -> list[BatchSize]:
        """The batch sizes in ascending order."""
        ordered = sorted(self.runs, key=attrgetter("batch", "rate", "seed"))
        sizes: list[BatchSize] = []
        for batch, runs in groupby(ordered, attrgetter("batch")):
            arms = [_RateArm(rate, [run.updates for run in seeds]) for rate, seeds in groupby(runs, attrgetter("rate"))]
            sizes.append(BatchSize(batch, arms))
        return sizes

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    def of(self, seed: int) -> "Sweep":
        return replace(self, runs=[run for run in self.runs if run.seed == seed])

    @property
    def rates(self) -> list[float]:
        return sorted({run.rate for run in self.runs})

    @property
    def reached(self) -> list[BatchSize]:
        """The batch sizes that reached the target."""
        return [size for size in self.sizes if math.isfinite(size.steps)]

    @property
    def known(self) -> list[BatchSize]:
        """Those of `reached` whose best learning rate is no end of their own rates that lies inside of all rates."""
        rates = self.rates
        return [size for size in self.reached if not (size.lowest and size.best.rate > rates[0])
                and not (size.highest and size.best.rate < rates[-1])]  # fmt: skip

    @property
    def step(self) -> float:
        """The largest factor between neighbouring learning rates of a batch size."""
        pairs = [(low.rate, high.rate) for size in self.sizes for low, high in zip(size.arms, size.arms[1:])]  # noqa: B905
        return max((high / low for low, high in pairs), default=1.0)


def read_sweep(places: Sequence[Path]) -> Sweep:
    """The runs in some folders, and those of earlier fits, whose fit.json is named; of two of the same batch size, rate
    and seed the first one counts.

    Raises ValueError where no run has a target, or not all the same one, or where they differ in something else.
    """
    folders = [place for place in places if place.suffix != ".json"]
    sweeps = [*(_trained(folders) if folders else ()), *(_recorded(place) for place in places if place not in folders)]
    if not sweeps:
        raise ValueError(f"{', '.join(map(str, places))}: no run there was trained to a target loss; such runs are "
                         "those of python -m gptx.train --multirun experiment=critical_batch")  # fmt: skip
    targets = sorted({sweep.target for sweep in sweeps})
    if len(targets) > 1:
        choice = joined(map("{:g}".format, targets), "or")
        raise ValueError(f"observe.target.loss is {choice}: give runs to one loss")
    around = common_environment(map(attrgetter("environment"), sweeps))
    for told in incomparable(around):
        raise ValueError(f"{told}; give runs of one")
    return _pooled(sweeps, around)


def _pooled(sweeps: Sequence[Sweep], around: dict) -> Sweep:
    runs = {(run.batch, run.rate, run.seed): run for sweep in reversed(sweeps) for run in reversed(sweep.runs)}
    noise = [scale for sweep in sweeps for scale in sweep.noise]
    return replace(sweeps[0], runs=[runs[key] for key in sorted(runs)], noise=noise, environment=around)


def _recorded(file: Path) -> Sweep:
    found = recorded_fit(file, _Recorded, "critical_batch")
    waiting = found.get("waiting", [])
    return Sweep(found["target"], found["runs"], found["noise_scale"], waiting, [], found["environment"])


def _trained(folders: list[Path]) -> list[Sweep]:
    """The runs in some folders that were trained to a target, for each target."""
    aimed = [cell for cell in find(folders) if _target(cell) is not None]
    other = [told for told in confounded(aimed, _KEYS) if decides(key := told.split()[0], "result") and key != "steps"]
    if other:
        raise ValueError(f"the runs differ in more than {joined(_KEYS)}: {joined(other)}; give runs alike in it")
    ended = list(filter(ended_by_itself, aimed))
    waiting, noise = [cell.name for cell in aimed if cell not in ended], [*filter(None, map(_noise, ended))]
    around, targets = environment(aimed), {*map(_target, aimed)}
    return [Sweep(target, [*map(_run, ended)], noise, waiting, ended, around) for target in targets]


def ended_by_itself(cell: Run) -> bool:
    """True if a run came to its end, or diverged."""
    return cell.state == "finished" or bool(cell.record.get("diverged"))


def _target(cell: Run) -> Any:
    """The loss that a run was to reach; None for one that was not trained so."""
    return ((cell.config.get("observe") or {}).get("target") or {}).get("loss")


def _place(cell: Run) -> tuple[int, float, int]:
    return cell.config["batch"]["tokens"], cell.config["optim"]["lr"], cell.seed


def _run(cell: Run) -> _Attempt:
    return _Attempt(*_place(cell), cell.metrics.last("target/step") or None)


def _noise(cell: Run) -> _NoiseScale | None:
    ends = [cell.metrics.last(f"noise_scale/{name}") for name in ("tokens", "low", "high")]
    return None if None in ends else _NoiseScale(*_place(cell), *ends)  # type: ignore[arg-type]
