"""How small a difference a number of seeds can show, where arms are compared with a base and share their seeds.

Each result is the mean of its arm, plus what its seed adds to all arms, plus a residual. The standard deviation of the
residuals, pooled over the arms, judges every difference, by Dunnett's two-sided 5 % over all comparisons with the base.
"""

import math
from bisect import bisect_left
from collections.abc import Hashable, Iterable
from functools import partial

from gptx.estimate.differences import critical, least_squares, quadrature

_POWER = 0.8
_MOST = 1000  # seeds


def residual_sd(results: Iterable[tuple[Hashable, int, float]]) -> float | None:
    """The standard deviation of (arm, seed, value) that neither arm nor seed explains, also where some are missing;
    values that are not finite are left out. None where nothing is left to estimate it from."""
    arms: dict[Hashable, dict[int, float]] = {}
    for arm, seed, value in results:
        arms.setdefault(arm, {}).update({seed: value} if math.isfinite(value) else {})
    found = least_squares({arm: by_seed for arm, by_seed in arms.items() if by_seed})
    return found.deviation if found.degrees else None


def chance(errors: float, arms: int, seeds: int) -> float:
    """The probability that a true difference of `errors` standard errors is significant: noncentral t, integrated here,
    as scipy's is NaN where few degrees of freedom meet many standard errors."""
    from scipy.special import ndtr

    _, _, sizes, weights = quadrature((arms - 1) * (seeds - 1))
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
    shown = partial(smallest_difference, sd, arms)
    found = bisect_left(range(_MOST + 1), True, lo=2, key=lambda seeds: (shown(seeds) or math.inf) <= difference)
    return found if found <= _MOST else None
