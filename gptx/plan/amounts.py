"""How the numbers of a plan are said: amounts, ratios, tables and paragraphs."""

import textwrap
from collections.abc import Iterable

WIDTH = 118  # columns of a line


def amount(number: float) -> str:
    """Three digits and a unit, as every length and number of tokens may have: 7.31B.

    >>> amount(7.3123e9), amount(999_700), amount(1.33e12), amount(2.5e17)
    ('7.31B', '1M', '1.33T', '250000T')
    """
    rounded = float(f"{number:.3g}")
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if rounded >= scale:
            return f"{rounded / scale:.10g}{unit}"
    return f"{rounded:.10g}"


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


def memory(size: float) -> str:
    """Bytes with three digits and their unit.

    >>> memory(7e9 * 16), memory(2.8e12), memory(12_000)
    ('112 GB', '2.8 TB', '12 kB')
    """
    units = ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)
    unit, scale = next(((unit, scale) for unit, scale in units if size >= scale), ("B", 1))
    return f"{size / scale:.3g} {unit}"
