"""The runs of a report as arms: alike but for their seeds, one line with a band."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy
from numpy import ndarray

from gptx.compare import words
from gptx.compare.factors import axis
from gptx.compare.factors import described_by
from gptx.runs.cells import Cell

FEW = 6  # arms that one panel shows without confusion


@dataclass(frozen=True)
class Arm:
    """Runs at the same levels of the factors. `place` is among the arms; `look` among those of one panel."""

    levels: dict[str, str]
    cells: list[Cell]
    place: int = 0
    look: int = 0

    @property
    def name(self) -> str:
        return self.named()

    def named(self, without: str = "") -> str:
        """Its levels in words, but for that of one factor, which stands elsewhere."""
        told = [words.named(*each) for each in self.levels.items() if each[0] != without]
        return ", ".join(told) or self.cells[0].name

    def merged(self, key: str) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Updates, mean, lowest and highest of a metric; NaN where a run has no finite number.

        So no mean goes on over the runs that are left when one diverges, or is not as far yet.
        """
        columns = [cell.metrics[key] for cell in self.cells]
        if len(columns) == 1:
            steps, values = columns[0]
            return steps, values, values, values
        steps = numpy.unique(numpy.concatenate([at for at, _ in columns]))
        values = numpy.full((len(columns), len(steps)), numpy.nan)
        for row, (at, here) in zip(values, columns, strict=True):
            row[numpy.searchsorted(steps, at)] = here
        values[~numpy.isfinite(values)] = numpy.nan
        return steps, values.mean(0), values.min(0), values.max(0)

    @cached_property
    def clock(self) -> dict:
        """What the updates of the longest run are in tokens and minutes, at some of them, and FLOPs a token."""
        cell = max(self.cells, key=lambda cell: cell.metrics.steps)
        steps, tokens = cell.metrics["train/tokens"]
        if not len(steps):
            return {"steps": [], "tokens": [], "minutes": [], "flops_per_token": None}
        kept = numpy.unique(numpy.linspace(0, len(steps) - 1, 64).astype(int))
        minutes = [0.0, *(numpy.cumsum(cell.spent)[kept] / 60)] if len(cell.spent) else []
        return {
            "steps": [0, *steps[kept]],
            "tokens": [0, *tokens[kept]],
            "minutes": minutes,
            "flops_per_token": cell.flops_per_token,
        }


def arms(cells: Iterable[Cell], factors: dict[str, list[str]]) -> list[Arm]:
    """The arms of runs that have begun, in the order of the factors' levels; those of one panel differ in look."""
    together: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        described = described_by(cell)
        together.setdefault(tuple(described.get(name, "") for name in factors), []).append(cell)
    order = [{level: i for i, level in enumerate(levels)} for levels in factors.values()]
    keys = sorted(together, key=lambda key: [place[level] for place, level in zip(order, key, strict=True)])
    side = across(factors, len(keys))
    looks: dict[tuple[str, ...], int] = {}
    found = []
    for place, key in enumerate(keys):
        levels = dict(zip(factors, key, strict=True))
        look = looks.setdefault(tuple(level for name, level in levels.items() if name != side), len(looks))
        found.append(Arm(levels, together[key], place, look))
    return found


def across(factors: dict[str, list[str]], count: int) -> str:
    """The factor whose levels are drawn side by side, where one panel would hold too many arms; "" for none."""
    if len(factors) < 2 or count <= FEW:
        return ""
    return axis(factors) or list(factors)[-1]
