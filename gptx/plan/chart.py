"""Loss over compute and over size, as scaling laws have it: all that a chart of them shows."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from gptx.estimate.laws import CHINCHILLA, RULE, Law
from gptx.plan.split import by_rule
from gptx.units.amounts import amount, power

_POINTS = 65  # of a line
_AWAY = 15  # a budget is drawn for models up to this many times smaller and larger than its best one
_ASIDE = 0.3  # of a power of ten: a budget nearer to the user's is not drawn
_Ends = tuple[float, float]


class Point(NamedTuple):
    """A training of this many parameters on this many tokens, with its loss; named if it is of a model."""

    parameters: float
    tokens: float
    loss: float
    name: str = ""

    @property
    def flops(self) -> float:
        return 6 * self.parameters * self.tokens


@dataclass(frozen=True)
class Series:
    """Places that are drawn alike.

    Its role is size, budget or asked (the user's budget) for lines of one size or budget, touch, minimum or optimum for
    their best places, spread for the 95 % interval of a best size, best (the lowest loss of every budget), rule, known
    (models of others), runs, stem (from a run to its predicted loss), or now (the user's FLOPs).
    """

    role: str
    places: Sequence[Point]
    beyond: bool = False  # outside of the runs that the law was fitted to
    depth: float = 1.0  # of its colour: pale for the smallest size or budget
    name: str = ""  # in the legend
    labels: Sequence[str] = ()  # of the first places
    low: Sequence[float] = ()  # of a band of the loss
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Chart:
    """All that is drawn of a law, over FLOPs and over parameters, with the ends of both axes and of the losses."""

    law: Law
    fitted: _Ends | None  # FLOPs of the runs that the law was fitted to
    flops: _Ends
    parameters: _Ends
    losses: _Ends
    asked: Point | None  # the best place of the user's budget
    spread: _Ends | None  # the 95 % interval of its size
    known: tuple[Point, ...]  # models of others, at the loss that the law predicts
    runs: tuple[Point, ...]  # at the loss that was measured
    over: dict[str, list[Series]]  # flops and parameters

    def of(self, across: str, role: str) -> list[Series]:
        """The series of a role."""
        return [each for each in self.over[across] if each.role == role]

    @property
    def beyond(self) -> list[_Ends]:
        """The FLOPs that lie outside of the runs of the fit."""
        return [part for part in _parts(*self.flops, self.fitted) if _outside(*part, self.fitted)]


def chart_of(
    law: Law,
    *,
    flops: float | None = None,
    known: Iterable[tuple[str, float, float]] = (),
    runs: Iterable[tuple[str, float, float, float]] = (),
) -> Chart:
    """The chart of a law, which was fitted to its own FLOPs or, if those are not known, to those of `runs`. Raises
    ValueError for a run without a loss."""
    models = tuple(by_the_law(law, parameters, tokens, name) for name, parameters, tokens in known)
    measured = tuple(Point(parameters, tokens, loss, name) for name, parameters, tokens, loss in runs)
    _refuse(measured)
    asked = by_the_law(law, *law.optimum(flops)) if flops else None
    fitted = law.operations or _ends(measured)
    low, high = _wide([*(fitted or ()), *(point.flops for point in (*models, *measured, asked) if point)])
    losses = _losses(law, low, high, [point.loss for point in (*models, *measured)])
    budgets = list(_budgets(law, _beside(round_numbers(low, high), flops), flops, losses[1], fitted))
    marked = list(_marked(law, models, measured, asked))
    return Chart(
        law, fitted, (low, high), _breadth([*budgets, *marked]), losses, asked,
        law.interval(partial(Law.parameters, flops=flops)) if flops else None, models, measured,
        {"flops": [*_now(asked, losses), *_sizes(law, low, high, losses[1]), *_best(law, low, high, fitted), *marked],
         "parameters": [*budgets, *(replace(each, low=(), high=()) for each in _best(law, low, high, fitted)),
                        _rule(law, low, high), *marked]},
    )  # fmt: skip


def by_the_law(law: Law, parameters: float, tokens: float, name: str = "") -> Point:
    """A training with the loss that a law predicts."""
    return Point(parameters, tokens, law.loss(parameters, tokens), name)


def by_the_rule(law: Law, flops: float) -> Point:
    """A budget spent by the rule, with the loss that a law predicts."""
    rule = by_rule(flops=flops)
    return by_the_law(law, rule.parameters, rule.tokens)


def _refuse(runs: Sequence[Point]) -> None:
    for run in runs:
        if not all(0 < value < math.inf for value in run[:3]):
            raise ValueError(f"{run.name}: has no place on a chart: parameters, tokens and loss are {run[:3]}")


def _breadth(shown: Sequence[Series]) -> _Ends:
    """The parameters from the fewest to the most, with some room."""
    sizes = [point.parameters for each in shown for point in each.places]
    return min(sizes) / 1.2, max(sizes) * 1.2


def _now(asked: Point | None, losses: _Ends) -> Iterator[Series]:
    if asked:
        yield Series("now", [asked._replace(loss=end) for end in losses])


def _rule(law: Law, low: float, high: float) -> Series:
    places = [by_the_rule(law, amount) for amount in _steps(low, high)]
    return Series("rule", places, name=f"{RULE:g} tokens per parameter")


def _ends(points: Sequence[Point]) -> _Ends | None:
    found = [point.flops for point in points]
    return (min(found), max(found)) if found else None


def _losses(law: Law, low: float, high: float, shown: list[float]) -> _Ends:
    """The ends of the losses: the best ones of the span and those of points, with some room."""
    worst, lowest = law.lowest(low), law.lowest(high)
    ratio = worst / lowest
    floor = min([lowest / ratio**0.08, *(0.99 * loss for loss in shown)])
    return floor, max([worst * ratio**0.12, *(1.01 * loss for loss in shown)])


def _beside(amounts: list[float], mine: float | None) -> list[float]:
    """The budgets that are not too near to the user's own."""
    return [each for each in amounts if not mine or abs(math.log10(each / mine)) > _ASIDE]


def _sizes(law: Law, low: float, high: float, ceiling: float) -> Iterator[Series]:
    """Sizes over FLOPs, from where their loss comes below the ceiling, each with the place where it is the best."""
    found = round_numbers(law.parameters(low), law.parameters(high), most=7)
    for i, parameters in enumerate(found):
        below, tokens = law.tokens_to(parameters, ceiling) or math.inf, law.flops_for(parameters) / 6 / parameters
        first, last, depth = max(low / 6 / parameters, below), high / 6 / parameters, _depth(i, len(found))
        if first < last:
            places = [by_the_law(law, parameters, each) for each in _steps(first, last)]
            yield Series("size", places, depth=depth, labels=[amount(parameters)])
            if first <= tokens <= last:
                yield Series("touch", [by_the_law(law, parameters, tokens)], depth=depth)


def _budgets(
    law: Law, amounts: list[float], mine: float | None, ceiling: float, fitted: _Ends | None
) -> Iterator[Series]:
    """Budgets over the sizes near their best ones, each with its minimum and the interval of the best size."""
    for i, flops in enumerate([*amounts, *([mine] if mine else [])]):
        own, depth, least = flops == mine, _depth(i, len(amounts)), by_the_law(law, *law.optimum(flops))
        sizes = _steps(least.parameters * _AWAY, least.parameters / _AWAY)
        places = [place for n in sizes if (place := by_the_law(law, n, flops / 6 / n)).loss <= ceiling]
        beyond = _outside(flops, flops, fitted)
        yield Series("asked" if own else "budget", places, beyond, 1.0 if own else depth, labels=[power(flops)])
        if spread := law.interval(partial(Law.parameters, flops=flops)):
            yield Series("spread", [least._replace(parameters=end) for end in spread])
        if not own:
            yield Series("minimum", [least], depth=depth)


def _best(law: Law, low: float, high: float, fitted: _Ends | None) -> Iterator[Series]:
    """The lowest loss of budgets, with the band that holds it in 95 % of the draws."""
    for i, (first, last) in enumerate(_parts(low, high, fitted)):
        amounts = _steps(first, last)
        places = [by_the_law(law, *law.optimum(amount)) for amount in amounts]
        bands = [band for amount in amounts if (band := law.interval(partial(Law.lowest, flops=amount)))]
        lows, highs = zip(*bands, strict=True) if bands else ((), ())
        name = "lowest loss of each budget" * (i == 0)
        yield Series("best", places, _outside(first, last, fitted), name=name, low=lows, high=highs)


def _marked(law: Law, models: Sequence[Point], runs: Sequence[Point], asked: Point | None) -> Iterator[Series]:
    """Models by number, runs at their measured loss, joined with the predicted one, and the user's budget."""
    if models:
        yield Series("known", models, name="models of others", labels=[str(i + 1) for i in range(len(models))])
    for run in runs:
        yield Series("stem", [run, by_the_law(law, run.parameters, run.tokens)])
    if runs:
        yield Series("runs", runs, name="your runs")
    if asked:
        best = f"{amount(asked.parameters)} parameters on {amount(asked.tokens)} tokens"
        yield Series("optimum", [asked], name=f"{power(asked.flops)} FLOPs: {best}")


def _depth(place: int, count: int) -> float:
    return 0.35 + 0.65 * min(1.0, place / max(1, count - 1))


def _parts(low: float, high: float, fitted: _Ends | None) -> list[_Ends]:
    """The FLOPs that are drawn, cut where the runs of the fit begin and end."""
    return list(pairwise([low, *(end for end in fitted or () if low < end < high), high]))


def _outside(low: float, high: float, fitted: _Ends | None) -> bool:
    return fitted is not None and not (fitted[0] <= low and high <= fitted[1])


def _steps(low: float, high: float) -> list[float]:
    """Numbers from low to high whose neighbours have the same ratio."""
    return [low * (high / low) ** (i / (_POINTS - 1)) for i in range(_POINTS)]


def _wide(found: list[float]) -> _Ends:
    """The ends of numbers with some room on both sides, and at least three powers of ten."""
    low, high = (min(found), max(found)) if found else CHINCHILLA
    room = max(2.0, math.sqrt(1e3 * low / high))
    return low / room, high * room


def round_numbers(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers between two, at most this many and as dense as that allows.

    >>> [f"{number:g}" for number in round_numbers(5e17, 4e22)]
    ['1e+18', '1e+19', '1e+20', '1e+21', '1e+22']
    >>> [f"{number:g}" for number in round_numbers(4e7, 4e10)]
    ['1e+08', '3e+08', '1e+09', '3e+09', '1e+10', '3e+10']
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for leads, stride in (((1, 2, 5), 1), ((1, 3), 1), *(((1,), stride) for stride in range(1, last - first + 1))):
        found = [lead * 10.0**power for power in range(first, last + 1) if power % stride == 0 for lead in leads]
        found = [number for number in found if low <= number <= high]
        if len(found) <= most:
            break
    return found
