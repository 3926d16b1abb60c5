"""The best of some arms, what choosing it flatters, and where the best learning rate is: on its grid or beyond."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import numpy

from gptx.compare.outcomes import Arm
from gptx.estimate.differences import Fit, estimate, fit_blocks

_DRAWS = 4000  # of the noise, for what a choice flatters
_NEAR = 4  # standard errors of a mean: what looks worse than the best by more is no choice
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Optimum:
    """The best learning rate in a setting: the best of its grid, and the vertex of a parabola in the logarithm of the
    rate through it and its two neighbours, with the 95 % interval of the vertices of single seeds."""

    context: dict[str, str]
    arm: Arm | None  # None where no arm has a mean
    level: str
    edge: str = ""  # low or high, where a better one may lie beyond the grid
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    unsure: tuple[str, ...] = ()  # levels that are not significantly worse, judged together at 95 %


def edges(arm: Arm, every: Collection[Arm], rates: Collection[str]) -> dict[str, str]:
    """The learning rates at whose lowest or highest level an arm is ("low", "high"), if the next level has a result."""
    found = {}
    for rate in rates:
        grid = along(arm, every, rate)
        ends = {"low": grid[:2], "high": grid[:-3:-1]} if len(grid) > 1 else {}
        ways = [way for way, (end, inside) in ends.items() if end is arm and inside.results]
        if ways and float(arm.levels[rate]):  # nothing lies below 0, as of a decay
            found[rate] = ways[0]
    return found


def along(arm: Arm, every: Collection[Arm], rate: str) -> list[Arm]:
    """The arms that differ from one in a learning rate alone, and itself, by that rate: its own grid, however many
    other rates it, or others, were tried at."""
    alike = [other for other in every if {**other.levels, rate: ""} == {**arm.levels, rate: ""}]
    return sorted(alike, key=lambda one: float(one.levels[rate]))


def optimum(context: dict[str, str], arms: list[Arm], rate: str, sign: int) -> Optimum:
    """The best learning rate of the arms that differ in it alone."""
    grid = sorted((arm for arm in arms if arm.mean is not None), key=lambda arm: float(arm.levels[rate]))
    if not grid:
        return Optimum(context, None, "")
    best = best_arm(grid, sign)
    near = grid[max(0, grid.index(best) - 1) : grid.index(best) + 2]
    edge, at = edges(best, arms, [rate]).get(rate, ""), [float(arm.levels[rate]) for arm in near]
    between = _between(near, at, sign) if len(near) == 3 and at[0] > 0 else (None, None, None)
    return Optimum(context, best, best.levels[rate], edge, *between, tuple(_unsure(best, grid, rate)))


def _unsure(best: Arm, grid: list[Arm], rate: str) -> Iterator[str]:
    others = [arm.levels[rate] for arm in grid if arm is not best]
    fit = fit_blocks({arm.levels[rate]: arm.values for arm in grid})
    found = fit.family([{other: 1.0, best.levels[rate]: -1.0} for other in others])
    yield from (other for other, worse in zip(others, found, strict=True) if worse and worse.kind == "unsure")


def _between(near: list[Arm], at: list[float], sign: int) -> tuple[float | None, float | None, float | None]:
    """The lowest point of a parabola in the logarithm of the rate, and the interval of those of single seeds."""
    x, seeds = list(map(math.log, at)), set.intersection(*(set(arm.values) for arm in near))
    single = [_vertex(x, [sign * arm.values[seed] for arm in near]) for seed in sorted(seeds)]
    over = estimate([each for each in single if each is not None]) if None not in single else None
    low, high = (over and over.alone) or (None, None)
    return _exp(_vertex(x, [sign * fmean(arm.results) for arm in near])), _exp(low), _exp(high)


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)


def _vertex(x: list[float], y: list[float]) -> float | None:
    """The lowest point of the parabola through three points; None where it has none between them."""
    bend, slope, _ = numpy.polyfit(x, y, 2)
    at = -slope / (2 * bend) if bend > 0 else math.inf
    return float(at) if x[0] <= at <= x[-1] else None


def best_arm(tried: list[Arm], sign: int) -> Arm:
    return ranking(dict(enumerate(tried)), sign)[0]


def ranked(arms: Mapping[_Key, Arm], sign: int) -> list[_Key]:
    """The keys of arms that have a mean, the best first: the one that fewest others beat in the seeds that both have.
    Means over each arm's own seeds would not do: an arm that lacks a hard seed would win."""
    there = {key: arm.values for key, arm in arms.items() if arm.mean is not None}

    def losses(key: _Key) -> int:
        return sum(sign * _gap(there[key], other) > 0 for other in there.values())

    return sorted(there, key=losses)


def ranking(arms: Mapping[_Key, Arm], sign: int) -> list[Arm]:
    """The arms, the best first; those without a mean last."""
    return [arms[key] for key in dict.fromkeys((*ranked(arms, sign), *arms))]


def winner(arms: Mapping[_Key, Arm], sign: int) -> _Key | None:
    """The key of the best arm; None where another one equals it, or none has a mean."""
    order = ranked(arms, sign)
    equal = any(not _gap(arms[order[0]].values, arms[other].values) for other in order[1:])
    return order[0] if order and not equal else None


def _gap(values: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The mean difference in common seeds; of the means where there is none."""
    seeds = values.keys() & other.keys()
    mine, its = ([each[seed] for seed in seeds or each] for each in (values, other))
    return float(numpy.mean(mine) - numpy.mean(its))


def contenders(tried: Iterable[Arm], fit: Fit, sign: int) -> list[Arm]:
    """Those of some arms that may be the best: not clearly worse than the one that looks best."""
    there = [arm for arm in tried if arm.mean is not None]
    reach = min((sign * arm.mean + _NEAR * _error(arm, fit) for arm in there if arm.mean is not None), default=0.0)
    return [arm for arm in there if arm.mean is not None and sign * arm.mean <= reach]


def _error(arm: Arm, fit: Fit) -> float:
    return fit.deviation / math.sqrt(len(arm.values))


def flattered(tried: Iterable[list[Arm]], fit: Fit, sign: int) -> float:
    """How much better the best of a grid looks than it is, on average over the arms: if the noise of the fit were drawn
    again around the means that were found, of which the lowest is taken each time. As noise has set these apart too,
    they are drawn together by the share of their variance that is noise (James and Stein)."""
    draw, found = numpy.random.default_rng(0), []
    for grid in (contenders(some, fit, sign) for some in tried if any(arm.mean is not None for arm in some)):
        means, errors = numpy.array([arm.mean for arm in grid]), numpy.array([_error(arm, fit) for arm in grid])
        apart = numpy.var(means, ddof=1) if len(grid) > 1 else 0.0
        means = sign * (means - means.mean()) * max(0.0, 1 - numpy.mean(errors**2) / apart if apart else 0.0)
        noise = draw.normal(0, errors, (_DRAWS, len(grid)))
        found.append(-float(numpy.mean(noise[range(_DRAWS), numpy.argmin(noise + means, axis=1)])))
    return sum(found) / max(1, len(found))
