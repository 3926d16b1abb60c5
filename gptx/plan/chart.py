"""Loss over compute and over size, as scaling laws have it: all that a chart of them shows."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from operator import attrgetter

from gptx.estimate.laws import CHINCHILLA, RULE, Law
from gptx.plan.split import Split, by_rule
from gptx.units.amounts import amount, power

_POINTS = 65  # of a line
_AWAY = 15  # a budget is drawn for models up to this many times smaller and larger than its best one
_ASIDE = 0.3  # of a power of ten: a budget nearer to the user's is not drawn
_Ends = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Places that are drawn alike, by role: lines of one size or budget or of the asked one, minimum or optimum for
    their best places, spread for the 95 % interval of a best size, best (the lowest loss of every budget), rule, known
    (models of others), runs, stem (from a run to its predicted loss), or now (the user's FLOPs)."""

    role: str
    places: Sequence[Split]
    beyond: bool = False  # outside of the runs that the law was fitted to
    depth: float = 1.0  # of its colour: pale for the smallest size or budget
    name: str = ""  # in the legend
    labels: Sequence[str] = ()  # of the first places
    band: Sequence[_Ends] = ()  # of the loss at each place


@dataclass(frozen=True)
class Chart:
    """All that is drawn of a law, over FLOPs and over parameters."""

    law: Law
    fitted: _Ends | None  # FLOPs of the runs that the law was fitted to
    flops: _Ends  # ends of that axis, and of the losses
    losses: _Ends
    asked: Split | None  # the best place of the user's budget
    known: Sequence[Split]  # models of others, at the loss that the law predicts
    runs: Sequence[Split]  # at the loss that was measured

    @cached_property
    def over(self) -> dict[str, list[Series]]:
        best, marked = list(self._best()), list(self._marked())
        plain = [replace(each, band=()) for each in best]
        ruled = [by_rule(flops=flops).by(self.law) for flops in _between(*self.flops)]
        rule = Series("rule", ruled, name=f"{RULE:g} tokens per parameter")
        now = [Series("now", [replace(self.asked, loss=end) for end in self.losses])] if self.asked else []
        by_size = [*self._budgets(), *plain, rule, *marked]
        return {"flops": [*now, *self._sizes(), *best, *marked], "parameters": by_size}

    def ends(self, across: str) -> _Ends:
        if across == "flops":
            return self.flops
        within = (each.places for each in self.over[across] if each.role not in ("best", "rule"))
        sizes = [place.parameters for places in within for place in places]
        return min(sizes) / 1.2, max(sizes) * 1.2

    def parts(self) -> list[tuple[float, float, bool]]:
        """The FLOPs that are drawn, cut where the runs of the fit begin and end; True for a part beyond them."""
        low, high = self.flops
        cuts = [low, *(end for end in self.fitted or () if low < end < high), high]
        return [(first, last, self.outside(first, last)) for first, last in pairwise(cuts)]

    def outside(self, low: float, high: float) -> bool:
        return self.fitted is not None and not (self.fitted[0] <= low and high <= self.fitted[1])

    def spread(self, flops: float) -> _Ends | None:
        return self.law.interval(partial(Law.parameters, flops=flops))

    def _sizes(self) -> Iterator[Series]:
        """Sizes over FLOPs, from where their loss comes below the ceiling, each with the place where it is the best."""
        law, (low, high) = self.law, self.flops
        found = round_numbers(law.parameters(low), law.parameters(high), most=7)
        for parameters, depth in zip(found, _depths(found), strict=True):
            tokens, last = law.flops_for(parameters) / 6 / parameters, high / 6 / parameters
            first = max(low / 6 / parameters, law.tokens_to(parameters, self.losses[1]) or math.inf)
            if first < last:
                places = [Split("", parameters, each).by(law) for each in _between(first, last)]
                yield Series("size", places, depth=depth, labels=[amount(parameters)])
            if first <= tokens <= last:
                yield Series("minimum", [Split("", parameters, tokens).by(law)], depth=depth)

    def _budgets(self) -> Iterator[Series]:
        """Budgets over the sizes near their best ones, as far as their losses are below the ceiling."""
        mine = self.asked.flops if self.asked else math.inf
        found = [each for each in round_numbers(*self.flops) if abs(math.log10(each) - math.log10(mine)) > _ASIDE]
        budgets = [("budget", flops, depth) for flops, depth in zip(found, _depths(found), strict=True)]
        for role, flops, depth in [*budgets, *[("asked", mine, 1.0)] * bool(self.asked)]:
            least = best_place(self.law, flops)
            sizes = _between(least.parameters * _AWAY, least.parameters / _AWAY)
            places = [Split("", size, flops / 6 / size).by(self.law) for size in sizes]
            below = [place for place in places if place.loss <= self.losses[1]]
            yield Series(role, below, self.outside(flops, flops), depth, labels=[power(flops)])
            if spread := self.spread(flops):
                yield Series("spread", [replace(least, parameters=end) for end in spread])
            if role == "budget":
                yield Series("minimum", [least], depth=depth)

    def _best(self) -> Iterator[Series]:
        """The lowest loss of budgets, with the band that holds it in 95 % of the draws."""
        for i, (first, last, beyond) in enumerate(self.parts()):
            budgets = _between(first, last)
            found = (self.law.interval(partial(Law.lowest, flops=flops)) for flops in budgets)
            places, band = [best_place(self.law, flops) for flops in budgets], [ends for ends in found if ends]
            yield Series("best", places, beyond, name="" if i else "lowest loss of each budget", band=band)

    def _marked(self) -> Iterator[Series]:
        """Models by number, runs at their measured loss, joined with the predicted one, and the user's budget."""
        if self.known:
            labels = [str(i + 1) for i in range(len(self.known))]
            yield Series("known", self.known, name="models of others", labels=labels)
        yield from (Series("stem", [run, run.by(self.law)]) for run in self.runs)
        if self.runs:
            yield Series("runs", self.runs, name="your runs")
        if self.asked:
            yield Series("optimum", [self.asked], name=f"{power(self.asked.flops)} FLOPs: {self.asked}")


def chart_of(law: Law, *, flops: float | None = None, known: Sequence[Split] = (), runs: Sequence[Split] = ()) -> Chart:
    """The chart of a law, fitted to its own FLOPs or, if unknown, those of `runs`. ValueError without a loss."""
    for name, *place in map(attrgetter("name", "parameters", "tokens", "loss"), runs):
        if not all(0 < value < math.inf for value in place):
            raise ValueError(f"{name}: has no place on a chart: parameters, tokens and loss are {tuple(place)}")
    models, asked = [each.by(law) for each in known], best_place(law, flops) if flops else None
    fitted = law.operations or _span(run.flops for run in runs)
    spent = _span([*(fitted or ()), *(each.flops for each in (*models, *runs, asked) if each)]) or CHINCHILLA
    return Chart(law, fitted, *_axes(law, *spent, [*models, *runs]), asked, models, runs)


def _axes(law: Law, low: float, high: float, shown: Sequence[Split]) -> tuple[_Ends, _Ends]:
    """The FLOPs, three powers of ten or more, and the losses that are drawn, with some room."""
    room = max(2.0, math.sqrt(1e3 * low / high))
    worst, least = law.lowest(low / room), law.lowest(high * room)
    lowest, highest = _span(each.loss for each in shown) or (math.inf, 0.0)
    losses = min(least * (least / worst) ** 0.08, 0.99 * lowest), max(worst * (worst / least) ** 0.12, 1.01 * highest)
    return (low / room, high * room), losses


def _span(numbers: Iterable[float]) -> _Ends | None:
    found = sorted(numbers)
    return (found[0], found[-1]) if found else None


def best_place(law: Law, flops: float) -> Split:
    """A budget spent as a law finds best, with its loss."""
    return Split("", *law.optimum(flops)).by(law)


def _depths(found: Sequence[float]) -> list[float]:
    return [0.35 + 0.65 * place / max(1, len(found) - 1) for place in range(len(found))]


def _between(low: float, high: float) -> list[float]:
    return [low * (high / low) ** (i / (_POINTS - 1)) for i in range(_POINTS)]


def round_numbers(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers between two, at most this many and as dense as that allows.

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
