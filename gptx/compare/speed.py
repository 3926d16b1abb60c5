"""An effect in the field's own unit: how many times the base's steps an arm is worth."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy

from gptx.compare.estimates import Values, estimate
from gptx.compare.factors import grouped
from gptx.compare.outcomes import Outcome


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
    by_seed = grouped((x for x in base if x.steps and _finite(x.value)), lambda x: x.seed)
    curves = {seed: sorted((run.steps, sign * run.value) for run in runs) for seed, runs in by_seed.items()}
    found = [_reached(curves[seed], sign * value) for seed, value in values.items() if len(curves.get(seed, ())) > 1]
    if not found or not all(map(math.isfinite, values.values())):
        return None
    lengths = [math.log(length / steps) for curve in curves.values() for length, _ in curve]
    beyond = [way for _, way in found if way]
    if len(beyond) * 2 > len(found):
        return SpeedUp(math.exp(max(lengths) if beyond[0] == ">" else min(lengths)), bound=beyond[0])
    over = estimate([at - math.log(steps) for at, _ in found])
    ends = [None if end is None or beyond else math.exp(end) for end in (over.low, over.high)] if over else [None, None]
    return SpeedUp(math.exp(over.mean), *ends) if over else None


def _reached(curve: list[tuple[int, float]], value: float) -> tuple[float, str]:
    """The logarithm of the steps at which a curve has a value; its end, and which one, where it does not reach it."""
    steps, losses = zip(*curve, strict=True)
    falling = numpy.minimum.accumulate(losses)[::-1]
    way = ">" if value < falling[0] else "<" if value > falling[-1] else ""
    return float(numpy.interp(value, falling, numpy.log(steps)[::-1])), way


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
