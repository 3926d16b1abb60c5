"""How sure a difference of means over a few seeds is.

Runs of one seed share initial weights and batches, so differences are taken seed by seed, with Student's t interval
over the seeds that both arms have; arms that share no seed are compared as independent samples (Welch's t).
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

_CONFIDENCE = 0.95
_Values = Mapping[int, float]  # a result by seed: NaN diverged


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds with its 95 % interval and two-sided p-value, which a single seed does not give."""

    mean: float
    n: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    paired: bool = True  # False between arms that share no seed
    limit: float = 1 - _CONFIDENCE  # the largest significant p-value: smaller among several comparisons

    @property
    def significant_alone(self) -> bool:
        """True if the interval excludes zero: significant before any correction."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def significant(self) -> bool:
        """True if it is significant among all comparisons that are judged together."""
        return self.p is not None and self.p <= self.limit

    @property
    def kind(self) -> str:
        """same: no seed differs; higher or lower: significant, or of a single seed, as the text says; else unsure."""
        if not (self.mean or self.low or self.high):
            return "same"
        return "unsure" if self.p is not None and not self.significant else "higher" if self.mean > 0 else "lower"


def estimate(samples: Sequence[float]) -> Estimate | None:
    """The mean of samples, one a seed; None of no samples, or where one is not finite."""
    n = len(samples)
    if not n or not all(map(math.isfinite, samples)):
        return None
    mean = fmean(samples)
    return _student(mean, sum((sample - mean) ** 2 for sample in samples) / max(1, n - 1) / n, n - 1, n)


def _student(mean: float, squared: float, degrees: float, n: int, *, paired: bool = True) -> Estimate:
    """The estimate of a mean, by the square of its standard error and that square's degrees of freedom."""
    from scipy.special import stdtr

    if n == 1:
        return Estimate(mean, 1, paired=paired)
    error = math.sqrt(squared)
    half = quantile(degrees) * error if error else 0.0
    p = float(2 * stdtr(degrees, -abs(mean) / error)) if error else float(not mean)
    return Estimate(mean, n, mean - half, mean + half, p, paired)


def quantile(degrees: float) -> float:
    """Half the width of a 95 % interval in standard errors, by Student's t: 4.30 for two degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + _CONFIDENCE) / 2))


def difference(values: _Values, baseline: _Values) -> Estimate | None:
    """How far `values` lie above `baseline` in common seeds, else unpaired; None if one diverged or has no result."""
    if diverged(values) or diverged(baseline):
        return None
    if values and baseline and values.keys().isdisjoint(baseline):
        return _unpaired(values.values(), baseline.values())
    return estimate([values[seed] - baseline[seed] for seed in values if seed in baseline])


def _unpaired(a: Collection[float], b: Collection[float]) -> Estimate:
    """The mean of `a` less that of `b`, with Welch's interval."""
    parts = [(variance(each) / len(each), len(each) - 1) for each in (a, b) if len(each) > 1]
    squared = sum(part for part, _ in parts)
    degrees = squared**2 / sum(part**2 / free for part, free in parts) if squared else math.nan
    return _student(fmean(a) - fmean(b), squared, degrees, min(len(a), len(b)), paired=False)


# What two things do in a 2 x 2, by whether each is there (1) or not (0). A main effect is the average over the other's
# absence and presence; the interaction is how much more either does with the other than without.
CONTRASTS = {
    "first": {(1, 0): 0.5, (1, 1): 0.5, (0, 0): -0.5, (0, 1): -0.5},
    "second": {(0, 1): 0.5, (1, 1): 0.5, (0, 0): -0.5, (1, 0): -0.5},
    "interaction": {(1, 1): 1.0, (0, 0): 1.0, (1, 0): -1.0, (0, 1): -1.0},
    "lead": {(1, 0): 1.0, (0, 1): -1.0},  # of the first over the second
    "first alone": {(1, 0): 1.0, (0, 0): -1.0},
    "first with second": {(1, 1): 1.0, (0, 1): -1.0},
}


def contrast(arms: Mapping[tuple, _Values], weights: Mapping[tuple, float]) -> Estimate | None:
    """The weighted sum of some arms over the seeds that all have; None where one diverged or no seed is common."""
    if any(map(diverged, arms.values())):
        return None
    seeds = [seed for seed in next(iter(arms.values())) if all(seed in values for values in arms.values())]
    return estimate([sum(weight * arms[place][seed] for place, weight in weights.items()) for seed in seeds])


def diverged(values: _Values) -> int:
    """The number of seeds whose run diverged."""
    return sum(not math.isfinite(value) for value in values.values())


def holm(estimates: Iterable[Estimate]) -> float:
    """The largest p-value that Holm's correction keeps, below 0 for none: 1 of 20 families without effects has one."""
    p = sorted(each.p for each in estimates if each.p is not None)
    limit = -1.0
    for i, value in enumerate(p):
        if value * (len(p) - i) > 1 - _CONFIDENCE:
            break
        limit = value
    return limit
