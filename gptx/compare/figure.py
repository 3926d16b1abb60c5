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
_BROAD = 4  # points, of a line on which a dashed one of the same colour can be seen
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
    kinds = list(grouped((arm for _, arms in panels for arm in arms), at_levels(lines)))
    looks, legend = _looks(lines, kinds)
    across = beside(len(panels))
    width, rows = 7.2 if len(panels) == 1 else 4.2 * across, len(panels) // across
    with drawing(file, width, 4.2 * rows, dpi=150) as picture:
        plots = picture.subplots(rows, across, squeeze=False, sharey=True).flat
        for i, (plot, (context, arms)) in enumerate(zip(plots, panels, strict=True)):
            if _draw(plot, arms, x, lines, dict(zip(kinds, looks, strict=True))):
                legend = legend | {"all the same": _SAME}
            title = ", ".join(named(*level) for level in context.items() if apart)
            dress(plot, title, label(x), "" if i % across else f"{said.metric}{said.per}")
        alone = {} if numeric(found.comparison.factors.get(x, [_ALL])) else {"linestyle": ""}  # no line in the plots
        if len(legend) > 1:
            legend_below(picture, {name: look | (alone if "marker" in look else {}) for name, look in legend.items()})


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


def _looks(lines: list[str], kinds: list[tuple]) -> tuple[list[dict], dict[str, dict]]:
    """The look of each kind of arm, levels of `lines`, and those of the legend: of two factors colours tell one, in
    order if of numbers, dashes and markers the other, the first broad and pale; else every kind has its own look."""
    levels = {name: ordered(each) for name, each in zip(lines, zip(*kinds, strict=True), strict=True)}
    if len(levels) != 2:
        looks = _apart(len(kinds))
        return looks, {", ".join(map(named, lines, kind)): look for kind, look in zip(kinds, looks, strict=True)}
    hue, dash = sorted(lines, key=lambda name: (not numeric(levels[name]), -len(levels[name])))
    far = numpy.linspace(0, len(_SEQUENCE) - 1, len(levels[hue])).round().astype(int)
    hues = {level: COLOURS[_SEQUENCE[far[i]] if numeric(levels[hue]) else i] for i, level in enumerate(levels[hue])}
    strokes = dict(zip(levels[dash], _apart(len(levels[dash])), strict=True))
    strokes[levels[dash][0]]["linewidth"] = _BROAD
    legend: dict[str, dict] = {named(hue, level): {"color": hues[level], "linewidth": _BROAD} for level in levels[hue]}
    legend |= {named(dash, level): look | {"color": AXES} for level, look in strokes.items()}
    told = map(dict, (zip(lines, kind, strict=True) for kind in kinds))
    return [strokes[kind[dash]] | {"color": hues[kind[hue]]} for kind in told], legend


def _apart(count: int) -> list[dict]:
    return [{"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)],
             "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.5} for i in range(count)]  # fmt: skip


def _draw(plot: Any, found: list[Arm], x: str, lines: list[str], looks: dict[tuple, dict]) -> bool:
    """Draw arms over the levels of a factor; True if those of a level are all the same, and drawn as one."""
    at, kind, alike = grouped(found, lambda arm: arm.levels.get(x, _ALL)), at_levels(lines), False
    columns, numbers = ordered(at), numeric(at)
    place = dict(zip(columns, _places(columns), strict=True))
    for levels, arms in grouped(found, kind).items() if numbers else ():
        means = sorted((place[arm.levels[x]], arm.mean) for arm in arms if arm.mean is not None)
        pale = 0.4 if looks[levels]["linewidth"] == _BROAD else 1
        plot.plot(*numpy.reshape(means, (-1, 2)).T, **looks[levels] | {"marker": "", "alpha": pale})
    for column, arms in at.items():
        same = len(arms) > 1 and bool(arms[0].values) and len({str(arm.values) for arm in arms}) == 1
        alike = alike or (same and not arms[0].diverged)
        for arm in arms[:1] if same else arms:
            beside_it = 0 if numbers or same else ([*looks].index(kind(arm)) + 0.5) / len(looks) - 0.5
            _mark(plot, place[column] + beside_it / 2, arm, **_SAME if same else looks[kind(arm)])
    plot.set_xticks(list(place.values()), [mathtext(column or "not set") for column in columns])
    if not numbers:
        plot.set_xlim(-0.6, len(columns) - 0.4)
    return alike


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
