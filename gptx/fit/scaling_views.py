"""The tables and the figure of a scaling law."""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy

from gptx.estimate.laws import CONSTANTS
from gptx.fit.isoflop import Minimum
from gptx.fit.ladder import COUNTS
from gptx.fit.page import between, off, short
from gptx.fit.prediction import Prediction, Reading, at, best_ratio, best_size, exponent, interval
from gptx.show.table import Table
from gptx.units.printable import mathtext

Row = tuple[str, ...]


def tables(readings: Sequence[Reading], curves: Sequence[Minimum]) -> Iterator[Table]:
    """What was predicted, the constants by both counts of N, the best split of budgets with and without the law, and
    every run."""
    first, law = readings[0], readings[0].law
    yield Table(
        "Held out",
        ("run", "predicted", "law, 95 %", "run, 95 %", "measured", "off", "inside"),
        [_predicted(each) for each in first.predictions],
        f"Loss in {law.units}. The interval of a run includes the scatter of the fitted runs around the law; `inside` "
        "refers to it.",
    )
    values = {name: attrgetter(name) for name in CONSTANTS} | {
        f"{n} grows as C^": exponent("ND".index(n)) for n in "ND"
    }
    constants: list[Row] = [
        (name, *(text for each in readings for text in (short(of(each.law)), between(each.law.interval(of)))))
        for name, of in values.items()
    ]
    heads = [head for each in readings for head in (f"N: {COUNTS[each.count]}", "95 %")]
    note = f"Loss = E + A / N^alpha + B / D^beta; intervals from {len(law.draws)} bootstrap samples of the runs."
    yield Table("Constants", ("", *heads), constants, note)
    budgets = [*map(float, numpy.geomspace(min(first.budgets), max(first.budgets), 3))]
    budgets += [each.rung.budget(first.count) for each in first.predictions[:1]]
    splits = [_split(first, flops) for flops in budgets]
    yield Table(
        "The best split of a budget, by the law",
        ("FLOPs, 6 N D", "parameters", "95 %", "tokens", "tokens per parameter", "95 %", "loss"),
        splits,
        "*: smaller or larger than any size trained." if any(row[1].endswith("*") for row in splits) else "",
    )
    minima: list[Row] = [
        (f"{each.budget:.2g}", ", ".join(f"{short(n)}: {loss:.3f}" for n, loss in zip(each.sizes, each.losses, strict=True)),
         each.told, short(law.parameters(each.budget)))
        for each in curves
    ]  # fmt: skip
    columns = ("FLOPs, 6 N D", "loss by parameters", "best size, measured", "by the law")
    yield Table("IsoFLOP: the same budget spent on several sizes", columns, minima)
    runs: list[Row] = [
        (rung.size, f"{size:,}", f"{rung.tokens:,}", f"{rung.loss:.4f}", f"{fitted:.4f}", off(rung.loss / fitted))
        for rung, size, fitted in zip(first.rungs, first.sizes, first.fitted, strict=True)
    ]
    yield Table("Runs that were fitted", ("size", "parameters", "tokens", "measured", "law", "off"), runs)


def _predicted(each: Prediction) -> Row:
    spans = between(each.law, ".3f"), between(each.run, ".3f")
    told = "yes" if each.inside else "no"
    return each.rung.name, f"{each.expected:.4f}", *spans, f"{each.rung.loss:.4f}", off(each.error), told


def _split(reading: Reading, flops: float) -> Row:
    law = reading.law
    size, tokens = law.optimum(flops)
    trained = min(reading.sizes) <= size <= max(reading.sizes)
    sizes, ratios = between(law.interval(best_size(flops))), between(law.interval(best_ratio(flops)))
    name = f"{short(size)}{'' if trained else '*'}"
    return f"{flops:.2g}", name, sizes, short(tokens), short(tokens / size), ratios, f"{law.loss(size, tokens):.3f}"


def figure(reading: Reading, file: Path) -> None:
    """Draw into a .png or .svg file; for .html, the chart of budgets of gptx.plan."""
    if file.suffix == ".html":
        from gptx.plan.chart import chart

        every = [*reading.rungs, *(each.rung for each in reading.predictions)]
        runs = [(rung.name, rung.parameters(reading.count), rung.tokens, rung.loss) for rung in every]
        chart(file, [reading.law], runs=runs)
        return
    from gptx.show import figures

    figures.save(file, "", lambda axis: _over_tokens(axis, reading), lambda axis: _compared(axis, reading))


def _over_tokens(axis: Any, reading: Reading) -> None:
    """Each size's runs and its curve by the law; each held-out run with the intervals of law and run."""
    from gptx.show.picture import COLOURS, MARKERS

    held, *colours = COLOURS[1], COLOURS[0], *COLOURS[2:]
    law, ends = reading.law, [rung.tokens for rung in reading.rungs]
    for place, size in enumerate(dict.fromkeys(reading.sizes)):
        here = [rung for rung in reading.rungs if rung.parameters(reading.count) == size]
        look = {"color": colours[place % len(colours)], "marker": MARKERS[place % len(MARKERS)], "linestyle": ""}
        name = mathtext(f"{here[0].size}, {short(size)}")
        axis.plot([r.tokens for r in here], [r.loss for r in here], markersize=5, label=name, **look)
        along = numpy.geomspace(min(ends), max(ends), 50)
        axis.plot(along, law.loss(size, along), color=look["color"], linewidth=1.1)
    for each in reading.predictions:
        size, tokens = each.rung.parameters(reading.count), each.rung.tokens
        along = numpy.geomspace(min(ends), max(tokens, *ends), 50)
        low, high = zip(*(interval(law, at(size, there)) for there in along), strict=True)
        axis.fill_between(along, low, high, color=held, alpha=0.15, linewidth=0)
        axis.plot(along, law.loss(size, along), color=held, linewidth=1.1, linestyle="--")
    _held_out(axis, reading, held, across=False)
    framed(axis, "loss over tokens, by size", "tokens", f"validation loss, {law.units}")


def _compared(axis: Any, reading: Reading) -> None:
    """Measured loss over that of the law: the better the law, the nearer all runs are to the diagonal."""
    from gptx.show.picture import AXES, COLOURS

    measured = [rung.loss for rung in reading.rungs]
    every = [*reading.fitted, *measured]
    every += [value for each in reading.predictions for value in (each.expected, each.rung.loss, *each.run)]
    axis.plot([min(every), max(every)], [min(every), max(every)], color=AXES, linewidth=1, linestyle=":")
    axis.plot(reading.fitted, measured, "o", markersize=5, color=COLOURS[0], label="fitted")
    _held_out(axis, reading, COLOURS[1], across=True)
    framed(axis, "measured compared with the law", "by the law", "measured")


def _held_out(axis: Any, reading: Reading, colour: str, *, across: bool) -> None:
    """Stars for the held-out runs, each with the 95 % interval of a run: across, or up at its tokens."""
    if not reading.predictions:
        return
    found = reading.predictions
    expected, measured = [each.expected for each in found], [each.rung.loss for each in found]
    spans = numpy.abs([[each.expected - each.run[0], each.run[1] - each.expected] for each in found]).T
    tokens = [each.rung.tokens for each in found]
    bars = {"x": expected, "y": measured, "xerr": spans} if across else {"x": tokens, "y": expected, "yerr": spans}
    axis.errorbar(**bars, linestyle="", color=colour, capsize=4, linewidth=1.4, label="held out, predicted (95 %)")
    axis.plot(expected if across else tokens, measured, "*", markersize=12, color=colour, label="held out, measured")
