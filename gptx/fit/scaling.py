"""A scaling law of one's own runs, tested on a larger run:  python -m gptx fit scaling runs/scaling"""

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy

from gptx.estimate.laws import CONSTANTS, RULE
from gptx.fit import page, scaling_views
from gptx.fit.ladder import COUNTS, Ladder, Minimum, minima, of_fit, of_runs
from gptx.fit.page import interval_text, off, short
from gptx.fit.prediction import LawReading, NoLaw, fit_law, interval
from gptx.runs.run import find
from gptx.units.phrases import joined

_LAW = "law.json"
_PATTERN = 0.6  # of a correlation over some twenty runs: chance reaches it once in two hundred


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
    target = page.place_for(folders, out, readme, "scaling", (*page.FIGURE_KINDS, ".html"))
    if count not in COUNTS:
        raise ValueError(f"count={count}: {joined(COUNTS, 'or')}")
    if draws < 100:
        raise ValueError(f"draws={draws}: at least 100, for the ends of a 95 % interval")
    first, cells = Path(folders[0]), []
    if len(folders) == 1 and first.suffix == ".json":
        ladder = of_fit(first)
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
    """Remove what an earlier fit wrote where this one would have, since it is not of these runs; what was removed."""
    stale = [target / name for name in (_LAW, page.NUMBERS, page.PICTURE) if (target / name).is_file()]
    for file in stale:
        file.unlink()
    return f"; removed, as of an earlier fit: {joined(map(str, stale))}" if stale else ""


def fitted(readings: list[LawReading], ladder: Ladder) -> page.Fitted:
    """The fit as a page has it: the first reading is by the count that was asked for, the second by the other."""
    first, other = readings
    general = next(reading for reading in readings if reading.count == "total")
    curves = minima(first.rungs, first.count)
    warnings = {each.count: [*patterned(each), *undetermined(each), *ladder.warnings] for each in readings}
    return page.Fitted(
        headline=_headline(first),
        sentences=[*_sentences(first), *_others(first, other, curves)],
        tables=[table for table in scaling_views.law_tables(readings, curves) if table.rows],
        facts={each.count: _facts(each) for each in readings}
        | {"isoflop": [vars(curve) for curve in curves], "ladder": asdict(ladder)},
        figure=partial(scaling_views.law_figure, first),
        caption="loss over tokens by size, with the law of the fitted runs, and the held-out runs",
        warnings=warnings[first.count],
        environment=ladder.environment,
        beside={_LAW: replace(general.law, warnings=tuple(warnings["total"])).save},
    )


def _headline(reading: LawReading) -> str:
    """The prediction and the outcome."""
    held, runs = reading.predictions, len(reading.rungs)
    if not held:
        return f"A law was fitted to {runs} runs; none was held out, so nothing tests it."
    if len(held) > 1:
        inside = sum(each.inside for each in held)
        return f"{inside} of {len(held)} held-out runs ended inside the 95 % interval predicted from {runs} others."
    (one,) = held
    times = one.rung.budget(reading.count) / max(reading.budgets)
    return (
        f"Predicted for {one.rung.size} after {short(one.rung.tokens)} tokens, {times:.2g} times the largest budget "
        f"fitted: {one.expected:.3f} {reading.law.units} (95 % interval {interval_text(one.run, '.3f')}); measured: "
        f"{one.rung.loss:.3f}, {'inside' if one.inside else 'outside'}, {off(one.rung.loss / one.expected)}."
    )


def _grows(reading: LawReading) -> str:
    low_high = reading.law.interval(lambda law: law.exponents[0])
    return f"C^{reading.law.exponents[0]:.2f} ({interval_text(low_high, '.2f')})"


def _sentences(reading: LawReading) -> Iterator[str]:
    """How well the law fits, and what the largest budget is best spent on."""
    law, flops, worst = reading.law, max(reading.budgets), int(numpy.argmax(abs(reading.residuals)))
    lengths, far = [rung.tokens for rung in reading.rungs], reading.rungs[worst]
    half, most = (float(numpy.median(abs(reading.residuals))), float(numpy.exp(reading.residuals[worst])))
    yield (
        f"Fitted: {len(lengths)} runs, {len(set(reading.sizes))} sizes of {short(min(reading.sizes))} to "
        f"{short(max(reading.sizes))} parameters, {short(min(lengths))} to {short(max(lengths))} tokens. Half of the "
        f"runs lie within {off(1 + half, sign='')} of the law; the farthest is {far.size} after {short(far.tokens)} "
        f"tokens, {off(most)}."
    )
    _, size, _, tokens, ratio, ratios, _ = scaling_views.best_split(law, flops, reading.sizes)
    yield (
        f"By the law the best size grows with the FLOPs as {_grows(reading)}. The largest budget fitted, {flops:.2g} "
        f"FLOPs, is best spent on {size.rstrip('*')} parameters and {tokens} tokens: {ratio} tokens per parameter "
        f"({ratios}). The rule of {RULE:.0f} was found with far larger models on subword tokens."
    )


def _others(first: LawReading, other: LawReading, curves: list[Minimum]) -> Iterator[str]:
    """What the losses alone and the other count of N say."""
    inner = [each for each in curves if each.best]
    if inner:
        budget, best = inner[-1].budget, short(inner[-1].best or 0)
        yield (f"Read off the losses alone, a budget of {budget:.2g} FLOPs is best spent on {best} parameters; the law "
               f"says {short(first.law.parameters(budget))}.")  # fmt: skip
    held = "".join(f" and predict {each.expected:.3f} for {each.rung.size}" for each in other.predictions[:1])
    yield (f"With N as {COUNTS[other.count]} instead of {COUNTS[first.count]}, the same runs give "
           f"{_grows(other)}{held} (Kaplan's count and Chinchilla's, arXiv:2406.12907).")  # fmt: skip


def patterned(reading: LawReading) -> Iterator[str]:
    """The warning that residuals are no scatter, but have a shape that the law cannot have."""
    sizes, lengths = numpy.log(reading.sizes), numpy.log([rung.tokens for rung in reading.rungs])
    both = (sizes - sizes.mean()) * (lengths - lengths.mean())
    alike = float(numpy.corrcoef(both, reading.residuals)[0, 1])
    if abs(alike) >= _PATTERN:
        more, less = ("larger", "smaller") if alike < 0 else ("smaller", "larger")
        yield (
            f"The residuals have a pattern: {more} sizes gain more from tokens than the law says, {less} sizes less "
            f"(correlation with log N log D {alike:+.2f}). A sum of two power laws does not have the shape of these "
            "runs, and its intervals are too narrow."
        )


def undetermined(reading: LawReading) -> Iterator[str]:
    """The warnings that the runs leave a constant open."""
    floor = interval(reading.law, attrgetter("E"))
    if floor[0] < 0.05 * min(rung.loss for rung in reading.rungs):
        yield (f"The runs do not determine E, the irreducible loss ({interval_text(floor)}): all are far above it, and "
               "the law says little about much longer or larger runs.")  # fmt: skip
    for name in CONSTANTS[3:]:
        low, high = interval(reading.law, attrgetter(name))
        if high > 3 * low:
            yield f"The runs hardly determine {name}: {interval_text((low, high))}."


def _facts(reading: LawReading) -> dict:
    """Every point and number for fit.json, without the draws, which law.json has."""
    law = reading.law
    runs = [vars(rung) | {"law": loss} for rung, loss in zip(reading.rungs, reading.by_law, strict=True)]
    runs += [
        vars(each.rung) | {"law": each.expected, "law_95": each.law, "run_95": each.run, "inside": each.inside}
        for each in reading.predictions
    ]
    return {
        "constants": {name: getattr(law, name) for name in CONSTANTS},
        "intervals_95": {name: law.interval(attrgetter(name)) for name in CONSTANTS},
        "exponents": law.exponents,
        "exponent_of_N_95": law.interval(lambda law: law.exponents[0]),
        "units": law.units,
        "runs": runs,
    }
