"""How small a difference a number of seeds can show, where arms are compared with a base and share their seeds.

Each result is the mean of its arm, plus what its seed adds to all arms, plus a residual. The standard deviation of the
residuals, pooled over the arms, judges every difference, by Dunnett's two-sided 5 % over all comparisons with the base.
"""

import functools
import math
from collections.abc import Hashable, Iterable

_ALPHA, _POWER = 0.05, 0.8
_MOST = 1000  # seeds
_NODES = 100  # of each integral


def residual_sd(results: Iterable[tuple[Hashable, Hashable, float]]) -> float | None:
    """The standard deviation of (arm, seed, value) that neither arm nor seed explains, also where some are missing;
    values that are not finite are left out. None where nothing is left to estimate it from."""
    import numpy

    found = {(arm, seed): value for arm, seed, value in results if math.isfinite(value)}
    arms, seeds = (list(dict.fromkeys(column)) for column in zip(*found, strict=True)) if found else ([], [])
    design = numpy.zeros((len(found), len(arms) + len(seeds)))
    for row, (arm, seed) in enumerate(found):
        design[row, [arms.index(arm), len(arms) + seeds.index(seed)]] = 1
    degrees = len(found) - (numpy.linalg.matrix_rank(design) if found else 0)
    if not degrees:
        return None
    values = numpy.array([*found.values()])
    rest = values - design @ numpy.linalg.lstsq(design, values, rcond=None)[0]
    return float(math.sqrt(rest @ rest / degrees))


@functools.cache
def _deviations(degrees: int):
    """Estimates of a standard deviation of 1 at the nodes of an integral over their distribution, and its weights."""
    import numpy
    from scipy.special import chdtri

    nodes, weights = numpy.polynomial.legendre.leggauss(_NODES)
    return numpy.sqrt(chdtri(degrees, (1 - nodes) / 2) / degrees), weights / 2


@functools.cache
def critical(comparisons: int, degrees: int) -> float:
    """Dunnett's two-sided 5 % point of the largest of some t values that share a base and a standard deviation."""
    import numpy
    from scipy.optimize import brentq
    from scipy.special import ndtr

    sizes, weights = _deviations(degrees)
    base, chances = numpy.polynomial.hermite_e.hermegauss(_NODES)

    def beyond(point: float) -> float:
        edge = math.sqrt(2) * point * sizes[:, None]
        inside = (ndtr(edge + base) - ndtr(base - edge)) ** comparisons
        return float(1 - weights @ inside @ chances / math.sqrt(2 * math.pi) - _ALPHA)

    return float(brentq(beyond, 0.5, 1e4))


def chance(errors: float, arms: int, seeds: int) -> float:
    """The probability that a true difference of `errors` standard errors is significant: noncentral t, integrated here,
    as scipy's is NaN where few degrees of freedom meet many standard errors."""
    from scipy.special import ndtr

    sizes, weights = _deviations((arms - 1) * (seeds - 1))
    edge = critical(arms - 1, (arms - 1) * (seeds - 1)) * sizes
    return float(weights @ (ndtr(errors - edge) + ndtr(-errors - edge)))


def smallest_difference(sd: float, arms: int, seeds: int) -> float | None:
    """The true difference from the base that `seeds` seeds an arm find in 80 of 100 sweeps; None without an error."""
    from scipy.optimize import brentq

    if arms < 2 or seeds < 2:
        return None
    most = 100 * critical(arms - 1, (arms - 1) * (seeds - 1))
    return float(brentq(lambda errors: chance(errors, arms, seeds) - _POWER, 0, most)) * sd * math.sqrt(2 / seeds)


def seeds_needed(difference: float, sd: float, arms: int) -> int | None:
    """The fewest seeds an arm that find a true `difference` in 80 of 100 sweeps; None for more than a thousand."""
    low, high = 1, 2
    while high < _MOST and (smallest_difference(sd, arms, high) or math.inf) > difference:
        low, high = high, 2 * high
    while high - low > 1:
        half = (low + high) // 2
        low, high = (low, half) if (smallest_difference(sd, arms, half) or math.inf) <= difference else (half, high)
    return high if high <= _MOST else None
