"""Signals as lines over the updates: how they are smoothed, and thinned so that no spike is lost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy import ndarray

POINTS = 1200  # of a curve that are drawn at most
Values = ndarray | Sequence[float]


@dataclass(frozen=True)
class Curve:
    """One line of a panel; `style` is line, faint, dots, dashed, abandoned (given up by a rollback) or incidents."""

    name: str
    steps: Values
    values: Values
    style: str = "line"
    colour: int = 0
    alpha: float = 1.0
    low: Values | None = None  # of a band around the line
    high: Values | None = None
    smooth: int = 0  # drawn as the mean of so many values, with the values themselves behind it
    key: str = ""  # the metric, where a panel can show one of several
    arm: int = 0  # whose it is, of those on the page
    texts: Sequence[str] = ()  # of each point


@dataclass(frozen=True)
class Panel:
    """A signal over the updates; without curves, `hint` says how to record it. Panels of a `group` share their axis."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    log: bool = False
    hint: str = ""
    group: str = ""

    @property
    def empty(self) -> bool:
        return not any(len(curve.steps) for curve in self.curves)


def smoothed(values: ndarray, window: int) -> ndarray:
    """The mean of the last `window` values at each place, of those that are finite; NaN where the value itself is not,
    so that the line of a run that diverged ends there."""
    finite = numpy.isfinite(values)
    sums, counts = (numpy.cumsum(x) for x in (numpy.where(finite, values, 0.0), finite.astype(float)))
    for total in (sums, counts):
        total[window:] = total[window:] - total[:-window].copy()
    return numpy.divide(sums, counts, out=numpy.full(len(values), numpy.nan), where=finite)


def thinned(steps: ndarray, values: ndarray, points: int = POINTS) -> ndarray:
    """The places of at most `points` points of a curve: the lowest and the highest of each stretch."""
    if len(steps) <= points:
        return numpy.arange(len(steps))
    kept = {0, len(steps) - 1}
    for stretch in numpy.array_split(numpy.arange(len(steps)), points // 2):
        if numpy.isfinite(values[stretch]).any():
            kept |= {int(stretch[numpy.nanargmin(values[stretch])]), int(stretch[numpy.nanargmax(values[stretch])])}
    return numpy.array(sorted(kept))


def stretches(curve: Curve, points: int) -> tuple[Curve, float]:
    """A curve as the means of at most `points` stretches, each with its lowest and highest value, and the length of a
    stretch. A curve of fewer points stays as it is."""
    steps, values = numpy.asarray(curve.steps, float), numpy.asarray(curve.values, float)
    if len(steps) <= points:
        return curve, 1.0
    first = numpy.linspace(0, len(steps), points + 1).astype(int)[:-1]
    finite = numpy.isfinite(values)
    sums = numpy.add.reduceat(numpy.where(finite, values, 0.0), first)
    counts = numpy.add.reduceat(finite.astype(float), first)
    low, high = (values if ends is None else numpy.asarray(ends, float) for ends in (curve.low, curve.high))
    last = numpy.append(first[1:], len(steps)) - 1
    means = numpy.divide(sums, counts, out=numpy.full(points, numpy.nan), where=counts > 0)
    with numpy.errstate(invalid="ignore"):
        ends = numpy.fmin.reduceat(low, first), numpy.fmax.reduceat(high, first)
    return Curve(**vars(curve) | {"steps": steps[last], "values": means, "low": ends[0], "high": ends[1]}), len(
        steps
    ) / points
