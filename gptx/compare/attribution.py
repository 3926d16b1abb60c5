"""Which of two things contributed more, where runs with both, either and neither are there: a 2 x 2 factorial."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product

from gptx.compare import statistics
from gptx.compare.arms import Arm, is_rate, primary
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate
from gptx.compare.words import instead, named

Corner = tuple[int, int]  # whether the first and the second of two things are there


@dataclass(frozen=True)
class Effects:
    """What two things do among arms that are alike in all else; None where it cannot be computed."""

    context: dict[str, str]
    corners: Mapping[Corner, Arm]
    reference: Corner

    @property
    def main(self) -> tuple[Estimate | None, Estimate | None]:
        """What each does, averaged over the other one's absence and presence."""
        return self.contrast(statistics.FIRST), self.contrast(statistics.SECOND)

    @property
    def interaction(self) -> Estimate | None:
        """How much more either does beside the other than without it."""
        return self.contrast(statistics.INTERACTION)

    @property
    def first_over_second(self) -> Estimate | None:
        """How much more the first does than the second."""
        return self.contrast(statistics.FIRST_OVER_SECOND)

    @property
    def change(self) -> tuple[dict[str, str], Estimate | None, Arm, Arm]:
        """What turning the first thing does, between which arms, in this context."""
        return self.context, self.turned[0], self.across(0), self.corners[self.reference]

    @property
    def turned(self) -> tuple[Estimate | None, Estimate | None]:
        """What happens to the reference if the first, or the second, is turned: taken away, or added."""
        base = self.corners[self.reference].values
        return statistics.paired(self.across(0).values, base), statistics.paired(self.across(1).values, base)

    def across(self, thing: int) -> Arm:
        """The arm that differs from the reference in one of the two things."""
        first, second = self.reference
        return self.corners[(1 - first, second) if thing == 0 else (first, 1 - second)]

    def contrast(self, weights: Mapping[Corner, float]) -> Estimate | None:
        return statistics.contrast({corner: self.corners[corner].values for corner in weights}, weights)


@dataclass(frozen=True)
class Factorial:
    """Two things, how turning them is said ("without warmup"), and what they do in each context."""

    names: tuple[str, str]
    turns: tuple[str, str]
    effects: list[Effects]
    factor: str = ""  # whose two levels the first thing is; "" where it is a trait


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
    out = ["out" if there else "" for there in reference]
    effects = crossed(found, (factor,), corners, reference)
    turns = f"with{out[0]} {first}", f"with{out[1]} {second}"
    return Factorial((first, second), turns, effects) if effects else None


def paired(
    pair: tuple[str, str], comparison: Comparison, found: list[Arm], baseline: dict[str, str]
) -> Factorial | None:
    """The 2 x 2 of two factors: what is there or not is the level that is not the baseline's."""
    no, without = (baseline[name] for name in pair)
    yes, having = (next(level for level in comparison.factors[name] if level != baseline[name]) for name in pair)
    corners = {(no, without): (0, 0), (no, having): (0, 1), (yes, without): (1, 0), (yes, having): (1, 1)}
    names = named(pair[0], yes), named(pair[1], having)
    turns = f"with {instead(pair[0], yes, no)}", f"with {instead(pair[1], having, without)}"
    effects = crossed(found, pair, corners, (0, 0))
    return Factorial(names, turns, effects, pair[0]) if effects else None


def turn(comparison: Comparison, factor: str, level: str, other: str) -> str:
    """How taking one level instead of another is said: by the one trait in which they differ, if that is so."""
    traits = comparison.traits.get(factor, {})
    changed = [name for name, there in traits.get(level, {}).items() if there != traits[other][name]]
    if len(changed) != 1:
        return f"with {instead(factor, level, other)}"
    return f"with{'' if traits[level][changed[0]] else 'out'} {changed[0]}"


def crossed(
    found: list[Arm], factors: tuple[str, ...], corners: dict[tuple, Corner], reference: Corner
) -> list[Effects]:
    """The effects in each context that has a result in all four corners."""
    contexts: dict[tuple, dict[Corner, Arm]] = {}
    for arm in (arm for arm in found if arm.results):
        context = tuple((name, level) for name, level in arm.levels.items() if name not in factors)
        contexts.setdefault(context, {})[corners[tuple(arm.levels[name] for name in factors)]] = arm
    return [Effects(dict(context), there, reference) for context, there in contexts.items() if len(there) == 4]
