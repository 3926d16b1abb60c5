"""One table for every place: the terminal, Markdown and HTML."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from gptx.units.phrases import capital
from gptx.units.printable import html, md


@dataclass(frozen=True)
class Table:
    """Cells as text; the first `names` columns name the rows, others are numbers; `**` around a cell marks the best."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    names: int = 1


_ROWS = 8  # a longer table of arms is folded


def markdown(shown: Table) -> str:
    """A table of GitHub's Markdown with its title and note; folded if it is long."""
    if len(shown.rows) > _ROWS:
        return f"<details><summary>{html(shown.title)}</summary>\n\n{grid(shown)}\n\n</details>"
    return f"### {md(shown.title)}\n\n{grid(shown)}"


def grid(shown: Table) -> str:
    """The rows of a table in Markdown, with its note below."""
    rule = tuple(":--" if i < shown.names else "--:" for i in range(len(shown.columns)))
    told = [tuple(map(_cell, row)) for row in (shown.columns, *shown.rows)]
    rows = (f"| {' | '.join(row)} |" for row in (told[0], rule, *told[1:]))
    return "\n".join(rows) + (f"\n\n{md(shown.note)}" if shown.note else "")


def _cell(text: str) -> str:
    strong = re.fullmatch(r"\*\*(.+)\*\*", text)
    return f"**{md(strong[1])}**" if strong else md(text)


def terminal(shown: Table) -> list[str]:
    """The lines of a table for a terminal: its title, aligned columns, its note."""
    plain = [tuple(cell.replace("**", "") for cell in row) for row in (shown.columns, *shown.rows)]
    widths = [max(map(len, column)) for column in zip(*plain, strict=True)]
    lines = [shown.title] if shown.title else []
    for row in plain:
        places = (f"{cell:{'<' if i < shown.names else '>'}{widths[i]}}" for i, cell in enumerate(row))
        lines.append(f"  {'  '.join(places)}".rstrip())
    return lines + textwrap.wrap(shown.note, 116, initial_indent="  ", subsequent_indent="  ")


def section(shown: Table) -> str:
    """A table as HTML with its title and note; columns of numbers stand to the right."""

    def line(tag: str, row: tuple[str, ...]) -> str:
        cells = (re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", html(cell)) for cell in row)
        right = (' class="number"' * (i >= max(1, shown.names)) for i in range(len(row)))
        heads = (f' data-head="{html(head)}"' * (tag == "td") for head in shown.columns or [""] * len(row))
        return f"<tr>{''.join(map(f'<{tag}{{}}{{}}>{{}}</{tag}>'.format, right, heads, cells))}</tr>"

    title = f"<h3>{html(capital(shown.title))}</h3>" if shown.title else ""
    note = f'<p class="note">{html(shown.note)}</p>' if shown.note else ""
    head = f"<thead>{line('th', shown.columns)}</thead>" if shown.columns else ""
    kind, inside = "rows" * bool(head), head + "".join(line("td", row) for row in shown.rows)
    return f'<section>{title}<div class="card"><table class="{kind}">{inside}</table></div>{note}</section>'
