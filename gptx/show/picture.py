"""Panels as a picture, PNG or SVG, drawn with matplotlib."""

from collections.abc import Sequence
from typing import Any

import numpy

from gptx.show.curves import Curve, Panel, smoothed, thinned
from gptx.units.amounts import spell
from gptx.units.printable import mathtext

COLOURS = ("#2a6fdb", "#e0662b", "#168a63", "#6a4fc4", "#c03f7b", "#9a6a00", "#0b8793", "#d03b3b")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1.5, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (10, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
)
MARKERS = ("o", "s", "D", "^", "X", "P", "*", "v")
INK, AXES, GRID = "#1c2024", "#6b7280", "#e5e7eb"


def picture(panels: Sequence[Panel], file, title: str, kind: str) -> None:
    """All panels in one picture; `kind` is png or svg."""
    with drawing():
        from matplotlib import pyplot

        columns = min(3, len(panels)) if len(panels) != 4 else 2
        rows = -(-len(panels) // columns)
        size = 5.2 * columns, 3.5 * rows + 0.5
        figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        figure.suptitle(mathtext(title), fontsize=12, color=INK)
        for axis, panel in zip(axes.flat, panels, strict=False):
            draw(axis, panel)
            axis.set_title(mathtext(", ".join(filter(None, (panel.title, panel.unit)))), fontsize=10, color=INK)
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_axis_off()
        grouped = [axis for axis, panel in zip(axes.flat, panels, strict=False) if panel.group]
        ends = [end for axis in grouped for end in axis.get_ylim()]
        for axis in grouped:
            axis.set_ylim(min(ends), max(ends))
        for axis in axes[-1]:
            axis.set_xlabel("update", fontsize=8, color=AXES)
        undated: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {}
        figure.savefig(file, format=kind, dpi=120, **undated)
        pyplot.close(figure)


def draw(axis, panel: Panel) -> None:
    """Draw a panel on matplotlib axes."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if panel.empty:
        axis.text(0.5, 0.5, (panel.hint or "nothing recorded").replace("; ", "\n"), transform=axis.transAxes,
                  ha="center", va="center", color=AXES, fontsize=9)  # fmt: skip
        axis.set_axis_off()
        return
    for curve in panel.curves:
        paint(axis, curve)
    values = numpy.concatenate([numpy.asarray(curve.values, dtype=float) for curve in panel.curves])
    values = values[numpy.isfinite(values) & (values > 0)]
    plain = FuncFormatter(lambda value, _: spell(value))
    if panel.log and len(values) and values.max() > 15 * values.min():  # less reads better on a linear axis
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if values.max() < 500 * values.min() else (1,)))
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlim(left=0)  # however late the first value is, so that panels can be compared
    axis.yaxis.set_major_formatter(plain)
    axis.xaxis.set_major_formatter(plain)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
    dress(axis)
    if 0 < sum(bool(curve.name) for curve in panel.curves) <= 12:
        legend = axis.legend(fontsize=8, frameon=False, labelcolor=INK, loc="best", handlelength=3)
        legend.set_in_layout(False)


def dress(axis) -> None:
    """Grid, ticks and spines of the house."""
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=AXES, length=0, labelsize=8)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(AXES)


def paint(axis, curve: Curve) -> None:
    """Draw one curve: colour and dashes differ, so that it can be told apart in black and white too."""
    look = curve.colour
    colour, dashes, label = COLOURS[look % len(COLOURS)], DASHES[look % len(DASHES)], mathtext(curve.name) or None
    steps, values = numpy.asarray(curve.steps, dtype=float), numpy.asarray(curve.values, dtype=float)
    if curve.low is not None and curve.high is not None:
        axis.fill_between(steps, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    if curve.smooth:
        kept = thinned(steps, values)
        axis.plot(steps[kept], values[kept], color=colour, linewidth=0.7, alpha=0.28)
        values = smoothed(values, curve.smooth)
    kept = thinned(steps, values)
    looks: dict[str, dict[str, Any]] = {
        "faint": {"linewidth": 0.7, "alpha": 0.28},
        "dots": {"linewidth": 1.4, "linestyle": dashes, "marker": MARKERS[look % len(MARKERS)], "markersize": 4},
        "dashed": {"linewidth": 1.1, "linestyle": "--"},
        "abandoned": {"linewidth": 1.0, "linestyle": (0, (2, 2)), "marker": "x", "markersize": 5, "markevery": [-1]},
        "incidents": {"linewidth": 0, "marker": "x", "markersize": 6},
        "line": {"linewidth": 1.6, "alpha": curve.alpha, "linestyle": dashes},
    }
    axis.plot(steps[kept], values[kept], color=colour, label=label, **looks[curve.style])


def drawing():
    """Context in which matplotlib needs no screen and draws the same file every time."""
    import matplotlib

    matplotlib.use("Agg")
    return matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gptx", "figure.dpi": 100})
