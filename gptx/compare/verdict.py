"""The answer that a comparison gives, in words and tables, with how sure it is."""

from dataclasses import dataclass

from gptx.compare.outcomes import Comparison


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the rows. Numbers stand in all others."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """The answer in a sentence, what it rests on and warnings in further ones, and the tables behind them."""

    baseline: dict[str, str]  # the level of each factor that the others are compared with
    headline: str
    sentences: list[str]
    warnings: list[str]
    tables: list[Table]


def verdict(comparison: Comparison, baseline: str = "") -> Verdict:
    """The answer of a comparison. `baseline` names levels as factor=level, comma separated, or a level alone.

    Where it does not say, the option of conf/train.yaml is it, else the first level. Raises ValueError for a level
    that is none.
    """
    raise NotImplementedError
