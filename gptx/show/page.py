"""A report as one HTML page that needs nothing beside itself: style, script, plotly and data are in it."""

import importlib.util
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from gptx.ingredients.log import now
from gptx.report.arms import Arm
from gptx.show.curves import Panel
from gptx.show.table import Table
from gptx.units.phrases import count
from gptx.units.printable import html

HERE = Path(__file__).parent
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
WINDOWS = (1, 5, 10, 20, 50, 100, 200)  # updates that a line may be the mean of


def whole(name: str, parts: Iterable[str], source: str, data: str, *, command="report", script=HERE / "page.js") -> str:
    """The parts in a page with its style, the script that draws and the data that it draws."""
    made = f"Made of <code>{html(source)}</code> by <code>python -m gptx.{command}</code>, {now()[:10]}."
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{html(name)}</title>"
        f"<style>{(HERE / 'page.css').read_text(encoding='utf-8')}</style></head><body><main>\n"
        "<noscript><p class='warning'>The plots need JavaScript; a .png has them without.</p></noscript>"
        + "\n".join(parts)
        + f"\n<footer>{made}</footer></main>\n"
        f'<script type="application/json" id="data">{data}</script>\n'
        f"<script>{library()}</script>\n"
        + "".join(f"<script>{file.read_text(encoding='utf-8')}</script>\n" for file in (HERE / "look.js", script))
        + "</body></html>\n"
    )


def library() -> str:
    """Plotly's script, out of the installed package without importing it."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise ValueError("the page draws with plotly, which is not installed: pip install plotly")
    return (Path(found.origin).parent / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def heading(text: str, state: str) -> str:
    pill = f' <span class="state {html(state)}">{html(state)}</span>' if state else ""
    return f"<h1>{html(text)}{pill}</h1>"


def warned(told: Iterable[str]) -> str:
    return '<div class="warning">' + "".join(f"<p>{html(text)}</p>" for text in told) + "</div>"


def tiles(numbers: list[tuple[str, str]]) -> str:
    cells = [f'<div class="tile"><b>{html(value)}</b><span>{html(name)}</span></div>' for value, name in numbers]
    return f'<div class="tiles">{"".join(cells)}</div>'


def grid(panels: Sequence[Panel], first: int = 0, kind: str = "panels") -> str:
    """Places for panels, the first of which is the page's `first`; one without curves says how to record them."""
    return f'<div class="{kind}">{"".join(figure(panel, first + i) for i, panel in enumerate(panels))}</div>'


def figure(panel: Panel, place: int) -> str:
    group = panel.group or f"p{place}"
    scale = f'<button class="log" data-group="{group}" aria-pressed="false">log</button>' if not panel.group else ""
    inside = f'<div class="plot" data-panel="{place}"></div>'
    if panel.empty:
        inside, scale = f'<div class="missing"><div>{html(panel.hint or "nothing recorded")}</div></div>', ""
    return f"<figure><h3>{html(panel.title)} <small>{html(panel.unit)}</small>{scale}</h3>{inside}</figure>"


def controls(*parts: str) -> str:
    return f'<div class="controls">{"".join(parts)}</div>'


def menu(label: str, key: str, options: Sequence[tuple[str, str]], chosen: str = "") -> str:
    """A menu that sets one of the page's choices."""
    inside = "".join(option(value, name, value == chosen) for value, name in options)
    return f'<label>{html(label)} <select data-set="{key}">{inside}</select></label>'


def option(value: str, name: str, chosen: bool) -> str:
    return f'<option value="{html(value)}"{" selected" * chosen}>{html(name)}</option>'


def axes(arms: Sequence[Arm]) -> str:
    """The choice of what lines are drawn over: what every arm can tell."""
    clocks = [arm.clock for arm in arms if arm.clock["steps"]]
    known = {"updates": True, "tokens": bool(clocks),
             "FLOPs": bool(clocks) and all(clock["flops_per_token"] for clock in clocks),
             "time": bool(clocks) and all(len(clock["minutes"]) for clock in clocks)}  # fmt: skip
    return menu("over", "x", [(name, name) for name, told in known.items() if told], "updates")


def smoothing(smooth: int) -> str:
    """The choice of how many updates a line of training is the mean of."""
    options = [(str(window), count(window, "update")) for window in sorted({*WINDOWS, smooth})]
    return menu("training as the mean of", "smooth", options, str(smooth))


def logarithm(group: str) -> str:
    return f'<button class="log" data-group="{group}" aria-pressed="false">log scale</button>'


def pairs(found: list[tuple[str, str]]) -> str:
    lines = "".join(f'<tr><th>{html(name)}</th><td class="wide">{html(text)}</td></tr>' for name, text in found)
    return f'<div class="card"><table>{lines}</table></div>'


def table(found: Table) -> str:
    """A table with its title and note; columns of numbers stand to the right, **text** is strong."""
    numbers = [i >= max(1, found.names) for i in range(len(found.columns))]
    head = "".join(entry("th", name, right) for name, right in zip(found.columns, numbers, strict=True))
    rows = ["".join(entry("td", text, right) for text, right in zip(row, numbers, strict=True)) for row in found.rows]
    note = f'<p class="note">{html(found.note)}</p>' if found.note else ""
    title = f"<h3>{html(found.title[:1].upper() + found.title[1:])}</h3>" if found.title else ""
    inside = f"<thead><tr>{head}</tr></thead>{''.join(f'<tr>{row}</tr>' for row in rows)}"
    return f'<section>{title}<div class="card"><table>{inside}</table></div>{note}</section>'


def entry(tag: str, text: str, right: bool) -> str:
    strong = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html(text))
    kind = ' class="number"' * right
    return f"<{tag}{kind}>{strong}</{tag}>"


def folded(summary: str, inside: str) -> str:
    """What is shown when asked for."""
    return f"<details><summary>{html(summary)}</summary>{inside}</details>"
