"""One HTML page that needs no other file: style, plotly's script, figures made in Python, and page.js to draw them."""

import importlib.util
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Any

import numpy

from gptx.ingredients.log import now
from gptx.show.plots import AXES, COLOURS, DASHES, GRID, INK, SHRINK, Curve, Panel, stretches, thinned
from gptx.show.table import Table, section
from gptx.units.phrases import count
from gptx.units.printable import html, plotly, throughout

_HERE = Path(__file__).parent
_NAMES = ("ink", "muted", "line", *(f"curve{i}" for i in range(len(COLOURS))))
_LIGHT = (INK, AXES, GRID, *COLOURS)
_DARK = ("#e7eaee", "#98a2b0", "#2a313a",
        "#6ea2f5", "#f08a55", "#4cc38f", "#a794f0", "#e77fb0", "#d5a53a", "#45bcc8", "#f07470")  # fmt: skip
_DASHED = ["solid", *(",".join(f"{1.3 * gap:.3g}px" for gap in gaps) for _, gaps in DASHES[1:])]
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "triangle-down")  # as MARKERS
_WINDOWS = (1, 5, 10, 20, 50, 100, 200)  # steps that a line may be the mean of
_AXIS = {"gridcolor": "var(--line)", "zeroline": False, "linecolor": "var(--muted)", "automargin": True,
        "exponentformat": "SI", "title": {"font": {"size": 12, "color": "var(--muted)"}, "standoff": 6}}  # fmt: skip
_BELOW = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0}  # not under the tool bar
_LOOK: dict[str, Any] = {
    "margin": {"l": 46, "r": 8, "t": 6, "b": 38}, "hovermode": "closest", "hoverlabel": {"namelength": -1},
    "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"color": "var(--ink)", "size": 12, "family": "system-ui, sans-serif"},
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "var(--muted)", "activecolor": "var(--ink)"},
    "xaxis": _AXIS | {"rangemode": "tozero"}, "yaxis": _AXIS,
}  # fmt: skip


def whole_page(name: str, parts: Iterable[str], source: str, data: dict, command: str = "report") -> str:
    """A page of `parts` whose figures and choices are `data`; `source` and `command` say what it was made of and by."""
    page, style, script = ((_HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    style += f"{_palette(_LIGHT)}\n@media (prefers-color-scheme: dark) {{ {_palette(_DARK)} }}\n"
    told = json.dumps(throughout(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    inside = {"style": style, "parts": "\n".join(parts), "data": told, "library": library(), "script": script}
    about = {"title": html(name), "source": html(source), "command": command, "date": now()[:10]}
    return Template(page).substitute(inside | about)


def _palette(colours: Iterable[str]) -> str:
    return f":root {{ {' '.join(f'--{name}: {colour};' for name, colour in zip(_NAMES, colours, strict=True))} }}"


def library() -> str:
    """Plotly's script, out of the installed package without importing it."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise ValueError("the page draws with plotly, which is not installed: pip install plotly")
    return (Path(found.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def figured(traces: Sequence[Any], group: str = "", **layout) -> dict:
    """A Plotly figure as JSON, in the look of all pages. Figures of a `group` share their y-axis and its scale."""
    import plotly.graph_objects as go

    layout = {"yaxis": {"type": "linear"}, "meta": {"group": group}, "template": {"layout": _LOOK}} | layout
    return go.Figure(traces, layout).to_plotly_json()


def add_figure(figures: list[dict], figure: dict, title: str, note: str = "", *, scale: bool = True) -> str:
    """Add a figure to those of the page. Returns the HTML of its place, with a switch of its scale."""
    button = log_switch(figure["layout"]["meta"]["group"], "log") if scale else ""
    place = f'<div class="plot" data-figure="{len(figures)}"></div>'
    figures.append(figure)
    return f"<figure><h3>{html(title)} <small>{html(note)}</small>{button}</h3>{place}</figure>"


def add_panel(figures: list[dict], shown: Panel, points: int, *, legend: bool = False) -> str:
    """Add a panel of at most `points` points a curve; `legend` names curves. Returns the HTML of its place."""
    traces = [_trace(curve, points, legend) for curve in shown.curves if len(curve.steps)]
    yaxis = {"type": "log" if shown.logarithmic else "linear"}
    figure = figured(traces, shown.group or f"figure{len(figures)}", yaxis=yaxis, legend=_BELOW)
    return add_figure(figures, figure, shown.title, shown.unit, scale=not shown.group)


def _trace(curve: Curve, points: int, legend: bool):
    import plotly.graph_objects as go

    curve, width = stretches(curve, points) if curve.smooth else (curve, 0.0)
    steps, values = numpy.asarray(curve.steps, float), numpy.asarray(curve.values, float)
    kept = numpy.arange(len(steps)) if width or curve.texts else thinned(steps, values, points)
    colour, dash = f"var(--curve{curve.colour % len(COLOURS)})", _DASHED[curve.colour % len(_DASHED)]
    cross = {"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": colour}}
    looks: dict[str, dict[str, Any]] = {
        "line": {"line": {"width": 2, "dash": dash}, "opacity": curve.alpha},
        "dots": {"line": {"width": 2, "dash": dash}, "mode": "lines+markers",
                 "marker": {"symbol": _SYMBOLS[curve.colour % len(_SYMBOLS)], "size": 7}},
        "faint": {"line": {"width": 1}, "opacity": 0.35},
        "dashed": {"line": {"width": 1.5, "dash": "7px,4px"}},
        "abandoned": {"line": {"width": 1.5, "dash": "3px,3px"}, "mode": "lines+markers",
                      "marker": cross | {"size": [0] * (len(kept) - 1) + [9]}},
        "incidents": {"mode": "markers", "marker": cross},
    }  # fmt: skip
    texts = {"text": list(map(plotly, curve.texts)), "hovertemplate": "%{text}<extra></extra>"}
    ends = {"low": curve.low, "high": curve.high}
    meta = {name: getattr(curve, name) for name in ("arm", "key")}
    meta |= {"width": round(width, 3), "raw": bool(legend and width)}
    meta |= {name: six_digits(numpy.asarray(end, float)[kept]) for name, end in ends.items() if end is not None}
    trace = go.Scatter(mode="lines", name=plotly(curve.name), showlegend=bool(legend and curve.name), meta=meta,
                       x=six_digits(steps[kept]), y=six_digits(values[kept]), line={"color": colour})  # fmt: skip
    return trace.update(looks[curve.style]).update(texts if curve.texts else {})


def embedded(draw: Callable[[Path], None], text: str) -> str:
    """What `draw` writes into a .svg file as HTML in the page's colours, once more as a phone shows it."""
    found = []
    with TemporaryDirectory() as folder:
        for kind, scale in (("wide", (0.75, 10.0)), ("narrow", (1.0, 3.2))):
            file, context = Path(folder, f"{kind}.svg"), copy_context()
            context.run(SHRINK.set, scale)
            context.run(draw, file)
            found.append(_inline(file.read_text(encoding="utf-8"), kind, text))
    return f'<figure class="single">{"".join(found)}</figure>'


def _inline(svg: str, kind: str, text: str) -> str:
    """matplotlib's SVG as an element whose ids begin with `kind` and whose text of 8 points has at least 12 pixels."""
    colours = dict(zip((*_LIGHT, "#ffffff"), (*_NAMES, "card"), strict=True))
    width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    svg = re.sub(r"(?s)<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->|font-family: [^;\"]*", "", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{kind}-", svg.split(">", 3)[-1])
    svg = re.sub("|".join(colours), lambda found: f"var(--{colours[found[0]]})", svg)
    about = f'aria-label="{html(text)}" style="width: {1.6 * width:.0f}px; min-width: {1.5 * width:.0f}px"'
    return f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" {about}>{svg}'


def six_digits(values: Iterable[float]) -> list[float | None]:
    """Numbers to six digits, which is more than a screen shows; None for what is no finite number."""
    found = (float(f"{value:.6g}") if math.isfinite(value) else None for value in map(float, values))
    return [int(value) if value is not None and value.is_integer() else value for value in found]


def stroke(look: int) -> str:
    """A stroke in the colour and dashes of the `look`-th line."""
    colour, dash = f"var(--curve{look % len(COLOURS)})", _DASHED[look % len(_DASHED)].removeprefix("solid")
    line = f'<line x1="0" y1="4" x2="26" y2="4" stroke-width="2.5" stroke="{colour}" stroke-dasharray="{dash}"/>'
    return f'<svg width="26" height="8" aria-hidden="true">{line}</svg>'


def warned(warnings: Iterable[str]) -> str:
    told = "".join(f"<p>{html(text)}</p>" for text in warnings)
    return f'<div class="warning">{told}</div>' if told else ""


def folded(title: str, inside: str, note: object = "", *, shown: bool = False) -> str:
    """A part of the page that a click on its title unfolds; `shown`: only a phone folds it at first."""
    head = f"<summary><h2>{html(title)}</h2> <small>{html(note)}</small></summary>"
    return f'<details data-part="{html(title)}"{" open" * shown}>{head}{inside}</details>'


def verbatim(title: str, note: str, said: str) -> str:
    return f'<h3>{html(title)} <small>{html(note)}</small></h3><div class="card"><pre>{html(said)}</pre></div>'


def controls(axes: Sequence[str], smooth: int, *more: str) -> str:
    """The choice of what curves are drawn over, and of how many steps a line of training is the mean of."""
    over = menu("over", "x", [(name, name) for name in axes])
    windows = [(str(window), count(window, "step")) for window in sorted({*_WINDOWS, smooth})]
    return f'<div class="controls">{"".join((over, menu("training as the mean of", "smooth", windows), *more))}</div>'


def menu(label: str, key: str, options: Iterable[tuple[str, str]]) -> str:
    """A menu that sets one of the page's choices, which page.js selects in it."""
    told = (f'<option value="{html(value)}">{html(name)}</option>' for value, name in options)
    return f'<label>{html(label)} <select data-set="{key}">{"".join(told)}</select></label>'


def log_switch(group: str, text: str = "log scale") -> str:
    """The switch of a group of figures to a logarithmic axis and back."""
    return f'<button class="log" data-group="{group}" aria-pressed="false">{text}</button>'


def pairs(found: Iterable[tuple[str, Any]]) -> str:
    """Names, and what is known of each, as a table; lists with commas."""
    told = ((name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in found)
    return section(Table("", (), [each for each in told if each[1] not in ("", "None")], names=2))
