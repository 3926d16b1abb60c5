"""Plots: one palette, curves in panels, and figures of them as PNG or SVG files: `save(file, title, lines(panel))`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy
from numpy import ndarray

from gptx.files import in_one_step
from gptx.units.amounts import spell
from gptx.units.printable import mathtext

# Line i has colour, dashes and marker i, here and on pages, so that lines differ without colours too.
COLOURS = ("#2a6fdb", "#e0662b", "#168a63", "#6a4fc4", "#c03f7b", "#9a6a00", "#0b8793", "#d03b3b")
_GAPS = (5, 2), (1.5, 1.5), (6, 2, 1.5, 2), (10, 3), (3, 1, 1, 1, 1, 1)  # points
DASHES: tuple[Any, ...] = ("-", *((0, gaps) for gaps in _GAPS))
MARKERS = ("o", "s", "D", "^", "X", "P", "*", "v")
INK, AXES, GRID = "#1c2024", "#6b7280", "#e5e7eb"
POINTS = 1200  # of a curve that are drawn at most
_LEGEND = 12  # more curves than this have no legend
_PHONE = 5  # inches; narrower drawings are a phone's
SHRINK = ContextVar("SHRINK", default=(1.0, numpy.inf))  # of drawings: share of their width, and inches at most

_Values = ndarray | Sequence[float]
Drawing = Callable[[Any], None]  # draws on matplotlib axes


@dataclass(frozen=True)
class Curve:
    """One line of a panel; `style` is line, faint, dots, dashed, abandoned (discarded by a rollback) or incidents."""

    name: str
    steps: _Values
    values: _Values
    style: str = "line"
    colour: int = 0
    alpha: float = 1.0
    low: _Values | None = None  # of a band around the line
    high: _Values | None = None
    smooth: int = 0  # drawn as the mean of this many values around each, with the values themselves behind it
    key: str = ""  # the metric, where a panel can show one of several
    arm: int = 0  # place of its arm on the page
    texts: Sequence[str] = ()  # of each point


@dataclass(frozen=True)
class Panel:
    """A signal over the steps. Panels of a `group` share their y-axis."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    log: bool = False
    group: str = ""

    @property
    def empty(self) -> bool:
        return not any(len(curve.steps) for curve in self.curves)

    @property
    def logarithmic(self) -> bool:
        """True where the panel wants a logarithmic axis and its values span enough for one."""
        values = numpy.concatenate([[], *(numpy.asarray(curve.values, float) for curve in self.curves)])
        values = values[numpy.isfinite(values) & (values > 0)]
        return self.log and len(values) > 0 and bool(values.max() > 15 * values.min())


def smoothed(values: ndarray, window: int) -> ndarray:
    """The mean of the `window` finite values around each; NaN where it is not finite itself, where the line of a run
    ends. At the start, where a loss falls steeply, it has as many values after it as before."""
    finite, at = numpy.isfinite(values), numpy.arange(len(values))
    first, last = at - numpy.minimum(at, (window - 1) // 2), at + numpy.minimum(at, window // 2)
    totals = (numpy.append(0.0, numpy.cumsum(x, dtype=float)) for x in (numpy.where(finite, values, 0.0), finite))
    sums, counts = (total[numpy.minimum(last + 1, len(values))] - total[first] for total in totals)
    return numpy.divide(sums, counts, out=numpy.full(len(values), numpy.nan), where=finite)


def thinned(steps: ndarray, values: ndarray, points: int = POINTS) -> ndarray:
    """The places of at most `points` points of a curve: the lowest and the highest of each stretch."""
    if len(steps) <= points:
        return numpy.arange(len(steps))
    kept = {0, len(steps) - 1}
    for stretch in numpy.array_split(numpy.arange(len(steps)), points // 2):
        if numpy.isfinite(values[stretch]).any():
            kept |= {int(stretch[numpy.nanargmin(values[stretch])]), int(stretch[numpy.nanargmax(values[stretch])])}
    return numpy.array(sorted(kept))


def stretches(curve: Curve, points: int) -> tuple[Curve, float]:
    """A curve as means of at most `points` stretches with their lowest and highest, and a stretch's length."""
    steps, values = numpy.asarray(curve.steps, float), numpy.asarray(curve.values, float)
    if len(steps) <= points:
        return curve, 1.0
    first, finite = numpy.linspace(0, len(steps), points + 1).astype(int)[:-1], numpy.isfinite(values)
    low, high = (values if ends is None else numpy.asarray(ends, float) for ends in (curve.low, curve.high))
    with numpy.errstate(invalid="ignore"):
        low, high = numpy.fmin.reduceat(low, first), numpy.fmax.reduceat(high, first)
        sums, counts = (numpy.add.reduceat(x, first, dtype=float) for x in (numpy.where(finite, values, 0.0), finite))
        means = sums / counts
    last = steps[numpy.append(first[1:], len(steps)) - 1]
    return replace(curve, steps=last, values=means, low=low, high=high), len(steps) / points


@contextmanager
def drawing(file: Path, width: float, height: float, dpi: int = 120) -> Iterator[Any]:
    """A matplotlib figure of a size in inches, by SHRINK smaller, written when the block ends, the same every time."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    undated: dict[str, Any] = {"metadata": {"Date": None}} if file.suffix == ".svg" else {}
    scale = min(SHRINK.get()[0], SHRINK.get()[1] / width)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "gptx", "legend.fontsize": 10 if scale == 1 else 8}):
        figure = Figure(figsize=(width * scale, height * scale**0.5), layout="constrained")
        yield figure
        _fit(figure) if scale < 1 else None
        file.parent.mkdir(parents=True, exist_ok=True)
        in_one_step(file, lambda part: figure.savefig(part, format=file.suffix[1:], dpi=dpi, **undated))


def _fit(figure: Any) -> None:
    """Break the labels of a small figure to the room that they have, and turn its own ticks where they are many."""
    from matplotlib.ticker import FixedLocator

    figure.draw_without_rendering()
    for axis in figure.axes:
        width, ticks = axis.bbox.width / figure.dpi, [tick.get_text() for tick in axis.get_xticklabels()]
        high = int(12 * figure.get_figheight())
        axis.set(xlabel=fill(axis.get_xlabel(), int(15 * width)), ylabel=fill(axis.get_ylabel(), high))
        if isinstance(axis.xaxis.get_major_locator(), FixedLocator) and len("".join(ticks)) > 10 * width:
            axis.set_xticks(axis.get_xticks(), [fill(tick, 18) for tick in ticks], rotation=30)


def beside(count: int) -> int:
    """How many of `count` plots stand side by side: one on a phone, else all."""
    return 1 if SHRINK.get()[1] < _PHONE else count


def legend_below(figure: Any, looks: dict[str, dict]) -> None:
    """The one legend of a figure, under its plots: names, and how the line of each looks."""
    from matplotlib import rcParams
    from matplotlib.lines import Line2D

    (width, height), size = figure.get_size_inches(), rcParams["legend.fontsize"]
    names = [fill(mathtext(name), int(96 * width / size)) for name in looks]
    curves = [Line2D([], [], markerfacecolor="none", **look) for look in looks.values()]
    columns = _columns(names, width, size)
    figure.legend(curves, names, loc="outside lower center", ncols=columns, frameon=False, handlelength=3.5)
    figure.set_figheight(height + 0.018 * size * ("\n".join(names).count("\n") + 1) / columns)


def legend_under(axis: Any) -> None:
    """The legend of one plot of several, under it, so that it hides nothing."""
    if names := axis.get_legend_handles_labels()[1]:
        columns = _columns(names, axis.figure.get_figwidth() / axis.get_subplotspec().get_gridspec().ncols, 8)
        axis.legend(fontsize=8, frameon=False, labelcolor=INK, handlelength=3, ncols=columns,
                    loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=5)  # fmt: skip


def _columns(names: Sequence[str], width: float, size: float) -> int:
    """The columns of a legend with letters of a size in points that `width` inches hold."""
    return max(1, min(len(names), int(120 * width / size / (max(map(len, names)) + 8))))


def save(file: Path, title: str, *drawings: Drawing, columns: int = 0, size: tuple[float, float] = (5.6, 4.2)) -> Path:
    """Write drawings, each of a size in inches, side by side or in rows of `columns` into a file, and return it."""
    columns = columns or len(drawings)
    rows = -(-len(drawings) // columns)
    with drawing(file, size[0] * columns, size[1] * rows) as figure:
        figure.suptitle(mathtext(title), fontsize=11, color=INK)
        axes = figure.subplots(rows, columns, squeeze=False).flat
        for axis, draw_on in zip(axes, drawings, strict=False):
            draw_on(axis)
        for axis in axes[len(drawings) :]:
            axis.set_axis_off()
        grouped = [axis for axis in axes if axis.get_label()]
        ends = [end for axis in grouped for end in axis.get_ylim()]
        for axis in grouped:
            axis.set_ylim(min(ends), max(ends))
    return file


def lines(panel: Panel, across: str = "step") -> Drawing:
    def draw_on(axis) -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        dress(axis, ", ".join(filter(None, (panel.title, panel.unit))), across)
        for curve in panel.curves:
            _paint(axis, curve)
        axis.set_label(panel.group)  # for `save`
        axis.set_xlim(left=0)  # however late the first value is, so that panels can be compared
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
        for line in (axis.xaxis, axis.yaxis):
            line.set_major_formatter(FuncFormatter(lambda value, _: spell(value)))
        if panel.logarithmic:
            logarithmic(axis, "y")
        if 0 < sum(bool(curve.name) for curve in panel.curves) <= _LEGEND:
            legend_under(axis)

    return draw_on


def bars(title: str, values: dict[str, float], spelled: str = "{:,.4g}",
         mark: tuple[str, float] | None = None) -> Drawing:  # fmt: skip
    """A bar for each value, with the value next to it; `mark` is a named line, such as the expected value."""

    def draw_on(axis) -> None:
        boxes = axis.barh(list(values), list(values.values()), height=0.6, color=COLOURS[0])
        axis.bar_label(boxes, list(map(spelled.format, values.values())), padding=4, fontsize=9, color=INK,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        if mark:
            axis.axvline(mark[1], color=AXES, linestyle="--", linewidth=1.2, label=mark[0], zorder=0)
            legend_under(axis)
        axis.set_xlim(0, 1.25 * max(*values.values(), mark[1] if mark else 0.0, 1e-300))
        room = max(0, 4 - len(values)) / 2  # so that few bars are not thick
        axis.set_ylim(len(values) - 0.5 + room, -0.5 - room)
        axis.set_title(title, fontsize=10, color=INK)
        axis.set_xticks([])
        axis.tick_params(length=0, labelsize=9, labelcolor=INK)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.spines["left"].set_color(AXES)

    return draw_on


def _paint(axis, curve: Curve) -> None:
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


def logarithmic(axis, which: str = "xy", subs: Sequence[float] = ()) -> None:
    """Make axes logarithmic, after drawing, with numbers at `subs` times powers of ten, by default 1, 2 and 5 or 1."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name in which:
        getattr(axis, f"set_{name}scale")("log")
        low, high = getattr(axis, f"get_{name}lim")()
        line = getattr(axis, f"{name}axis")
        line.set_major_locator(LogLocator(subs=subs or ((1, 2, 5) if high < 500 * low else (1,))))
        line.set_major_formatter(FuncFormatter(lambda value, _: spell(float(f"{value:.3g}"))))
        line.set_minor_formatter(NullFormatter())


def dress(axis, title: str = "", across: str = "", up: str = "") -> None:
    """Give matplotlib axes the grid, ticks and spines of all plots, a title and labels."""
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=AXES, length=0, labelsize=8)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(AXES)
    axis.set_title(mathtext(title), fontsize=10, color=INK)
    axis.set_xlabel(mathtext(across), fontsize=8, color=AXES)
    axis.set_ylabel(mathtext(up), fontsize=8, color=AXES)
