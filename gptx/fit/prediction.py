"""A scaling law fitted to some runs, and its predictions for the runs that were held out."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy

from gptx.estimate.laws import CONSTANTS, Law
from gptx.fit import huber
from gptx.fit.ladder import COUNTS, Ladder, Rung
from gptx.fit.page import Span


@dataclass(frozen=True)
class _Prediction:
    """A held-out run: its loss by the law, and 95 % intervals of the law's loss and of that of a single run, which
    scatters around the law."""

    rung: Rung
    expected: float
    law: Span
    run: Span

    @property
    def inside(self) -> bool:
        return self.run[0] <= self.rung.loss <= self.run[1]


@dataclass(frozen=True)
class LawReading:
    """The law of some runs by one count of N, the residual of each (log measured over fitted), and predictions."""

    count: str
    law: Law
    rungs: list[Rung]
    residuals: numpy.ndarray
    predictions: list[_Prediction]

    @property
    def sizes(self) -> list[int]:
        return [rung.parameters(self.count) for rung in self.rungs]

    @property
    def budgets(self) -> list[float]:
        return [rung.budget(self.count) for rung in self.rungs]

    @property
    def by_law(self) -> list[float]:
        return [rung.loss / float(numpy.exp(left)) for rung, left in zip(self.rungs, self.residuals, strict=True)]


class NoLaw(ValueError):
    """The runs do not follow the law."""


def fit_law(ladder: Ladder, count: str, draws: int) -> LawReading:
    """Fit all runs but those held out. Raises ValueError where they cannot determine a law, NoLaw where they follow
    none."""
    kept, held = ([rung for rung in ladder.rungs if rung.held_out is out] for out in (False, True))
    if not kept:
        raise ValueError(f"{len(held)} finished runs, {len(held)} of them held out: a law needs several sizes, each "
                         "trained on several numbers of tokens")  # fmt: skip
    runs = numpy.array([(rung.parameters(count), rung.tokens, rung.loss) for rung in kept], float).T
    huber.refuse_undetermined(runs)
    best, _ = huber.fit_constants(runs)
    spent, drawn = [rung.budget(count) for rung in kept], huber.bootstrap(runs, best, draws)
    known: dict[str, Any] = asdict(ladder.about) | dict(zip(CONSTANTS, best, strict=True))
    source = f"{len(kept)} runs of {ladder.about.name}; N: {COUNTS[count]}"
    law = Law(**known, source=source, draws=drawn, operations=(min(spent), max(spent)))
    if law.undetermined:
        raise NoLaw(f"these {len(kept)} runs do not follow the law, and no best size is known: {law.undetermined}, as "
                    f"where the loss does not fall with parameters or with tokens (N: {COUNTS[count]})")  # fmt: skip
    residuals = numpy.log(runs[2]) - numpy.log(law.loss(*runs[:2]))
    return LawReading(count, law, kept, residuals, [predict(law, rung, count, residuals) for rung in held])


def predict(law: Law, rung: Rung, count: str, residuals: numpy.ndarray) -> _Prediction:
    """The prediction of a law for a run. Runs scatter as the fitted ones do, corrected for the five constants."""
    loss = partial(Law.loss, parameters=rung.parameters(count), tokens=rung.tokens)
    lost = (len(residuals) / max(1, len(residuals) - len(CONSTANTS))) ** 0.5
    scatter = numpy.random.default_rng(0).choice(residuals * lost, size=(len(law.draws), 50))
    drawn = numpy.array([loss(Law(law.name, *draw)) for draw in law.draws])
    low, high = numpy.percentile(drawn[:, None] * numpy.exp(scatter), (2.5, 97.5))
    return _Prediction(rung, loss(law), interval(law, loss), (float(low), float(high)))


def interval(law: Law, quantity: Callable[[Law], float]) -> Span:
    return law.interval(quantity) or (0.0, 0.0)
