"""Does an effect still matter at scale? Effects against the model's size, on a logarithmic axis."""

import math
from dataclasses import dataclass

import numpy

from gptx.compare.effects import Effects
from gptx.compare.estimates import Estimate, estimate
from gptx.compare.factors import grouped

_SIZES = 3  # of models from which on there is a trend


@dataclass(frozen=True)
class Trend:
    """An effect at several sizes: its slope per tenfold parameters, and what the smaller sizes predict of the largest,
    beside what was measured there. Lines are fitted seed by seed, so intervals are of the seeds."""

    things: tuple[tuple[str, str], ...]
    sizes: tuple[float, ...]  # parameters
    slope: Estimate | None
    at_largest: float
    predicted: Estimate | None = None
    measured: Estimate | None = None


def trends(found: Effects) -> list[Trend]:
    """A trend for each change, if the question is asked per something that changes the number of parameters."""
    sizes = {str(context): size for context, size in _sizes(found)}
    if len(set(sizes.values())) < max(_SIZES, len(sizes)):
        return []
    rows = [(str(setting.context), effect) for setting in found.settings for effect in setting.effects]
    known = [(sizes[context], effect) for context, effect in rows if effect.arm and effect.against and context in sizes]
    groups = grouped(sorted(known, key=lambda row: row[0]), lambda row: row[1].things)
    made = [_trend(things, some, len(groups)) for things, some in groups.items()]
    return [trend for trend in made if trend]


def _sizes(found: Effects) -> list[tuple[dict, int]]:
    """The parameters of each setting's base."""
    known = {tuple(x.levels.items()): x.parameters for x in found.comparison.outcomes if x.parameters}
    bases = [(setting.context, setting.base) for setting in found.settings if setting.base]
    return [(context, known[key]) for context, base in bases if (key := tuple(base.levels.items())) in known]


def _trend(things: tuple, some: list, count: int) -> Trend | None:
    """The lines of single seeds through their differences at each size."""
    x = numpy.log10([size for size, _ in some])
    by_seed = [{seed: effect.arm.values[seed] - effect.against.values[seed]
                for seed in effect.arm.values if seed in effect.against.values} for _, effect in some]  # fmt: skip
    seeds = set.intersection(*map(set, by_seed))
    y = numpy.array([[each[seed] for each in by_seed] for seed in sorted(seeds)])
    if len(x) < _SIZES or not y.size or not numpy.isfinite(y).all():
        return None
    slope, _ = numpy.polyfit(x, y.T, 1)
    short, level = numpy.polyfit(x[:-1], y[:, :-1].T, 1)
    sizes = tuple(size for size, _ in some)
    found = estimate(slope.tolist(), count), float(y[:, -1].mean())
    return Trend(things, sizes, *found, estimate((short * x[-1] + level).tolist()), estimate(y[:, -1].tolist()))


def line(trend: Trend) -> tuple[list[float], list[float]]:
    """Two sizes and the effects on the line between them."""
    assert trend.slope is not None
    ends, last = [trend.sizes[0], trend.sizes[-1]], math.log10(trend.sizes[-1])
    return ends, [trend.at_largest + trend.slope.mean * (math.log10(size) - last) for size in ends]
