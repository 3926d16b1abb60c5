"""A scaling law fitted to some runs, and its predictions for the runs that were held out."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy

from gptx.estimate.laws import CONSTANTS, Law
from gptx.fit import huber
from gptx.fit.ladder import COUNTS, Ladder, Rung, points
from gptx.fit.page import Span

Quantity = Callable[[Law], float]


@dataclass(frozen=True)
class Prediction:
    """A held-out run: its loss by the law, and 95 % intervals of the law's loss and of that of a single run, which
    scatters around the law."""

    rung: Rung
    expected: float
    law: Span
    run: Span

    @property
    def inside(self) -> bool:
        return self.run[0] <= self.rung.loss <= self.run[1]

    @property
    def error(self) -> float:
        """Measured over predicted."""
        return self.rung.loss / self.expected


@dataclass(frozen=True)
class Reading:
    """The law of some runs by one count of N, the residual of each (log measured over fitted), and predictions."""

    count: str
    law: Law
    rungs: list[Rung]
    residuals: numpy.ndarray
    predictions: list[Prediction]

    @property
    def sizes(self) -> list[int]:
        return [rung.parameters(self.count) for rung in self.rungs]

    @property
    def budgets(self) -> list[float]:
        return [rung.budget(self.count) for rung in self.rungs]

    @property
    def fitted(self) -> list[float]:
        """The loss of each run by the law."""
        return [rung.loss / float(numpy.exp(left)) for rung, left in zip(self.rungs, self.residuals, strict=True)]


class NoLaw(ValueError):
    """The runs do not follow the law."""


def read(ladder: Ladder, count: str, draws: int) -> Reading:
    """Fit all runs but those held out. Raises ValueError where they cannot determine a law, NoLaw where they follow
    none."""
    kept = [rung for rung in ladder.rungs if not rung.held_out]
    held = [rung for rung in ladder.rungs if rung.held_out]
    if not kept:
        raise ValueError(f"{len(held)} finished runs, {len(held)} of them held out: a law needs several sizes, each "
                         "trained on several numbers of tokens")  # fmt: skip
    seen = points(kept, count)
    seen.check()
    best, _ = huber.fit(seen)
    spent = [rung.budget(count) for rung in kept]
    law = Law(
        **asdict(ladder.about),
        **dict(zip(CONSTANTS, best, strict=True)),
        source=f"{len(kept)} runs of {ladder.about.name}; N: {COUNTS[count]}",
        draws=huber.bootstrap(seen, best, draws),
        operations=(min(spent), max(spent)),
    )
    if law.undetermined:
        raise NoLaw(f"these {len(kept)} runs do not follow the law, and no best size is known: {law.undetermined}, as "
                    f"where the loss does not fall with parameters or with tokens (N: {COUNTS[count]})")  # fmt: skip
    residuals = numpy.log(seen.loss) - numpy.log(law.loss(seen.N, seen.D))  # type: ignore[arg-type]
    return Reading(count, law, kept, residuals, [predict(law, rung, count, residuals) for rung in held])


def predict(law: Law, rung: Rung, count: str, residuals: numpy.ndarray) -> Prediction:
    """The prediction of a law for a run. Runs scatter as the fitted ones do, corrected for the five constants."""
    loss = at(rung.parameters(count), rung.tokens)
    lost = (len(residuals) / max(1, len(residuals) - len(CONSTANTS))) ** 0.5
    scatter = numpy.random.default_rng(0).choice(residuals * lost, size=(len(law.draws), 50))
    drawn = numpy.array([loss(Law(law.name, *draw)) for draw in law.draws])
    low, high = numpy.percentile(drawn[:, None] * numpy.exp(scatter), (2.5, 97.5))
    return Prediction(rung, loss(law), interval(law, loss), (float(low), float(high)))


def interval(law: Law, quantity: Quantity) -> Span:
    return law.interval(quantity) or (0.0, 0.0)


def at(size: float, tokens: float) -> Quantity:
    """The loss of a size after so many tokens."""
    return lambda law: law.loss(size, tokens)


def best_size(flops: float) -> Quantity:
    return lambda law: law.parameters(flops)


def best_ratio(flops: float) -> Quantity:
    """Tokens per parameter at the best size of a budget."""
    return lambda law: law.optimum(flops)[1] / law.optimum(flops)[0]


def exponent(place: int) -> Quantity:
    """How the best N (0) or D (1) grows with the budget."""
    return lambda law: law.exponents[place]
