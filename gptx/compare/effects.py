"""The numbers of a comparison, computed once; verdict, tables, figure and pages only read them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations, product
from statistics import median
from typing import TypeVar

from gptx.compare.estimates import CONTRASTS, Estimate, contrast, difference, holm
from gptx.compare.factors import baseline_of, grouped, is_rate, primary
from gptx.compare.outcomes import Arm, Comparison, Outcome, arms, at_levels, contexts
from gptx.config.groups import decides

_JUDGED = ("first", "second", "interaction", "lead")  # the contrasts that the text may claim something of
_FACTS = ("tokens_per_second", "seconds", "peak_bytes")  # of an outcome, its costs: seconds in steps, bytes at the peak
_ROWS = 12  # of costs; beyond, one row for each level of the factor that is asked about
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Round:
    """Arms that differ in one factor, by its level, and how far each is from the baseline's arm."""

    context: dict[str, str]  # levels of the other factors; empty where each arm is at its own best
    arms: dict[str, Arm]
    baseline: str
    sign: int  # 1 where lower is better, -1 where higher is
    differences: dict[str, Estimate]  # by level, where there is an estimate

    @property
    def judged(self) -> list[Estimate]:
        return list(self.differences.values())

    @property
    def kinds(self) -> set[str]:
        return {each.kind for each in self.differences.values()}

    @property
    def unequal(self) -> bool:
        """True if arms with a mean have other seeds, so that their means do not compare, and share some."""
        seeds = {frozenset(self.arms[level].values) for level in self.ranking}
        return len(seeds) > 1 and any(each.paired for each in self.differences.values())

    @cached_property
    def ranking(self) -> list[str]:
        """The levels that have a mean, the best first; those that are better than the baseline stand before it."""
        away = {level: self.sign * each.mean for level, each in self.differences.items()}
        above = {level: (mean > 0) - (mean < 0) for level, mean in away.items()}
        return sorted(ranked(self.arms, self.sign), key=lambda level: above.get(level, 0))


@dataclass(frozen=True)
class Square:
    """Four arms, alike in all else, with and without two things: traits such as ("", "warmup"), or levels."""

    things: tuple[tuple[str, str], tuple[str, str]]
    context: dict[str, str]
    arms: dict[tuple[int, int], Arm]
    sign: int
    differences: dict[str, Estimate]  # by CONTRASTS; empty where an arm diverged or no seed is common to all four

    @property
    def judged(self) -> list[Estimate]:
        return [self.differences[name] for name in _JUDGED if self.differences]

    @property
    def depends(self) -> bool:
        """True if what one thing does depends so much on the other that an average over the other is no answer."""
        first, second, both, _ = self.judged
        return both.significant and abs(both.mean) > min(abs(first.mean), abs(second.mean))

    @property
    def gains(self) -> list[float]:
        """By how much each of the two things improves the metric; 0 where that is not significant."""
        return [-self.sign * each.mean if each.significant else 0.0 for each in self.judged[:2]]


@dataclass(frozen=True)
class Effects:
    """All numbers of a comparison. What is significant in them is what Holm's correction over `judged` keeps."""

    comparison: Comparison
    baseline: dict[str, str]  # the level of each factor that the others are compared with
    factor: str  # that is asked about; "" where only seeds differ
    arms: list[Arm]
    rounds: list[Round]
    squares: list[Square]  # in each context that has all four arms
    best: Round | None  # each level at its best learning rate

    @cached_property
    def told(self) -> Sequence[Square | Round]:
        """What the answer is of: the 2 x 2, else levels at their best if several or all that compares, else rounds."""
        crossed = [square for square in self.squares if square.differences]
        if crossed or self.best is None:
            return crossed or self.rounds
        two = len(self.comparison.factors[self.factor]) == 2
        return self.rounds if two and any(around.differences for around in self.rounds) else [self.best]

    @property
    def judged(self) -> list[Estimate]:
        best = [] if self.best is None or self.told[0] is self.best else [self.best]
        return [each for one in (*self.told, *best) for each in one.judged]

    @property
    def others(self) -> list[str]:
        return [name for name in self.baseline if name != self.factor]

    @cached_property
    def edges(self) -> dict[str, list[Arm]]:
        """By learning rate, the best arms that stand at the edge of its grid, if the next level inside has a result."""
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
        """The factors that may change the costs, and by their levels the medians of _FACTS over finished runs."""
        names = [name for name in self.baseline if decides(name, "speed")]
        if len(grouped(self.arms, at_levels(names))) > _ROWS:
            names = [self.factor]
        runs = self.comparison.outcomes if names or not self.baseline else []
        groups = grouped(runs, at_levels(names))
        found = {key: [_median(group, fact) for fact in _FACTS] for key, group in groups.items()}
        return names, {key: facts for key, facts in found.items() if any(facts)}


def _median(runs: list[Outcome], fact: str) -> float | None:
    known = [value for run in runs if run.state == "finished" and (value := getattr(run, fact))]
    return median(known) if known else None


def effects(comparison: Comparison, baseline: str = "") -> Effects:
    """The numbers of a comparison; `baseline` as for baseline_of(). Raises ValueError for a level that no run has."""
    base = baseline_of(comparison.factors, comparison.baseline, baseline)
    return of_arms(comparison, base, arms(comparison))


def of_arms(comparison: Comparison, base: dict[str, str], found: list[Arm]) -> Effects:
    """The numbers of a comparison whose arms are these."""
    factor, sign = primary(comparison.factors), comparison.sign
    if not factor:
        return Effects(comparison, base, factor, found, [], [], None)
    rounds = [_round(context, group, factor, base[factor], sign) for context, group in contexts(found, factor)]
    squares = next(filter(None, _factorials(comparison, found, base)), [])
    tuned = len(base) > 1 and all(is_rate(name) for name in base if name != factor)
    best = _at_best(found, factor, base[factor], sign) if tuned else None
    alone = Effects(comparison, base, factor, found, rounds, squares, best)
    limited = partial(_limited, limit=holm(alone.judged))
    rounds, squares = list(map(limited, rounds)), list(map(limited, squares))
    return replace(alone, rounds=rounds, squares=squares, best=best and limited(best))


def _limited(found, limit: float):
    return replace(found, differences={key: replace(each, limit=limit) for key, each in found.differences.items()})


def ranked(arms: Mapping[_Key, Arm], sign: int) -> list[_Key]:
    """The keys of arms that have a mean, the best first: the one that fewest others beat in the seeds that both have.
    Means over each arm's own seeds would not do: an arm that lacks a hard seed would win."""
    there = {key: arm.values for key, arm in arms.items() if arm.mean is not None}

    def losses(key: _Key) -> int:
        gaps = (difference(there[key], other) for other in there.values())
        return sum(gap is not None and sign * gap.mean > 0 for gap in gaps)

    return sorted(there, key=losses)


def winner(arms: Mapping[_Key, Arm], sign: int) -> _Key | None:
    """The key of the best arm; None where another one equals it, or none has a mean."""
    order = ranked(arms, sign)
    gaps = (difference(arms[order[0]].values, arms[other].values) for other in order[1:])
    return order[0] if order and not any(gap and not gap.mean for gap in gaps) else None


def _round(context: dict[str, str], group: Iterable[Arm], factor: str, base: str, sign: int) -> Round:
    arms = {arm.levels[factor]: arm for arm in group}
    others = [level for level in arms if level != base and base in arms]
    away = {level: each for level in others if (each := difference(arms[level].values, arms[base].values))}
    return Round(context, arms, base, sign, away)


def _at_best(found: list[Arm], factor: str, base: str, sign: int) -> Round:
    """Each level at its best combination of the others' levels. Choosing flatters, so p-values count it: a level is
    better if a combination of it beats all of the other level's, and it had as many chances as it has combinations."""
    tried = grouped((arm for arm in found if arm.mean is not None), lambda arm: arm.levels[factor])
    best = {level: here[ranked(dict(enumerate(here)), sign)[0]] for level, here in tried.items()}
    around = _round({}, best.values(), factor, base, sign)
    differences = {}
    for level, each in around.differences.items():
        better, worse = (level, base) if sign * each.mean < 0 else (base, level)
        p = max(_lead(best[better], arm, sign) for arm in tried[worse])
        differences[level] = replace(each, p=each.p and min(1.0, p * len(tried[better])))
    return replace(around, arms={level: around.arms[level] for level in around.ranking}, differences=differences)


def _lead(arm: Arm, other: Arm, sign: int) -> float:
    """The p-value of an arm being better than another one; 1 where it is not, or has no p-value."""
    found = difference(arm.values, other.values)
    return found.p if found and found.p is not None and sign * found.mean < 0 else 1.0


def _factorials(comparison: Comparison, found: list[Arm], base: dict[str, str]) -> Iterator[list[Square]]:
    """The 2 x 2 of a factor's traits, if its levels are all four combinations; then those of two factors."""
    squares = partial(_squares, found, comparison.sign)
    for factor, traits in comparison.traits.items():
        first, second = next(iter(traits.values()))
        corners: dict = {(level,): (int(having[first]), int(having[second])) for level, having in traits.items()}
        if sorted(corners.values()) == sorted(product((0, 1), repeat=2)):
            yield squares((factor,), corners, (("", first), ("", second)))
    two = [name for name, levels in comparison.factors.items() if len(levels) == 2 and not is_rate(name)]
    for pair in combinations(sorted(two, key=lambda name: name != primary(comparison.factors)), 2):
        one, other = (sorted(comparison.factors[name], key=lambda level: level != base[name]) for name in pair)
        corners = {(one[i], other[j]): (i, j) for i, j in product((0, 1), repeat=2)}
        yield squares(pair, corners, ((pair[0], one[1]), (pair[1], other[1])))


def _squares(found: list[Arm], sign: int, factors: tuple[str, ...], corners: dict, things: tuple) -> list[Square]:
    """The 2 x 2 in each context that has all four arms; `corners`: by levels of `factors`, which things are there."""
    squares = []
    for context, group in contexts((arm for arm in found if arm.results), *factors):
        there = {corners[at_levels(factors)(arm)]: arm for arm in group}
        if len(there) == 4:
            values = {corner: arm.values for corner, arm in there.items()}
            known = {name: each for name, weights in CONTRASTS.items() if (each := contrast(values, weights))}
            squares.append(Square(things, context, there, sign, known))
    return squares
