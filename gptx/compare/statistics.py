"""How sure a difference of means over a few seeds is.

Runs of the same seed share their initial weights and batches, so differences are taken seed by seed, and the interval
is Student's t over them: nothing else is assumed of the noise that seeds share. A seed that has no result in one of the
arms is left out, and `n` says so. Arms that share no seed are compared as unpaired samples (Welch's t). An arm with a
run that diverged has no mean, hence no difference: whoever asks for one gets None. One seed gives a difference without
an interval.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean, variance

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
    paired: bool = True  # False between arms that share no seed
    limit: float = 1 - CONFIDENCE  # the largest p-value that is significant: less among several comparisons

    @property
    def told(self) -> bool:
        """True if the interval does not hold zero: significant for itself."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def significant(self) -> bool:
        """True if it is significant among all that it is judged with."""
        return self.p is not None and self.p <= self.limit

    @property
    def stated(self) -> bool:
        """True if its direction may be said: it is significant, or a single seed shows it, which must then be said."""
        return self.significant or (self.p is None and self.mean != 0)

    def __neg__(self) -> "Estimate":
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return replace(self, mean=-self.mean, low=low, high=high)

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
    mean, n = fmean(samples), len(samples)
    if n == 1:
        return Estimate(mean, 1)
    error = math.sqrt(sum((sample - mean) ** 2 for sample in samples) / (n - 1) / n)
    p = float(2 * stdtr(n - 1, -abs(mean) / error)) if error else float(not mean)
    return Estimate(mean, n, mean - quantile(n) * error, mean + quantile(n) * error, p)


def difference(values: Values, baseline: Values) -> Estimate | None:
    """How far `values` lie above `baseline`, over the seeds that both have, else unpaired; None where either diverged
    or has no result."""
    if diverged(values) or diverged(baseline):
        return None
    pairs = shared(values, baseline)
    if pairs:
        return estimate([a - b for a, b in pairs])
    return unpaired(*([value for value in each.values() if value is not None] for each in (values, baseline)))


def shared(values: Values, others: Values) -> list[tuple[float, float]]:
    """The results of the seeds that both have."""
    both = ((value, others.get(seed)) for seed, value in values.items())
    return [(a, b) for a, b in both if a is not None and b is not None]


def unpaired(a: Sequence[float], b: Sequence[float]) -> Estimate | None:
    """The mean of `a` less that of `b`, with Welch's interval; None of no samples."""
    from scipy.special import stdtr, stdtrit

    if not a or not b:
        return None
    mean, n = fmean(a) - fmean(b), min(len(a), len(b))
    if n == 1:
        return Estimate(mean, 1, paired=False)
    parts = [(variance(each) / len(each), len(each) - 1) for each in (a, b)]
    error = math.sqrt(sum(part for part, _ in parts))
    if not error:
        return Estimate(mean, n, mean, mean, float(not mean), paired=False)
    freedom = error**4 / sum(part**2 / degrees for part, degrees in parts)
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return Estimate(mean, n, mean - half, mean + half, float(2 * stdtr(freedom, -abs(mean) / error)), paired=False)


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


def holm(estimates: Iterable[Estimate | None]) -> float:
    """The largest p-value that is significant when all are judged together, below zero where none is: by Holm's
    correction at most one family of twenty without any true effect shows one."""
    p = sorted(each.p for each in estimates if each and each.p is not None)
    limit = -1.0
    for i, value in enumerate(p):
        if value * (len(p) - i) > 1 - CONFIDENCE:
            break
        limit = value
    return limit
