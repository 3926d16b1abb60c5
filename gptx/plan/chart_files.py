"""Charts of laws as files: a page by Plotly and a picture by matplotlib, of the same series in the same look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from gptx.estimate.laws import PUBLISHED, RULE, Law
from gptx.files import write_text
from gptx.plan.chart import Chart, Series, best_place, chart_of, round_numbers
from gptx.plan.split import Split, by_rule
from gptx.show.plots import AXES, COLOURS, INK, drawing, dress, logarithmic
from gptx.show.table import Table
from gptx.units.amounts import amount, power
from gptx.units.printable import html, mathtext, plotly

_PANELS = {  # title, label of the axis, and how its numbers are spelled
    "flops": ("Loss over compute, by size", "FLOPs of the training, C = 6 N D", power),
    "parameters": ("Loss over size, by budget", "parameters, N", amount),
}


@dataclass(frozen=True)
class _Look:
    """Of a role: a line of some width, or a marker."""

    colour: int | None  # of the palette; None is ink
    width: float = 0.0
    dash: str = "solid"
    marker: str = ""
    size: float = 6.0
    alpha: float = 1.0
    loss: str = "loss by the law"  # what the losses are; "" for what has nothing to say


_LOOKS = {
    "now": _Look(1, 1.5, loss=""), "size": _Look(6, 1.5), "budget": _Look(6, 1.5), "asked": _Look(1, 2.5),
    "best": _Look(None, 2.5), "rule": _Look(4, 2, "dot"), "stem": _Look(2, 1.5, loss=""),
    "minimum": _Look(6, marker="circle"), "spread": _Look(6, 7, alpha=0.35, loss=""),
    "known": _Look(None, marker="circle-open", size=9), "optimum": _Look(1, marker="diamond", size=11),
    "runs": _Look(2, marker="square", size=8, loss="measured loss"),
}  # fmt: skip


def chart(target: Path, laws: Sequence[Law], *, below: Table | None = None, **places: Any) -> None:
    """Write the chart of laws, of the `places` of `chart_of`: a page that needs no other file (.html), which ends with
    the table `below`, or a picture (.png, .svg). Raises ValueError for another suffix, and for a run without a loss."""
    if target.suffix not in (".html", ".png", ".svg"):
        raise ValueError(f"out={target}: a chart is written as .html, .png or .svg")
    charts = [chart_of(law, **places) for law in laws]
    if target.suffix == ".html":
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, _page(charts, below))
        return
    with drawing(target, 14.4, 6.8 * len(charts)) as figure:
        for part, shown in zip(figure.subfigures(len(charts), 1, squeeze=False).flat, charts, strict=True):
            _draw(part, shown)


def chart_reading(chart: Chart) -> str:
    """What the law says of the user's budget, compared with the rule; without one, of the ends of its runs."""
    law, best = chart.law, chart.asked
    if best is None:
        ends = (best_place(law, end) for end in chart.fitted or chart.flops)
        return f"{law.name}'s law puts {' and '.join(f'{_spent(end)} at {power(end.flops)} FLOPs' for end in ends)}."
    rule, spread, far = by_rule(flops=best.flops).by(law), chart.spread(best.flops), ""
    if chart.fitted and chart.outside(best.flops, best.flops):
        size, end = ("largest", chart.fitted[1]) if best.flops > chart.fitted[1] else ("smallest", chart.fitted[0])
        far = f" That is {amount(best.flops / end)} times the {size} run that it was fitted to: a guess."
    drawn = f" (95 % of its draws: {' to '.join(map(amount, spread))})" if spread else ""
    puts = f"{law.name}'s law puts {_spent(best)}{drawn}, for a loss of {best.loss:.3f} {law.units}"
    more = f"{max(0.0, rule.loss - best.loss):.3f} more by that law"
    return f"At {power(best.flops)} FLOPs {puts}; the rule of {RULE:g} puts {_spent(rule)}, for {more}.{far}"


def _spent(place: Split) -> str:
    return f"{place} ({amount(place.ratio)} per parameter)"


def notes(chart: Chart) -> list[str]:
    """What a reader must know before trusting the chart."""
    law, (low, high) = chart.law, map(power, chart.fitted or chart.flops)
    foreign = ": these only agree if text and tokenizer are those of the law" * (law in PUBLISHED.values())
    said = [
        (True, f"Losses are {law.units}, of the text and the tokenizer that the law was fitted to; losses on another "
               "text or tokenizer cannot be compared."),
        (chart.fitted, f"Fitted to runs of {low} to {high} FLOPs; beyond them, shaded and dashed, it is extrapolated."),
        (chart.known, "Rings are models of others at the loss that the law predicts, not at a measured one."),
        (chart.runs, f"Squares are runs at their measured loss, joined with the loss that the law predicts{foreign}."),
        (law.draws, f"Bands and bars hold 95 % of {len(law.draws)} draws of a bootstrap over the runs."),
        (law.source, f"Source: {law.source}."),
    ]  # fmt: skip
    return [note for holds, note in said if holds]


def models(chart: Chart) -> Table:
    """Models, by their number on the chart, and runs, compared with what the law predicts and would spend FLOPs on."""
    rows = []
    for number, place in enumerate((*chart.known, *chart.runs), start=1):
        known, best = number <= len(chart.known), best_place(chart.law, place.flops)
        name, loss = (f"{number}  {place.name}", "-") if known else (place.name, f"{place.loss:.3f}")
        losses = loss, f"{place.by(chart.law).loss:.3f}", " on ".join(best.cells[:2]), f"{best.loss:.3f}"
        rows.append((name, *place.cells, power(place.flops), *losses, place.source))
    columns = ("", "parameters", "tokens", "tokens per parameter", "FLOPs", "loss measured", "predicted",
               "best with as many FLOPs", "loss of that", "source")  # fmt: skip
    return Table("", columns, rows, f"Predicted and best by {chart.law.name}'s law.")


def _page(charts: Sequence[Chart], below: Table | None) -> str:
    from gptx.show import page
    from gptx.show.table import section

    names, asked, figures = [chart.law.name for chart in charts], charts[0].asked, list[dict]()
    title = f"What {power(asked.flops)} FLOPs buy" if asked else "What FLOPs buy"
    menu = page.menu("law", "key", zip(map(str, range(len(names))), names, strict=True))
    body = [f"<h1>{html(title)}</h1>", *[f'<div class="controls">{menu}</div>'] * (len(charts) > 1)]
    for i, chart in enumerate(charts):
        drawn = {title: _figure(chart, across) for across, (title, *_) in _PANELS.items()}
        plots = [page.add_figure(figures, figure, title, scale=False) for title, figure in drawn.items()]
        told = "".join(f'<p class="note">{html(note)}</p>' for note in notes(chart))
        table = f"<h2>Models on the chart</h2>{section(models(chart))}" if chart.known or chart.runs else ""
        body.append(f'<div data-key="{i}"><p class="question">{html(chart_reading(chart))}</p>'
                    f'<div class="columns tall">{"".join(plots)}</div>{told}{table}</div>')  # fmt: skip
    body += [f"<h2>The same budget by each law</h2>{section(below)}"] if below else []
    return page.whole_page(title, body, ", ".join(names), {"figures": figures, "key": "0"}, command="plan")


def _figure(chart: Chart, across: str) -> dict:
    from gptx.show.page import figured

    _, label, spelled = _PANELS[across]
    numbers = round_numbers(*chart.ends(across))
    x, y = ([math.log10(low) - 1e-4, math.log10(high) + 1e-4] for low, high in (chart.ends(across), chart.losses))
    shade = {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "line": {"width": 0}, "layer": "below",
             "fillcolor": "var(--muted)", "opacity": 0.12}  # fmt: skip
    return figured(
        [_trace(each, across) for each in chart.over[across]],
        xaxis={"type": "log", "range": x, "title": {"text": label}, "tickvals": numbers,
               "ticktext": [spelled(number) for number in numbers]},
        yaxis={"type": "log", "range": y, "nticks": 8, "title": {"text": plotly(f"loss, {chart.law.units}")}},
        shapes=[shade | {"x0": low, "x1": high} for low, high, beyond in chart.parts() if beyond and across == "flops"],
        legend={"orientation": "v", "x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
        margin={"l": 50, "r": 46, "t": 22, "b": 40},
    )  # fmt: skip


def _trace(each: Series, across: str) -> Any:
    import plotly.graph_objects as go

    from gptx.show.page import six_digits

    look = _LOOKS[each.role]
    colour = "var(--ink)" if look.colour is None else f"var(--curve{look.colour})"
    ring = {"width": 2 * (look.marker == "circle-open"), "color": colour}
    mode = ["lines"] * bool(look.width) + ["markers"] * bool(look.marker) + ["text"] * bool(each.labels)

    def told(place: Split) -> str:
        size, length, ratio = place.cells
        spent = f"{size} parameters<br>{length} tokens, {ratio} per parameter<br>{power(place.flops)} FLOPs"
        return f"{f'<b>{plotly(place.name)}</b><br>' * bool(place.name)}{spent}<br>{look.loss} {place.loss:.3f}"

    return go.Scatter(
        x=six_digits(getattr(place, across) for place in each.places),
        y=six_digits(place.loss for place in each.places),
        name=each.name, showlegend=bool(each.name), mode="+".join(mode), opacity=look.alpha * each.depth,
        line={"color": colour, "width": look.width, "dash": "dash" if each.beyond else look.dash}, cliponaxis=False,
        marker={"symbol": look.marker or "circle", "size": look.size, "color": colour, "line": ring},
        text=[plotly(label) for label in each.labels], textposition="top right", textfont={"size": 11, "color": colour},
        hoverinfo="text" if look.loss else "skip", hovertext=[told(place) for place in each.places],
        meta=dict(zip(("low", "high"), zip(*each.band, strict=True), strict=True)) if each.band else {},
    )  # fmt: skip


def _draw(figure: Any, chart: Chart) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    figure.suptitle(mathtext(fill(chart_reading(chart), 165)), fontsize=11, color=INK, x=0.012, ha="left")
    for axis, across in zip(figure.subplots(1, 2, sharey=True), _PANELS, strict=True):
        title, label, spelled = _PANELS[across]
        axis.set(xlim=chart.ends(across), ylim=chart.losses)
        logarithmic(axis, subs=(1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7))
        axis.xaxis.set_major_locator(FixedLocator(round_numbers(*chart.ends(across))))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda number, _, spelled=spelled: spelled(number)))
        for low, high, beyond in chart.parts():
            if beyond and across == "flops":
                axis.axvspan(low, high, color="#f1f3f6", linewidth=0, zorder=0)
        for each in chart.over[across]:
            _paint(axis, each, across)
        dress(axis, "", label, f"loss, {chart.law.units}" if across == "flops" else "")
        axis.set_title(title, fontsize=10, color=INK, pad=20)
        axis.legend(fontsize=8, frameon=False, labelcolor=INK)
    numbered = "; ".join(f"{number} {place.name}" for number, place in enumerate(chart.known, start=1))
    below = " ".join([*notes(chart), *[f"Models: {numbered}."] * bool(numbered)])
    figure.supxlabel(mathtext(fill(below, 220)), fontsize=8, color=AXES, x=0.012, ha="left")


def _paint(axis: Any, each: Series, across: str) -> None:
    look = _LOOKS[each.role]
    colour = INK if look.colour is None else COLOURS[look.colour]
    x, losses = [getattr(place, across) for place in each.places], [place.loss for place in each.places]
    if each.band:
        axis.fill_between(x, *zip(*each.band, strict=True), color=colour, alpha=0.15, linewidth=0)
    dash = {"solid": "-", "dash": (0, (4, 2)), "dot": (0, (1.2, 1.2))}["dash" if each.beyond else look.dash]
    marker = {"": "", "circle": "o", "circle-open": "o", "square": "s", "diamond": "D"}[look.marker]
    axis.plot(x, losses, color=colour, linewidth=0.8 * look.width, linestyle=dash if look.width else "", marker=marker,
              markersize=0.7 * look.size, alpha=look.alpha * each.depth, label=mathtext(each.name) or None,
              markerfacecolor="white" if look.marker == "circle-open" else "auto")  # fmt: skip
    for place, up, label in zip(x, losses, each.labels, strict=False):
        axis.annotate(mathtext(label), (place, up), (3, 3), textcoords="offset points", fontsize=8.5, color=colour,
                      annotation_clip=False)  # fmt: skip
