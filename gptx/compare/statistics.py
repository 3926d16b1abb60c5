"""How sure a difference of means over a few seeds is.

Runs of the same seed share their initial weights and batches, so differences are taken seed by seed, and the interval
is Student's t over them: nothing else is assumed of the noise that seeds share. A seed that has no result in one of the
arms is left out, and `n` says so. An arm with a run that diverged has no mean, hence no difference: whoever asks for
one gets None. One seed gives a difference without an interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy
from numpy import ndarray

CONFIDENCE = 0.95
Values = Mapping[int, float | None]  # a result by seed: NaN diverged, None is not there


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds with its 95 % interval and two-sided p-value, which one seed does not give."""

    mean: float
    n: int
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def told(self) -> bool:
        """True if the interval does not hold zero: an effect is told from none."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def same(self) -> bool:
        """True if no seed shows any difference."""
        return self.low == self.high == 0


def interval(samples: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and half the width of its 95 % interval, over the last axis, of at least two samples."""
    n = samples.shape[-1]
    return samples.mean(-1), quantile(n) * samples.std(-1, ddof=1) / math.sqrt(n)


@cache
def quantile(n: int) -> float:
    """What a mean of `n` samples lies within of its truth, in standard errors, in 95 % of cases: 4.30 for n = 3."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))


def estimate(samples: Sequence[float]) -> Estimate | None:
    """The mean of samples, one a seed; None of none, or where one is no finite number."""
    from scipy.special import stdtr

    if not len(samples) or not all(map(math.isfinite, samples)):
        return None
    if len(samples) == 1:
        return Estimate(float(samples[0]), 1)
    mean, half = map(float, interval(numpy.array(samples)))
    errors = mean / (half / quantile(len(samples))) if half else math.copysign(math.inf, mean) if mean else 0.0
    return Estimate(mean, len(samples), mean - half, mean + half, float(2 * stdtr(len(samples) - 1, -abs(errors))))


def paired(values: Values, baseline: Values) -> Estimate | None:
    """How far `values` lie above `baseline`, over the seeds that both have; None where either diverged or none are."""
    return contrast({(1,): values, (0,): baseline}, {(1,): 1.0, (0,): -1.0})


# What changing one of two things does, by whether each is there (1) or not (0): averaged over the other one's absence
# and presence, and how much more it does with the other one than without.
FIRST = {(1, 0): 0.5, (1, 1): 0.5, (0, 0): -0.5, (0, 1): -0.5}
SECOND = {(0, 1): 0.5, (1, 1): 0.5, (0, 0): -0.5, (1, 0): -0.5}
INTERACTION = {(1, 1): 1.0, (0, 0): 1.0, (1, 0): -1.0, (0, 1): -1.0}
FIRST_OVER_SECOND = {(1, 0): 1.0, (0, 1): -1.0}  # FIRST less SECOND: what either does alone


def contrast(cells: Mapping[tuple, Values], weights: Mapping[tuple, float]) -> Estimate | None:
    """The weighted sum of some cells, over the seeds that all of `cells` have; None where one diverged or none are."""
    if any(diverged(values) for values in cells.values()):
        return None
    seeds = [seed for seed in next(iter(cells.values())) if all(v.get(seed) is not None for v in cells.values())]
    return estimate([sum(w * cells[place][seed] for place, w in weights.items()) for seed in seeds])  # type: ignore[misc, operator]


def diverged(values: Values) -> int:
    """In how many seeds the run diverged."""
    return sum(value is not None and not math.isfinite(value) for value in values.values())


def holm(estimates: Sequence[Estimate | None]) -> int:
    """How many effects hold when all are judged together: by Holm's correction at most one family of twenty without
    any true effect shows one."""
    p = sorted(each.p for each in estimates if each and each.p is not None)
    for i, value in enumerate(p):
        if value * (len(p) - i) > 1 - CONFIDENCE:
            return i
    return len(p)
