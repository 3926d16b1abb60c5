"""The tables and the figure of a critical batch size."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy

from gptx.fit.batches import BatchSize
from gptx.fit.page import framed
from gptx.fit.tradeoff import RULES, Tradeoff
from gptx.show.plots import AXES, COLOURS, DASHES, INK, save
from gptx.show.table import Table
from gptx.units.phrases import joined

_Row = tuple[str, ...]
_PER_STEP = "tokens per step"


def tradeoff_tables(law: Tradeoff, target: float, found: list[BatchSize], each: list[dict]) -> list[Table]:
    """Steps and tokens by batch size, what each rule for the learning rate costs, and what every seed says alone."""
    steps: list[_Row] = []
    for size in found:
        values, by_law = size.best.measured, law.steps(size.batch)
        best = f"{size.best.rate:g}{' (edge)' if size.edge else ''}"
        mean = f"{size.steps:,.0f}" + (f" ± {numpy.std(values, ddof=1):,.0f}" if len(values) > 1 else "")
        known = best, f"{size.rate:.2g}", mean, f"{size.tokens:,.0f}", f"{by_law:,.0f}", _more(size.steps / by_law)
        steps.append((f"{size.batch:,}", *known, str(len(size.best.seeds))))
    start = found[0]
    rules: list[_Row] = [
        (f"{size.batch:,}", *(_rule(size, start, power) for power in RULES.values())) for size in found
    ]
    shown = Table(
        f"To a validation loss of {target:g}",
        (_PER_STEP, "best learning rate", "between rates", "steps", "tokens", "law's steps", "off", "n"),
        steps,
        "Steps: mean ± sd over n seeds, at the best learning rate tried. Between rates: the best by a parabola in logs "
        "through it and its neighbours.",
    )
    cost = Table(
        f"What a rule from {start.batch:,} tokens per step would cost",
        (_PER_STEP, *(f"{name} ({power:g})" for name, power in RULES.items())),
        rules,
        "The learning rate that the rule makes of the smallest batch size's best, and how many more steps than the "
        "best one tried it takes, by a line in logs between those tried; untried: outside of them.",
    )
    by_seed = Table(
        "Seed by seed",
        ("seed", "critical size", "off the law", "power below", "power above", *(f"{name} costs" for name in RULES)),
        list(map(_seed, each)),
        f"Powers: of the batch size in the best learning rate, below and above {law.critical:,.0f} tokens. Costs: how "
        "many more steps a rule takes than the best learning rate tried, at most, up to that size, from the seed's own "
        "best one at the smallest.",
    )
    return [shown, cost, *[by_seed] * bool(each)]


def _seed(one: dict) -> _Row:
    law = (f"{one['critical_batch_tokens']:,.0f}", f"{100 * one['misfit']:.0f} %") if "misfit" in one else ("-", "-")
    return str(one["seed"]), *law, *map(spelt, one["powers"].values()), *map(_cost, one["updates_by_rule"].values())


def batches_in_words(sizes: Iterable[BatchSize]) -> str:
    """Batch sizes in a sentence: 256, 512 and 1,024."""
    return joined(f"{size.batch:,}" for size in sizes)


def ruled(size: BatchSize, start: BatchSize, power: float) -> tuple[float, float | None]:
    """The learning rate of a rule that starts at the best one of another size, and the ratio of its steps to those of
    the best one tried; None where it is outside of those tried."""
    rate = start.best.rate * (size.batch / start.batch) ** power
    steps = size.at(rate)
    return rate, steps and steps / size.steps


def _rule(size: BatchSize, start: BatchSize, power: float) -> str:
    rate, ratio = ruled(size, start, power)
    return f"{rate:.2g}: {_cost(ratio)}"


def _cost(ratio: float | str | None) -> str:
    if ratio is None:
        return "untried"
    return "target not reached" if ratio in (math.inf, "target not reached") else _more(float(ratio))


def _more(ratio: float) -> str:
    """How far a ratio is from one: +12 %."""
    return f"{round(100 * (ratio - 1)):+d} %"


def spelt(power: float | None) -> str:
    """A power in two digits, without a negative zero."""
    return "-" if power is None else f"{round(power, 2) + 0.0:.2f}"


def tradeoff_figure(law: Tradeoff, target: float, found: list[BatchSize], file: Path) -> None:
    """Write the trade-off, and the best learning rate by batch size."""
    trade, rates = (lambda axis: _tradeoff(axis, law, found)), (lambda axis: _rates(axis, law, found))
    save(file, f"To a validation loss of {target:g}", trade, rates)


def _tradeoff(axis: Any, law: Tradeoff, found: list[BatchSize]) -> None:
    """Steps against tokens, measured and by the law."""
    batches = numpy.geomspace(found[0].batch / 2, 2 * found[-1].batch, 100)
    by_law = numpy.array([law.steps(batch) for batch in batches])
    axis.plot(by_law, by_law * batches, color=COLOURS[0], linewidth=1.6, label="(S/Smin - 1)(E/Emin - 1) = 1")
    for size in found:
        measured = numpy.array(size.best.measured)
        axis.plot(measured, measured * size.batch, "o", color=COLOURS[1], markersize=3, alpha=0.5)
        axis.plot(size.steps, size.tokens, "o", color=COLOURS[1], markersize=6)
        look = {"textcoords": "offset points", "fontsize": 8, "color": INK}
        axis.annotate(f"{size.batch:,}", (size.steps, size.tokens), (6, 4), **look)
    dashed = {"color": AXES, "linestyle": "--", "linewidth": 1}
    axis.axvline(law.fewest_steps, label=f"Smin {law.fewest_steps:,.0f}", **dashed)
    axis.axhline(law.fewest_tokens, label=f"Emin {law.fewest_tokens:,.0f}", **dashed)
    framed(axis, "tokens per step at each point", "steps", "tokens")


def _rates(axis: Any, law: Tradeoff, found: list[BatchSize]) -> None:
    """The best learning rate by batch size, with the rules that start at the smallest."""
    batches = [size.batch for size in found]
    for look, (name, power) in enumerate(RULES.items()):
        if power:
            rates = [ruled(size, found[0], power)[0] for size in found]
            axis.plot(batches, rates, color=COLOURS[look + 2], linestyle=DASHES[look + 1], label=f"{name} rule")
    tried, between = [size.best.rate for size in found], [size.rate for size in found]
    axis.plot(batches, tried, "o", color=COLOURS[1], fillstyle="none", label="best of those tried")
    axis.plot(batches, between, "o-", color=COLOURS[0], markersize=4, label="between them, by a parabola")
    axis.axvline(law.critical, color=AXES, linestyle="--", linewidth=1, label=f"Bcrit {law.critical:,.0f}")
    framed(axis, "the best learning rate", _PER_STEP, "peak learning rate")
