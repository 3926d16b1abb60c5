"""A peak rate from runs whose rate rose until the loss broke, and what it costs beside a grid of rates."""

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
from numpy import ndarray

from gptx import paths
from gptx.compare.cells import Cell, find
from gptx.compare.outcomes import Comparison, compare, load
from gptx.compare.tables import Table
from gptx.compare.words import count, joined

SMOOTH = 0.1  # decades of the rate: standard deviation of the weights with which the loss is averaged
SHARE = 0.1  # of the rate of the lowest loss: the peak that is proposed (fastai's minimum / 10)
RISING = 10.0  # times that the rate must rise for a run to be a range test
FEWEST = 30  # updates before the break
GRID = paths.ROOT / "experiments/warmup/results.json"
RATE, METRIC = "optim.lr", "validation/loss"


@dataclass(frozen=True)
class Range:
    """What one run's loss says of its rising rate: each is a rate."""

    name: str
    seed: int
    lowest: float  # where the smoothed loss is lowest
    steepest: float  # where it falls fastest, a decade
    valley: float  # half way through the longest fall (fastai's valley)
    broken: float  # where the run gave up: a part of the fall was lost again, or the loss was no number
    rates: ndarray
    losses: ndarray
    smooth: ndarray

    @property
    def proposed(self) -> float:
        return SHARE * self.lowest


def read(folders: Sequence[Path]) -> list[Range]:
    """The range tests in some folders. Raises ValueError for a run that is none, or never came to a break."""
    cells = find(list(folders))
    found = [ranged(cell) for cell in cells if cell.state == "finished" or cell.record.get("diverged")]
    if not found:
        raise ValueError(f"{', '.join(map(str, folders))}: no run there is at its end "
                         f"({joined(f'{cell.name} is {cell.state}' for cell in cells)})")  # fmt: skip
    return found


def ranged(cell: Cell) -> Range:
    """The range test of a run. Raises ValueError if it is none."""
    rates, losses = cell.metrics["train/lr"][1], cell.metrics["train/loss"][1]
    if len(rates) != len(losses) or len(rates) < 2 or not (numpy.diff(rates) > 0).all() or rates[-1] < RISING * rates[0]:
        moved = f"from {rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) else "nowhere"
        raise ValueError(f"{cell.name}: no range test, its rate went {moved} and does not rise at every update; such "
                         "runs are those of python -m gptx.train --multirun experiment=lr_range")  # fmt: skip
    finite = numpy.isfinite(losses)
    end = len(losses) if finite.all() else int(finite.argmin())
    broken = cell.metrics.last("lr_range/broken") if end == len(losses) else rates[end]
    if broken is None:
        raise ValueError(f"{cell.name}: the loss did not break up to a rate of {rates[-1]:.3g}; raise the last rate: "
                         f"optim.lr={10 * rates[-1]:.1g}")  # fmt: skip
    if end < FEWEST:
        raise ValueError(f"{cell.name}: the loss broke after {count(end, 'update')}, at a rate of {broken:.3g}, and a "
                         f"curve needs {FEWEST}; lower the first rate (schedule.floor) or take more steps")  # fmt: skip
    rates, losses = rates[:end], losses[:end]
    smooth = smoothed(rates, losses)
    lowest = int(smooth.argmin())
    if not lowest:
        raise ValueError(f"{cell.name}: the loss only rises, from a rate of {rates[0]:.3g} on; lower schedule.floor")
    fall = numpy.diff(smooth[: lowest + 1]) / numpy.diff(numpy.log10(rates[: lowest + 1]))
    steepest = int(fall.argmin())
    return Range(cell.name, cell.seed, float(rates[lowest]), float(math.sqrt(rates[steepest] * rates[steepest + 1])),
                 float(rates[valley(smooth)]), float(broken), rates, losses, smooth)  # fmt: skip


def smoothed(rates: ndarray, losses: ndarray) -> ndarray:
    """The loss averaged on both sides with weights of a normal curve in log rate, so that it does not lag."""
    places = numpy.log10(rates)
    weights = numpy.exp(-0.5 * ((places[:, None] - places) / SMOOTH) ** 2)
    return weights @ losses / weights.sum(1)


def valley(values: Sequence[float] | ndarray) -> int:
    """The place half way through the longest fall: the most values of which each is below all those before it that
    belong to it, as many places back from where it ends."""
    lowest_ends: list[float] = []  # of falls of each length, the highest last value, negated so that they ascend
    longest, end = 0, 0
    for place, value in enumerate(values):
        length = bisect.bisect_left(lowest_ends, -value)
        lowest_ends[length : length + 1] = [-value]
        if length + 1 > longest:
            longest, end = length + 1, place
    return end - longest + longest // 2


@dataclass(frozen=True)
class Checked:
    """A rate beside a grid's row, such as its cosine schedule: the grid's rate that is nearest to it, and the best."""

    row: str
    nearest: float
    reached: float  # mean final validation loss there; infinite where a seed diverged
    best: float
    lowest: float

    @property
    def cost(self) -> float:
        return self.reached - self.lowest


def grid(place: str) -> Comparison:
    """The runs of a grid of rates, from a results.json, an experiment's folder or a folder of runs; of
    experiment=warmup if none is given. Raises ValueError if its rates do not differ."""
    where = Path(place) if place else GRID
    file = where / "results.json" if (where / "results.json").exists() else where
    comparison = load(file) if file.is_file() else compare(find([where]), METRIC)
    if RATE not in comparison.factors:
        raise ValueError(f"grid={where}: its runs are of one rate; a grid has several of {RATE}")
    return comparison


def checked(comparison: Comparison, rate: float) -> list[Checked]:
    """What the nearest rate of the grid costs in each of its rows, the row of the lowest loss first."""
    means: dict[str, dict[float, float]] = {}
    seeds: dict[tuple[str, float], list[float]] = {}
    for outcome in comparison.outcomes:
        row = ", ".join(level for name, level in outcome.levels.items() if name != RATE) or "all"
        if outcome.value is not None:
            seeds.setdefault((row, float(outcome.levels[RATE])), []).append(outcome.value)
    for (row, at), values in seeds.items():
        mean = sum(values) / len(values)
        means.setdefault(row, {})[at] = mean if math.isfinite(mean) else math.inf
    found = []
    for row, losses in means.items():
        nearest = min(losses, key=lambda at: abs(math.log(at / rate)))
        best = min(losses, key=lambda at: losses[at])
        found.append(Checked(row, nearest, losses[nearest], best, losses[best]))
    return sorted(found, key=lambda each: each.lowest)


def middle(values: Sequence[float]) -> float:
    """The geometric mean of rates."""
    return math.exp(sum(map(math.log, values)) / len(values))


def headline(found: Sequence[Range], rows: Sequence[Checked]) -> str:
    proposed, first = middle([each.proposed for each in found]), rows[0]
    cost = (f"{first.cost:.3f} nats above" if first.cost else "which is") + f" the grid's best, {first.lowest:.4f} at {first.best:g}"
    return (f"The range test proposes a peak rate of {proposed:.2g}. The nearest rate of the grid, {first.nearest:g}, ends "
            f"at {first.reached:.4f} ({first.row}), {cost}.")  # fmt: skip


def sentences(found: Sequence[Range], rows: Sequence[Checked]) -> Iterator[str]:
    """How far the seeds agree, and what the other readings of the same curve would cost."""
    ends = [each.proposed for each in found]
    yield (f"The rule, fixed before the runs: a tenth of the rate of the lowest smoothed loss. Over "
           f"{count(len(found), 'seed')} it gives {min(ends):.2g} to {max(ends):.2g}.")  # fmt: skip
