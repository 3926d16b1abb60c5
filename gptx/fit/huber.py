"""Fit loss = E + A / N^alpha + B / D^beta to finished runs (arXiv:2203.15556, appendix D.3).

The mean Huber loss of the residuals of log loss, in the form log-sum-exp(a - alpha log N, b - beta log D, e), is
minimised from many starts. N and D are divided by their geometric means: otherwise a and alpha are hardly separable.
Runs are an array of three rows: parameters, tokens and losses.

L-BFGS-B and not scipy.optimize.least_squares(loss="huber"), which finds the same constants, but takes four times as
long for the bootstrap and ends elsewhere in samples that leave a constant open: intervals move in their third digit.
"""

import sys
from itertools import product

import numpy
from numpy import ndarray

from gptx.estimate.laws import FLATTEST, STEEPEST, Constants
from gptx.units.phrases import count
from gptx.units.printable import bare

_DELTA = 1e-3  # residuals of log loss beyond which the loss is linear: an outlier counts, but not by its square
_STARTS = 8  # points of the grid, those of least loss, from which the minimiser begins
_EXPONENTS = (0.15, 0.4, 1.0)
_SHARES = (0.05, 0.3, 0.7)  # of the mean loss that a term makes up
_NOTHING = 10.0  # a term of less than exp(-10) of the mean loss is none
_LEAST = 7  # runs: two more than constants, so that the residuals say how well they fit


def refuse_undetermined(runs: ndarray) -> None:
    """Raise ValueError where the runs cannot determine five constants."""
    number = runs.shape[1]
    if number < _LEAST:
        raise ValueError(f"{number} runs for five constants: at least {_LEAST} are needed")
    for values, what in zip(runs, ("parameters", "tokens"), strict=False):
        if (different := len(set(values))) < 3:
            raise ValueError(f"{count(different, 'number')} of {what} in {number} runs: at least 3 are needed")
    if abs(numpy.corrcoef(numpy.log(runs[:2]))[0, 1]) > 0.999:
        raise ValueError("tokens are a fixed power of the parameters in all runs: the two terms cannot be separated; "
                         "train a size for several lengths")  # fmt: skip


def fit_constants(runs: ndarray) -> tuple[Constants, float]:
    """The constants of least loss, in the order of gptx.estimate.laws.CONSTANTS, and that loss."""
    logs, _ = centred(runs)
    grid = numpy.array(list(product(_SHARES, _SHARES, _SHARES, _EXPONENTS, _EXPONENTS)))
    grid[:, :3] = numpy.log(grid[:, :3]) + logs[2].mean()
    first = numpy.argsort([huber(start, *logs)[0] for start in grid])[:_STARTS]
    return min((_minimised(grid[each], runs) for each in first), key=lambda found: found[1])


def bootstrap(runs: ndarray, found: Constants, draws: int, seed: int = 0) -> tuple[Constants, ...]:
    """The constants of `draws` samples of the runs with repetition, each minimised from those of all runs."""
    from tqdm import tqdm

    A, B, E, alpha, beta = found
    random = numpy.random.default_rng(seed)
    drawn: list[Constants] = []
    with tqdm(total=draws, desc="samples of the runs", disable=None, leave=False, file=bare(sys.stderr)) as bar:
        while len(drawn) < draws:
            sample = runs[:, random.integers(runs.shape[1], size=runs.shape[1])]
            if min(len(set(sample[0])), len(set(sample[1]))) >= 3:
                n, d = centred(sample)[1]
                start = numpy.array([numpy.log(A) - alpha * n, numpy.log(B) - beta * d, numpy.log(E), alpha, beta])
                drawn.append(_minimised(start, sample)[0])
                bar.update()
    return tuple(drawn)


def centred(runs: ndarray) -> tuple[ndarray, ndarray]:
    """The logarithms of the runs, those of N and D less their means, and these means."""
    logs = numpy.log(runs, order="C")  # another order of the sums leads to other ends of a flat valley
    means = numpy.array([row.mean() for row in logs[:2]])
    logs[:2] -= means[:, None]
    return logs, means


def _minimised(start: ndarray, runs: ndarray) -> tuple[Constants, float]:
    from scipy.optimize import minimize

    logs, (n, d) = centred(runs)
    middle = float(logs[2].mean())
    bounds = [(middle - _NOTHING, middle + 1)] * 3 + [(FLATTEST, STEEPEST)] * 2
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 2000, "maxfun": 5000}
    found = minimize(huber, start, tuple(logs), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    a, b, e, alpha, beta = map(float, found.x)
    A, B, E = (float(numpy.exp(value)) for value in (a + alpha * n, b + beta * d, e))
    return (A, B, E, alpha, beta), float(found.fun)


def huber(values: ndarray, n: ndarray, d: ndarray, target: ndarray) -> tuple[float, ndarray]:
    """The mean Huber loss over DELTA, and its derivatives by a, b, e, alpha and beta."""
    a, b, e, alpha, beta = values
    terms = numpy.stack([a - alpha * n, b - beta * d, numpy.full_like(n, e)])
    top = terms.max(axis=0)
    parts = numpy.exp(terms - top)
    whole = parts.sum(axis=0)
    off = top + numpy.log(whole) - target
    bent = numpy.clip(off, -_DELTA, _DELTA)
    loss = (bent * (off - bent / 2)).mean() / _DELTA
    share = parts / whole * bent / (_DELTA * len(n))
    x, y, z = share.sum(axis=1)
    return float(loss), numpy.array([x, y, z, -(share[0] @ n), -(share[1] @ d)])
