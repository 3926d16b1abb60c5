"""Steps against tokens to the same loss, over batch sizes: the law of arXiv:1812.06162, fitted to measurements."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy
from numpy import ndarray

from gptx.estimate.differences import quantile

FEWEST_SIZES = 4  # batch sizes that are fitted: the law has two constants, and the residuals say how well it holds
_REACH = 1e3  # times beyond the batch sizes that were run, as far as a critical one is searched
RULES = {"linear": 1.0, "square root": 0.5, "none": 0.0}  # exponents of the batch size in the learning rate
_PLACES = 2_000  # candidates, in equal factors: about 1 % apart, and refined once more around the best


@dataclass(frozen=True)
class Tradeoff:
    """S = Smin (1 + Bcrit / B) steps and E = Emin (1 + B / Bcrit) tokens at B tokens per step, so that
    (S / Smin - 1)(E / Emin - 1) = 1 and Emin = Smin Bcrit (arXiv:1812.06162, section 2.3 and appendix)."""

    fewest_steps: float  # Smin, of endless batches
    critical: float  # Bcrit, in tokens: twice the fewest steps and twice the fewest tokens
    low: float = math.nan  # 95 % interval of Bcrit: 0 and inf where the measurements leave that end open
    high: float = math.nan
    misfit: float = 0.0  # standard deviation of log steps around the law

    @property
    def fewest_tokens(self) -> float:  # Emin, of the smallest batches
        return self.fewest_steps * self.critical

    def steps(self, batch: float) -> float:
        return self.fewest_steps * (1 + self.critical / batch)


def fit_tradeoff(batches: Sequence[float], steps: Sequence[float]) -> Tradeoff:
    """The law of least squares in log steps. The interval of Bcrit holds what raises the squares by at most Student's
    t (two-sided, 5 %, n - 2 degrees of freedom): noise is what the law leaves over, by chance or as it does not hold.
    Raises ValueError for fewer than FEWEST_SIZES batch sizes, and where no batch size near them is critical."""
    sizes, measured = numpy.array(batches, float), numpy.log(numpy.array(steps, float))
    if (different := len(set(batches))) < FEWEST_SIZES:
        raise ValueError(f"{different} batch sizes reached the target; the trade-off needs at least {FEWEST_SIZES}")
    candidates = numpy.geomspace(sizes.min() / _REACH, sizes.max() * _REACH, _PLACES)
    _, squares = _profile(candidates, sizes, measured)
    best, free = int(squares.argmin()), len(sizes) - 2
    if best == 0:
        raise ValueError("all batch sizes are far above a critical one: steps do not fall with them; add smaller ones")
    if best == _PLACES - 1:
        raise ValueError("all batch sizes are far below a critical one: steps fall in proportion; add larger ones")
    finer = numpy.geomspace(candidates[best - 1], candidates[best + 1], _PLACES)
    offsets, around = _profile(finer, sizes, measured)
    least = int(around.argmin())
    limit = around[least] * (1 + quantile(free) ** 2 / free)
    inside = numpy.append(numpy.flatnonzero(squares <= limit), best)
    low = float(candidates[inside.min() - 1]) if inside.min() > 0 else 0.0
    high = float(candidates[inside.max() + 1]) if inside.max() < _PLACES - 1 else math.inf
    return Tradeoff(math.exp(offsets[least]), float(finer[least]), low, high, misfit=math.sqrt(around[least] / free))


def _profile(candidates: ndarray, sizes: ndarray, measured: ndarray) -> tuple[ndarray, ndarray]:
    """The log of the best Smin for each critical batch size, and the sum of squares that it leaves."""
    shape = numpy.log1p(candidates[:, None] / sizes)  # (candidates, sizes)
    offsets = (measured - shape).mean(1)
    return offsets, ((measured - shape - offsets[:, None]) ** 2).sum(1)


def law_or_none(batches: Sequence[float], steps: Sequence[float]) -> Tradeoff | None:
    """The law, None where there is none."""
    try:
        return fit_tradeoff(batches, steps)
    except ValueError:
        return None


def without_each(batches: Sequence[float], steps: Sequence[float]) -> list[float | None]:
    """Bcrit without each batch size in turn, None where there is none; empty where too few would be left to fit."""
    gone = range(len(batches)) if len(batches) > FEWEST_SIZES else ()
    laws = (law_or_none(*([*values[:i], *values[i + 1 :]] for values in (batches, steps))) for i in gone)
    return [law.critical if law else None for law in laws]


def above_fewest(batches: Sequence[float], tokens: Sequence[float], share: float) -> float | None:
    """The batch size that needs `share` more tokens than the fewest, by a line in logs; None if none does."""
    order = sorted(zip(batches, tokens, strict=True))
    start = min(range(len(order)), key=lambda i: order[i][1])
    limit = math.log((1 + share) * order[start][1])
    for (small, few), (large, many) in pairwise(order[start:]):
        if math.log(many) >= limit:
            return small * (large / small) ** ((limit - math.log(few)) / (math.log(many) - math.log(few)))
    return None


def lowest(rates: Sequence[float], values: Sequence[float]) -> float:
    """The rate of the lowest value, by the parabola in log rate and log value through three of them."""
    places, heights = numpy.log(rates), numpy.log(values)
    bend, slope, _ = numpy.polyfit(places - places[1], heights, 2)
    return float(math.exp(places[1] - slope / (2 * bend))) if bend > 0 else rates[1]


def exponent(batches: Sequence[float], rates: Sequence[float], step: float) -> tuple[float, float]:
    """Slope of log rate over log batch, and its two sigma if each rate is known to a grid of factor `step` only."""
    x, y = numpy.log(batches), numpy.log(rates)
    spread = ((x - x.mean()) ** 2).sum()
    return float(((x - x.mean()) * y).sum() / spread), 2 * math.log(step) / math.sqrt(12 * spread)
