"""A scaling law of one's own runs, tested on a larger run:  python -m gptx fit scaling runs/scaling"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy

from gptx.estimate.laws import CONSTANTS, RULE, Law
from gptx.fit import page
from gptx.fit.ladder import COUNTS, Ladder, LawReading, Minimum, NoLaw, fit_law, interval, minima, of_runs
from gptx.fit.page import framed, interval_text, off, short
from gptx.runs.run import find
from gptx.show.plots import AXES, COLOURS, MARKERS, save
from gptx.show.table import Table
from gptx.units.phrases import joined
from gptx.units.printable import mathtext

_LAW = "law.json"
_PATTERN = 0.6  # of a correlation over some twenty runs: chance reaches it once in two hundred
_QUANTITIES: dict[str, Callable[[Law], float]] = {name: attrgetter(name) for name in CONSTANTS} | {
    "N grows as C^": lambda law: law.exponents[0],
    "D grows as C^": lambda law: law.exponents[1],
}
_SUBS = (1, 1.5, 2, 3, 5, 7)  # numbers on logarithmic axes: losses span little


def scaling(
    *folders: str, holdout: str = "", count: str = "total", draws: int = 200, out: str = "", readme: str = ""
) -> None:
    """Fit a scaling law to the losses of finished runs, and predict the runs held out.

      python -m gptx fit scaling runs/scaling
      python -m gptx fit scaling runs/scaling holdout=gpt_1600k readme=experiments/scaling

    The law is E + A / N^alpha + B / D^beta. FOLDERS are runs or folders of runs; the fit.json of an earlier fit stands
    for its runs. Written are fit.png, fit.json, and law.json, which `python -m gptx plan ... law=FILE` reads and which
    counts every parameter.

    Options:
    holdout: sizes or runs to predict and not to fit, such as gpt_1600k; none, or empty for those of the largest budget
    count: what N is, total or non_embedding
    draws: bootstrap samples of the runs for the intervals, at least 100
    out: a folder, or a figure that ends in .png, .svg or .html; the first of FOLDERS if empty
    readme: an experiment's folder, such as experiments/scaling, whose page is written
    """
    target = page.place_for(folders, out, readme, "scaling", ".html")
    if count not in COUNTS:
        raise ValueError(f"count={count}: {joined(COUNTS, 'or')}")
    if draws < 100:
        raise ValueError(f"draws={draws}: at least 100, for the ends of a 95 % interval")
    first, cells = Path(folders[0]), []
    if len(folders) == 1 and first.suffix == ".json":
        ladder = page.recorded_fit(first, {"ladder": Ladder}, "scaling")["ladder"]
        ladder = ladder.holding_out(holdout, count) if holdout else ladder
    else:
        cells = find([Path(folder) for folder in folders])
        ladder = of_runs(cells, first.resolve().name).holding_out(holdout, count)
    try:
        readings = [fit_law(ladder, each, draws) for each in sorted(COUNTS, key=lambda each: each != count)]
    except NoLaw as error:
        raise ValueError(f"{error}{_cleared(target)}") from None
    page.deliver(fitted(readings, ladder), target, readme, cells)


def _cleared(target: Path) -> str:
    """Remove what an earlier fit wrote in this place, since it is not of these runs; says what was removed."""
    stale = [target / name for name in (_LAW, page.NUMBERS, page.PICTURE) if (target / name).is_file()]
    for file in stale:
        file.unlink()
    return f"; removed, as of an earlier fit: {joined(map(str, stale))}" if stale else ""


def fitted(readings: list[LawReading], ladder: Ladder) -> page.Fitted:
    """The fit as a page has it: the first reading is by the count that was asked for, the second by the other."""
    first, general = readings[0], next(reading for reading in readings if reading.count == "total")
    curves = minima(first.rungs, first.count)
    warnings = {each.count: [*patterned(each), *undetermined(each), *ladder.warnings] for each in readings}
    return page.Fitted(
        headline=_headline(first),
        sentences=[_fits(first)],
        tables=[table for table in _tables(readings, curves) if table.rows],
        facts={each.count: _facts(each) for each in readings}
        | {"isoflop": [vars(curve) for curve in curves], "ladder": asdict(ladder)},
        figure=partial(law_figure, first),
        caption="loss over tokens by size, with the law of the fitted runs, and the held-out runs",
        warnings=warnings[first.count],
        environment=ladder.environment,
        beside={_LAW: replace(general.law, warnings=tuple(warnings["total"])).save},
    )


def _headline(reading: LawReading) -> str:
    held = reading.predictions
    if len(held) != 1:
        inside = f"{sum(each.inside for each in held)} of {len(held)} held-out runs ended inside its 95 % interval"
        return f"A law was fitted to {len(reading.rungs)} runs; {inside}."
    (one,) = held
    times = one.rung.budget(reading.count) / max(reading.budgets)
    run = f"{one.rung.size} after {short(one.rung.tokens)} tokens, {times:.2g} times the largest budget fitted"
    law = f"{one.expected:.3f} {reading.law.units} (95 % interval {interval_text(one.run, '.3f')})"
    side = "inside" if one.inside else "outside"
    return f"Predicted for {run}: {law}; measured: {one.rung.loss:.3f}, {side}, {off(one.rung.loss / one.expected)}."


def _fits(reading: LawReading) -> str:
    lengths, away = [rung.tokens for rung in reading.rungs], abs(reading.residuals)
    worst = int(numpy.argmax(away))
    far, half, most = reading.rungs[worst], float(numpy.median(away)), float(numpy.exp(reading.residuals[worst]))
    sizes = f"{len(set(reading.sizes))} sizes of {short(min(reading.sizes))} to {short(max(reading.sizes))} parameters"
    runs = f"Fitted: {len(lengths)} runs, {sizes}, {short(min(lengths))} to {short(max(lengths))} tokens."
    last = f"the farthest is {far.size} after {short(far.tokens)} tokens, {off(most)}"
    return f"{runs} Half of the runs lie within {off(1 + half, sign='')} of the law; {last}."


def patterned(reading: LawReading) -> Iterator[str]:
    """The warning that residuals have a shape that the law cannot have."""
    sizes, lengths = numpy.log(reading.sizes), numpy.log([rung.tokens for rung in reading.rungs])
    both = (sizes - sizes.mean()) * (lengths - lengths.mean())
    alike = float(numpy.corrcoef(both, reading.residuals)[0, 1])
    if abs(alike) >= _PATTERN:
        more, less = ("larger", "smaller") if alike < 0 else ("smaller", "larger")
        shape = f"{more} sizes gain more from tokens than the law says, {less} sizes less"
        told = f"The residuals have a pattern: {shape} (correlation with log N log D {alike:+.2f})"
        yield f"{told}. A sum of two power laws does not have this shape, and its intervals are too narrow."


def undetermined(reading: LawReading) -> Iterator[str]:
    """The warnings that the runs leave a constant open."""
    floor = interval(reading.law, attrgetter("E"))
    if floor[0] < 0.05 * min(rung.loss for rung in reading.rungs):
        far = "all are far above it, and the law says little about much longer or larger runs"
        yield f"The runs do not determine E, the irreducible loss ({interval_text(floor)}): {far}."
    for name in CONSTANTS[3:]:
        low, high = interval(reading.law, attrgetter(name))
        if high > 3 * low:
            yield f"The runs hardly determine {name}: {interval_text((low, high))}."


def _facts(reading: LawReading) -> dict:
    """Every point and number for fit.json, without the draws, which law.json has."""
    law = reading.law
    runs = [vars(rung) | {"law": loss} for rung, loss in zip(reading.rungs, reading.by_law, strict=True)]
    for each in reading.predictions:
        by_law = {"law": each.expected, "law_95": each.law, "run_95": each.run, "inside": each.inside}
        runs.append(vars(each.rung) | by_law)
    return {
        "constants": {name: getattr(law, name) for name in CONSTANTS},
        "intervals_95": {name: law.interval(attrgetter(name)) for name in CONSTANTS},
        "exponents": law.exponents,
        "exponent_of_N_95": law.interval(lambda law: law.exponents[0]),
        "units": law.units,
        "runs": runs,
    }


def _tables(readings: Sequence[LawReading], curves: Sequence[Minimum]) -> Iterator[Table]:
    first, law = readings[0], readings[0].law
    held = [
        (each.rung.name, COUNTS[reading.count], f"{each.expected:.4f}",
         *(interval_text(span, ".3f") for span in (each.law, each.run)),
         f"{each.rung.loss:.4f}", off(each.rung.loss / each.expected), "yes" if each.inside else "no")
        for reading in readings for each in reading.predictions
    ]  # fmt: skip
    heads: tuple[str, ...] = ("run", "N", "predicted", "law, 95 %", "run, 95 %", "measured", "off", "inside")
    note = f"Loss in {law.units}. The interval of a run, which inside refers to, includes the runs' scatter."
    yield Table("Held out", heads, held, note, names=2)
    rows = [("", *chain.from_iterable((f"N: {COUNTS[each.count]}", "95 %") for each in readings))]
    for name, value in _QUANTITIES.items():
        cells = ((short(value(each.law)), interval_text(each.law.interval(value))) for each in readings)
        rows.append((name, *chain.from_iterable(cells)))
    note = f"Loss = E + A / N^alpha + B / D^beta; intervals from {len(law.draws)} bootstrap samples of the runs."
    yield Table("Constants", rows[0], rows[1:], f"{note} On the two counts of N: arXiv:2406.12907.")
    budgets = [*map(float, numpy.geomspace(min(first.budgets), max(first.budgets), 3))]
    budgets += [each.rung.budget(first.count) for each in first.predictions[:1]]
    heads = ("FLOPs, 6 N D", "parameters", "95 %", "tokens", "tokens per parameter", "95 %", "loss")
    note = f"*: outside of the sizes trained. The rule of {RULE:.0f} tokens per parameter is of far larger models."
    splits = [*map(partial(_split, law, first.sizes), budgets)]
    yield Table("The best split of a budget, by the law", heads, splits, note)
    heads = ("FLOPs, 6 N D", "loss by parameters", "best size, measured", "by the law")
    yield Table("IsoFLOP: the same budget spent on several sizes", heads, [*map(partial(_isoflop, law), curves)])
    runs = [(rung.size, f"{size:,}", f"{rung.tokens:,}", f"{rung.loss:.4f}", f"{loss:.4f}", off(rung.loss / loss))
            for rung, size, loss in zip(first.rungs, first.sizes, first.by_law, strict=True)]  # fmt: skip
    yield Table("Runs that were fitted", ("size", "parameters", "tokens", "measured", "law", "off"), runs)


def _split(law: Law, sizes: Sequence[int], flops: float) -> tuple[str, ...]:
    """A budget, its best size (* where it is outside of `sizes`), tokens and their ratio with intervals, and loss."""
    size, tokens = law.optimum(flops)
    star = "" if min(sizes) <= size <= max(sizes) else "*"
    best = f"{short(size)}{star}", interval_text(law.interval(lambda each: each.parameters(flops)))
    ratio = interval_text(law.interval(lambda each: each.optimum(flops)[1] / each.optimum(flops)[0]))
    return f"{flops:.2g}", *best, short(tokens), short(tokens / size), ratio, f"{law.loss(size, tokens):.3f}"


def _isoflop(law: Law, curve: Minimum) -> tuple[str, ...]:
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
    held, *colours = COLOURS[1], COLOURS[0], *COLOURS[2:]
    law, ends = reading.law, [rung.tokens for rung in reading.rungs]
    along = numpy.geomspace(min(ends), max(ends), 50)
    for place, size in enumerate(dict.fromkeys(reading.sizes)):
        here = [rung for rung in reading.rungs if rung.parameters(reading.count) == size]
        tokens, losses = zip(*((rung.tokens, rung.loss) for rung in here), strict=True)
        colour, name = colours[place % len(colours)], mathtext(f"{here[0].size}, {short(size)}")
        axis.plot(tokens, losses, MARKERS[place % len(MARKERS)], markersize=5, color=colour, label=name)
        axis.plot(along, [law.loss(size, tokens) for tokens in along], color=colour, linewidth=1.1)
    for each in reading.predictions:
        size = each.rung.parameters(reading.count)
        along = numpy.geomspace(min(ends), max(each.rung.tokens, *ends), 50)
        low, high = zip(*(interval(law, partial(Law.loss, parameters=size, tokens=t)) for t in along), strict=True)
        axis.fill_between(along, low, high, color=held, alpha=0.15, linewidth=0)
        axis.plot(along, [law.loss(size, tokens) for tokens in along], "--", color=held, linewidth=1.1)
    _held_out(axis, reading, across=False)
    framed(axis, "loss over tokens, by size", "tokens", f"validation loss, {law.units}", subs=_SUBS)


def _compared(axis: Any, reading: LawReading) -> None:
    measured = [rung.loss for rung in reading.rungs]
    held_out = [loss for each in reading.predictions for loss in (each.expected, each.rung.loss, *each.run)]
    ends = [end([*reading.by_law, *measured, *held_out]) for end in (min, max)]
    axis.plot(ends, ends, ":", color=AXES, linewidth=1)
    axis.plot(reading.by_law, measured, "o", markersize=5, color=COLOURS[0], label="fitted")
    _held_out(axis, reading, across=True)
    framed(axis, "measured compared with the law", "by the law", "measured", subs=_SUBS)


def _held_out(axis: Any, reading: LawReading, *, across: bool) -> None:
    for place, each in enumerate(reading.predictions):
        span = numpy.abs([[each.expected - each.run[0]], [each.run[1] - each.expected]])
        x, y = (each.expected, each.rung.loss) if across else (each.rung.tokens, each.expected)
        names = ("_", "_") if place else ("held out, predicted (95 %)", "held out, measured")
        look = {"xerr" if across else "yerr": span, "color": COLOURS[1], "capsize": 4, "label": names[0]}
        axis.errorbar(x, y, **look)
        axis.plot(x, each.rung.loss, "*", markersize=12, color=COLOURS[1], label=names[1])
