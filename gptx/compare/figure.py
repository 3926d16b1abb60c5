"""A comparison as a picture: every seed's result and the means of arms, over the learning rate if one was varied."""

import math
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
_EVEN = 0.25  # least gap between levels on an axis, of their mean gap
_SEQUENCE = (1, 7, 4, 3, 0, 6, 2)  # of COLOURS, from orange over violet to green
_SAME: dict[str, Any] = {"color": AXES, "marker": "o", "linestyle": "", "linewidth": 0}  # of arms alike in every seed
_ALL = "all runs"  # the one level where only seeds differ


def figure(found: Effects, file: Path) -> None:
    """Draw a comparison that has a result in a .png or .svg file: a forest plot of several changes in one setting,
    effects over the model's size, else results as axes() says; of many panels the fullest ones."""
    said = words(found)
    if moving := trends(found):
        with drawing(file, 7.2, 4.2, dpi=150) as picture:
            _over_sizes(picture.subplots(), moving, found, said)
    elif found.question.design in ("arms", "cumulative", "factorial") and len(found.settings) == 1 and found.judged:
        rows = [effect for effect in found.effects if effect.estimate][:_ROWS]
        with drawing(file, 7.2, 1.3 + (0.34 if beside(2) > 1 else 0.45) * len(rows), dpi=150) as picture:
            _forest(picture.subplots(), rows, found, said)
    else:
        _panels(found, said, file)


def _panels(found: Effects, said: Words, file: Path) -> None:
    x, lines, apart = axes(found.comparison.factors, found.question.vary)
    groups = contexts(found.arms, x, *lines)
    panels = [each for each in groups if len(each[1]) == max(len(arms) for _, arms in groups)][:_PANELS]
    found_in = [arm for _, arms in panels for arm in arms]
    kinds = [dict(zip(lines, levels, strict=True)) for levels in grouped(found_in, at_levels(lines))]
    looks, legend = _looks(kinds)
    columns = beside(len(panels))
    rows = -(-len(panels) // columns)
    with drawing(file, 7.2 if len(panels) == 1 else 4.2 * columns, 4.2 * rows, dpi=150) as picture:
        grid = picture.subplots(rows, columns, squeeze=False, sharey=True)
        for plot, (context, arms) in zip(grid.flat, panels, strict=False):
            if _draw(plot, arms, x, kinds, looks):
                legend = legend | {"all the same": _SAME}
            title = ", ".join(named(*level) for level in context.items() if apart)
            dress(plot, title, label(x), f"{said.metric}{said.per}" if plot in grid[:, 0] else "")
        for plot in grid.flat[len(panels) :]:
            plot.set_axis_off()
        if len(legend) > 1:
            words_only = {} if numeric(arm.levels.get(x, _ALL) for arm in found.arms) else {"linestyle": ""}
            legend_below(
                picture, {name: look | (words_only if "marker" in look else {}) for name, look in legend.items()}
            )


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
        if trend.slope:
            line = trend.at_largest + trend.slope.mean * numpy.log10(numpy.divide(trend.sizes, trend.sizes[-1]))
            plot.plot(trend.sizes, line, **look | {"marker": ""})
    plot.axhline(0, color=AXES, linewidth=1)
    dress(plot, "", "parameters", f"difference in {said.metric}{said.per}")
    logarithmic(plot, "x")
    names = (turned(trend.things, found.baseline) for trend in moving)
    legend_below(plot.figure, dict(zip(names, looks, strict=True)))


def _looks(kinds: list[dict[str, str]]) -> tuple[list[dict], dict[str, dict]]:
    """The look of each kind of arm, and those of the legend: of two factors colours tell one, in order if of numbers,
    dashes and markers the other, the first of which is broad and pale; else every kind has a look of its own."""
    names = [name for name in kinds[0] if len({kind[name] for kind in kinds}) > 1]
    if len(names) != 2:
        looks = _apart(len(kinds))
        told = (", ".join(named(name, kind[name]) for name in names) for kind in kinds)
        return looks, dict(zip(told, looks, strict=True)) if names else {}
    levels = {name: ordered(kind[name] for kind in kinds) for name in names}
    hue, dash = sorted(names, key=lambda name: (not numeric(levels[name]), -len(levels[name])))
    far = numpy.linspace(0, len(_SEQUENCE) - 1, len(levels[hue])).round().astype(int)
    hues = {level: COLOURS[_SEQUENCE[far[i]] if numeric(levels[hue]) else i] for i, level in enumerate(levels[hue])}
    strokes = {level: _stroke(i) | {"linewidth": 1.5 if i else 4} for i, level in enumerate(levels[dash])}
    legend: dict[str, dict] = {named(hue, level): {"color": colour, "linewidth": 4} for level, colour in hues.items()}
    legend |= {named(dash, level): {"color": AXES} | stroke for level, stroke in strokes.items()}
    return [{"color": hues[kind[hue]]} | strokes[kind[dash]] for kind in kinds], legend


def _apart(count: int) -> list[dict]:
    return [{"color": COLOURS[i % len(COLOURS)]} | _stroke(i) for i in range(count)]


def _stroke(i: int) -> dict[str, Any]:
    return {"linestyle": DASHES[i % len(DASHES)], "marker": MARKERS[i % len(MARKERS)], "linewidth": 1.5}


def _draw(plot: Any, found: list[Arm], x: str, kinds: list[dict[str, str]], looks: list[dict]) -> bool:
    """Draw arms over the levels of a factor; True if those of a level are all the same, and drawn as one."""
    at, alike = grouped(found, lambda arm: arm.levels.get(x, _ALL)), False
    columns, numbers = ordered(at), numeric(at)
    place, lines = dict(zip(columns, _places(columns), strict=True)), grouped(found, lambda arm: _kind(arm, kinds))
    for kind, arms in lines.items() if numbers else ():
        means = sorted((place[arm.levels[x]], arm.mean) for arm in arms if arm.mean is not None)
        pale = {"alpha": 0.4} if looks[kind]["linewidth"] > 2 else {}
        plot.plot(*numpy.reshape(means, (-1, 2)).T, **looks[kind] | {"marker": ""} | pale)
    for column, arms in at.items():
        same = len(arms) > 1 and bool(arms[0].values) and len({str(arm.values) for arm in arms}) == 1
        for arm in arms[:1] if same else arms:
            kind, alike = _kind(arm, kinds), alike or (same and not arm.diverged)
            shift = 0 if numbers or same else 0.5 * ((kind + 0.5) / len(kinds) - 0.5)  # columns of words have room
            _mark(plot, place[column] + shift, arm, **_SAME if same else looks[kind])
    plot.set_xticks(list(place.values()), [mathtext(column or "not set") for column in columns])
    if not numbers:
        plot.set_xlim(-0.6, len(columns) - 0.4)
    return alike


def _kind(arm: Arm, kinds: list[dict[str, str]]) -> int:
    return next(i for i, kind in enumerate(kinds) if kind.items() <= arm.levels.items())


def _places(columns: list[str]) -> list[float]:
    """Where levels stand on the axis: numbers by size, or by their logarithm if that is more even, with a place of its
    own for a 0; words, and numbers of which some would still be too close to tell apart, in equal steps."""
    equal, best, found = list(map(float, range(len(columns)))), _EVEN, None
    values = numpy.array([*map(float, columns)] if numeric(columns) else [])
    scales, above = [values], numpy.log10(values[values > 0])
    if len(above) > 1 and len(above) >= len(values) - 1:
        first = above[0] - (above[-1] - above[0]) / (len(above) - 1)
        scales.append(numpy.append([first] * (len(values) - len(above)), above))
    for scale in scales:
        gaps = numpy.diff(scale)
        even = gaps.min(initial=numpy.inf) / max(gaps.mean() if len(gaps) else 0, 1e-300)
        if even > best:
            best, found = even, scale.tolist()
    return found or equal


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
