"""Range tests: the loss of a run over a learning rate that rose until the loss broke."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy
from numpy import ndarray

from gptx.compare.outcomes import environment
from gptx.fit.batches import ended_by_itself
from gptx.fit.page import recorded_fit
from gptx.runs.run import Run, find
from gptx.units.phrases import count, joined

SMOOTH = 0.1  # decades of the rate: standard deviation of the weights with which the loss is averaged
SHARE = 0.1  # of the rate of the lowest loss: the peak that is proposed (fastai's minimum / 10)
_RISING = 10.0  # factor by which the rate must rise for a run to be a range test
_FEWEST = 30  # steps before the break
FLAT = 0.02  # of the lowest loss
_EDGE = 2 * SMOOTH  # decades from an end of a curve within which its slope is not read: the weights are one-sided there
_STEEP = 0.8  # of the fastest fall: a curve that falls this fast at its edge may fall faster before it
CURVES = ("rates", "losses", "smooth")
_Values = TypeVar("_Values")


@dataclass(frozen=True)
class Range(Generic[_Values]):
    """One run: the rates that are read off its curves, and its losses and smoothed losses over the rate up to the
    break: arrays, or texts in a fit.json."""

    name: str
    seed: int
    lowest: float  # of the smoothed losses
    steepest: float | None
    valley: float  # half way through the longest fall (fastai's valley)
    broken: float  # where the run gave up: it lost a part of the fall again, or the loss became NaN
    proposed: float
    flat: tuple[float, float]  # the first and last rate whose smoothed loss is within FLAT of the lowest
    rates: _Values
    losses: _Values
    smooth: _Values


def read_ranges(places: Sequence[Path]) -> tuple[list[Range[ndarray]], float, dict, list[Run]]:
    """The range tests of the runs in some folders, or of an earlier fit whose fit.json is named; what the mean of their
    curves proposes; their environment; the runs that are at hand. Raises ValueError where no run is at its end."""
    if len(places) == 1 and places[0].suffix == ".json":
        form = {"runs": list[Range[str]], "of_the_mean_curve": float, "environment": dict}
        found = recorded_fit(places[0], form, "lr_range")
        arrays = [{key: numpy.array(getattr(run, key).split(), float) for key in CURVES} for run in found["runs"]]
        runs = [Range(**vars(run) | curves) for run, curves in zip(found["runs"], arrays, strict=True)]
        return runs, found["of_the_mean_curve"], found["environment"], []
    cells = find(list(places))
    ended = list(filter(ended_by_itself, cells))
    if not ended:
        states = joined([f"{cell.name} is {cell.state}" for cell in cells])
        raise ValueError(f"{', '.join(map(str, places))}: no run there is at its end ({states})")
    tests = [range_of(cell) for cell in ended]
    return tests, _mean_proposal(tests), environment(ended), ended


def range_of(cell: Run) -> Range[ndarray]:
    """The range test of a run. Raises ValueError if it is none, or did not break, or broke too soon."""
    rates, losses = cell.metrics["train/lr"][1], cell.metrics["train/loss"][1]
    rises = len(rates) > 1 and (numpy.diff(rates) > 0).all() and rates[-1] >= _RISING * rates[0]
    if len(rates) != len(losses) or not rises:
        moved = f"goes from {rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) else "is not recorded"
        raise ValueError(f"{cell.name}: no range test: its learning rate {moved} and does not rise at every step; "
                         "range tests are the runs of python -m gptx.train --multirun experiment=lr_range")  # fmt: skip
    end, broken, why = len(losses), cell.metrics.last("lr_range/broken"), "broke"
    if not (finite := numpy.isfinite(losses)).all():
        end, why = int(finite.argmin()), "is NaN"
        broken = float(rates[end])
    if broken is None:
        cure = f"raise the last rate: optim.lr={10 * rates[-1]:.3g}"
        raise ValueError(f"{cell.name}: the loss did not break up to a learning rate of {rates[-1]:.3g}; {cure}")
    if end < _FEWEST:
        raise ValueError(f"{cell.name}: the loss {why} after {count(end, 'step')}, at a learning rate of {broken:.3g}; "
                         f"{_FEWEST} are needed: lower schedule.floor, or raise steps")  # fmt: skip
    rates, losses = rates[:end], losses[:end]
    smooth = smoothed_loss(rates, losses)
    if not smooth.argmin():
        raise ValueError(f"{cell.name}: the loss only rises, from a rate of {rates[0]:.3g} on; lower schedule.floor")
    inside, lowest = rates[smooth <= (1 + FLAT) * smooth.min()], float(rates[smooth.argmin()])
    flat, valley = (float(inside[0]), float(inside[-1])), float(rates[half_way_down(smooth)])
    return Range(cell.name, cell.seed, lowest, steepest(rates, smooth), valley, float(broken), SHARE * lowest, flat,
                 rates, losses, smooth)  # fmt: skip


def steepest(rates: ndarray, smooth: ndarray) -> float | None:
    """Where the loss falls fastest per decade (fastai's steep); None if it falls about as fast at the edge of the
    curve: the test should begin lower."""
    places = numpy.log10(rates)
    between, falls = (places[1:] + places[:-1]) / 2, -numpy.diff(smooth) / numpy.diff(places)
    inside = numpy.flatnonzero((between >= places[0] + _EDGE) & (between <= places[-1] - _EDGE))
    if not len(inside):
        return None
    at = inside[falls[inside].argmax()]
    return float(10 ** between[at]) if falls[inside[0]] < _STEEP * falls[at] else None


def smoothed_loss(rates: ndarray, losses: ndarray) -> ndarray:
    """The loss by local linear regression over log rate with normal weights: neither lags nor is biased at an end."""
    places = numpy.log10(rates)
    away = places - places[:, None]  # (points, neighbours)
    weights = numpy.exp(-0.5 * (away / SMOOTH) ** 2)
    first, second = (weights * away).sum(1), (weights * away**2).sum(1)
    weights *= second[:, None] - away * first[:, None]
    return weights @ losses / weights.sum(1)


def half_way_down(values: Sequence[float] | ndarray) -> int:
    """The place half a fall before its end, for the longest fall: the longest falling subsequence of the values."""
    ends: list[float] = []  # of falls of each length the highest last value, negated so that they ascend
    longest, last = 0, 0
    for place, value in enumerate(values):
        length = bisect.bisect_left(ends, -value)
        ends[length : length + 1] = [-value]
        if length + 1 > longest:
            longest, last = length + 1, place
    return last - longest + longest // 2


def _mean_proposal(found: Sequence[Range[ndarray]]) -> float:
    """What the mean over runs of their smoothed losses proposes, at the rates that all of them came to."""
    low, high = max(each.rates[0] for each in found), min(each.rates[-1] for each in found)
    rates = found[0].rates[(found[0].rates >= low) & (found[0].rates <= high)]
    curves = [numpy.interp(numpy.log(rates), numpy.log(each.rates), each.smooth) for each in found]
    return SHARE * float(rates[numpy.mean(curves, axis=0).argmin()])
