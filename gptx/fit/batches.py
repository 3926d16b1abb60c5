"""How many steps runs of several batch sizes and learning rates took to a target loss."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, filterfalse, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt

from gptx.compare.collect import common_environment, environment
from gptx.compare.factors import confounded
from gptx.config.groups import decides
from gptx.fit.page import incomparable, recorded_fit
from gptx.fit.tradeoff import exponent, lowest
from gptx.runs.run import Run, find
from gptx.units.phrases import joined

_KEYS = "batch.tokens", "optim.lr"  # what distinguishes the runs, with the seed and what follows from these
_BAND = "noise_scale/tokens", "noise_scale/low", "noise_scale/high"  # metrics
_Positive = Annotated[float, Gt(0)]
_place = attrgetter("batch", "rate", "seed")  # of a run in a sweep


@dataclass(frozen=True)
class _Attempt:
    """One run: its steps to the target, interpolated between two validations; None where it did not get there."""

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


class BatchSize:
    """A batch size: its rates, ascending, with mean steps over seeds (infinite if one misses); `tried` is the best."""

    def __init__(self, batch: int, steps: dict[float, list[float]]):
        self.batch, self.rates = batch, list(steps)
        self.means = [sum(seeds) / len(seeds) for seeds in steps.values()]
        self.steps = min(self.means)
        place = self.means.index(self.steps)
        self.tokens, self.tried = self.steps * batch, self.rates[place]
        self.seeds = steps[self.tried]
        self.lowest, self.highest = place == 0, place == len(steps) - 1
        self.edge = self.lowest or self.highest  # a better learning rate may lie beyond those that were tried

    @property
    def rate(self) -> float:
        """The best learning rate, by a parabola through `tried` and its neighbours if all reached the target."""
        near = slice(max(0, self.rates.index(self.tried) - 1), self.rates.index(self.tried) + 2)
        known = not self.edge and math.isfinite(sum(self.means[near]))
        return lowest(self.rates[near], self.means[near]) if known else self.tried

    def at(self, rate: float) -> float:
        """Steps at a rate, by a line in logs between two that were tried: NaN outside, infinite next to a miss."""
        for tried, steps in zip(self.rates, self.means, strict=True):
            if math.isclose(tried, rate):
                return steps
        for (low, some), (high, others) in pairwise(zip(self.rates, self.means, strict=True)):
            if low < rate < high:
                below, above = math.log(low) - math.log(rate), math.log(high) - math.log(rate)
                part = below / (below - above)
                return some ** (1 - part) * others**part
        return math.nan

    def ruled(self, start: "BatchSize", power: float) -> tuple[float, float]:
        """The rate of a rule from another size's best one, and its steps over those of the best one tried, or NaN."""
        rate = start.tried * (self.batch / start.batch) ** power
        return rate, self.at(rate) / self.steps


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Runs to one loss, as a fit.json has them; `waiting` are the names of those not at their end, `cells` the rest."""

    target: float
    runs: list[_Attempt]
    noise_scale: list[_NoiseScale]
    waiting: list[str] = field(default_factory=list)
    cells: list[Run] = field(default_factory=list)
    environment: dict[str, Any]

    @cached_property
    def sizes(self) -> list[BatchSize]:
        steps: dict[int, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
        for run in sorted(self.runs, key=_place):
            steps[run.batch][run.rate].append(run.updates or math.inf)
        return [BatchSize(batch, by_rate) for batch, by_rate in steps.items()]

    @property
    def rates(self) -> list[float]:
        return sorted({run.rate for run in self.runs})

    @property
    def reached(self) -> list[BatchSize]:
        return [size for size in self.sizes if math.isfinite(size.steps)]

    @property
    def known(self) -> list[BatchSize]:
        """Those of `reached` whose best learning rate is no end of their own rates that lies inside of all rates."""
        rates = self.rates
        return [size for size in self.reached if not (size.lowest and size.tried > rates[0])
                and not (size.highest and size.tried < rates[-1])]  # fmt: skip

    @property
    def step(self) -> float:
        """The largest factor between neighbouring learning rates of a batch size."""
        return max((high / low for size in self.sizes for low, high in pairwise(size.rates)), default=1.0)

    def sides(self, critical: float) -> dict[str, tuple[list[int], tuple[float, float] | None]]:
        """Below and above the critical size: sizes whose best rate is inside the grid, and their exponent() or None."""
        found = {}
        for side in ("Below", "Above"):
            here = [size for size in self.known if not size.edge and (size.batch <= critical) is (side == "Below")]
            batches, rates = [size.batch for size in here], [size.rate for size in here]
            found[side] = batches, exponent(batches, rates, self.step) if len(here) > 1 else None
        return found


def read_sweep(places: Sequence[Path]) -> Sweep:
    """The runs in folders and of earlier fits (fit.json); of two of one batch size, rate and seed the first one counts.
    Raises ValueError where no run has a target, or not all the same one, or where they differ in something else."""
    folders, files = ([place for place in places if (place.suffix == ".json") is kind] for kind in (False, True))
    sweeps = [*(_trained(folders) if folders else ()), *(recorded_fit(file, Sweep, "critical_batch") for file in files)]
    if not sweeps:
        raise ValueError(f"{', '.join(map(str, places))}: no run there was trained to a target loss; such runs are "
                         "those of python -m gptx.train --multirun experiment=critical_batch")  # fmt: skip
    if len(targets := sorted({*map(attrgetter("target"), sweeps)})) > 1:
        raise ValueError(f"observe.target.loss is {joined(map('{:g}'.format, targets), 'or')}: give runs to one loss")
    around = common_environment(map(attrgetter("environment"), sweeps))
    for told in incomparable(around):
        raise ValueError(f"{told}; give runs of one")
    noise = list(chain.from_iterable(map(attrgetter("noise_scale"), sweeps)))
    runs = list(chain.from_iterable(map(attrgetter("runs"), sweeps)))
    first = {_place(run): run for run in reversed(runs)}
    return replace(sweeps[0], runs=sorted(first.values(), key=_place), noise_scale=noise, environment=around)


def _trained(folders: list[Path]) -> list[Sweep]:
    aimed = list(filter(lambda cell: _target(cell) is not None, find(folders)))
    other = [told for told in confounded(aimed, _KEYS) if decides(key := told.split()[0], "result") and key != "steps"]
    if other:
        raise ValueError(f"the runs differ in more than {joined(_KEYS)}: {joined(other)}; give runs alike in it")
    ended, runs, noise = list(filter(ended_by_itself, aimed)), [], []
    for cell in ended:
        place = cell.config["batch"]["tokens"], cell.config["optim"]["lr"], cell.seed
        runs.append(_Attempt(*place, cell.metrics.last("target/step") or None))
        ends = [*map(cell.metrics.last, _BAND)]
        if None not in ends:
            noise.append(_NoiseScale(*place, *ends))  # type: ignore[arg-type]
    waiting, around = [cell.name for cell in filterfalse(ended_by_itself, aimed)], environment(aimed)
    return [Sweep(target=target, runs=runs, noise_scale=noise, waiting=waiting, cells=ended, environment=around)
            for target in dict.fromkeys(map(_target, aimed))]  # fmt: skip


def ended_by_itself(cell: Run) -> bool:
    return cell.state == "finished" or bool(cell.record.get("diverged"))


def _target(cell: Run) -> Any:
    return ((cell.config.get("observe") or {}).get("target") or {}).get("loss")
