"""Which of two things contributed more, where runs with both, either and neither are there: a 2 x 2 factorial."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from gptx.compare import statistics
from gptx.compare.arms import Arm
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate
from gptx.compare.words import named

Corner = tuple[int, int]  # whether the first and the second of two things are there
CORNERS: tuple[Corner, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))


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
    def turned(self) -> tuple[Estimate | None, Estimate | None]:
        """What happens to the reference if the first, or the second, is turned from there to not there, or back."""
        one, two = self.reference
        base = self.corners[self.reference].values
        return tuple(statistics.paired(self.corners[to].values, base) for to in ((1 - one, two), (one, 1 - two)))  # type: ignore[return-value]

    def contrast(self, weights: Mapping[Corner, float]) -> Estimate | None:
        return statistics.contrast({corner: arm.values for corner, arm in self.corners.items()}, weights)


@dataclass(frozen=True)
class Factorial:
    """Two things, how their being turned is said, and what they do in each context."""

    names: tuple[str, str]
    turns: tuple[str, str]  # from the reference: "without warmup"
    effects: list[Effects]


def factorial(comparison: Comparison, found: list[Arm], baseline: dict[str, str]) -> Factorial | None:
    """The 2 x 2 in a comparison: a factor whose levels are one of each combination of two traits, else the first two
    factors of two levels each that are crossed. None where there is none."""
    for factor, traits in comparison.traits.items():
        corners = {level: tuple(int(there) for there in having.values()) for level, having in traits.items()}
        if sorted(corners.values()) == sorted(CORNERS):
            first, second = next(iter(traits.values()))
            reference: Corner = corners[baseline[factor]]  # type: ignore[assignment]
            turns = tuple(
                f"with{'out' if there else ''} {name}" for name, there in zip((first, second), reference, strict=True)
            )
            places = {(factor, level): corner for level, corner in corners.items()}
            effects = crossed(found, [factor], lambda arm: places[factor, arm.levels[factor]], reference)
            return Factorial((first, second), turns, effects) if effects else None
    two = [name for name, levels in comparison.factors.items() if len(levels) == 2]
    for one, other in combinations(two, 2):
        changed = {
            name: next(level for level in comparison.factors[name] if level != baseline[name]) for name in (one, other)
        }
        effects = crossed(
            found, [one, other], lambda arm: tuple(int(arm.levels[name] == changed[name]) for name in changed), (0, 0)
        )
        if effects:
            turns = tuple(
                f"with {named(name, level)} instead of {named(name, baseline[name])}" for name, level in changed.items()
            )
            return Factorial((named(one, changed[one]), named(other, changed[other])), turns, effects)
    return None


def crossed(found: list[Arm], factors: list[str], corner, reference: Corner) -> list[Effects]:
    """The effects in each context that has all four corners."""
    contexts: dict[tuple, dict[Corner, Arm]] = {}
    for arm in found:
        context = tuple((name, level) for name, level in arm.levels.items() if name not in factors)
        contexts.setdefault(context, {})[corner(arm)] = arm
    return [Effects(dict(context), corners, reference) for context, corners in contexts.items() if len(corners) == 4]
