"""How a plan is said: ratios, tables and paragraphs."""

import textwrap
from collections.abc import Iterable

from gptx.units.amounts import amount

WIDTH = 118  # columns of a line


def table(rows: list[list[str]]) -> list[str]:
    """Rows with their columns aligned, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        row[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def wrapped(sentences: Iterable[str]) -> list[str]:
    """Each sentence as a paragraph whose later lines are indented."""
    return [line for said in sentences for line in textwrap.wrap(said, WIDTH, subsequent_indent="  ")]


def times(ratio: float) -> str:
    """A ratio with two digits: 0.77, 31k."""
    return f"{ratio:.2g}" if ratio < 99.5 else amount(float(f"{ratio:.2g}"))
