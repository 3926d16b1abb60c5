"""Which of two things contributed more, where runs with both, either and neither are there: a 2 x 2 factorial."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product

from gptx.compare import statistics
from gptx.compare.arms import Arm, is_rate, primary
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate
from gptx.compare.words import NAMES, instead, named, where

CONTRASTS = (statistics.FIRST, statistics.SECOND, statistics.INTERACTION, statistics.FIRST_OVER_SECOND)
Corner = tuple[int, int]  # whether the first and the second of two things are there


@dataclass(frozen=True)
class Effects:
    """What two things do among arms that are alike in all else; None where it cannot be computed."""

    context: dict[str, str]
    corners: Mapping[Corner, Arm]
    estimates: tuple[Estimate | None, ...]  # by CONTRASTS; all None where an arm diverged or no seed is common to all

    @property
    def depends(self) -> bool:
        """True if what one does depends so much on the other that an average over the other is no answer."""
        first, second, both, _ = (each and abs(each.mean) for each in self.estimates)
        significant = self.estimates[2] is not None and self.estimates[2].significant
        return significant and both > min(first, second)  # type: ignore[operator, type-var]

    def simple(self, second: int) -> Estimate | None:
        """What the first does without the second (0), or with it (1), over the seeds of the other estimates."""
        values = {corner: arm.values for corner, arm in self.corners.items()}
        return statistics.contrast(values, {(1, second): 1.0, (0, second): -1.0})


@dataclass(frozen=True)
class Factorial:
    """Two things, how turning the first is said ("without warmup"), and what they do in each context."""

    names: tuple[str, str]
    turn: str
    sign: int  # 1 where turning the first adds it, -1 where it takes it away
    other: str  # what the first may depend on
    over: str  # how an average over that is said
    sides: tuple[str, str]  # and its absence and presence
    effects: list[Effects]

    @property
    def estimates(self) -> list[Estimate | None]:
        return [each for effects in self.effects for each in effects.estimates]

    def judged(self, limit: float) -> "Factorial":
        """The same, where no larger p-value than `limit` is significant."""
        effects = [
            replace(each, estimates=tuple(one and replace(one, limit=limit) for one in each.estimates))
            for each in self.effects
        ]
        return replace(self, effects=effects)

    def turned(self, found: Estimate | None) -> Estimate | None:
        """What turning the first thing does, of what adding it does."""
        return -found if found and self.sign < 0 else found


def factorial(comparison: Comparison, found: list[Arm], baseline: dict[str, str]) -> Factorial | None:
    """The 2 x 2 in a comparison: a factor whose levels are one of each combination of two traits, else the first two
    factors of two levels each of which all four combinations are there. None where there is neither."""
    of_traits = (traited(factor, traits, found, baseline) for factor, traits in comparison.traits.items())
    asked = primary(comparison.factors)
    two_levels = [name for name, levels in comparison.factors.items() if len(levels) == 2 and not is_rate(name)]
    two_levels.sort(key=lambda name: name != asked)
    of_factors = (paired(pair, comparison, found, baseline) for pair in combinations(two_levels, 2))
    return next((each for each in (*of_traits, *of_factors) if each), None)


def traited(
    factor: str, traits: dict[str, dict[str, bool]], found: list[Arm], baseline: dict[str, str]
) -> Factorial | None:
    """The 2 x 2 of two traits of a factor's levels."""
    first, second = next(iter(traits.values()))
    corners = {(level,): (int(having[first]), int(having[second])) for level, having in traits.items()}
    if sorted(corners.values()) != sorted(product((0, 1), repeat=2)):
        return None
    reference = corners[baseline[factor],]
    effects = crossed(found, (factor,), corners)
    sides = f"without {second}", f"with {second}"
    turn, sign = (f"without {first}", -1) if reference[0] else (f"with {first}", 1)
    over = f"runs with and without {second}"
    return Factorial((first, second), turn, sign, second, over, sides, effects) if effects else None


def paired(
    pair: tuple[str, str], comparison: Comparison, found: list[Arm], baseline: dict[str, str]
) -> Factorial | None:
    """The 2 x 2 of two factors: what is there or not is the level that is not the baseline's."""
    no, without = (baseline[name] for name in pair)
    yes, having = (next(level for level in comparison.factors[name] if level != baseline[name]) for name in pair)
    corners = {(no, without): (0, 0), (no, having): (0, 1), (yes, without): (1, 0), (yes, having): (1, 1)}
    names = named(pair[0], yes), named(pair[1], having)
    sides = where({pair[1]: without}), where({pair[1]: having})
    effects = crossed(found, pair, corners)
    turn = f"with {instead(pair[0], yes, no)}"
    other = NAMES.get(pair[1], pair[1])
    return Factorial(names, turn, 1, other, f"both levels of {other}", sides, effects) if effects else None


def turn(comparison: Comparison, factor: str, level: str, other: str) -> str:
    """How taking one level instead of another is said: by the one trait in which they differ, if that is so."""
    traits = comparison.traits.get(factor, {})
    changed = [name for name, there in traits.get(level, {}).items() if there != traits[other][name]]
    if len(changed) != 1:
        return f"with {instead(factor, level, other)}"
    return f"with{'' if traits[level][changed[0]] else 'out'} {changed[0]}"


def crossed(found: list[Arm], factors: tuple[str, ...], corners: dict[tuple, Corner]) -> list[Effects]:
    """The effects in each context that has a result in all four corners."""
    contexts: dict[tuple, dict[Corner, Arm]] = {}
    for arm in (arm for arm in found if arm.results):
        context = tuple((name, level) for name, level in arm.levels.items() if name not in factors)
        contexts.setdefault(context, {})[corners[tuple(arm.levels[name] for name in factors)]] = arm
    return [Effects(dict(context), there, contrasts(there)) for context, there in contexts.items() if len(there) == 4]


def contrasts(corners: Mapping[Corner, Arm]) -> tuple[Estimate | None, ...]:
    """Both main effects, the interaction, and the first main effect less the second."""
    values = {corner: arm.values for corner, arm in corners.items()}
    return tuple(statistics.contrast(values, weights) for weights in CONTRASTS)
