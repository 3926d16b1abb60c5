"""Runs that differ only in their seeds, together; and such arms side by side, where only one factor differs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

from gptx import presets
from gptx.compare import statistics
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate


@dataclass(frozen=True)
class Arm:
    """What the runs at some levels of the factors came to, by seed: NaN diverged, None has no result (yet)."""

    levels: dict[str, str]
    values: dict[int, float | None]
    states: tuple[str, ...]

    @property
    def results(self) -> list[float]:
        return [value for value in self.values.values() if value is not None]

    @property
    def diverged(self) -> int:
        return statistics.diverged(self.values)

    @property
    def mean(self) -> float | None:
        """None where there is no result, or where one seed diverged: the others alone would flatter the arm."""
        return fmean(self.results) if self.results and not self.diverged else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds, of at least two."""
        return stdev(self.results) if len(self.results) > 1 and not self.diverged else None


@dataclass(frozen=True)
class Round:
    """Arms that differ in one factor, by its level, and how far each is from the baseline's, seed by seed.

    `context` are the levels of the other factors that all have; empty where each arm is at its own best.
    """

    context: dict[str, str]
    arms: dict[str, Arm]
    baseline: str

    @property
    def differences(self) -> dict[str, Estimate | None]:
        if self.baseline not in self.arms:
            return {}
        base = self.arms[self.baseline].values
        return {k: statistics.paired(arm.values, base) for k, arm in self.arms.items() if k != self.baseline}

    def ranked(self, better: Callable[[float], float]) -> list[str]:
        """The levels that have a mean, the best first: the one where `better` is least."""
        means = {level: arm.mean for level, arm in self.arms.items()}
        return sorted((k for k, mean in means.items() if mean is not None), key=lambda k: better(means[k]))  # type: ignore[arg-type]


def arms(comparison: Comparison) -> list[Arm]:
    """The arms in the order of their levels, the last factor changing first. Two runs of a seed count as their mean."""
    together: dict[tuple, list] = {}
    for outcome in comparison.outcomes:
        together.setdefault(tuple(outcome.levels[name] for name in comparison.factors), []).append(outcome)
    order = [{level: i for i, level in enumerate(levels)} for levels in comparison.factors.values()]
    found = []
    for key in sorted(together, key=lambda key: [place[level] for place, level in zip(order, key, strict=True)]):
        values: dict[int, list[float]] = {}
        for outcome in together[key]:
            values.setdefault(outcome.seed, []).extend([] if outcome.value is None else [outcome.value])
        means = {seed: fmean(several) if several else None for seed, several in sorted(values.items())}
        states = tuple(outcome.state for outcome in together[key])
        found.append(Arm(dict(zip(comparison.factors, key, strict=True)), means, states))
    return found


def primary(factors: dict[str, list[str]]) -> str:
    """The factor that is asked about: the first that is a group of ingredients, else the first that is more than a
    number, such as a rule, else the first; "" of none."""
    words = (name for name, levels in factors.items() if not numeric(levels))
    return next((name for name in factors if is_group(name)), next(words, next(iter(factors), "")))


def is_group(name: str) -> bool:
    """True if a factor chooses among ingredients, and is no number to be tuned."""
    return name in groups()


def is_rate(name: str) -> bool:
    """True if a factor is a learning rate, at the best of which each arm may be judged."""
    return name.endswith(".lr") or name.startswith("parametrization.rates.")


def axis(factors: dict[str, list[str]]) -> str:
    """The factor that is the x-axis: a learning rate before any other number that is no ingredient, the last of
    several; "" where there is no number."""
    numbers = [name for name, levels in factors.items() if numeric(levels) and not is_group(name)]
    return ([name for name in numbers if is_rate(name)] or numbers or [""])[-1]


@cache
def groups() -> frozenset[str]:
    """The ingredients of a recipe."""
    return frozenset(presets.defaults())


def rounds(found: list[Arm], factor: str, baseline: dict[str, str]) -> list[Round]:
    """The arms that differ in `factor` alone, for each combination of the other factors' levels."""
    by_context: dict[tuple, dict[str, Arm]] = {}
    for arm in found:
        context = tuple((name, level) for name, level in arm.levels.items() if name != factor)
        by_context.setdefault(context, {})[arm.levels[factor]] = arm
    return [Round(dict(context), each, baseline[factor]) for context, each in by_context.items()]


def at_best(found: list[Arm], factor: str, baseline: dict[str, str], better: Callable[[float], float]) -> Round:
    """Each level of `factor` at its best combination of the others' levels, of those with as many seeds as any."""
    chosen: dict[str, Arm] = {}
    for level in dict.fromkeys(arm.levels[factor] for arm in found):
        here = [arm for arm in found if arm.levels[factor] == level and arm.mean is not None]
        full = [arm for arm in here if len(arm.results) == max(len(each.results) for each in here)]
        if full:
            chosen[level] = min(full, key=lambda arm: better(arm.mean))  # type: ignore[arg-type]
    return Round({}, chosen, baseline[factor])


def numeric(levels: list[str]) -> bool:
    """True if all levels are finite numbers."""
    try:
        return all(math.isfinite(float(level)) for level in levels)
    except ValueError:
        return False
