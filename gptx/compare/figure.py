"""A comparison as a picture: every seed's result and the means of arms, over the learning rate if one was varied."""

import math
from pathlib import Path
from typing import Any

from gptx.compare.arms import Arm, arms, axis, numeric, primary
from gptx.compare.outcomes import Comparison
from gptx.compare.words import label, named, words
from gptx.units.printable import mathtext

# Each line has a colour, a dash and a marker of its own, so that it is told without colours.
COLOURS = ("#1c2024", "#2a6fdb", "#e0662b", "#168a63", "#6a4fc4", "#c03f7b", "#9a6a00", "#0b8793")
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)), (0, (3, 1)))
MARKERS = "os^Dv<>P"
PANELS = 4  # at most, side by side
FEW = 4  # lines that leave room for a legend among them
LINES = 8  # in a panel, as many as have a colour of their own
WIDE = 5  # levels whose largest is more than so many times the smallest stand on a logarithmic axis


def drawable(comparison: Comparison) -> bool:
    """True if there is a result to draw."""
    return any(math.isfinite(value) for arm in shown(comparison) for value in arm.results)


def figure(comparison: Comparison, file: Path) -> None:
    """Draw a comparison that has a result in a .png or .svg file.

    Results stand over the factor of the x-axis, with a line for each combination of the others; of more lines than
    LINES the first factor's levels are lines, in a panel for each combination of the rest.
    """
    found = shown(comparison)
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    along = over(comparison)
    panels = [each for each in slices(comparison) if len(each) == len(found)][:PANELS]
    size = 7.2 if len(panels) == 1 else 4.2 * len(panels)
    picture, row = pyplot.subplots(
        1, len(panels), figsize=(size, 4.2), layout="constrained", squeeze=False, sharey=True
    )
    for axes, panel in zip(row[0], panels, strict=True):
        apart = panelled(comparison)
        if along:
            lines(axes, panel, along, [name for name in comparison.factors if name not in (along, *apart)])
        else:
            dots(axes, panel, next(iter(comparison.factors), ""))
        axes.grid(axis="y", color="#e5e7eb")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        title = ", ".join(named(name, panel[0].levels[name]) for name in apart)
        axes.set_title(mathtext(title), loc="left", fontsize="small")
    said = words(comparison, found)
    row[0][0].set_ylabel(mathtext(f"{said.metric}{f', {said.unit}' if said.unit else ''}"))
    metadata = {"Date": None} if file.suffix == ".svg" else {}
    picture.savefig(file, dpi=150, metadata=metadata)
    pyplot.close(picture)


def over(comparison: Comparison) -> str:
    """The factor of the x-axis; without a number the first beside the one that is asked about, "" of one alone."""
    factor = primary(comparison.factors)
    return axis(comparison.factors) or next((name for name in comparison.factors if name != factor), "")


def panelled(comparison: Comparison) -> list[str]:
    """The factors whose levels have panels of their own: none, unless the lines were too many for one."""
    others = [name for name in comparison.factors if name != over(comparison)]
    if math.prod(len(comparison.factors[name]) for name in others) <= LINES:
        return []
    first = primary({name: comparison.factors[name] for name in others})
    return [name for name in others if name != first]


def shown(comparison: Comparison) -> list[Arm]:
    """The arms of that panel which has most."""
    return max(slices(comparison), key=len, default=[])


def slices(comparison: Comparison) -> list[list[Arm]]:
    """The arms of each panel."""
    groups: dict[tuple, list[Arm]] = {}
    for arm in arms(comparison):
        groups.setdefault(tuple(arm.levels[name] for name in panelled(comparison)), []).append(arm)
    return list(groups.values())


def lines(axes: Any, found: list[Arm], along: str, others: list[str]) -> None:
    """The means of each combination of `others` along the levels of a factor, joined where those are numbers, and every
    seed as a small mark."""
    columns = list(dict.fromkeys(arm.levels[along] for arm in sorted(found, key=lambda arm: place(arm.levels[along]))))
    rows: dict[str, list[Arm]] = {}
    for arm in found:
        rows.setdefault(", ".join(named(name, arm.levels[name]) for name in others), []).append(arm)
    numbers = numeric(columns)
    for i, (name, row) in enumerate(rows.items()):
        shift = 0.0 if numbers else 0.5 * ((i + 0.5) / len(rows) - 0.5)  # side by side where columns are words
        at = {column: float(column) if numbers else j + shift for j, column in enumerate(columns)}
        here = sorted(row, key=lambda arm: at[arm.levels[along]])
        style = {"color": COLOURS[i % 8], "marker": MARKERS[i % 8]}
        dash = DASHES[i % 8] if numbers else ""
        for arm in here:
            seeds(axes, at[arm.levels[along]], arm, markersize=3.5, alpha=0.6, **style)
        means = [(at[arm.levels[along]], arm.mean) for arm in here if arm.mean is not None]
        axes.plot(*(zip(*means, strict=True) if means else ((), ())), label=mathtext(name) or None,
                  linestyle=dash, markersize=7, markerfacecolor="white", **style)  # fmt: skip
    ticks = [float(column) if numbers else i for i, column in enumerate(columns)]
    if numbers and min(ticks) > 0 and max(ticks) / min(ticks) > WIDE:
        axes.set_xscale("log")
    axes.set_xticks(ticks, list(map(mathtext, columns)))
    axes.minorticks_off()
    axes.set_xlabel(mathtext(label(along)))
    aside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(rows) > FEW else {}  # beside many lines, not on them
    if others:
        axes.legend(frameon=False, handlelength=3.5, **aside)


def dots(axes: Any, found: list[Arm], factor: str) -> None:
    """Every seed's result as a dot by the level of `factor`, with a bar at the mean."""
    for i, arm in enumerate(found):
        seeds(axes, i, arm, marker="o", color=COLOURS[1], alpha=0.7)
        if arm.mean is not None:
            axes.hlines(arm.mean, i - 0.25, i + 0.25, color=COLOURS[0])
    levels = [mathtext(arm.levels[factor] or "not set") for arm in found] if factor else ["all runs"]
    axes.set_xticks(range(len(levels)), levels, rotation=30 if len(levels) > 6 else 0)
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.set_xlabel(mathtext(label(factor)))


def seeds(axes: Any, x: float, arm: Arm, **style) -> None:
    """The results of an arm at `x`; at the upper edge, in how many seeds it diverged."""
    finite = [value for value in arm.results if math.isfinite(value)]
    axes.plot([x] * len(finite), finite, linestyle="", **style)
    if arm.diverged:
        edge = axes.get_xaxis_transform()
        axes.plot([x], [0.99], linestyle="", marker="x", markersize=8, color=style["color"], transform=edge)
        text, look = f"diverged {arm.diverged} of {len(arm.results)}  ", {"ha": "right", "va": "center"}
        axes.annotate(text, (x, 0.99), xycoords=edge, fontsize="small", color=style["color"], **look)


def place(level: str) -> tuple[float, str]:
    """Where a level stands: numbers by size, words as they come."""
    return (float(level), "") if numeric([level]) else (0.0, "")
