"""Fit loss = E + A / N^alpha + B / D^beta to finished runs (arXiv:2203.15556, appendix D.3).

The Huber loss of the residuals of log loss, in the form log-sum-exp(a - alpha log N, b - beta log D, e), from many
starts; N and D are taken beside their means, without which a and alpha can hardly be told apart by a minimiser.
"""

import sys
from dataclasses import dataclass, field
from itertools import product

import numpy
from numpy import ndarray

from gptx.estimate.laws import FLATTEST, STEEPEST, Constants
from gptx.units.printable import bare

DELTA = 1e-3  # residuals of log loss beyond which the loss is linear: a poor run counts, but not by its square
STARTS = 8  # of the grid, those of least loss, from which the minimiser begins
EXPONENTS = (0.15, 0.4, 1.0)
SHARES = (0.05, 0.3, 0.7)  # of the mean loss that a term makes up
NOTHING = 10.0  # a term of less than exp(-10) of the mean loss is none
LEAST = 7  # runs: two more than constants, so that something is left to tell how well they fit


@dataclass(frozen=True)
class Points:
    """Finished runs: parameters, tokens and loss of each."""

    N: ndarray
    D: ndarray
    loss: ndarray
    centre: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre", (float(numpy.log(self.N).mean()), float(numpy.log(self.D).mean())))

    def __len__(self) -> int:
        return len(self.loss)

    def drawn(self, chosen: ndarray) -> "Points":
        """The runs with these indices, with repetitions."""
        return Points(self.N[chosen], self.D[chosen], self.loss[chosen])


def check(points: Points) -> None:
    """Raise ValueError where the runs cannot determine five constants."""
    sizes, lengths = len(set(points.N)), len(set(points.D))
    if len(points) < LEAST:
        raise ValueError(f"{len(points)} runs for five constants: at least {LEAST} are needed")
    if sizes < 3:
        raise ValueError(
            f"{sizes} number{'s' * (sizes > 1)} of parameters in {len(points)} runs: at least 3 are needed"
        )
    if lengths < 3:
        raise ValueError(
            f"{lengths} number{'s' * (lengths > 1)} of tokens in {len(points)} runs: at least 3 are needed"
        )
    n, d = numpy.log(points.N), numpy.log(points.D)
    if abs(numpy.corrcoef(n, d)[0, 1]) > 0.999:
        raise ValueError("tokens are a fixed power of the parameters in all runs, so that no term can be told from the "
                         "other; train a size for several lengths")  # fmt: skip


def fit(points: Points) -> tuple[Constants, float]:
    """The constants of least loss, in the order of gptx.estimate.laws.CONSTANTS, and that loss."""
    n, d, target = logs(points)
    grid = numpy.array(list(product(SHARES, SHARES, SHARES, EXPONENTS, EXPONENTS)))
    grid[:, :3] = numpy.log(grid[:, :3]) + target.mean()
    first = numpy.argsort([huber(start, n, d, target)[0] for start in grid])[:STARTS]
    found = [minimised(grid[each], n, d, target) for each in first]
    best, least = min(found, key=lambda each: each[1])
    return constants(best, points), least


def bootstrap(points: Points, found: Constants, draws: int, seed: int = 0) -> tuple[Constants, ...]:
    """The constants of `draws` samples of the runs with repetition, each begun at those of all."""
    from tqdm import tqdm

    random = numpy.random.default_rng(seed)
    drawn: list[Constants] = []
    with tqdm(total=draws, desc="samples of the runs", disable=None, leave=False, file=bare(sys.stderr)) as bar:
        while len(drawn) < draws:
            sample = points.drawn(random.integers(len(points), size=len(points)))
            if len(set(sample.N)) < 3 or len(set(sample.D)) < 3:
                continue
            best, _ = minimised(start(found, sample), *logs(sample))
            drawn.append(constants(best, sample))
            bar.update()
    return tuple(drawn)


def logs(points: Points) -> tuple[ndarray, ndarray, ndarray]:
    """Logarithms of parameters and tokens beside their means, and of the loss."""
    return numpy.log(points.N) - points.centre[0], numpy.log(points.D) - points.centre[1], numpy.log(points.loss)


def minimised(start: ndarray, n: ndarray, d: ndarray, target: ndarray) -> tuple[ndarray, float]:
    """Where the loss is least near a start, and that loss."""
    from scipy.optimize import minimize

    middle = float(target.mean())
    bounds = [(middle - NOTHING, middle + 1)] * 3 + [(FLATTEST, STEEPEST)] * 2
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 2000, "maxfun": 5000}
    found = minimize(huber, start, (n, d, target), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x, float(found.fun)


def huber(values: ndarray, n: ndarray, d: ndarray, target: ndarray) -> tuple[float, ndarray]:
    """The mean Huber loss over DELTA, and its derivatives by a, b, e, alpha and beta."""
    a, b, e, alpha, beta = values
    terms = numpy.stack([a - alpha * n, b - beta * d, numpy.full_like(n, e)])
    top = terms.max(axis=0)
    parts = numpy.exp(terms - top)
    whole = parts.sum(axis=0)
    off = top + numpy.log(whole) - target
    bent = numpy.clip(off, -DELTA, DELTA)
    loss = (bent * (off - bent / 2)).mean() / DELTA
    share = parts / whole * bent / (DELTA * len(n))
    x, y, z = share.sum(axis=1)
    return float(loss), numpy.array([x, y, z, -(share[0] @ n), -(share[1] @ d)])


def constants(values: ndarray, points: Points) -> Constants:
    """A, B, E, alpha and beta of a minimiser's values."""
    a, b, e, alpha, beta = map(float, values)
    n, d = points.centre
    return float(numpy.exp(a + alpha * n)), float(numpy.exp(b + beta * d)), float(numpy.exp(e)), alpha, beta


def start(found: Constants, points: Points) -> ndarray:
    """A minimiser's values of given constants."""
    A, B, E, alpha, beta = found
    n, d = points.centre
    return numpy.array([numpy.log(A) - alpha * n, numpy.log(B) - beta * d, numpy.log(E), alpha, beta])
