"""The tables of a critical batch size."""

import math

import numpy

from gptx.fit.batches import Size
from gptx.fit.tradeoff import RULES, Tradeoff
from gptx.show.table import Table


def tradeoff(law: Tradeoff, target: float, found: list[Size]) -> Table:
    """Updates and tokens by batch size, beside the law's."""
    rows: list[tuple[str, ...]] = [
        (
            f"{size.batch:,}",
            f"{size.best.rate:g}{' (edge)' if size.edge else ''}",
            f"{size.rate:.2g}",
            spread(size),
            f"{size.tokens:,.0f}",
            f"{law.updates(size.batch):,.0f}",
            percent(size.updates / float(law.updates(size.batch))),
            str(len(size.best.runs)),
        )
        for size in found
    ]
    columns = ("tokens an update", "best rate", "between rates", "updates", "tokens", "law's updates", "off it", "n")
    note = (
        "Updates: mean ± sd over seeds, of the best rate tried. Between rates: the best by a parabola in logs through "
        "it and its neighbours."
    )
    return Table(f"To a validation loss of {target:g}", columns, rows, note)


def rules(found: list[Size]) -> Table:
    """What each rule for the rate costs at each batch size."""
    start = found[0]
    costs: list[tuple[str, ...]] = [
        (
            f"{size.batch:,}",
            *(cost(size, start.best.rate * (size.batch / start.batch) ** power) for power in RULES.values()),
        )
        for size in found
    ]
    heads = ("tokens an update", *(f"{name} ({power:g})" for name, power in RULES.items()))
    note = (
        "The rate that the rule makes of the smallest batch size's best, and how many more updates it takes than the "
        "best rate tried, along a line in logs between those tried; untried: outside of them."
    )
    return Table(f"What a rule from {start.batch:,} tokens an update would cost", heads, costs, note)


def spread(size: Size) -> str:
    """Mean updates of the best arm, with their standard deviation where there are seeds to have one."""
    values = size.best.measured
    return f"{size.updates:,.0f}" + (f" ± {numpy.std(values, ddof=1):,.0f}" if len(values) > 1 else "")


def cost(size: Size, rate: float) -> str:
    """A rate and how many more updates it takes than the best one of a batch size."""
    needed = size.at(rate)
    if needed is None:
        return f"{rate:.2g}: untried"
    if math.isinf(needed):
        return f"{rate:.2g}: target not reached"
    return f"{rate:.2g}: {percent(needed / size.updates)}"


def percent(ratio: float) -> str:
    """How far a ratio is from one: +12 %."""
    return f"{round(100 * (ratio - 1)):+d} %"
