"""Loss against compute and against size, as laws have it: what a chart of them shows, as plain data, and the chart."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from gptx.estimate.laws import CHINCHILLA, Law
from gptx.files import in_one_step, write_text
from gptx.plan.split import by_rule

POINTS = 65  # of a line
AWAY = 15  # a budget is drawn for models so many times smaller and larger than its best one
ASIDE = 0.3  # of a power of ten: a budget nearer to the user's than this is not drawn beside it


class Place(NamedTuple):
    """A training of so many parameters on so many tokens, with its loss; named if it is of a model."""

    parameters: float
    tokens: float
    loss: float
    name: str = ""

    @property
    def flops(self) -> float:
        return 6 * self.parameters * self.tokens


@dataclass(frozen=True)
class Line:
    """Places that are joined. `low` and `high` are a band of the loss, empty where the law has no draws; what is
    `beyond` lies outside of the runs that the law was fitted to."""

    places: tuple[Place, ...]
    beyond: bool = False
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Size:
    """A size over what is spent on it, and the place where no other does better with as much; None off the chart."""

    line: Line
    touch: Place | None
    topped: bool  # it comes in at the ceiling, not at the side


@dataclass(frozen=True)
class Budget:
    """A budget over what size it is spent on, its best place, and where the draws put the best size (95 %)."""

    line: Line
    minimum: Place
    spread: tuple[float, float] | None
    asked: bool  # it is the user's own


@dataclass(frozen=True)
class Chart:
    """All that is drawn of a law. Operations from `span[0]` to `span[1]`, losses from `floor` to `ceiling`.

    `best` is the lowest loss of every budget: over operations it is the envelope of `sizes`, over parameters the line
    through the minima of `budgets`. `known` stand at the loss that the law expects, `runs` at the one measured.
    """

    law: Law
    span: tuple[float, float]
    fitted: tuple[float, float] | None  # operations of the runs that the law was fitted to
    floor: float
    ceiling: float
    sizes: tuple[Size, ...]
    budgets: tuple[Budget, ...]
    best: tuple[Line, ...]
    rule: Line
    known: tuple[Place, ...]
    runs: tuple[Place, ...]

    @property
    def breadth(self) -> tuple[float, float]:
        """Parameters from the fewest to the most that are drawn, with some room."""
        sizes = [place.parameters for budget in self.budgets for place in budget.line.places]
        sizes += [place.parameters for place in (*self.known, *self.runs)]
        return min(sizes) / 1.2, max(sizes) * 1.2

    @property
    def asked(self) -> Budget | None:
        """The user's own budget."""
        return next((budget for budget in self.budgets if budget.asked), None)


def chart(
    target: Path,
    laws: Sequence[Law],
    *,
    flops: float | None = None,
    known: Iterable[tuple[str, float, float]] = (),
    runs: Iterable[tuple[str, float, float, float]] = (),
) -> None:
    """Write the chart of laws: a page that needs nothing beside itself (.html), or a picture (.png, .svg).

    `flops` is the user's budget; `known` are names, parameters and tokens of models, `runs` also have the loss that
    was measured. Raises ValueError for another suffix, and for a run without a loss.
    """
    if target.suffix not in (".html", ".png", ".svg"):
        raise ValueError(f"out={target}: a chart is written as .html, .png or .svg")
    known, runs = list(known), list(runs)
    charts = [content(law, flops=flops, known=known, runs=runs) for law in laws]
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".html":
        from gptx.plan import chart_page

        page = chart_page.whole(charts)
        write_text(target, page)
    else:
        from gptx.plan import chart_picture

        in_one_step(target, lambda part: chart_picture.picture(charts, part))


def content(
    law: Law,
    *,
    flops: float | None = None,
    known: Iterable[tuple[str, float, float]] = (),
    runs: Iterable[tuple[str, float, float, float]] = (),
    fitted: tuple[float, float] | None = None,
) -> Chart:
    """What a chart of a law shows. `fitted` are the least and most operations of the runs that it was fitted to: where
    not given, the law's own, or those of `runs`."""
    models = tuple(at(law, parameters, tokens, name) for name, parameters, tokens in known)
    measured = tuple(Place(parameters, tokens, loss, name) for name, parameters, tokens, loss in runs)
    for run in measured:
        if not all(0 < value < math.inf for value in run[:3]):
            raise ValueError(f"{run.name}: has no place on a chart: parameters, tokens and loss are {run[:3]}")
    if fitted is None:
        fitted = law.operations or ends([run.flops for run in measured])
    low, high = wide(ends([*(fitted or ()), *([flops] if flops else []), *(p.flops for p in (*models, *measured))]))
    worst, lowest = least(law, low), least(law, high)
    losses = [place.loss for place in (*models, *measured)]
    ceiling = max(worst * (worst / lowest) ** 0.12, *(1.01 * loss for loss in losses), 0)
    floor = min(lowest / (worst / lowest) ** 0.08, *(0.99 * loss for loss in losses), math.inf)
    sizes = [size(law, n, low, high, ceiling) for n in rounds(law.parameters(low), law.parameters(high), most=7)]
    amounts = [each for each in rounds(low, high) if not flops or abs(math.log10(each / flops)) > ASIDE]
    budgets = [budget(law, amount, ceiling, fitted) for amount in amounts]
    budgets += [budget(law, flops, ceiling, fitted, asked=True)] if flops else []
    return Chart(
        law, (low, high), fitted, floor, ceiling,
        sizes=tuple(found for found in sizes if found),
        budgets=tuple(sorted(budgets, key=lambda found: found.minimum.flops)),
        best=tuple(best(law, *part, fitted) for part in parts(low, high, fitted)),
        rule=Line(tuple(ruled(law, amount) for amount in steps(low, high))),
        known=models, runs=measured,
    )  # fmt: skip


def at(law: Law, parameters: float, tokens: float, name: str = "") -> Place:
    """A training with the loss that a law expects of it."""
    return Place(parameters, tokens, law.loss(parameters, tokens), name)


def ruled(law: Law, flops: float) -> Place:
    """A budget as the rule spends it, with the loss that a law expects of that."""
    rule = by_rule(flops=flops)
    return at(law, rule.parameters, rule.tokens)


def size(law: Law, parameters: float, low: float, high: float, ceiling: float) -> Size | None:
    """A size from where its loss comes below the ceiling; None where it does not."""
    below = law.tokens_to(parameters, ceiling) or math.inf
    first, last = max(low / 6 / parameters, below), high / 6 / parameters
    if first >= last:
        return None
    tokens = law.flops_for(parameters) / 6 / parameters
    touch = at(law, parameters, tokens) if first <= tokens <= last else None
    return Size(Line(tuple(at(law, parameters, each) for each in steps(first, last))), touch, topped=first == below)


def budget(
    law: Law, flops: float, ceiling: float, fitted: tuple[float, float] | None, *, asked: bool = False
) -> Budget:
    """A budget over the sizes near its best one, as far as their losses are below the ceiling."""
    minimum = at(law, *law.optimum(flops))
    sizes = steps(minimum.parameters / AWAY, minimum.parameters * AWAY)
    places = [at(law, n, flops / 6 / n) for n in sizes]
    line = Line(tuple(place for place in places if place.loss <= ceiling), beyond(flops, flops, fitted))
    return Budget(line, minimum, law.interval(lambda drawn: drawn.parameters(flops)), asked)


def best(law: Law, low: float, high: float, fitted: tuple[float, float] | None) -> Line:
    """The lowest loss of budgets, with the band of it that 95 % of the draws lie in."""
    amounts = steps(low, high)
    places = tuple(at(law, *law.optimum(amount)) for amount in amounts)
    bands = [law.interval(partial(least, flops=amount)) for amount in amounts]
    lows, highs = zip(*(band for band in bands if band), strict=True) if all(bands) else ((), ())
    return Line(places, beyond(low, high, fitted), lows, highs)


def least(law: Law, flops: float) -> float:
    """The lowest loss of a budget."""
    return law.loss(*law.optimum(flops))


def parts(low: float, high: float, fitted: tuple[float, float] | None) -> list[tuple[float, float]]:
    """The operations that are drawn, cut where the runs begin and end that the law was fitted to."""
    return list(pairwise([low, *(end for end in fitted or () if low < end < high), high]))


def beyond(low: float, high: float, fitted: tuple[float, float] | None) -> bool:
    return fitted is not None and not (fitted[0] <= low and high <= fitted[1])


def steps(low: float, high: float) -> list[float]:
    """Numbers from low to high whose neighbours have the same ratio."""
    return [low * (high / low) ** (i / (POINTS - 1)) for i in range(POINTS)]


def ends(values: Sequence[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None


def wide(found: tuple[float, float] | None) -> tuple[float, float]:
    """Some room on both sides, and at least three powers of ten."""
    low, high = found or CHINCHILLA
    room = max(2.0, math.sqrt(1e3 * low / high))
    return low / room, high * room


def rounds(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers between two, as dense as at most so many of them can be.

    >>> [f"{number:g}" for number in rounds(5e17, 4e22)]
    ['1e+18', '1e+19', '1e+20', '1e+21', '1e+22']
    >>> [f"{number:g}" for number in rounds(4e7, 4e10)]
    ['1e+08', '3e+08', '1e+09', '3e+09', '1e+10', '3e+10']
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for leads, stride in (((1, 2, 5), 1), ((1, 3), 1), *(((1,), stride) for stride in range(1, last - first + 1))):
        found = [lead * 10.0**power for power in range(first, last + 1) if power % stride == 0 for lead in leads]
        found = [number for number in found if low <= number <= high]
        if len(found) <= most:
            break
    return found
