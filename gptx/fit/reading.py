"""A law fitted to some runs, and what it foretells of others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from gptx.estimate.laws import CONSTANTS, Law
from gptx.fit import huber
from gptx.fit.ladder import COUNTS, Rung, points
from gptx.fit.words import Span


@dataclass(frozen=True)
class Foretold:
    """A run that was held out: what the law expects, where 95 % of its draws put it, and where they put a run, which
    scatters around its law."""

    rung: Rung
    expected: float
    law: Span
    run: Span

    @property
    def inside(self) -> bool:
        return self.run[0] <= self.rung.loss <= self.run[1]


@dataclass(frozen=True)
class Reading:
    """The law of some runs by one count of N, what is left over at each (log measured over fitted), and what it
    foretells of those held out."""

    count: str
    law: Law
    rungs: list[Rung]
    residuals: numpy.ndarray
    foretold: list[Foretold]


class NoLaw(ValueError):
    """The runs do not follow the law."""


def read(
    found: Sequence[Rung],
    held: Sequence[Rung],
    count: str,
    draws: int,
    name: str,
    units: str,
    recipe: str = "",
    context: int = 1024,
    vocab: int = 0,
    text: int = 0,
) -> Reading:
    """Fit all runs but those held out. Raises ValueError where they cannot determine a law, and NoLaw where they follow
    none."""
    kept = [rung for rung in found if rung not in held]
    if not kept:
        raise ValueError(f"{len(found)} finished runs, {len(held)} of them held out: a law needs several sizes, each "
                         "trained on several numbers of tokens")  # fmt: skip
    seen = points(kept, count)
    huber.check(seen)
    best, _ = huber.fit(seen)
    drawn = huber.bootstrap(seen, best, draws)
    source = f"{len(kept)} runs of {name}; N: {COUNTS[count]}"
    spent = [rung.budget(count) for rung in kept]
    law = Law(name, *best, source=source, units=units, draws=drawn, operations=(min(spent), max(spent)), recipe=recipe,
              context=context, vocab=vocab, text=text)  # fmt: skip
    if law.undetermined:
        raise NoLaw(f"these {len(kept)} runs do not follow the law, and no best size is known: {law.undetermined}, as "
                    f"where the loss does not fall with parameters or with tokens (N: {COUNTS[count]})")  # fmt: skip
    residuals = numpy.log(seen.loss) - numpy.log(law.loss(seen.N, seen.D))  # type: ignore[arg-type]
    return Reading(count, law, kept, residuals, [foretell(law, rung, count, residuals) for rung in held])


def foretell(law: Law, rung: Rung, count: str, residuals: numpy.ndarray) -> Foretold:
    """What a law says of a run. The scatter is that of the fitted runs, widened by the constants they had to give."""
    size = rung.parameters(count)
    lost = (len(residuals) / max(1, len(residuals) - len(CONSTANTS))) ** 0.5
    scatter = numpy.random.default_rng(0).choice(residuals * lost, size=(len(law.draws), 50))
    drawn = numpy.array([Law(law.name, *draw).loss(size, rung.tokens) for draw in law.draws])
    low, high = numpy.percentile(drawn[:, None] * numpy.exp(scatter), (2.5, 97.5))
    return Foretold(
        rung,
        law.loss(size, rung.tokens),
        law.interval(lambda each: each.loss(size, rung.tokens)) or (0.0, 0.0),
        (float(low), float(high)),
    )
