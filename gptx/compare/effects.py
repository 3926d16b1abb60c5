"""The numbers of a comparison, computed once: arms, differences with intervals, attribution, best levels and costs.

Verdict, tables, figure and pages only read them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from statistics import fmean, median, stdev
from typing import Any, TypeVar

import numpy

from gptx.compare import estimates
from gptx.compare.estimates import CONTRASTS, Estimate, contrast, difference, holm
from gptx.compare.factors import baseline_of, is_rate, primary
from gptx.compare.outcomes import Comparison
from gptx.config.groups import decides

JUDGED = ("first", "second", "interaction", "lead")  # the contrasts that the text may claim something of
ROWS = 12  # of costs; beyond, one row for each level of the factor that is asked about
Key = TypeVar("Key")


@dataclass(frozen=True)
class Arm:
    """The results of the runs at some levels of the factors, by seed: NaN diverged, None has no result (yet)."""

    levels: dict[str, str]
    values: dict[int, float | None]
    states: tuple[str, ...] = ()

    @cached_property
    def results(self) -> dict[int, float]:
        return {seed: value for seed, value in self.values.items() if value is not None}

    @cached_property
    def diverged(self) -> int:
        return estimates.diverged(self.values)

    @cached_property
    def mean(self) -> float | None:
        """None without a result, and where one seed diverged: the other seeds alone would flatter the arm."""
        return fmean(self.results.values()) if self.results and not self.diverged else None

    @cached_property
    def spread(self) -> float | None:
        """The standard deviation over at least two seeds."""
        return stdev(self.results.values()) if len(self.results) > 1 and not self.diverged else None


@dataclass(frozen=True)
class Round:
    """Arms that differ in one factor, by its level, and how far each is from the baseline's arm."""

    context: dict[str, str]  # levels of the other factors; empty where each arm is at its own best
    arms: dict[str, Arm]
    baseline: str
    sign: int  # 1 where lower is better, -1 where higher is
    differences: dict[str, Estimate | None]  # empty without an arm at the baseline's level

    @cached_property
    def winner(self) -> str | None:
        return winner(self.arms, self.sign)

    @cached_property
    def ranking(self) -> list[str]:
        """The levels that have a mean, the best first; those that are better than the baseline stand before it."""
        away = {level: self.sign * each.mean for level, each in self.differences.items() if each}
        return sorted(ranked(self.arms, self.sign), key=lambda level: numpy.sign(away.get(level, 0.0)))


@dataclass(frozen=True)
class Square:
    """What two things do in four arms that are alike in all else, by whether the first and the second are there: an
    estimate for each of CONTRASTS, None where an arm diverged or no seed is common to all four."""

    context: dict[str, str]
    arms: dict[tuple[int, int], Arm]
    differences: dict[str, Estimate | None]

    @property
    def depends(self) -> bool:
        """True if what one thing does depends so much on the other that an average over the other is no answer."""
        first, second, both = (self.differences[name] for name in JUDGED[:3])
        if not (first and second and both and both.significant):
            return False
        return abs(both.mean) > min(abs(first.mean), abs(second.mean))


@dataclass(frozen=True)
class Factorial:
    """A 2 x 2 in each context that has all four arms. Each of the `things` is there or not: a trait such as
    ("", "warmup"), or a level of a factor other than the baseline's."""

    things: tuple[tuple[str, str], tuple[str, str]]
    removes: bool  # True where the baseline has the first thing, so that turning takes it away
    sign: int
    squares: list[Square]

    @property
    def judged(self) -> list[Estimate | None]:
        return [square.differences[name] for square in self.squares for name in JUDGED]

    def turned(self, square: Square, name: str) -> Estimate | None:
        """What turning the first thing does."""
        found = square.differences[name]
        return -found if found and self.removes else found


@dataclass(frozen=True)
class Effects:
    """All numbers of a comparison. `judged` are the estimates that its text may claim something of; significant among
    them is what Holm's correction over all of them keeps."""

    comparison: Comparison
    baseline: dict[str, str]  # the level of each factor that the others are compared with
    factor: str  # that is asked about; "" where only seeds differ
    arms: list[Arm]
    rounds: list[Round]
    factorial: Factorial | None
    best: Round | None  # each level at its best learning rate
    judged: list[Estimate | None]

    @property
    def others(self) -> list[str]:
        return [name for name in self.baseline if name != self.factor]

    @cached_property
    def edges(self) -> dict[str, list[Arm]]:
        """By learning rate, the best arms that stand at the edge of its grid, so that a better rate may lie beyond. The
        next level inside must have a result."""
        rates, found = [*filter(is_rate, self.baseline)], dict[str, list[Arm]]()
        for rate, (_, group) in product(rates, contexts(self.arms, *rates)):
            tried = [x for x in self.comparison.factors[rate] if any(arm.levels[rate] == x for arm in group)]
            best = winner(dict(enumerate(group)), self.comparison.sign)
            if best is not None and len(tried) > 1:
                inside = {tried[0]: tried[1], tried[-1]: tried[-2]}.get(group[best].levels[rate])
                if any(arm.results for arm in group if arm.levels[rate] == inside):
                    found.setdefault(rate, []).append(group[best])
        return found

    @cached_property
    def costs(self) -> tuple[list[str], dict[tuple[str, ...], list[float | None]]]:
        """The factors that may change the costs, and by their levels the medians over finished runs of tokens per
        second, seconds in steps and bytes at the peak; nothing where no factor may change them."""
        names = [name for name in self.baseline if decides(name, "speed")]
        if len({tuple(arm.levels[name] for name in names) for arm in self.arms}) > ROWS:
            names = [self.factor]
        runs = self.comparison.outcomes if names or not self.baseline else []
        found: dict[tuple[str, ...], list[float | None]] = {}
        for key, group in grouped(runs, lambda run: tuple(run.levels[name] for name in names)).items():
            done = [(run.tokens_per_second, run.seconds, run.peak_bytes) for run in group if run.state == "finished"]
            known = [[fact for fact in facts if fact] for facts in zip(*done, strict=True)]
            found |= {key: [median(facts) if facts else None for facts in known]} if any(known) else {}
        return names, found


def effects(comparison: Comparison, baseline: str = "") -> Effects:
    """The numbers of a comparison. `baseline` names levels as factor=level, comma separated, or a level alone. Raises
    ValueError for a level that no run has."""
    base = baseline_of(comparison.factors, comparison.baseline, baseline)
    return of_arms(comparison, base, arms(comparison))


def of_arms(comparison: Comparison, base: dict[str, str], found: list[Arm]) -> Effects:
    """The numbers of a comparison whose arms are these."""
    factor, sign = primary(comparison.factors), comparison.sign
    if not factor:
        return Effects(comparison, base, factor, found, [], None, None, [])
    rounds = [_round(context, group, factor, base[factor], sign) for context, group in contexts(found, factor)]
    square = next(_factorials(comparison, found, base), None)
    tuned = len(base) > 1 and all(is_rate(name) for name in base if name != factor)
    best = _at_best(found, factor, base[factor], sign) if tuned else None
    judged = square.judged if square else []
    if not any(judged):
        alone = best and len(comparison.factors[factor]) > 2  # then the text reads nothing else
        judged = [] if alone else [each for around in rounds for each in around.differences.values()]
    judged = [*judged, *(best.differences.values() if best else ())]
    limit = holm(judged)
    rounds = [_limited(each, limit) for each in rounds]
    square = square and replace(square, squares=[_limited(each, limit) for each in square.squares])
    return Effects(comparison, base, factor, found, rounds, square, best and _limited(best, limit), judged)


def _limited(found, limit: float):
    """The same round or square, where no larger p-value than `limit` is significant."""
    limited = {key: each and replace(each, limit=limit) for key, each in found.differences.items()}
    return replace(found, differences=limited)


def grouped(items: Iterable[Any], key: Callable[[Any], Key]) -> dict[Key, list[Any]]:
    """The items by a key, in the order of their appearance."""
    groups: dict[Key, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def arms(comparison: Comparison) -> list[Arm]:
    """The arms in the order of their levels, the last factor changing first. Two runs of a seed count as their mean."""
    found, factors = [], comparison.factors
    for runs in grouped(comparison.outcomes, lambda run: tuple(run.levels[name] for name in factors)).values():
        by_seed = grouped(sorted(runs, key=lambda run: run.seed), lambda run: run.seed)
        known = {seed: [run.value for run in each if run.value is not None] for seed, each in by_seed.items()}
        values = {seed: fmean(several) if several else None for seed, several in known.items()}
        found.append(Arm({name: runs[0].levels[name] for name in factors}, values, tuple(run.state for run in runs)))
    return sorted(found, key=lambda arm: [factors[name].index(level) for name, level in arm.levels.items()])


def contexts(arms: Iterable[Arm], *varied: str) -> list[tuple[dict[str, str], list[Arm]]]:
    """The arms that are alike in all factors but the `varied` ones, by the levels that they share."""

    def shared(arm: Arm) -> tuple[tuple[str, str], ...]:
        return tuple((name, level) for name, level in arm.levels.items() if name not in varied)

    return [(dict(levels), group) for levels, group in grouped(arms, shared).items()]


def ranked(arms: Mapping[Key, Arm], sign: int) -> list[Key]:
    """The keys of arms that have a mean, the best first: the one that fewest others beat in the seeds that both have.
    Means over each arm's own seeds would not do: an arm that lacks a hard seed would win."""
    there = {key: arm.values for key, arm in arms.items() if arm.mean is not None}

    def losses(key: Key) -> int:
        gaps = (difference(there[key], other) for other in there.values())
        return sum(gap is not None and sign * gap.mean > 0 for gap in gaps)

    return sorted(there, key=losses)


def winner(arms: Mapping[Key, Arm], sign: int) -> Key | None:
    """The key of the best arm; None where another one equals it, or none has a mean."""
    order = ranked(arms, sign)
    gaps = (difference(arms[order[0]].values, arms[other].values) for other in order[1:])
    return order[0] if order and not any(gap and not gap.mean for gap in gaps) else None


def _round(context: dict[str, str], group: Iterable[Arm], factor: str, base: str, sign: int) -> Round:
    arms = {arm.levels[factor]: arm for arm in group}
    away = {level: difference(arm.values, arms[base].values) for level, arm in arms.items()
            if level != base and base in arms}  # fmt: skip
    return Round(context, arms, base, sign, away)


def _at_best(found: list[Arm], factor: str, base: str, sign: int) -> Round:
    """Each level of `factor` at its best combination of the others' levels.

    Choosing flatters, so p-values count it: a level is better than another one if one of its combinations is better
    than each of the other one's, and it had as many chances as it has combinations.
    """
    tried = grouped((arm for arm in found if arm.mean is not None), lambda arm: arm.levels[factor])
    best = {level: here[ranked(dict(enumerate(here)), sign)[0]] for level, here in tried.items()}
    around = _round({}, best.values(), factor, base, sign)
    for level, each in around.differences.items():
        if each and each.p is not None:
            better, worse = (level, base) if sign * each.mean < 0 else (base, level)
            leads = (difference(best[better].values, arm.values) for arm in tried[worse])
            p = max(1.0 if not lead or lead.p is None or sign * lead.mean >= 0 else lead.p for lead in leads)
            around.differences[level] = replace(each, p=min(1.0, p * len(tried[better])))
    return around


def _factorials(comparison: Comparison, found: list[Arm], base: dict[str, str]) -> Iterator[Factorial]:
    """The 2 x 2 of the traits of a factor whose levels are one of each combination of them; then those of two factors
    of two levels, the one that is asked about first."""
    shapes: list[tuple[tuple[str, ...], dict, Any, bool]] = []
    for factor, traits in comparison.traits.items():
        first, second = next(iter(traits.values()))
        corners: dict = {(level,): (int(having[first]), int(having[second])) for level, having in traits.items()}
        if sorted(corners.values()) == sorted(product((0, 1), repeat=2)):
            shapes.append(((factor,), corners, (("", first), ("", second)), corners[base[factor],][0] == 1))
    two = [name for name, levels in comparison.factors.items() if len(levels) == 2 and not is_rate(name)]
    for pair in combinations(sorted(two, key=lambda name: name != primary(comparison.factors)), 2):
        levels = [sorted(comparison.factors[name], key=lambda level, name=name: level != base[name]) for name in pair]  # type: ignore[misc]
        corners = {(levels[0][i], levels[1][j]): (i, j) for i, j in product((0, 1), repeat=2)}
        shapes.append((pair, corners, tuple((name, each[1]) for name, each in zip(pair, levels, strict=True)), False))
    for factors, corners, things, removes in shapes:
        squares = []
        for context, group in contexts((arm for arm in found if arm.results), *factors):
            if len(group) == 4:
                there = {corners[tuple(arm.levels[name] for name in factors)]: arm for arm in group}
                values = {corner: arm.values for corner, arm in there.items()}
                differences = {name: contrast(values, weights) for name, weights in CONTRASTS.items()}
                squares.append(Square(context, there, differences))
        if squares:
            yield Factorial(things, removes, comparison.sign, squares)
