"""What a report is made of: runs, the arms that they belong to (alike but for their seeds), and the verdict."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite

import numpy
from numpy import ndarray

from gptx.compare import words
from gptx.compare.factors import axis, described_by
from gptx.compare.outcomes import Comparison, grouped
from gptx.compare.verdict import Verdict
from gptx.runs.run import Run
from gptx.show.page import six_digits

_AXES = ("steps", "tokens", "FLOPs", "minutes")  # what curves may be drawn over


@dataclass(frozen=True)
class ArmRuns:
    """Runs at the same levels of the factors. `place` is among all arms; `look` among those of one panel. With a `base`
    an arm is called by the levels in which it leaves it."""

    levels: dict[str, str]
    cells: list[Run]
    place: int = 0
    look: int = 0
    base: dict[str, str] = field(default_factory=dict)

    def named(self, without: str = "") -> str:
        """Its levels in words, but for that of the factor `without`."""
        told = [words.named(name, level) for name, level in self.levels.items()
                if name != without and level != self.base.get(name)]  # fmt: skip
        return ", ".join(told) or ("base" if self.base else self.cells[0].name)

    def merged(self, key: str) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Steps, mean, lowest and highest of a metric; NaN where a run has no finite number, so that no mean goes on
        over the remaining runs when one diverges, or is not as far yet."""
        columns = [cell.metrics[key] for cell in self.cells]
        steps = numpy.unique(numpy.concatenate([at for at, _ in columns]))
        values = numpy.full((len(columns), len(steps)), numpy.nan)
        for row, (at, found) in zip(values, columns, strict=True):
            row[numpy.searchsorted(steps, at)] = numpy.where(numpy.isfinite(found), found, numpy.nan)
        return steps, values.mean(0), values.min(0), values.max(0)

    @property
    def lost(self) -> bool:  # whether a run failed or diverged
        return any(run.state == "failed" or not isfinite(run.metrics.last("train/loss") or 0) for run in self.cells)

    @cached_property
    def clock(self) -> dict[str, list]:
        """Each of _AXES at some steps of the longest run; empty where it is not known."""
        found = max(self.cells, key=lambda cell: cell.metrics.steps).clocks
        kept = numpy.unique(numpy.linspace(0, len(found["steps"]) - 1, 64).astype(int))
        columns = zip(_AXES, (found | {"time": found["time"] / 60}).values(), strict=True)
        return {name: six_digits([0, *values[kept]]) if len(values) else [] for name, values in columns}


@dataclass(frozen=True)
class Report:
    """What is known of some runs: each, as arms, compared, and the answer. Curves of training are means of `smooth`."""

    name: str
    cells: list[Run]
    arms: list[ArmRuns]
    comparison: Comparison
    answer: Verdict
    smooth: int

    @property
    def standing(self) -> str:
        counts = Counter(cell.state for cell in self.cells)
        return f"{len(self.cells)} runs: {', '.join(f'{number} {state}' for state, number in counts.items())}"

    @property
    def axes(self) -> list[str]:
        clocks = [arm.clock for arm in self.arms if arm.clock["steps"]]
        return [name for name in _AXES if name == "steps" or (clocks and all(clock[name] for clock in clocks))]

    def data(self, figures: list[dict], renew: float, **more) -> dict:
        """What the page's script needs: figures, arms and their clocks, and after how many seconds it loads again."""
        arms, clocks = [arm.named() for arm in self.arms], [arm.clock for arm in self.arms]
        return {"figures": figures, "arms": arms, "clocks": clocks, "smooth": self.smooth, "renew": renew, **more}


def arms_of(cells: Iterable[Run], factors: dict[str, list[str]], base: dict[str, str] | None = None) -> list[ArmRuns]:
    """The arms of runs that have begun, in the order of the factors' levels; those of one panel differ in look."""
    described = [(cell, described_by(cell)) for cell in cells]
    together = grouped(described, lambda one: tuple(one[1].get(name, "") for name in factors))
    found, looks, side = list[ArmRuns](), dict[str, int](), across(factors, len(together))
    for key in sorted(together, key=lambda key: list(map(list.index, factors.values(), key))):
        levels = dict(zip(factors, key, strict=True))
        look = looks.setdefault(str(levels | {side: ""}), len(looks))
        found.append(ArmRuns(levels, [cell for cell, _ in together[key]], len(found), look, base or {}))
    return found


def across(factors: dict[str, list[str]], count: int) -> str:
    """The factor whose levels are drawn side by side, as one panel shows six arms without confusion; "" for none."""
    return "" if len(factors) < 2 or count <= 6 else axis(factors) or list(factors)[-1]
