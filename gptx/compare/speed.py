"""An effect in the field's own unit: how many times the base's steps an arm is worth."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import numpy

from gptx.compare.factors import grouped
from gptx.compare.outcomes import Outcome
from gptx.estimate.differences import Values, diverged, estimate


@dataclass(frozen=True)
class SpeedUp:
    """How many times its own steps the base would need for an arm's result, with a 95 % interval over seeds; `bound`
    is > or < where that lies beyond the base's longest or shortest run, which is as far as it can be said."""

    times: float
    low: float | None = None
    high: float | None = None
    bound: str = ""


def speed_up(values: Values, base: Iterable[Outcome], steps: int, sign: int) -> SpeedUp | None:
    """The speed-up of an arm's results by seed over `base`: runs at several lengths, `steps` that of the arm. Read
    between lengths on a logarithmic axis of steps, seed by seed. None without runs of one seed at two lengths."""
    curves = _curves(base, sign)
    found = [_reached(curves[seed], sign * values[seed]) for seed in values if len(curves.get(seed, ())) > 1]
    if not found or diverged(values):
        return None
    return _summed([at - math.log(steps) for at, _ in found], [way for _, way in found])


def _summed(over: list[float], ways: list[str]) -> SpeedUp:
    """The speed-up of seeds whose logarithms are `over`, each perhaps beyond an end (> or <)."""
    if beyond := max(ways, key=ways.count):
        return SpeedUp(math.exp(max(over) if beyond == ">" else min(over)), bound=beyond)
    span = getattr(estimate(over), "alone", None)
    low, high = map(math.exp, span) if span and not any(ways) else (None, None)
    return SpeedUp(math.exp(fmean(over)), low, high)


def _curves(base: Iterable[Outcome], sign: int) -> dict[int, list[tuple[int, float]]]:
    """Steps and results of the runs of each seed, the shortest first."""
    known = [(run.seed, run.steps, sign * run.value) for run in base if run.steps and run.value is not None]
    by_seed = grouped((each for each in known if math.isfinite(each[2])), lambda each: each[0])
    return {seed: sorted((steps, value) for _, steps, value in runs) for seed, runs in by_seed.items()}


def _reached(curve: list[tuple[int, float]], value: float) -> tuple[float, str]:
    """The logarithm of the steps at which a curve has a value; its end, and which one, where it does not reach it."""
    steps, losses = zip(*curve, strict=True)
    falling = numpy.minimum.accumulate(losses)[::-1]
    way = ">" if value < falling[0] else "<" if value > falling[-1] else ""
    return float(numpy.interp(value, falling, numpy.log(steps)[::-1])), way
