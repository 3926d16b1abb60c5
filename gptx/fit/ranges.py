"""Range tests: what a run's loss says of a rate that rose until it broke."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from numpy import ndarray

from gptx.runs.cells import Cell, find
from gptx.units.phrases import count, joined

SMOOTH = 0.1  # decades of the rate: standard deviation of the weights with which the loss is averaged
SHARE = 0.1  # of the rate of the lowest loss: the peak that is proposed (fastai's minimum / 10)
RISING = 10.0  # times that the rate must rise for a run to be a range test
FEWEST = 30  # updates before the break
FLAT = 0.02  # of the lowest loss
EDGE = 2 * SMOOTH  # decades from an end of a curve within which its slope is not read: the weights are one-sided there
STEEP = 0.8  # of the fastest fall: a curve that falls so fast at its edge may fall faster before it


@dataclass(frozen=True)
class Range:
    """One run: its losses over the rate up to the break, and the rates that are read off them."""

    name: str
    seed: int
    rates: ndarray
    losses: ndarray
    smooth: ndarray
    broken: float  # where the run gave up: a part of the fall was lost again, or the loss was no number

    @property
    def lowest(self) -> float:
        """Where the smoothed loss is lowest."""
        return float(self.rates[self.smooth.argmin()])

    @property
    def flat(self) -> tuple[float, float]:
        """The first and last rate whose smoothed loss is within FLAT of the lowest: how little says where that is."""
        inside = numpy.flatnonzero(self.smooth <= (1 + FLAT) * self.smooth.min())
        return float(self.rates[inside[0]]), float(self.rates[inside[-1]])

    @property
    def proposed(self) -> float:
        return SHARE * self.lowest

    @property
    def steepest(self) -> float | None:
        """Where the smoothed loss falls fastest a decade (fastai's steep); None if it falls about as fast at the edge
        of the curve, so that the test should begin lower."""
        places = numpy.log10(self.rates)
        between, falls = (places[1:] + places[:-1]) / 2, -numpy.diff(self.smooth) / numpy.diff(places)
        inside = numpy.flatnonzero((between >= places[0] + EDGE) & (between <= places[-1] - EDGE))
        if not len(inside):
            return None
        at = inside[falls[inside].argmax()]
        return float(10 ** between[at]) if falls[inside[0]] < STEEP * falls[at] else None

    @property
    def valley(self) -> float:
        """Half way through the longest fall (fastai's valley)."""
        return float(self.rates[half_way_down(self.smooth)])


def ended(folders: Sequence[Path]) -> list[Cell]:
    """The runs in some folders that came to their end. Raises ValueError where there is none."""
    cells = find(list(folders))
    found = [cell for cell in cells if cell.state == "finished" or cell.record.get("diverged")]
    if not found:
        states = joined([f"{cell.name} is {cell.state}" for cell in cells])
        raise ValueError(f"{', '.join(map(str, folders))}: no run there is at its end ({states})")
    return found


def ranged(cell: Cell) -> Range:
    """The range test of a run. Raises ValueError if it is none, did not come to a break, or came to it too soon."""
    rates, losses = cell.metrics["train/lr"][1], cell.metrics["train/loss"][1]
    rises = len(rates) > 1 and (numpy.diff(rates) > 0).all() and rates[-1] >= RISING * rates[0]
    if len(rates) != len(losses) or not rises:
        moved = f"goes from {rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) else "is not recorded"
        raise ValueError(f"{cell.name}: no range test, since its rate {moved} and does not rise at every update; range "
                         "tests are the runs of python -m gptx.train --multirun experiment=lr_range")  # fmt: skip
    finite = numpy.isfinite(losses)
    end = len(losses) if finite.all() else int(finite.argmin())
    broken = cell.metrics.last("lr_range/broken") if end == len(losses) else float(rates[end])
    if broken is None:
        raise ValueError(f"{cell.name}: the loss did not break up to a rate of {rates[-1]:.3g}; raise the last rate: "
                         f"optim.lr={10 * rates[-1]:.3g}")  # fmt: skip
    if end < FEWEST:
        why = "broke" if finite.all() else "is NaN"
        raise ValueError(f"{cell.name}: the loss {why} after {count(end, 'update')}, at a rate of {broken:.3g}, and "
                         f"a curve needs {FEWEST}; lower schedule.floor, or make more updates (steps)")  # fmt: skip
    smooth = smoothed(rates[:end], losses[:end])
    if not smooth.argmin():
        raise ValueError(f"{cell.name}: the loss only rises, from a rate of {rates[0]:.3g} on; lower schedule.floor")
    return Range(cell.name, cell.seed, rates[:end], losses[:end], smooth, float(broken))


def smoothed(rates: ndarray, losses: ndarray) -> ndarray:
    """The loss by a line through each point's neighbours on both sides, with weights of a normal curve in log rate: it
    does not lag behind, and at an end it is no mean of one side (local linear regression)."""
    places = numpy.log10(rates)
    away = places - places[:, None]  # (points, neighbours)
    weights = numpy.exp(-0.5 * (away / SMOOTH) ** 2)
    first, second = (weights * away).sum(1), (weights * away**2).sum(1)
    weights *= second[:, None] - away * first[:, None]
    return weights @ losses / weights.sum(1)


def half_way_down(values: Sequence[float] | ndarray) -> int:
    """The place half a fall before its end, for the longest fall: the most values each of which is below the one before
    it that belongs to the fall, others between them left out."""
    ends: list[float] = []  # of falls of each length the highest last value, negated so that they ascend
    longest, last = 0, 0
    for place, value in enumerate(values):
        length = bisect.bisect_left(ends, -value)
        ends[length : length + 1] = [-value]
        if length + 1 > longest:
            longest, last = length + 1, place
    return last - longest + longest // 2


def together(found: Sequence[Range]) -> Range:
    """The mean over runs of their smoothed losses, at the rates that all of them came to, as one run."""
    low, high = max(each.rates[0] for each in found), min(each.rates[-1] for each in found)
    rates = found[0].rates[(found[0].rates >= low) & (found[0].rates <= high)]
    curves = [numpy.interp(numpy.log(rates), numpy.log(each.rates), each.smooth) for each in found]
    mean = numpy.mean(curves, axis=0)
    return Range("mean curve", -1, rates, mean, mean, middle([each.broken for each in found]))


def middle(rates: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, rates)) / len(rates))
