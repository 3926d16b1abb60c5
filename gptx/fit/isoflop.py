"""The best size of a budget, read off the losses without a law (arXiv:2203.15556, section 3.2)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from gptx.estimate.laws import Law
from gptx.fit.ladder import Rung
from gptx.fit.words import short
from gptx.show.table import Table

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


def minima(found: Sequence[Rung], count: str) -> list[Minimum]:
    """Some budgets, evenly spaced, for which at least LEAST sizes have a loss: between two of their lengths it is read
    off the line between them, in logarithms of both, and nothing is read off beyond the ends."""
    sizes: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for rung in found:
        sizes[rung.parameters(count)][rung.tokens].append(float(numpy.log(rung.loss)))
    budgets = [rung.budget(count) for rung in found]
    read = [at(flops, sizes) for flops in numpy.geomspace(min(budgets), max(budgets), 33)]
    full = [each for each in read if len(each.sizes) >= LEAST]
    step = max(1, -(-len(full) // SHOWN))
    return full[step // 2 :: step]


def at(flops: float, sizes: dict[int, dict[int, list[float]]]) -> Minimum:
    """The losses at one budget."""
    known, losses = [], []
    for size, lengths in sorted(sizes.items()):
        tokens, here = flops / 6 / size, sorted(lengths)
        if here[0] <= tokens <= here[-1]:
            along = [float(numpy.mean(lengths[length])) for length in here]
            known.append(size)
            losses.append(float(numpy.exp(numpy.interp(numpy.log(tokens), numpy.log(here), along))))
    return Minimum(float(flops), known, losses, lowest(known, losses))


def lowest(sizes: list[int], losses: list[float]) -> float | None:
    """Where a parabola of the loss over the logarithm of the size is lowest, if that is between the sizes."""
    if len(sizes) < LEAST:
        return None
    bend, slope, _ = numpy.polyfit(numpy.log(sizes), losses, 2)
    place = float(numpy.exp(-slope / 2 / bend)) if bend > 0 else 0.0
    return place if sizes[0] <= place <= sizes[-1] else None


def table(curves: Sequence[Minimum], law: Law) -> Table:
    """The minima beside those of a law."""
    rows: list[tuple[str, ...]] = []
    for each in curves:
        losses = ", ".join(f"{short(n)}: {loss:.3f}" for n, loss in zip(each.sizes, each.losses, strict=True))
        best = short(each.best) if each.best else edge(each)
        rows.append((f"{each.budget:.2g}", losses, best, short(law.parameters(each.budget))))
    columns = ("operations, 6 N D", "loss by parameters", "best size, measured", "by the law")
    return Table("IsoFLOP: the same budget spent on several sizes", columns, rows)


def edge(curve: Minimum) -> str:
    """Where the lowest loss stands, if no minimum lies between the sizes."""
    best = curve.sizes[int(numpy.argmin(curve.losses))]
    if best == curve.sizes[0]:
        return f"below {short(best)}"
    return f"above {short(best)}" if best == curve.sizes[-1] else f"about {short(best)}"


def sentence(curves: Sequence[Minimum], law: Law) -> list[str]:
    """What the measured minima say beside the law."""
    inner = [each for each in curves if each.best]
    if not inner:
        return []
    last = inner[-1]
    return [
        f"Read off the losses alone, a budget of {last.budget:.2g} operations is best spent on "
        f"{short(last.best or 0)} parameters; the law says {short(law.parameters(last.budget))}."
    ]
