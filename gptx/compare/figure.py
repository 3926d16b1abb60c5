"""A comparison as a picture: every seed's result and the means of arms, over the learning rate if one was varied."""

import math
from itertools import chain, starmap
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy

from gptx.compare.effects import Effect, Effects
from gptx.compare.factors import axes, grouped, numeric, ordered
from gptx.compare.outcomes import Arm, at_levels, contexts
from gptx.compare.trend import Trend, trends
from gptx.compare.words import Words, change, label, named, turned, words
from gptx.show.plots import AXES, COLOURS, DASHES, INK, MARKERS, beside, drawing, dress, legend_below, logarithmic
from gptx.units.printable import mathtext

_PANELS = 4  # at most, side by side
_ROWS = 24  # of a forest plot
_BROAD = 4  # points, of a line on which a dashed one of the same colour can be seen
_EVEN = 0.25  # least gap between levels on an axis, of their mean gap
_SEQUENCE = (1, 7, 4, 3, 0, 6, 2)  # of COLOURS, from orange over violet to green
_SAME: dict[str, Any] = {"color": AXES, "marker": "o", "linestyle": "", "linewidth": 0}  # of arms alike in every seed
_ALL = "all runs"  # the one level where only seeds differ


def figure(found: Effects, file: Path) -> None:
    """Draw a comparison that has a result in a .png or .svg file: effects over the model's size, a forest plot of one
    setting's effects, else results as axes() says, of many panels the fullest ones."""
    said = words(found)
    if moving := trends(found):
        with drawing(file, 7.2, 4.2, dpi=150) as picture:
            _over_sizes(picture.subplots(), moving, found, said)
    elif rows := _rows(found):
        with drawing(file, 7.2, 1.3 + (0.34 if beside(2) > 1 else 0.45) * len(rows), dpi=150) as picture:
            _forest(picture.subplots(), rows, found, said)
    else:
        _panels(found, said, file)


def _rows(found: Effects) -> list[Effect]:
    """The rows of a forest plot, which no axis of levels says as well: several changes, or a best of several rates."""
    asked = found.question
    over_axis = asked.design == "levels" and len(asked.best_over) < 2
    return [] if over_axis or found.settings[1:] else [each for each in found.effects if each.estimate][:_ROWS]


def _panels(found: Effects, said: Words, file: Path) -> None:
    x, lines, _ = axes(found.comparison.factors, found.question.vary)
    groups = contexts(found.arms, x, *lines)
    fullest = max(len(arms) for _, arms in groups)
    panels = [each for each in groups if len(each[1]) == fullest][:_PANELS]
    kinds, across = list(grouped(chain(*(arms for _, arms in panels)), at_levels(lines))), beside(len(panels))
    looks, legend = _looks(lines, kinds, numbers=numeric(found.comparison.factors.get(x, [_ALL])))
    width = 7.2 if len(panels) == 1 else 4.2 * across
    with drawing(file, width, 4.2 * (len(panels) // across), dpi=150) as picture:
        plots = picture.subplots(len(panels) // across, across, squeeze=False, sharey=True)
        for plot, (context, arms) in zip(plots.flat, panels, strict=True):
            legend = legend | _draw(plot, arms, x, lines, dict(zip(kinds, looks, strict=True)))
            up = f"{said.metric}{said.per}" if plot in plots[:, 0] else ""
            dress(plot, ", ".join(starmap(named, context.items())), label(x), up)
        if len(legend) > 1:
            legend_below(picture, legend)


def _forest(plot: Any, rows: list[Effect], found: Effects, said: Words) -> None:
    """Every change with its difference and interval, the best on top; hollow where nothing is settled."""
    from matplotlib.ticker import MaxNLocator

    for at, effect in enumerate(rows):
        estimate, better = effect.estimate, effect.kind == said.good
        assert estimate is not None
        colour = AXES if not effect.settled else COLOURS[0] if better else COLOURS[1]
        if estimate.low is not None and estimate.high is not None:
            plot.plot([estimate.low, estimate.high], [at, at], color=colour, linewidth=2.2, solid_capstyle="butt")
        plot.plot([estimate.mean], [at], marker="s", markersize=6, color=colour, linestyle="",
                  markerfacecolor=colour if effect.settled else "white")  # fmt: skip
    plot.axvline(0, color=AXES, linewidth=1)
    dress(plot, "", f"difference in {said.metric}{said.per}")
    plot.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))  # also on a phone
    letters = int(6.5 * plot.figure.get_figwidth())  # of a line: on a phone the intervals need the room
    names = [fill(mathtext(change(each, found.baseline)), letters, break_long_words=False) for each in rows]
    plot.set_yticks(range(len(rows)), names, color=INK, fontsize=9)
    plot.set_ylim(len(rows) - 0.5, -0.5)


def _over_sizes(plot: Any, moving: list[Trend], found: Effects, said: Words) -> None:
    """Every effect at every size with its interval, and the line through them."""
    by_things = grouped(found.effects, lambda effect: effect.things)
    looks = _apart(len(moving))
    for i, (trend, look) in enumerate(zip(moving, looks, strict=True)):
        shift = 1.02 ** (i - (len(moving) - 1) / 2)
        points = [effect.estimate for effect in by_things[trend.things] if effect.estimate]
        means = numpy.array([each.mean for each in points])
        low, high = (numpy.array([getattr(each, end) for each in points], float) for end in ("low", "high"))
        away = numpy.nan_to_num(numpy.abs([low - means, high - means]))  # 0 without an interval
        at = [size * shift for size in trend.sizes]
        plot.errorbar(at, means, away, **look | {"linestyle": ""})
        if trend.slope and trend.at_largest:
            line = trend.at_largest.mean + trend.slope.mean * numpy.log10(numpy.divide(trend.sizes, trend.sizes[-1]))
            plot.plot(trend.sizes, line, **look | {"marker": ""})
    plot.axhline(0, color=AXES, linewidth=1)
    dress(plot, "", "parameters", f"difference in {said.metric}{said.per}")
    logarithmic(plot, "x")
    names = (turned(trend.things, found.baseline) for trend in moving)
    legend_below(plot.figure, dict(zip(names, looks, strict=True)))


def _looks(lines: list[str], kinds: list[tuple], *, numbers: bool = True) -> tuple[list[dict], dict[str, dict]]:
    """The look of each kind of arm, levels of `lines`, and those of the legend: of two factors colours tell one, in
    order if of numbers, dashes and markers the other, the first broad and pale; else every kind has its own look."""
    levels = {name: ordered(each) for name, each in zip(lines, zip(*kinds, strict=True), strict=True)}
    if len(levels) != 2:
        looks = _apart(len(kinds), numbers=numbers)
        return looks, {", ".join(map(named, lines, kind)): look for kind, look in zip(kinds, looks, strict=True)}
    hue, dash = sorted(lines, key=lambda name: (not numeric(levels[name]), -len(levels[name])))
    far = numpy.linspace(0, len(_SEQUENCE) - 1, len(levels[hue])).round().astype(int)
    hues = {level: COLOURS[_SEQUENCE[far[i]] if numeric(levels[hue]) else i] for i, level in enumerate(levels[hue])}
    strokes = dict(zip(levels[dash], _apart(len(levels[dash]), numbers=numbers), strict=True))
    strokes[levels[dash][0]]["linewidth"] = _BROAD
    legend: dict[str, dict] = {named(hue, level): {"color": hues[level], "linewidth": _BROAD} for level in levels[hue]}
    legend |= {named(dash, level): look | {"color": AXES} for level, look in strokes.items()}
    told = map(dict, (zip(lines, kind, strict=True) for kind in kinds))
    return [strokes[kind[dash]] | {"color": hues[kind[hue]]} for kind in told], legend


def _apart(count: int, *, numbers: bool = True) -> list[dict]:
    return [{"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "linewidth": 1.5,
             "linestyle": DASHES[i % len(DASHES)] if numbers else ""} for i in range(count)]  # fmt: skip


def _draw(plot: Any, found: list[Arm], x: str, lines: list[str], looks: dict[tuple, dict]) -> dict[str, dict]:
    """Draw arms over the levels of a factor. Returns what their marks add to the legend."""
    at, kind = grouped(found, lambda arm: arm.levels.get(x, _ALL)), at_levels(lines)
    columns, numbers, shared = ordered(at), numeric(at), dict[str, dict]()
    place = dict(zip(columns, _places(columns), strict=True))
    for levels, arms in grouped(found, kind).items() if numbers else ():
        means = sorted((place[arm.levels[x]], arm.mean) for arm in arms if arm.mean is not None)
        pale = {"marker": "", "alpha": 0.4 ** (looks[levels]["linewidth"] == _BROAD)}
        plot.plot(*numpy.reshape(means, (-1, 2)).T, **looks[levels] | pale)
    for column, arms in at.items():
        shifts = {each: 0 if numbers else (i + 0.5) / len(looks) - 0.5 for i, each in enumerate(looks)}
        shared |= _marks(plot, [(place[column] + shifts[kind(arm)] / 2, arm, looks[kind(arm)]) for arm in arms])
    plot.set_xticks(list(place.values()), [mathtext(column or "not set") for column in columns])
    plot.set_xlim(*(None, None) if numbers else (-0.6, len(columns) - 0.4))
    return shared


def _marks(plot: Any, marks: list[tuple[float, Arm, dict]]) -> dict[str, dict]:
    """Arms of one level; one mark where all are the same in every seed."""
    places, arms, _ = zip(*marks, strict=True)
    same = len(arms) > 1 and bool(arms[0].values) and len({str(arm.values) for arm in arms}) == 1
    for place, arm, look in [(sum(places) / len(places), arms[0], _SAME)] if same else marks:
        _mark(plot, place, arm, **look)
    return {"all the same": _SAME} if same and not arms[0].diverged else {}


def _places(columns: list[str]) -> list[float]:
    """Where levels stand on the axis: numbers by size, or by their logarithm if that is more even, with a place of its
    own for a 0; words, and numbers of which some would still be too close to tell apart, in equal steps."""
    values, equal = [*map(float, columns)] if numeric(columns) else [], [*map(float, range(len(columns)))]
    scales, logs = [values], [math.log10(value) for value in values if value > 0]
    if len(values) > 2 and len(logs) >= len(values) - 1:
        scales.append([logs[0] - (logs[-1] - logs[0]) / (len(logs) - 1)] * (len(values) - len(logs)) + logs)
    even = {min(gaps) / numpy.mean(gaps): scale for scale in scales if (gaps := numpy.diff(scale).tolist())}
    return even[max(even)] if even and max(even) > _EVEN else equal


def _mark(plot: Any, x: float, arm: Arm, **look) -> None:
    """An arm's mean, hollow, and every seed; above, how many diverged."""
    style = {"color": look["color"], "marker": look["marker"], "linestyle": ""}
    finite = [value for value in arm.results if math.isfinite(value)]
    plot.plot([x] * len(finite), finite, markersize=3.5, alpha=0.6, **style)
    if arm.mean is not None:
        plot.plot([x], [arm.mean], markersize=7, markerfacecolor="none", **style)
    if arm.diverged:
        edge, colour = plot.get_xaxis_transform(), style["color"]
        plot.plot([x], [0.99], linestyle="", marker="x", markersize=8, color=colour, transform=edge)
        plot.annotate(f"diverged {arm.diverged} of {len(arm.results)}  ", (x, 0.99), xycoords=edge, fontsize="small",
                      color=colour, ha="right", va="center")  # fmt: skip
