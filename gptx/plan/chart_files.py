"""Charts of laws as files: a page by Plotly and a picture by matplotlib, of the same series in the same look."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from gptx.estimate.laws import Law
from gptx.files import write_text
from gptx.plan.chart import Chart, Point, Series, chart_of, round_numbers
from gptx.plan.chart_words import budgets, chart_reading, models, notes, per_parameter
from gptx.show.plots import AXES, COLOURS, INK, drawing, dress, logarithmic
from gptx.units.amounts import amount, power
from gptx.units.printable import html, mathtext, plotly

_TITLES = {"flops": "Loss over compute, by size", "parameters": "Loss over size, by budget"}
_AXES = {"flops": "FLOPs of the training, C = 6 N D", "parameters": "parameters, N"}
_SPELLED = {"flops": power, "parameters": amount}


@dataclass(frozen=True)
class _Look:
    """Of a role: a line of some width, or a marker."""

    colour: int | None  # of the palette; None is ink
    width: float = 0.0
    dash: str = "solid"
    marker: str = ""
    size: float = 6.0
    alpha: float = 1.0
    side: str = "middle right"  # of a place, on which its label stands
    loss: str = "loss by the law"  # what the losses are; "" for what has nothing to say


_LOOKS = {
    "now": _Look(1, 1.5, loss=""),
    "size": _Look(6, 1.5, side="top right"),
    "budget": _Look(6, 1.5),
    "asked": _Look(1, 2.5),
    "touch": _Look(6, marker="circle"),
    "minimum": _Look(6, marker="circle"),
    "spread": _Look(6, 7, alpha=0.35, loss=""),
    "best": _Look(None, 2.5),
    "rule": _Look(4, 2, "dot"),
    "known": _Look(None, marker="circle-open", size=9),
    "stem": _Look(2, 1.5, loss=""),
    "runs": _Look(2, marker="square", size=8, loss="measured loss"),
    "optimum": _Look(1, marker="diamond", size=11),
}


def chart(
    target: Path,
    laws: Sequence[Law],
    *,
    flops: float | None = None,
    known: Iterable[tuple[str, float, float]] = (),
    runs: Iterable[tuple[str, float, float, float]] = (),
) -> None:
    """Write the chart of laws: a page that needs no other file (.html), or a picture (.png, .svg).

    `flops` is the user's budget; `known` are names, parameters and tokens of models, `runs` also have the measured
    loss. Raises ValueError for another suffix, and for a run without a loss.
    """
    if target.suffix not in (".html", ".png", ".svg"):
        raise ValueError(f"out={target}: a chart is written as .html, .png or .svg")
    known, runs = list(known), list(runs)
    charts = [chart_of(law, flops=flops, known=known, runs=runs) for law in laws]
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".html":
        write_text(target, _page(charts))
        return
    with drawing(target, 14.4, 6.8 * len(charts)) as figure:
        for part, shown in zip(figure.subfigures(len(charts), 1, squeeze=False).flat, charts, strict=True):
            _draw(part, shown)


def _page(charts: Sequence[Chart]) -> str:
    """A page of charts, of which one is shown at a time."""
    from gptx.show import page
    from gptx.show.table import section

    names, asked, figures = [chart.law.name for chart in charts], charts[0].asked, list[dict]()
    title = f"What {power(asked.flops)} FLOPs buy" if asked else "What FLOPs buy"
    menu = page.menu("law", "key", [(str(i), name) for i, name in enumerate(names)])
    body = [f"<h1>{html(title)}</h1>", *[f'<div class="controls">{menu}</div>'] * (len(charts) > 1)]
    for i, chart in enumerate(charts):
        plots = [page.add_figure(figures, _figure(chart, across), _TITLES[across], scale=False) for across in _TITLES]
        below = "".join(f'<p class="note">{html(note)}</p>' for note in notes(chart))
        table = f"<h2>Models on the chart</h2>{section(models(chart))}" if chart.known or chart.runs else ""
        body.append(f'<div data-key="{i}"><p class="question">{html(chart_reading(chart))}</p>'
                    f'<div class="columns tall">{"".join(plots)}</div>{below}{table}</div>')  # fmt: skip
    if asked:
        body.append(f"<h2>The same budget by each law</h2>{section(budgets(charts))}")
    return page.whole_page(title, body, ", ".join(names), {"figures": figures, "key": "0"}, command="plan")


def _figure(chart: Chart, across: str) -> dict:
    """A figure of Plotly's."""
    from gptx.show.page import figured

    (low, high), (floor, ceiling) = getattr(chart, across), chart.losses
    numbers = round_numbers(low, high)
    ends = [[math.log10(a) - 1e-4, math.log10(b) + 1e-4] for a, b in ((low, high), (floor, ceiling))]  # with their ends
    shade = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "line": {"width": 0}, "layer": "below",
             "fillcolor": "var(--muted)", "opacity": 0.12}  # fmt: skip
    return figured(
        [_trace(each, across) for each in chart.over[across]],
        xaxis={"type": "log", "range": ends[0], "title": {"text": _AXES[across]}, "tickvals": numbers,
               "ticktext": [_SPELLED[across](number) for number in numbers]},
        yaxis={"type": "log", "range": ends[1], "nticks": 8, "title": {"text": plotly(f"loss, {chart.law.units}")}},
        shapes=[shade | {"x0": first, "x1": last} for first, last in chart.beyond if across == "flops"],
        legend={"orientation": "v", "x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
        margin={"l": 50, "r": 46, "t": 22, "b": 40},
    )  # fmt: skip


def _trace(each: Series, across: str) -> Any:
    import plotly.graph_objects as go

    look = _LOOKS[each.role]
    colour = "var(--ink)" if look.colour is None else f"var(--curve{look.colour})"
    ring = {"width": 2 * (look.marker == "circle-open"), "color": colour}
    mode = ["lines"] * bool(look.width) + ["markers"] * bool(look.marker) + ["text"] * bool(each.labels)
    return go.Scatter(
        x=[float(f"{getattr(place, across):.6g}") for place in each.places],
        y=[float(f"{place.loss:.6g}") for place in each.places],
        name=each.name, showlegend=bool(each.name), mode="+".join(mode), opacity=look.alpha * each.depth,
        line={"color": colour, "width": look.width, "dash": "dash" if each.beyond else look.dash}, cliponaxis=False,
        marker={"symbol": look.marker or "circle", "size": look.size, "color": colour, "line": ring},
        text=[plotly(label) for label in each.labels], textposition=look.side, textfont={"size": 11, "color": colour},
        hoverinfo="text" if look.loss else "skip", hovertext=[_hover(place, look.loss) for place in each.places],
        meta={"low": list(each.low), "high": list(each.high)} if len(each.low) else {},
    )  # fmt: skip


def _hover(place: Point, loss: str) -> str:
    """All about a place, in lines."""
    lines = [f"<b>{plotly(place.name)}</b>"] * bool(place.name) + [
        f"{amount(place.parameters)} parameters",
        f"{amount(place.tokens)} tokens, {per_parameter(place)} per parameter",
        f"{power(place.flops)} FLOPs",
        f"{loss} {place.loss:.3f}",
    ]
    return "<br>".join(lines)


def _draw(figure: Any, chart: Chart) -> None:
    """Draw a chart on a figure of matplotlib."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    figure.suptitle(mathtext(fill(chart_reading(chart), 165)), fontsize=11, color=INK, x=0.012, ha="left")
    for axis, across in zip(figure.subplots(1, 2, sharey=True), _TITLES, strict=True):
        spelled = _SPELLED[across]
        axis.set(xlim=getattr(chart, across), ylim=chart.losses)
        logarithmic(axis, subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7))
        axis.xaxis.set_major_locator(FixedLocator(round_numbers(*getattr(chart, across))))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda number, _, spelled=spelled: spelled(number)))
        for low, high in chart.beyond if across == "flops" else ():
            axis.axvspan(low, high, color="#f1f3f6", linewidth=0, zorder=0)
        for each in chart.over[across]:
            _paint(axis, each, across)
        dress(axis, "", _AXES[across], f"loss, {chart.law.units}" if across == "flops" else "")
        axis.set_title(_TITLES[across], fontsize=10, color=INK, pad=20)
        axis.legend(fontsize=8, frameon=False, labelcolor=INK)
    numbered = "; ".join(f"{number} {place.name}" for number, place in enumerate(chart.known, start=1))
    below = " ".join([*notes(chart), *[f"Models: {numbered}."] * bool(numbered)])
    figure.supxlabel(mathtext(fill(below, 220)), fontsize=8, color=AXES, x=0.012, ha="left")


def _paint(axis: Any, each: Series, across: str) -> None:
    look = _LOOKS[each.role]
    colour = INK if look.colour is None else COLOURS[look.colour]
    x, losses = [getattr(place, across) for place in each.places], [place.loss for place in each.places]
    if len(each.low):
        axis.fill_between(x, each.low, each.high, color=colour, alpha=0.15, linewidth=0)
    dash = {"solid": "-", "dash": (0, (4, 2)), "dot": (0, (1.2, 1.2))}["dash" if each.beyond else look.dash]
    marker = {"": "", "circle": "o", "circle-open": "o", "square": "s", "diamond": "D"}[look.marker]
    inside = {"circle-open": "white"}.get(look.marker, "auto")
    axis.plot(x, losses, color=colour, linewidth=0.8 * look.width, linestyle=dash if look.width else "", marker=marker,
              markersize=0.7 * look.size, alpha=look.alpha * each.depth, label=mathtext(each.name) or None,
              markerfacecolor=inside)  # fmt: skip
    aside, vertical = ((3, 3), "bottom") if look.side == "top right" else ((5, 0), "center")
    for place, up, label in zip(x, losses, each.labels, strict=False):
        axis.annotate(mathtext(label), (place, up), aside, textcoords="offset points", fontsize=8.5, color=colour,
                      va=vertical, annotation_clip=False)  # fmt: skip
