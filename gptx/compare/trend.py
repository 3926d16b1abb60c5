"""Does an effect still matter at scale? Effects against the model's size, on a logarithmic axis."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy
from numpy import ndarray

from gptx.compare.effects import Effects
from gptx.compare.factors import grouped
from gptx.compare.outcomes import at_levels
from gptx.estimate.differences import Estimate, fit_blocks

_SIZES = 3  # of models from which on there is a trend


@dataclass(frozen=True)
class Trend:
    """An effect against the logarithm of the model's size. All intervals come from the spread over seeds."""

    things: tuple[tuple[str, str], ...]
    sizes: tuple[float, ...]  # parameters
    bounds: bool  # True if one of the effects is a bound: a best learning rate at the edge of its grid
    slope: Estimate | None  # per tenfold parameters
    at_largest: Estimate | None  # on the line through all sizes
    predicted: Estimate | None  # at the largest, by the line through the smaller ones
    measured: Estimate | None
    missed: Estimate | None  # measured less predicted


def trends(found: Effects) -> list[Trend]:
    """A trend for each change, if the question is asked per something that changes the number of parameters. What a
    line says is linear in the losses, so it is judged as they are: as arm + seed + noise, pooled."""
    sizes = _sizes(found)
    if len(set(sizes.values())) < max(_SIZES, len(found.settings)):
        return []
    known = [(sizes[str(setting.context)], effect) for setting, effect in found.each if effect.estimate and effect.arm]
    every = grouped(sorted(known, key=lambda row: row[0]), lambda row: row[1].things)
    groups = {things: some for things, some in every.items() if len(some) >= _SIZES}
    lines = [_judged(found, groups, which) for which in range(5)]
    return [Trend(things, tuple(size for size, _ in some), any(effect.bound for _, effect in some),
                  *(line[things] for line in lines)) for things, some in groups.items()]  # fmt: skip


def _sizes(found: Effects) -> dict[str, int]:
    """The parameters of each setting's base, by its context."""
    known = {str(each.levels): each.parameters for each in found.comparison.outcomes if each.parameters}
    bases = {str(setting.context): str(setting.base and setting.base.levels) for setting in found.settings}
    return {context: known[levels] for context, levels in bases.items() if levels in known}


def _judged(found: Effects, groups: dict[tuple, list], which: int) -> dict[tuple, Estimate | None]:
    """One of _lines() of each change's arms, less that of what they are compared with."""
    values, contrasts = dict[Hashable, dict[int, float]](), list[dict[Hashable, float]]()
    for some in groups.values():
        sizes = tuple(size for size, _ in some)
        sides = [effect.arm for _, effect in some], [effect.against for _, effect in some]
        names = [(at_levels(found.question.vary)(arms[0]), sizes) for arms in sides]
        for name, arms in zip(names, sides, strict=True):
            seeds = sorted(set.intersection(*(set(arm.values) for arm in arms)))
            losses = [[arm.values[seed] for arm in arms] for seed in seeds]
            values[name] = dict(zip(seeds, losses @ _lines(sizes)[which], strict=True)) if seeds else {}
        contrasts.append({names[0]: 1.0, names[1]: -1.0})
    return dict(zip(groups, fit_blocks(values).family(contrasts), strict=True))


def _lines(sizes: Sequence[float]) -> list[ndarray]:
    """The weights of the losses in what a Trend says of them, from its slope on."""
    x, last = numpy.log10(sizes), numpy.eye(len(sizes))[-1]
    (slope, level), (_, before) = (numpy.linalg.pinv(numpy.vander(some - x[-1], 2)) for some in (x, x[:-1]))
    ahead = numpy.append(before, 0)
    return [slope, level, ahead, last, last - ahead]
