"""The best size of a budget read off the losses, without a law (arXiv:2203.15556, section 3.2)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from gptx.fit.ladder import Rung
from gptx.fit.page import short

SHOWN = 4  # budgets
LEAST = 3  # sizes on a parabola


@dataclass(frozen=True)
class Minimum:
    """Losses of some sizes at one budget, and the size at the lowest point of the parabola through them; None where
    that lies outside of the sizes."""

    budget: float
    sizes: list[int]
    losses: list[float]
    best: float | None

    @property
    def told(self) -> str:
        """The best size, or on which side of which size it lies."""
        if self.best:
            return short(self.best)
        lowest = self.sizes[int(numpy.argmin(self.losses))]
        side = {self.sizes[0]: "below", self.sizes[-1]: "above"}.get(lowest, "about")
        return f"{side} {short(lowest)}"


def minima(found: Sequence[Rung], count: str) -> list[Minimum]:
    """Up to SHOWN budgets, evenly spaced, at which at least LEAST sizes have a loss. Losses are interpolated between
    two lengths of a size, in logarithms of both, and never extrapolated."""
    sizes: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for rung in found:
        sizes[rung.parameters(count)][rung.tokens].append(float(numpy.log(rung.loss)))
    budgets = [rung.budget(count) for rung in found]
    read = [_at(float(flops), sizes) for flops in numpy.geomspace(min(budgets), max(budgets), 33)]
    full = [each for each in read if len(each.sizes) >= LEAST]
    step = max(1, -(-len(full) // SHOWN))
    return full[step // 2 :: step]


def _at(flops: float, sizes: dict[int, dict[int, list[float]]]) -> Minimum:
    known, losses = [], []
    for size, lengths in sorted(sizes.items()):
        tokens, here = flops / 6 / size, sorted(lengths)
        if here[0] <= tokens <= here[-1]:
            along = [float(numpy.mean(lengths[length])) for length in here]
            known.append(size)
            losses.append(float(numpy.exp(numpy.interp(numpy.log(tokens), numpy.log(here), along))))
    best = None
    if len(known) >= LEAST:
        bend, slope, _ = numpy.polyfit(numpy.log(known), losses, 2)
        place = float(numpy.exp(-slope / 2 / bend)) if bend > 0 else 0.0
        best = place if known[0] <= place <= known[-1] else None
    return Minimum(flops, known, losses, best)
