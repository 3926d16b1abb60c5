"""Charts of laws as a picture, PNG or SVG, drawn with matplotlib: a row for each law."""

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from gptx.plan.chart import Chart, Line, beyond, parts, rounds
from gptx.plan.chart_words import FLOPS, PARAMETERS, column, legible, notes, reading, signs
from gptx.show.picture import AXES, COLOURS, INK, drawing, dress
from gptx.units.amounts import amount, power, spell
from gptx.units.printable import mathtext

MINE, RULED, MEASURED = COLOURS[1], COLOURS[4], COLOURS[2]  # the user's budget, the rule, the user's runs
LADDER = COLOURS[6], COLOURS[3]  # from the smallest size or budget to the largest
LOOKS: dict[int, dict[str, Any]] = {  # of a name left of its place, below and right of it
    -1: {"aside": (-7, 0), "ha": "right", "va": "center"},
    0: {"aside": (0, -6), "ha": "center", "va": "top"},
    1: {"aside": (7, 0), "ha": "left", "va": "center"},
}
SHADE = "#f1f3f6"
DASHED = (0, (4, 2))
RING: dict[str, Any] = {"markersize": 6.5, "markerfacecolor": "white", "markeredgewidth": 1.4, "zorder": 5}
OPTIMUM: dict[str, Any] = {"markersize": 8, "markeredgecolor": "white", "zorder": 6}
LEADER = {"arrowstyle": "-", "color": AXES, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4}


def picture(charts: Sequence[Chart], file: Path) -> None:
    """Draw charts, a row for each: loss over operations, and over parameters."""
    with drawing():
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(14.4, 6.6 * len(charts)), layout="constrained")
        for part, chart in zip(figure.subfigures(len(charts), 1, squeeze=False).flat, charts, strict=True):
            part.suptitle(mathtext(fill(reading(chart), 165)), fontsize=11, color=INK, x=0.012, ha="left")
            left, right = part.subplots(1, 2, sharey=True)
            over_operations(left, chart)
            over_parameters(right, chart)
            right.set_ylabel("")
            part.supxlabel(mathtext(fill(" ".join(notes(chart)), 220)), fontsize=8, color=AXES, x=0.012, ha="left")
        undated: dict[str, Any] = {"metadata": {"Date": None}} if file.suffix == ".svg" else {}
        figure.savefig(file, format=file.suffix[1:], dpi=120, **undated)
        pyplot.close(figure)


def over_operations(axis, chart: Chart) -> None:
    """Draw loss over operations on matplotlib axes: sizes, their envelope, the user's budget, models and runs."""
    prepare(axis, chart, "Loss over compute, by size", FLOPS, chart.span, power)
    for low, high in parts(*chart.span, chart.fitted):
        if beyond(low, high, chart.fitted):
            axis.axvspan(low, high, color=SHADE, linewidth=0, zorder=0)
            if math.log(high / low) > 0.2 * math.log(chart.span[1] / chart.span[0]):
                label(
                    axis, "beyond the fit", (math.sqrt(low * high), chart.ceiling), (0, -4), AXES, ha="center", va="top"
                )
    colours = ladder(len(chart.sizes))
    for size, colour in zip(chart.sizes, colours, strict=True):
        first = size.line.places[0]
        axis.plot(*along(size.line, "flops"), color=colour, linewidth=1.2, alpha=0.85)
        if size.topped:
            label(axis, amount(first.parameters), (first.flops, first.loss), (0, 4), colour, ha="center", va="bottom")
        if size.touch:
            axis.plot(size.touch.flops, size.touch.loss, "o", markersize=4, color=colour, zorder=4)
    envelope(axis, chart, "flops")
    if chart.asked:
        found = chart.asked.minimum
        axis.axvline(found.flops, color=MINE, linewidth=1.2, zorder=1)
        axis.plot(found.flops, found.loss, "D", color=MINE, **OPTIMUM)
        text = f"{power(found.flops)}: {amount(found.parameters)}\non {amount(found.tokens)} tokens"
        right = found.flops < math.sqrt(chart.span[0] * chart.span[1])
        label(
            axis,
            text,
            (found.flops, chart.floor),
            (7 if right else -7, 7),
            MINE,
            ha="left" if right else "right",
            va="bottom",
            weight="bold",
        )
    for place in chart.known:
        axis.plot(place.flops, place.loss, "o", color=INK, **RING)
    for place, rung, up in column(chart):
        axis.annotate(mathtext(place.name), (place.flops, place.loss), (1.02, up), textcoords="axes fraction",
                      va="center", fontsize=8.5, color=INK if rung is None else colours[rung], arrowprops=LEADER,
                      annotation_clip=False)  # fmt: skip
    measured(axis, chart, "flops")


def over_parameters(axis, chart: Chart) -> None:
    """Draw loss over parameters on matplotlib axes: budgets, the line through their minima, and that of the rule."""
    prepare(axis, chart, "Loss over size, by budget of operations", PARAMETERS, chart.breadth, amount)
    for budget, colour in zip(chart.budgets, ladder(len(chart.budgets)), strict=True):
        colour, last, least = MINE if budget.asked else colour, budget.line.places[-1], budget.minimum
        axis.plot(*along(budget.line, "parameters"), color=colour, linewidth=1.9 if budget.asked else 1.2, alpha=0.9,
                  linestyle=DASHED if budget.line.beyond else "-")  # fmt: skip
        label(axis, power(last.flops), (last.parameters, last.loss), (4, 0), colour, ha="left", va="center")
        if budget.spread:
            axis.plot(budget.spread, [least.loss] * 2, color=colour, linewidth=5, alpha=0.3, solid_capstyle="butt")
        look: dict[str, Any] = (
            OPTIMUM | {"marker": "D"} if budget.asked else {"marker": "o", "markersize": 4.5, "zorder": 5}
        )
        axis.plot(least.parameters, least.loss, color=colour, linestyle="", **look)
    envelope(axis, chart, "parameters")
    axis.plot(*along(chart.rule, "parameters"), color=RULED, linewidth=1.8, linestyle=(0, (1.2, 1.2)), zorder=4)
    for (place, side), colour in zip(signs(chart), (INK, RULED), strict=True):
        label(axis, place.name, (place.parameters, place.loss), colour=colour, **LOOKS[side])
    for place in chart.known:
        axis.plot(place.parameters, place.loss, "o", color=INK, **RING)
    for place, side in legible(chart):
        label(axis, place.name, (place.parameters, place.loss), colour=INK, **LOOKS[side])
    measured(axis, chart, "parameters")


def envelope(axis, chart: Chart, across: str) -> None:
    """The lowest loss of every budget, dashed beyond what the law was fitted to, and its band over operations."""
    for line in chart.best:
        if line.low and across == "flops":
            axis.fill_between(along(line, across)[0], line.low, line.high, color=INK, alpha=0.12, linewidth=0)
        axis.plot(*along(line, across), color=INK, linewidth=2.2, linestyle=DASHED if line.beyond else "-", zorder=3)


def prepare(axis, chart: Chart, title: str, across: str, ends: tuple[float, float], spelled) -> None:
    """Logarithmic axes with their titles, limits and round ticks."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(ends)
    axis.set_ylim(chart.floor, chart.ceiling)
    for ticked, found, text in ((axis.xaxis, rounds(*ends), spelled), (axis.yaxis, losses(chart), spell)):
        ticked.set_major_locator(FixedLocator(found))
        ticked.set_minor_locator(NullLocator())
        ticked.set_major_formatter(FuncFormatter(lambda value, _, text=text: text(value)))
    dress(axis)
    axis.set_title(title, fontsize=11, color=INK, loc="left", weight="bold", pad=22)
    axis.set_xlabel(across, fontsize=9, color=AXES)
    axis.set_ylabel(mathtext(f"loss, {chart.law.units}"), fontsize=9, color=AXES)


def losses(chart: Chart) -> list[float]:
    """Round losses for the ticks."""
    from matplotlib.ticker import MaxNLocator

    return [
        value for value in MaxNLocator(9, steps=[1, 2, 2.5, 5, 10]).tick_values(chart.floor, chart.ceiling) if value > 0
    ]


def along(line: Line, across: str) -> tuple[list[float], list[float]]:
    """The places of a line over what `across` names, and their losses."""
    return [getattr(place, across) for place in line.places], [place.loss for place in line.places]


def ladder(count: int) -> list[Any]:
    """As many colours, from that of the smallest to that of the largest."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("ladder", LADDER)
    return [colours(i / max(1, count - 1)) for i in range(count)]


def label(axis, text: str, place: tuple[float, float], aside: tuple[float, float], colour, **look) -> None:
    """A text beside a place, so many points away."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    axis.annotate(mathtext(text), place, aside, textcoords="offset points", fontsize=8.5, color=colour, zorder=7,
                  path_effects=halo, annotation_clip=False, **look)  # fmt: skip


def measured(axis, chart: Chart, across: str) -> None:
    """The user's runs, each joined with the loss that the law expects of it."""
    for place in chart.runs:
        x = getattr(place, across)
        axis.plot([x, x], [place.loss, chart.law.loss(place.parameters, place.tokens)], color=MEASURED, linewidth=1)
        axis.plot(x, place.loss, "s", markersize=5.5, color=MEASURED, markeredgecolor="white", zorder=6)
