"""A comparison as a picture: every seed's result and the means of arms, over the learning rate if one was varied."""

import math
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy

from gptx.compare.effects import Effect, Effects
from gptx.compare.factors import axes, grouped, numeric
from gptx.compare.outcomes import Arm, contexts
from gptx.compare.trend import Trend, trends
from gptx.compare.words import Words, change, label, named, turned, words
from gptx.show.plots import AXES, COLOURS, DASHES, INK, MARKERS, drawing, dress, logarithmic
from gptx.units.printable import mathtext

_PANELS = 4  # at most, side by side
_ROWS = 24  # of a forest plot
_FEW = 4  # lines that leave room for a legend among them
_WIDE = 5  # levels whose largest is more than this many times the smallest stand on a logarithmic axis
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
        with drawing(file, 7.2, 1.3 + 0.34 * len(rows), dpi=150) as picture:
            _forest(picture.subplots(), rows, found, said)
    else:
        _panels(found, said, file)


def _panels(found: Effects, said: Words, file: Path) -> None:
    x, lines, apart = axes(found.comparison.factors, found.question.vary)
    groups = contexts(found.arms, x, *lines)
    panels = [each for each in groups if len(each[1]) == max(len(arms) for _, arms in groups)][:_PANELS]
    with drawing(file, 7.2 if len(panels) == 1 else 4.2 * len(panels), 4.2, dpi=150) as picture:
        row = picture.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for plot, (context, arms) in zip(row, panels, strict=True):
            _draw(plot, arms, x)
            title = ", ".join(named(*level) for level in context.items() if apart)
            dress(plot, title, label(x), f"{said.metric}{said.per}" if plot is row[0] else "")


def _forest(plot: Any, rows: list[Effect], found: Effects, said: Words) -> None:
    """Every change with its difference and interval, the best on top; hollow where nothing is settled."""
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
    names = [mathtext(change(effect, found.baseline)) for effect in rows]
    plot.set_yticks(range(len(rows)), names, color=INK, fontsize=9)
    plot.set_ylim(len(rows) - 0.5, -0.5)


def _over_sizes(plot: Any, moving: list[Trend], found: Effects, said: Words) -> None:
    """Every effect at every size with its interval, and the line through them."""
    by_things = grouped(found.effects, lambda effect: effect.things)
    for look, trend in enumerate(moving):
        colour, shift = COLOURS[look % len(COLOURS)], 1.02 ** (look - (len(moving) - 1) / 2)
        points = [effect.estimate for effect in by_things[trend.things] if effect.estimate]
        means = numpy.array([each.mean for each in points])
        low, high = (numpy.array([getattr(each, end) for each in points], float) for end in ("low", "high"))
        away = numpy.nan_to_num(numpy.abs([low - means, high - means]))  # 0 without an interval
        at = [size * shift for size in trend.sizes]
        plot.errorbar(at, means, away, color=colour, marker=MARKERS[look % len(MARKERS)],
                      linestyle="", label=mathtext(turned(trend.things, found.baseline)))  # fmt: skip
        if trend.slope and trend.at_largest:
            line = trend.at_largest.mean + trend.slope.mean * numpy.log10(numpy.divide(trend.sizes, trend.sizes[-1]))
            plot.plot(trend.sizes, line, color=colour, linestyle=DASHES[look % len(DASHES)], linewidth=1.2)
    plot.axhline(0, color=AXES, linewidth=1)
    dress(plot, "", "parameters", f"difference in {said.metric}{said.per}")
    logarithmic(plot, "x")
    plot.legend(frameon=False, fontsize=8)


def _draw(plot: Any, found: list[Arm], x: str) -> None:
    columns = list(grouped(found, lambda arm: arm.levels.get(x, _ALL)))
    rows, numbers = contexts(found, x), numeric(columns)
    for i, (levels, row) in enumerate(rows):
        shift = 0.5 * ((i + 0.5) / len(rows) - 0.5)  # side by side where columns are words
        at = {column: float(column) if numbers else j + shift for j, column in enumerate(columns)}
        look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        name = mathtext(", ".join(starmap(named, levels.items())))
        means = sorted((at[arm.levels.get(x, _ALL)], arm.mean) for arm in row if arm.mean is not None)
        plot.plot(*numpy.reshape(means, (-1, 2)).T, label=name, markersize=7, markerfacecolor="white",
                  linestyle=DASHES[i % len(DASHES)] if numbers else "", **look)  # fmt: skip
        for arm in row:
            _seeds(plot, at[arm.levels.get(x, _ALL)], arm, markersize=3.5, alpha=0.6, **look)
    _ticks(plot, columns, numbers=numbers)
    if len(rows) > 1:
        outside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(rows) > _FEW else {}  # not on many lines
        plot.legend(frameon=False, handlelength=3.5, **outside)


def _ticks(plot: Any, columns: list[str], *, numbers: bool) -> None:
    ticks = [*map(float, columns)] if numbers else [*range(len(columns))]
    if not numbers:
        plot.set_xlim(-0.6, len(columns) - 0.4)
    elif min(ticks) > 0 and max(ticks) / min(ticks) > _WIDE:
        plot.set_xscale("log")
    plot.set_xticks(ticks, [mathtext(column or "not set") for column in columns])
    plot.minorticks_off()


def _seeds(plot: Any, x: float, arm: Arm, **style) -> None:
    finite = [value for value in arm.results if math.isfinite(value)]
    plot.plot([x] * len(finite), finite, linestyle="", **style)
    if arm.diverged:
        edge, colour = plot.get_xaxis_transform(), style["color"]
        plot.plot([x], [0.99], linestyle="", marker="x", markersize=8, color=colour, transform=edge)
        plot.annotate(f"diverged {arm.diverged} of {len(arm.results)}  ", (x, 0.99), xycoords=edge, fontsize="small",
                      color=colour, ha="right", va="center")  # fmt: skip
