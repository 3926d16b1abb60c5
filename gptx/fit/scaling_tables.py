"""The tables of a law of scaling."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter

import numpy

from gptx.estimate.laws import CONSTANTS, Law
from gptx.fit.ladder import COUNTS
from gptx.fit.reading import Reading
from gptx.fit.words import between, off, short
from gptx.show.table import Table

Row = tuple[str, ...]


def foretold(reading: Reading) -> Table:
    """What the law foretold of each run that was held out, beside its outcome."""
    rows: list[Row] = []
    for each in reading.foretold:
        away = off(each.rung.loss / each.expected - 1)
        spans = between(each.law, ".3f"), between(each.run, ".3f")
        told = "yes" if each.inside else "no"
        rows.append((each.rung.name, f"{each.expected:.4f}", *spans, f"{each.rung.loss:.4f}", away, told))
    columns = ("run", "foretold", "law, 95 %", "run, 95 %", "measured", "off", "inside")
    note = (
        f"Loss in {reading.law.units}. The interval of a run also has the scatter of the fitted runs around the law in "
        "it; whether the outcome is inside is told of that one."
    )
    return Table("Held out", columns, rows, note)


def constants(readings: list[Reading]) -> Table:
    """The constants and the exponents of the best split, by both counts of N."""

    def row(name: str, value: Callable[[Law], float]) -> Row:
        cells = ((short(value(each.law)), between(each.law.interval(value))) for each in readings)
        return name, *(cell for pair in cells for cell in pair)

    rows = [row(name, attrgetter(name)) for name in CONSTANTS]
    rows += [row(f"{name} grows as C^", partial(exponent, place)) for place, name in enumerate("ND")]
    heads = [head for each in readings for head in (f"N: {COUNTS[each.count]}", "95 %")]
    note = f"Loss = E + A / N^alpha + B / D^beta; intervals of {len(readings[0].law.draws)} samples of the runs."
    return Table("Constants", ("", *heads), rows, note)


def exponent(place: int, law: Law) -> float:
    return law.exponents[place]


def splits(reading: Reading) -> Table:
    """What some budgets are best spent on."""
    law, count = reading.law, reading.count
    budgets = [rung.budget(count) for rung in reading.rungs]
    sizes = [rung.parameters(count) for rung in reading.rungs]
    larger = [each.rung.budget(count) for each in reading.foretold[:1]]
    rows: list[Row] = []
    for flops in [*map(float, numpy.geomspace(min(budgets), max(budgets), 3)), *larger]:
        size, tokens = law.optimum(flops)
        trained = min(sizes) <= size <= max(sizes)
        rows.append((
            f"{flops:.2g}",
            f"{short(size)}{'' if trained else '*'}",
            between(law.interval(partial(best, flops))),
            short(tokens),
            short(tokens / size),
            between(law.interval(partial(ratio, flops))),
            f"{law.loss(size, tokens):.3f}",
        ))  # fmt: skip
    columns = ("operations, 6 N D", "parameters", "95 %", "tokens", "tokens a parameter", "95 %", "loss")
    beyond = "*: smaller or larger than what was trained." if any(row[1].endswith("*") for row in rows) else ""
    return Table("What a budget is best spent on, by the law", columns, rows, beyond)


def best(flops: float, law: Law) -> float:
    """The best size of a budget."""
    return law.parameters(flops)


def ratio(flops: float, law: Law) -> float:
    """Tokens a parameter at the best size of a budget."""
    size, tokens = law.optimum(flops)
    return tokens / size


def residuals(reading: Reading) -> Table:
    """Every fitted run beside the law."""
    rows: list[Row] = [
        (rung.size, f"{rung.parameters(reading.count):,}", f"{rung.tokens:,}", f"{rung.loss:.4f}",
         f"{rung.loss / numpy.exp(left):.4f}", off(float(numpy.expm1(left))))
        for rung, left in zip(reading.rungs, reading.residuals, strict=True)
    ]  # fmt: skip
    return Table("Runs that were fitted", ("size", "parameters", "tokens", "measured", "law", "off"), rows)
