"""Runs that differ only in their seeds, together; and such arms side by side, where only one factor differs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from statistics import fmean, stdev
from typing import TypeVar

import numpy

from gptx.compare import statistics
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate
from gptx.config import presets

Key = TypeVar("Key")


@dataclass(frozen=True)
class Arm:
    """What the runs at some levels of the factors came to, by seed: NaN diverged, None has no result (yet)."""

    levels: dict[str, str]
    values: dict[int, float | None]
    states: tuple[str, ...]

    @cached_property
    def results(self) -> list[float]:
        return [value for value in self.values.values() if value is not None]

    @property
    def seeds(self) -> list[int]:
        """Those that have a result."""
        return [seed for seed, value in self.values.items() if value is not None]

    @cached_property
    def diverged(self) -> int:
        return statistics.diverged(self.values)

    @cached_property
    def mean(self) -> float | None:
        """None where there is no result, or where one seed diverged: the others alone would flatter the arm."""
        return fmean(self.results) if self.results and not self.diverged else None

    @cached_property
    def spread(self) -> float | None:
        """The standard deviation over seeds, of at least two."""
        return stdev(self.results) if len(self.results) > 1 and not self.diverged else None


@dataclass(frozen=True)
class Round:
    """Arms that differ in one factor, by its level, and how far each is from the baseline's.

    `context` are the levels of the other factors that all have; empty where each arm is at its own best.
    """

    context: dict[str, str]
    arms: dict[str, Arm]
    baseline: str
    differences: dict[str, Estimate | None]  # empty without an arm of the baseline's level

    @property
    def estimates(self) -> list[Estimate | None]:
        return list(self.differences.values())

    def judged(self, limit: float) -> "Round":
        """The same, where no larger p-value than `limit` is significant."""
        return replace(
            self, differences={k: each and replace(each, limit=limit) for k, each in self.differences.items()}
        )

    def ranked(self, better: Callable[[float], float]) -> list[str]:
        """The levels that have a mean, the best first: the one where `better` is least. Those that are better than the
        baseline stand before it."""
        away = {level: better(each.mean) for level, each in self.differences.items() if each}
        return sorted(ranked(self.arms, better), key=lambda level: numpy.sign(away.get(level, 0.0)))


def ranked(arms: Mapping[Key, Arm], better: Callable[[float], float]) -> list[Key]:
    """The keys of arms that have a mean, the best first: the one that fewest others beat in the seeds that both have.

    Means over each arm's own seeds would not do: an arm that lacks a hard seed would win.
    """
    there = {key: arm for key, arm in arms.items() if arm.mean is not None}
    if len({frozenset(arm.seeds) for arm in there.values()}) == 1:
        return sorted(there, key=lambda key: better(there[key].mean))  # type: ignore[arg-type]

    def losses(key: Key) -> int:
        gaps = (statistics.difference(there[key].values, other.values) for other in there.values())
        return sum(gap is not None and better(gap.mean) > 0 for gap in gaps)

    return sorted(there, key=losses)


def winner(arms: Mapping[Key, Arm], better: Callable[[float], float]) -> Key | None:
    """The key of the best arm; None where another one equals it, or none has a mean."""
    order = ranked(arms, better)
    gaps = (statistics.difference(arms[order[0]].values, arms[other].values) for other in order[1:])
    return order[0] if order and not any(gap and not gap.mean for gap in gaps) else None


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
    base = baseline[factor]
    return [Round(dict(context), each, base, differences(each, base)) for context, each in by_context.items()]


def differences(arms: Mapping[str, Arm], baseline: str) -> dict[str, Estimate | None]:
    """How far each arm is from the baseline's; empty without that."""
    return {
        level: statistics.difference(arm.values, arms[baseline].values)
        for level, arm in arms.items()
        if level != baseline and baseline in arms
    }


def at_best(found: list[Arm], factor: str, baseline: dict[str, str], better: Callable[[float], float]) -> Round:
    """Each level of `factor` at its best combination of the others' levels.

    Choosing flatters, so p-values count it: a level is better than another one if one of its combinations is better
    than each of the other one's, and it had as many chances as it has combinations.
    """
    tried: dict[str, list[Arm]] = {}
    for arm in found:
        if arm.mean is not None:
            tried.setdefault(arm.levels[factor], []).append(arm)
    best = {level: here[ranked(dict(enumerate(here)), better)[0]] for level, here in tried.items()}
    base = baseline[factor]
    away = differences(best, base)
    for level, each in away.items():
        if each and each.p is not None:
            winner, loser = (level, base) if better(each.mean) < 0 else (base, level)
            leads = (statistics.difference(best[winner].values, arm.values) for arm in tried[loser])
            p = max(1.0 if not lead or lead.p is None or better(lead.mean) >= 0 else lead.p for lead in leads)
            away[level] = replace(each, p=min(1.0, p * len(tried[winner])))
    return Round({}, best, base, away)


def numeric(levels: list[str]) -> bool:
    """True if all levels are finite numbers."""
    try:
        return all(math.isfinite(float(level)) for level in levels)
    except ValueError:
        return False
