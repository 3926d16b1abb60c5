"""The tables and the figure of a scaling law."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy

from gptx.estimate.laws import CONSTANTS, Law
from gptx.fit.ladder import COUNTS, Minimum
from gptx.fit.page import framed, interval_text, off, short
from gptx.fit.prediction import LawReading, interval, loss_at
from gptx.show.plots import AXES, COLOURS, MARKERS, save
from gptx.show.table import Table
from gptx.units.printable import mathtext

_Row = tuple[str, ...]
_GROWTH = ("N grows as C^", "D grows as C^")
_SUBS = (1, 1.5, 2, 3, 5, 7)  # numbers on logarithmic axes: losses span little


def law_tables(readings: Sequence[LawReading], curves: Sequence[Minimum]) -> Iterator[Table]:
    """What was predicted, the constants by both counts of N, the best split of budgets with and without the law, and
    every run."""
    first, law = readings[0], readings[0].law
    rows: list[_Row] = [
        (each.rung.name, f"{each.expected:.4f}", interval_text(each.law, ".3f"), interval_text(each.run, ".3f"),
         f"{each.rung.loss:.4f}", off(each.rung.loss / each.expected), "yes" if each.inside else "no")
        for each in first.predictions
    ]  # fmt: skip
    note = f"Loss in {law.units}. The interval of a run, which inside refers to, includes the runs' scatter."
    yield Table("Held out", ("run", "predicted", "law, 95 %", "run, 95 %", "measured", "off", "inside"), rows, note)
    heads = [head for each in readings for head in (f"N: {COUNTS[each.count]}", "95 %")]
    rows = [(name, *(cell for each in readings for cell in _value(each.law, name))) for name in (*CONSTANTS, *_GROWTH)]
    note = f"Loss = E + A / N^alpha + B / D^beta; intervals from {len(law.draws)} bootstrap samples of the runs."
    yield Table("Constants", ("", *heads), rows, note)
    yield _splits(first)
    columns: _Row = ("FLOPs, 6 N D", "loss by parameters", "best size, measured", "by the law")
    yield Table("IsoFLOP: the same budget spent on several sizes", columns, [_isoflop(each, law) for each in curves])
    rows = [
        (rung.size, f"{size:,}", f"{rung.tokens:,}", f"{rung.loss:.4f}", f"{loss:.4f}", off(rung.loss / loss))
        for rung, size, loss in zip(first.rungs, first.sizes, first.by_law, strict=True)
    ]
    yield Table("Runs that were fitted", ("size", "parameters", "tokens", "measured", "law", "off"), rows)


def _splits(reading: LawReading) -> Table:
    """The best split of budgets between parameters and tokens."""
    budgets = [*map(float, numpy.geomspace(min(reading.budgets), max(reading.budgets), 3))]
    budgets += [each.rung.budget(reading.count) for each in reading.predictions[:1]]
    rows: list[_Row] = [best_split(reading.law, flops, reading.sizes) for flops in budgets]
    columns = ("FLOPs, 6 N D", "parameters", "95 %", "tokens", "tokens per parameter", "95 %", "loss")
    note = "*: smaller or larger than any size trained." if any(row[1].endswith("*") for row in rows) else ""
    return Table("The best split of a budget, by the law", columns, rows, note)


def _value(law: Law, name: str) -> _Row:
    def of(law: Law) -> float:
        return law.exponents[_GROWTH.index(name)] if name in _GROWTH else getattr(law, name)

    return short(of(law)), interval_text(law.interval(of))


def best_split(law: Law, flops: float, sizes: Sequence[int]) -> _Row:
    """A budget, its best size (* where it is outside of `sizes`), tokens and their ratio with intervals, and loss."""
    size, tokens = law.optimum(flops)
    star = "" if min(sizes) <= size <= max(sizes) else "*"
    best = f"{short(size)}{star}", interval_text(law.interval(lambda each: each.parameters(flops)))
    ratio = (
        short(tokens / size),
        interval_text(law.interval(lambda each: each.optimum(flops)[1] / each.optimum(flops)[0])),
    )
    return f"{flops:.2g}", *best, short(tokens), *ratio, f"{law.loss(size, tokens):.3f}"


def _isoflop(curve: Minimum, law: Law) -> _Row:
    losses = ", ".join(f"{short(n)}: {loss:.3f}" for n, loss in zip(curve.sizes, curve.losses, strict=True))
    lowest = curve.sizes[int(numpy.argmin(curve.losses))]
    side = {curve.sizes[0]: "below", curve.sizes[-1]: "above"}.get(lowest, "about")
    best = short(curve.best) if curve.best else f"{side} {short(lowest)}"
    return f"{curve.budget:.2g}", losses, best, short(law.parameters(curve.budget))


def law_figure(reading: LawReading, file: Path) -> None:
    """Draw into a .png or .svg file; for .html, the chart of budgets of gptx.plan."""
    if file.suffix == ".html":
        from gptx.plan.chart_files import chart
        from gptx.plan.split import Split

        every = [*reading.rungs, *(each.rung for each in reading.predictions)]
        runs = [Split(rung.name, rung.parameters(reading.count), rung.tokens, loss=rung.loss) for rung in every]
        chart(file, [reading.law], runs=runs)
    else:
        save(file, "", lambda axis: _over_tokens(axis, reading), lambda axis: _compared(axis, reading))


def _over_tokens(axis: Any, reading: LawReading) -> None:
    """Each size's runs and its curve by the law; each held-out run with the intervals of law and run."""
    held, *colours = COLOURS[1], COLOURS[0], *COLOURS[2:]
    law, ends = reading.law, [rung.tokens for rung in reading.rungs]
    along = numpy.geomspace(min(ends), max(ends), 50)
    for place, size in enumerate(dict.fromkeys(reading.sizes)):
        here = [rung for rung in reading.rungs if rung.parameters(reading.count) == size]
        colour, name = colours[place % len(colours)], mathtext(f"{here[0].size}, {short(size)}")
        points = [rung.tokens for rung in here], [rung.loss for rung in here]
        axis.plot(*points, MARKERS[place % len(MARKERS)], markersize=5, color=colour, label=name)
        axis.plot(along, [law.loss(size, tokens) for tokens in along], color=colour, linewidth=1.1)
    for each in reading.predictions:
        size = each.rung.parameters(reading.count)
        along = numpy.geomspace(min(ends), max(each.rung.tokens, *ends), 50)
        low, high = zip(*(interval(law, loss_at(size, tokens)) for tokens in along), strict=True)
        axis.fill_between(along, low, high, color=held, alpha=0.15, linewidth=0)
        axis.plot(along, [law.loss(size, tokens) for tokens in along], "--", color=held, linewidth=1.1)
    _held_out(axis, reading, across=False)
    framed(axis, "loss over tokens, by size", "tokens", f"validation loss, {law.units}", subs=_SUBS)


def _compared(axis: Any, reading: LawReading) -> None:
    """Measured loss over that of the law: the better the law, the nearer all runs are to the diagonal."""
    measured = [rung.loss for rung in reading.rungs]
    every = [*reading.by_law, *measured]
    every += [loss for each in reading.predictions for loss in (each.expected, each.rung.loss, *each.run)]
    axis.plot([min(every), max(every)], [min(every), max(every)], ":", color=AXES, linewidth=1)
    axis.plot(reading.by_law, measured, "o", markersize=5, color=COLOURS[0], label="fitted")
    _held_out(axis, reading, across=True)
    framed(axis, "measured compared with the law", "by the law", "measured", subs=_SUBS)


def _held_out(axis: Any, reading: LawReading, *, across: bool) -> None:
    """A star for each held-out run, and the 95 % interval of a run: across, or upwards at its tokens."""
    for place, each in enumerate(reading.predictions):
        span = numpy.abs([[each.expected - each.run[0]], [each.run[1] - each.expected]])
        x, y = (each.expected, each.rung.loss) if across else (each.rung.tokens, each.expected)
        names = ("_", "_") if place else ("held out, predicted (95 %)", "held out, measured")
        look = {"xerr" if across else "yerr": span, "color": COLOURS[1], "capsize": 4, "label": names[0]}
        axis.errorbar(x, y, **look)
        axis.plot(x, each.rung.loss, "*", markersize=12, color=COLOURS[1], label=names[1])
