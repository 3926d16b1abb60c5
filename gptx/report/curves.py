"""The signals of runs as panels of curves, and how a panel is drawn with matplotlib."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy
from numpy import ndarray

from gptx.metrics import Metrics

POINTS = 1200  # of a curve that are drawn at most: the lowest and highest of each stretch, so that no spike is lost
COLOURS = 8  # as many as can be told apart; more runs begin again with dashes


@dataclass(frozen=True)
class Curve:
    """One line of a panel; `style` is line, faint (raw values behind a line), dots, dashed or band."""

    name: str
    steps: ndarray | Sequence[float]
    values: ndarray | Sequence[float]
    style: str = "line"
    colour: int = 0
    alpha: float = 1.0
    upper: ndarray | Sequence[float] | None = None  # of a band


@dataclass(frozen=True)
class Panel:
    """A signal over the updates of a run; without curves, `hint` says how to record it."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    log: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Theme:
    """Colours of a drawing: of text, of axes, of the grid, and of the curves in turn."""

    ink: str
    axes: str
    grid: str
    curves: tuple[str, ...]


LIGHT = Theme(
    "#1c2024", "#6b7280", "#e5e7eb",
    ("#2a6fdb", "#e0662b", "#168a63", "#6a4fc4", "#c03f7b", "#9a6a00", "#0b8793", "#d03b3b"),
)  # fmt: skip
STYLED = Theme("#010101", "#020202", "#030303", tuple(f"#0400{i:02x}" for i in range(COLOURS)))  # filled in by CSS
VARIABLES = {"#010101": "var(--ink)", "#020202": "var(--muted)", "#030303": "var(--line)"} | {
    colour: f"var(--curve{i})" for i, colour in enumerate(STYLED.curves)
}


def smoothed(values: ndarray, window: int) -> ndarray:
    """The mean of the last `window` values at each place, of as many as there are; what is not finite is left out."""
    finite = numpy.isfinite(values)
    sums, counts = (numpy.cumsum(x) for x in (numpy.where(finite, values, 0.0), finite.astype(float)))
    for total in (sums, counts):
        total[window:] = total[window:] - total[:-window].copy()
    return numpy.divide(sums, counts, out=numpy.full(len(values), numpy.nan), where=counts > 0)


def thinned(steps: ndarray, values: ndarray) -> tuple[ndarray, ndarray]:
    """At most POINTS points of a curve: the lowest and the highest of each stretch."""
    if len(steps) <= POINTS:
        return steps, values
    kept = {0, len(steps) - 1}
    for stretch in numpy.array_split(numpy.arange(len(steps)), POINTS // 2):
        if numpy.isfinite(values[stretch]).any():
            kept |= {stretch[numpy.nanargmin(values[stretch])], stretch[numpy.nanargmax(values[stretch])]}
    index = sorted(kept)
    return steps[index], values[index]


def of_run(metrics: Metrics, config: dict, smooth: int) -> list[Panel]:
    """The vital signs of one run: the five of the dashboard, then those of the observers that it had."""
    steps, loss = metrics["train/loss"]
    mean = smoothed(loss, smooth)
    clip, lengths = (config.get("clip") or {}).get("max_norm"), [steps.min(initial=1), steps.max(initial=1)]
    limit = [Curve(f"clipped above {clip:g}", lengths, [clip, clip], "dashed", 1)] if clip else []
    with numpy.errstate(over="ignore"):
        perplexity = numpy.exp(mean)
    norm = metrics["train/grad_norm"]
    return [
        Panel("Loss", "nats per token", (
            Curve("", steps, loss, "faint"), Curve("training", steps, mean),
            Curve("validation", *metrics["validation/loss"], "dots", 1),
        )),
        Panel("Perplexity", "equally likely tokens", (
            Curve("training", steps, perplexity),
            Curve("validation", *metrics["validation/perplexity"], "dots", 1),
        ), log=True),
        Panel("Gradient norm", "before clipping", (
            Curve("", *norm, "faint"), Curve("all gradients", norm[0], smoothed(norm[1], smooth)), *limit,
        ), log=True),
        Panel("Learning rate", "of the first group", (Curve("", *metrics["train/lr"]),)),
        ratios(metrics),
        *extras(metrics, smooth),
    ]  # fmt: skip


def ratios(metrics: Metrics) -> Panel:
    """Size of the update over size of the weights, per matrix, beside AdamW's equilibrium and the rule of 1e-3."""
    names = families(metrics, r"updates/(?!median$|equilibrium$).+")
    curves = [Curve("" if i else "each matrix", *metrics[key], "faint") for i, key in enumerate(names)]
    steps = metrics["updates/median"][0] if not names else metrics[names[0]][0]
    if len(metrics["updates/median"][0]):
        curves.append(Curve("median", *metrics["updates/median"]))
    if len(metrics["updates/equilibrium"][0]):
        curves.append(Curve("AdamW's equilibrium", *metrics["updates/equilibrium"], "dashed", 1))
    if curves:
        curves.append(Curve("rule of thumb 1e-3", [steps.min(), steps.max()], [1e-3, 1e-3], "dashed", 2))
    return Panel("Update / weight", "ratio of the norms", tuple(curves), log=True,
                 hint="not recorded; train with observe=[validation,updates]")  # fmt: skip


def extras(metrics: Metrics, smooth: int) -> Iterator[Panel]:
    """A panel for each further family of numbers that the run recorded."""
    if families(metrics, "clip/share"):
        yield Panel("Clip pressure", "share of updates clipped", (Curve("", *metrics["clip/share"]),))
    if families(metrics, "noise_scale/tokens"):
        steps, tokens = metrics["noise_scale/tokens"]
        low, high = (metrics[f"noise_scale/{end}"] for end in ("low", "high"))
        band = [Curve("band", low[0], low[1], "band", upper=high[1])] if len(low[0]) == len(high[0]) > 0 else []
        yield Panel("Gradient noise scale", "tokens", (*band, Curve("estimate", steps, tokens)), log=True)
    if blocks := families(metrics, r"activations/.+/rms"):
        curves = tuple(
            Curve(key.split("/")[1] if i in (0, len(blocks) - 1) else "", *metrics[key],
                  alpha=0.3 + 0.7 * (i + 1) / len(blocks))
            for i, key in enumerate(blocks)
        )  # fmt: skip
        yield Panel("Activations", "root mean square, by block", curves, log=True)
    if families(metrics, "throughput/mfu"):
        yield Panel("Model FLOPs utilisation", "of the peak", (Curve("", *metrics["throughput/mfu"]),))
    steps, speed = metrics["train/tokens_per_second"]
    yield Panel("Speed", "tokens per second", (
        Curve("", steps, speed, "faint"), Curve("", steps, smoothed(speed, smooth)),
    ))  # fmt: skip


def of_runs(runs: dict[str, Metrics], smooth: int) -> list[Panel]:
    """Loss, gradient norm and learning rate of several runs, on the same axes, one colour a run."""
    loss, norm, rate = [], [], []
    for i, (name, metrics) in enumerate(runs.items()):
        steps, values = metrics["train/loss"]
        loss += [
            Curve("", steps, smoothed(values, smooth), colour=i, alpha=0.45),
            Curve(name, *metrics["validation/loss"], "dots", i),
        ]
        steps, values = metrics["train/grad_norm"]
        norm.append(Curve("", steps, smoothed(values, smooth), colour=i))
        rate.append(Curve("", *metrics["train/lr"], colour=i))
    return [
        Panel("Loss", "nats per token: training, and dots of validation", tuple(loss)),
        Panel("Gradient norm", "before clipping", tuple(norm), log=True),
        Panel("Learning rate", "of the first group", tuple(rate)),
    ]


def families(metrics: Metrics, pattern: str) -> list[str]:
    """The keys that were recorded and match, in the order of their first appearance."""
    return [key for key in metrics.columns if re.fullmatch(pattern, key)]


def draw(axis, panel: Panel, theme: Theme) -> None:
    """Draw a panel on matplotlib axes."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    for curve in panel.curves:
        paint(axis, curve, theme)
    if not any(len(curve.steps) for curve in panel.curves):
        axis.text(0.5, 0.5, (panel.hint or "nothing recorded").replace("; ", "\n"), transform=axis.transAxes,
                  ha="center", va="center", color=theme.axes, fontsize=9)  # fmt: skip
        axis.set_axis_off()
        return
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
    axis.grid(color=theme.grid, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(which="both", colors=theme.axes, length=0, labelsize=8)
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.axes)
    if any(curve.name for curve in panel.curves) and len(panel.curves) <= 40:
        legend = axis.legend(fontsize=8, frameon=False, labelcolor=theme.ink, loc="best")
        legend.set_in_layout(False)


def paint(axis, curve: Curve, theme: Theme) -> None:
    """Draw one curve."""
    colour, label = theme.curves[curve.colour % len(theme.curves)], curve.name or None
    steps, values = numpy.asarray(curve.steps, dtype=float), numpy.asarray(curve.values, dtype=float)
    if curve.style == "band":
        axis.fill_between(steps, values, curve.upper, color=colour, alpha=0.18, linewidth=0, label=label)
        return
    dashes = "--" if curve.style == "dashed" or curve.colour >= len(theme.curves) else "-"
    looks: dict[str, dict[str, Any]] = {
        "faint": {"linewidth": 0.7, "alpha": 0.28},
        "dots": {"linewidth": 1.2, "marker": "o", "markersize": 3.5},
        "dashed": {"linewidth": 1.1},
        "line": {"linewidth": 1.6, "alpha": curve.alpha},
    }
    axis.plot(*thinned(steps, values), linestyle=dashes, color=colour, label=label, **looks[curve.style])


def spell(value: float) -> str:
    """A number as a label of an axis: 20k, 0.5, 3e-4."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.6g}"
    if abs(value) >= 1e4:
        for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.4g}{unit}"
    digits, power = f"{value:.3e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def svg(panel: Panel) -> str:
    """A panel as an inline SVG whose colours are variables of the page's CSS."""
    with drawing():
        from matplotlib import pyplot

        figure, axis = pyplot.subplots(figsize=(4.3, 2.75), layout="constrained")
        draw(axis, panel, STYLED)
        file = StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        pyplot.close(figure)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)  # several drawings share a page
    named = rf'<svg \1 role="img" aria-label="{panel.title}">'
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', named, text, count=1)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def picture(panels: list[Panel], file, title: str, kind: str) -> None:
    """All panels in one picture; `kind` is png or svg."""
    with drawing():
        from matplotlib import pyplot

        columns = min(3, len(panels))
        rows = -(-len(panels) // columns)
        size = 5.2 * columns, 3.5 * rows + 0.5
        figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
        figure.suptitle(title, fontsize=12, color=LIGHT.ink)
        for axis, panel in zip(axes.flat, panels, strict=False):
            draw(axis, panel, LIGHT)
            axis.set_title(f"{panel.title}, {panel.unit}", fontsize=10, color=LIGHT.ink)
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_axis_off()
        for axis in axes[-1]:
            axis.set_xlabel("update", fontsize=8, color=LIGHT.axes)
        figure.savefig(file, format=kind, dpi=120)
        pyplot.close(figure)


def drawing():
    """Context in which matplotlib needs no screen and draws the same file every time."""
    import matplotlib

    matplotlib.use("Agg")
    return matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gptx", "figure.dpi": 100})
