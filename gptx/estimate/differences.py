"""How sure a difference of means over a few seeds is.

Runs of one seed share initial weights and batches, so a result is taken as arm + seed + noise, by least squares
(randomized blocks). The noise is pooled over the arms: with two or three seeds a spread of one arm alone says next to
nothing. Several comparisons are judged together by the largest of their t values (Dunnett 1955 for arms against a base,
the studentized maximum modulus for contrasts that are not correlated), so 95 % holds for all of them at once.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import compress
from statistics import fmean, variance

import numpy
from numpy import ndarray

_CONFIDENCE = 0.95
_STRANGE = 0.02  # p-value below which an arm's spread over seeds is not that of the other arms
_NODES = 64  # of each integral
Values = Mapping[int, float]  # a result by seed: NaN diverged
Weights = Mapping[Hashable, float]  # of arms in a contrast


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds, of one seed without interval and p-value. `low` to `high` and `p` (two-sided) hold for all
    comparisons that were judged together; `alone` is the interval of Student's t over this comparison's own seeds."""

    mean: float
    n: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    alone: tuple[float, float] | None = None
    paired: bool = True  # False between arms that share no seed
    own: bool = False  # True where the spread is its own, not pooled: it is not that of the other arms

    @property
    def significant(self) -> bool:
        return self.p is not None and self.p <= 1 - _CONFIDENCE

    @property
    def kind(self) -> str:
        """same: no seed differs; higher or lower: significant, or of a single seed, as the text says; else unsure."""
        if not (self.mean or self.low or self.high):
            return "same"
        return "unsure" if self.p is not None and not self.significant else "higher" if self.mean > 0 else "lower"

    @property
    def disputed(self) -> bool:
        """True if its own seeds alone say something else about zero than the pooled spread does."""
        return self.alone is not None and self.p is not None and self.significant != (self.alone[0] * self.alone[1] > 0)


def estimate(samples: Sequence[float], together: int = 1) -> Estimate | None:
    """The mean of samples, one a seed, with Student's interval, one of `together` in all that are judged at once;
    None of no samples, or where one is not finite."""
    n = len(samples)
    if not n or not all(map(math.isfinite, samples)):
        return None
    mean = fmean(samples)
    if n == 1:
        return Estimate(mean, 1)
    error = math.sqrt(variance(samples) / n)
    return _judged(mean, error, n - 1, n, _Family(times=together), _interval(mean, error, n - 1))


def quantile(degrees: float) -> float:
    """Half the width of a 95 % interval in standard errors, by Student's t: 4.30 for two degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + _CONFIDENCE) / 2))


def _interval(mean: float, error: float, degrees: float) -> tuple[float, float]:
    half = quantile(degrees) * error if error else 0.0
    return mean - half, mean + half


@dataclass(frozen=True)
class _Family:
    """Estimates that are judged together: `count` of one spread, whose correlations are `rho` or more, and as many
    such families as `times`, each with a spread of its own."""

    count: int = 1
    rho: float = 0.0
    times: int = 1


def _judged(mean, error, degrees, n, family: _Family, alone, *, paired=True, own=False) -> Estimate:
    half = critical(family.count, degrees, family.rho, family.times) * error if error else 0.0
    inside = _inside(abs(mean) / error, family.count, degrees, family.rho) if error else float(bool(mean))
    return Estimate(mean, n, mean - half, mean + half, max(0.0, 1 - inside**family.times), alone, paired, own)


@cache
def critical(count: int, degrees: float, rho: float = 0.5, times: int = 1) -> float:
    """The t value below which the largest of `count` t values stays in 95 % of cases, without an effect; that of all
    such families, where there are several that do not share the estimate of their noise.
    `rho` is the correlation of any two of them: 0.5 for arms against one base of as many seeds (Dunnett's table: 2.73
    for 5 arms and 20 degrees of freedom), 0 for contrasts that are not correlated, which is never too small."""
    from scipy.optimize import brentq

    return float(brentq(lambda t: _inside(t, count, degrees, rho) ** times - _CONFIDENCE, 0.5, 1e4, xtol=1e-6))


def _inside(t: float, count: int, degrees: float, rho: float) -> float:
    """The probability that all of `count` t values of correlation `rho` are within -t and t."""
    from scipy.special import ndtr, stdtr

    if count == 1:
        return float(1 - 2 * stdtr(degrees, -t))
    shared, weight, spread, share = quadrature(degrees)
    if not rho:
        shared, weight = numpy.zeros(1), numpy.ones(1)
    ends = (t * spread[:, None] + side * math.sqrt(rho) * shared for side in (-1, 1))
    low, high = (end / math.sqrt(1 - rho) for end in ends)
    return float(share @ (ndtr(high) - ndtr(-low)) ** count @ weight)


@cache
def quadrature(degrees: float) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Nodes and weights of the two integrals: over a standard normal, and over a standard deviation's estimate."""
    from scipy.special import gammaincinv

    x, weight = numpy.polynomial.hermite_e.hermegauss(_NODES)
    u, share = numpy.polynomial.legendre.leggauss(_NODES)
    return x, weight / weight.sum(), numpy.sqrt(gammaincinv(degrees / 2, (u + 1) / 2) * 2 / degrees), share / 2


@dataclass(frozen=True)
class Fit:
    """Arms' results as arm + seed + noise: what a difference, or any other contrast of arms, is worth."""

    values: dict[Hashable, Values]  # of arms without a diverged run
    means: ndarray
    covariance: ndarray  # of the means, in units of the noise's variance
    deviation: float  # of the noise
    degrees: int
    strange: frozenset[Hashable]  # arms whose spread over seeds is not that of the others
    known: ndarray  # projects contrasts on those that seeds in common, perhaps through other arms, can tell
    loose: "Fit | None" = None  # without the seeds: for contrasts that none can tell

    def family(self, contrasts: Sequence[Weights], *, chances: int = 0, times: int = 1) -> list[Estimate | None]:
        """The estimates of some contrasts, judged together; None where an arm has no mean. `chances`: how many there
        could have been, where the arms were chosen by their results; `times`: of how many fits they are judged."""
        rows = [self._row(weights) for weights in contrasts]
        if self.loose and not all(far := [*map(self._tells, rows)]):  # two families, each of its own spread
            sides, times = {True: replace(self, loose=None), False: self.loose}, times * (1 + any(far))
            told = {side: iter(fit.family([*compress(contrasts, map(side.__eq__, far))], chances=chances, times=times))
                    for side, fit in sides.items()}  # fmt: skip
            return [next(told[side]) for side in far]
        known = [row for row in rows if row is not None]
        family = _Family(max(chances, len(known)), 0.0 if chances else self._correlation(known), times)
        return [None if row is None else self._estimate(weights, row, family)
                for weights, row in zip(contrasts, rows, strict=True)]  # fmt: skip

    def _tells(self, row: ndarray | None) -> bool:
        return row is not None and bool(row @ self.known @ row > (1 - 1e-9) * (row @ row))

    def _row(self, weights: Weights) -> ndarray | None:
        if not all(self.values.get(arm) for arm in weights):
            return None
        return numpy.array([weights.get(arm, 0.0) for arm in self.values])

    def _correlation(self, rows: list[ndarray]) -> float:
        """The smallest correlation, by its size, of any two contrasts: with it no interval is too narrow."""
        if len(rows) < 2:
            return 0.0
        found = numpy.array(rows) @ self.covariance @ numpy.array(rows).T
        size = numpy.sqrt(numpy.diag(found))
        sizes = abs(found / numpy.outer(size, size))[numpy.triu_indices(len(rows), 1)]
        return round(float(min(sizes.min(), 0.5)), 3)

    def _estimate(self, weights: Weights, row: ndarray, family: _Family) -> Estimate:
        alone = self._alone(weights)
        if alone and alone.alone == (0, 0):
            return alone  # the same to the last bit in every seed
        if alone and alone.alone and not self.strange.isdisjoint(weights):
            error = (alone.alone[1] - alone.alone[0]) / 2 / quantile(alone.n - 1)
            family = _Family(times=family.count * family.times)
            return _judged(alone.mean, error, alone.n - 1, alone.n, family, alone.alone, own=True)
        mean, error = float(row @ self.means), self.deviation * math.sqrt(row @ self.covariance @ row)
        n, span = (alone.n, alone.alone) if alone else (min(len(self.values[arm]) for arm in weights), None)
        if not self.degrees:
            return Estimate(mean, n, paired=alone is not None)
        return _judged(mean, error, self.degrees, n, family, span, paired=alone is not None)

    def _alone(self, weights: Weights) -> Estimate | None:
        """The estimate of a contrast over the seeds that all its arms have; None without such a seed."""
        seeds = sorted(set.intersection(*(set(self.values[arm]) for arm in weights)))
        return estimate([sum(weight * self.values[arm][seed] for arm, weight in weights.items()) for seed in seeds])


def fit_blocks(values: Mapping[Hashable, Values], *, by_seed: bool = True) -> Fit:
    """The fit of arms' results by seed; arms that diverged in a seed, or have no result, are left out of it."""
    there = {arm: results for arm, results in values.items() if results and not diverged(results)}
    every = pooled = least_squares(whole := dict(there), by_seed=by_seed)
    while (odd := _strangest(pooled, whole)) is not None:
        del whole[odd]
        pooled = least_squares(whole, by_seed=by_seed)
    strange = frozenset(there.keys() - whole.keys())
    loose = fit_blocks(there, by_seed=False) if every.apart and by_seed else None
    return Fit(there, every.means, every.covariance, pooled.deviation, pooled.degrees, strange, every.known, loose)


@dataclass(frozen=True)
class _Solution:
    means: ndarray
    covariance: ndarray
    squares: dict[Hashable, float]  # of the residuals, by arm
    degrees: int
    seeds: int  # how many effects of seeds are estimated
    known: ndarray  # see Fit
    apart: bool  # True if arms and seeds do not hang together: some arms share no seed with the others

    @property
    def deviation(self) -> float:
        return math.sqrt(sum(self.squares.values()) / self.degrees) if self.degrees else 0.0


def least_squares(values: Mapping[Hashable, Values], *, by_seed: bool = True) -> _Solution:
    """Arms' means over all seeds, `by_seed` of those that hang together. An arm that repeats another one to the last
    bit says nothing more of the noise."""
    cells = [(arm, seed, value) for arm, results in values.items() for seed, value in results.items()]
    arms, seeds = [*values], sorted(set[int]().union(*values.values())) if by_seed else []
    x = numpy.zeros((len(cells), len(arms) + len(seeds)))
    for row, (arm, seed, _) in zip(x, cells, strict=True):
        row[[arms.index(arm), *([len(arms) + seeds.index(seed)] if by_seed else [])]] = 1
    x[:, len(arms) :] -= 1 / max(1, len(seeds))
    inverse, y = numpy.linalg.pinv(x.T @ x), numpy.array([cell[2] for cell in cells])
    told, solution = inverse @ x.T @ x, inverse @ x.T @ y
    residuals, blocks = y - x @ solution, round(float(numpy.trace(told))) - len(arms)
    distinct = {tuple(results.items()): arm for arm, results in values.items()}.values()
    squares = {arm: float(sum(residuals[[cell[0] == arm for cell in cells]] ** 2)) for arm in distinct}
    free = max(0, sum(map(len, map(values.__getitem__, squares))) - len(squares) - blocks)
    covariance, known = (part[: len(arms), : len(arms)] for part in (inverse, told))
    return _Solution(solution[: len(arms)], covariance, squares, free, blocks, known, blocks < len(seeds) - 1)


def _strangest(found: _Solution, values: Mapping[Hashable, Values]) -> Hashable | None:
    """The arm whose spread over seeds is most above that of the others, if that is beyond chance."""
    from scipy.special import fdtrc

    odds: dict[Hashable, float] = {}
    for arm, square in found.squares.items():
        own = (len(values[arm]) - 1) * (1 - bool(found.seeds) / len(found.squares))
        rest, others = found.degrees - own, sum(found.squares.values()) - square
        if own > 0.5 and rest > 0.5 and others > 0:
            odds[arm] = float(fdtrc(own, rest, square / own / (others / rest))) * len(found.squares)
    odd = min(odds, key=lambda arm: odds[arm], default=None)
    return odd if odd is not None and len(values) > 2 and odds[odd] < _STRANGE else None


def difference(values: Values, baseline: Values) -> Estimate | None:
    """How far `values` lie above `baseline`, by themselves; None if one diverged or has no result."""
    return fit_blocks({"arm": values, "base": baseline}).family([{"arm": 1.0, "base": -1.0}])[0]


def diverged(values: Values) -> int:
    """The number of seeds whose run diverged."""
    return sum(not math.isfinite(value) for value in values.values())
