"""Does an effect still matter at scale? Effects against the model's size, on a logarithmic axis."""

from dataclasses import dataclass

import numpy

from gptx.compare.effects import Effects
from gptx.compare.factors import grouped
from gptx.estimate.differences import Estimate, estimate

_SIZES = 3  # of models from which on there is a trend


@dataclass(frozen=True)
class Trend:
    """An effect at several sizes: its slope per tenfold parameters, and what the smaller sizes predict of the largest,
    and what was measured there. Lines are fitted seed by seed, so intervals are of the seeds."""

    things: tuple[tuple[str, str], ...]
    sizes: tuple[float, ...]  # parameters
    slope: Estimate | None
    at_largest: float
    predicted: Estimate | None = None
    measured: Estimate | None = None


def trends(found: Effects) -> list[Trend]:
    """A trend for each change, if the question is asked per something that changes the number of parameters."""
    sizes = _sizes(found)
    if len(set(sizes.values())) < max(_SIZES, len(found.settings)):
        return []
    known = [(sizes[str(setting.context)], effect) for setting, effect in found.each if effect.estimate and effect.arm]
    groups = grouped(sorted(known, key=lambda row: row[0]), lambda row: row[1].things)
    made = [_trend(things, some, len(groups)) for things, some in groups.items() if len(some) >= _SIZES]
    return list(filter(None, made))


def _sizes(found: Effects) -> dict[str, int]:
    """The parameters of each setting's base, by its context."""
    known = {str(each.levels): each.parameters for each in found.comparison.outcomes if each.parameters}
    bases = {str(setting.context): str(setting.base and setting.base.levels) for setting in found.settings}
    return {context: known[levels] for context, levels in bases.items() if levels in known}


def _trend(things: tuple, some: list, count: int) -> Trend | None:
    """The lines of single seeds through their differences at each size."""
    sizes, pairs = [size for size, _ in some], [(effect.arm.values, effect.against.values) for _, effect in some]
    seeds = set.intersection(*(set(values) for pair in pairs for values in pair))
    if not seeds:
        return None
    x, y = numpy.log10(sizes), numpy.array([[mine[seed] - its[seed] for mine, its in pairs] for seed in sorted(seeds)])
    slope, _ = numpy.polyfit(x, y.T, 1)
    short, level = numpy.polyfit(x[:-1], y[:, :-1].T, 1)
    found = estimate(slope.tolist(), count), float(y[:, -1].mean())
    ahead, last = (estimate(each.tolist()) for each in (short * x[-1] + level, y[:, -1]))
    return Trend(things, tuple(sizes), *found, ahead, last)
