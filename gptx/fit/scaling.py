"""The law of scaling of one's own runs, tested on a larger one:  python -m gptx fit scaling runs/scaling"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy

from gptx.compare.outcomes import environment
from gptx.estimate.laws import CONSTANTS, RULE
from gptx.fit import isoflop, page, scaling_figure, scaling_tables
from gptx.fit.ladder import COUNTS, doubts, held_out, ladder, units
from gptx.fit.reading import NoLaw, Reading, read
from gptx.fit.words import between, off, short
from gptx.runs import cells as run_folders
from gptx.runs.cells import Cell
from gptx.units.phrases import joined

LAW = "law.json"
PATTERN = 0.6  # of a correlation over some twenty runs: chance reaches it once in two hundred


def scaling(
    *folders: str, holdout: str = "", count: str = "total", draws: int = 200, out: str = "", readme: str = ""
) -> None:
    """Fit E + A / N^alpha + B / D^beta to the validation losses of finished runs, and foretell those held out.

    FOLDERS are runs, or folders of runs. `holdout` names sizes or runs that are not fitted but foretold, such as
    gpt_1600k; those of the largest budget if it is empty; `none` fits all. `count` is total or non_embedding: what N
    is; law.json always counts every parameter, as plans do. Intervals are of `draws` samples of the runs. Written are
    fit.png, fit.json and law.json, which gptx.plan ... law=FILE reads, into the first folder or to `out`: a folder, or
    a file that ends in .png, .svg or .html. `readme` is an experiment's folder, such as experiments/scaling.
    """
    target = page.asked(folders, out, readme, "scaling", (*page.KINDS, ".html"))
    if count not in COUNTS:
        raise ValueError(f"count={count}: {joined(COUNTS, 'or')}")
    if draws < 100:
        raise ValueError(f"draws={draws}: at least 100, for the ends of a 95 % interval")
    cells = run_folders.find([Path(folder) for folder in folders])
    found, aside = ladder(cells)
    held = held_out(found, holdout, count)
    used = [cell for cell in cells if cell.state == "finished"]
    around = environment(used)
    about = Path(folders[0]).resolve().name, units(around), recipe(used), context(used), vocab(used), text(used)
    order = sorted(COUNTS, key=lambda each: each != count)
    try:
        readings = [read(found, held, each, draws, *about) for each in order]
    except NoLaw as error:
        raise ValueError(f"{error}{cleared(target)}") from None
    page.deliver(tell(readings, [*doubts(used, found), *aside], around), target, readme, cells)


def cleared(target: Path) -> str:
    """Remove what an earlier fit wrote where this one would have, since it is not of these runs; what was removed."""
    files = [target / name for name in (LAW, page.NUMBERS, page.PICTURE) if target.is_dir()]
    stale = [file for file in files if file.is_file()]
    for file in stale:
        file.unlink()
    return f"; removed, as of an earlier fit: {joined(map(str, stale))}" if stale else ""


def recipe(cells: Sequence[Cell]) -> str:
    """The overrides that train another such run: the experiment of all, or their data."""
    for group in ("experiment", "data"):
        chosen = {cell.record.get("choices", {}).get(group) for cell in cells}
        if len(chosen) == 1 and (name := chosen.pop()) not in (None, "None"):
            return f"{group}={name}"
    return ""


def context(cells: Sequence[Cell]) -> int:
    """Tokens of a sequence of the runs."""
    return int(cells[0].record["batch"]["context"]) if cells else 0


def vocab(cells: Sequence[Cell]) -> int:
    """Entries of the vocabulary of the runs; they have one tokenizer."""
    return int(cells[0].record["data"]["vocab_size"]) if cells else 0


def text(cells: Sequence[Cell]) -> int:
    """Tokens that every run could train on."""
    return min((int(cell.record["data"]["train_tokens"]) for cell in cells), default=0)


def tell(readings: list[Reading], warnings: list[str], around: dict) -> page.Fitted:
    """The fit as a page has it: the first reading is by the count that was asked for, the second by the other."""
    first = readings[0]
    general = next(reading for reading in readings if reading.count == "total")
    curves = isoflop.minima(first.rungs, first.count)
    tables = [
        scaling_tables.foretold(first),
        scaling_tables.constants(readings),
        scaling_tables.splits(first),
        isoflop.table(curves, first.law),
        scaling_tables.residuals(first),
    ]
    return page.Fitted(
        headline=headline(first),
        sentences=[fit(first), optimum(first), *isoflop.sentence(curves, first.law), counting(readings)],
        tables=[shown for shown in tables if shown.rows],
        facts={each.count: facts(each) for each in readings} | {"isoflop": [vars(curve) for curve in curves]},
        figure=lambda file: scaling_figure.figure(first, file),
        caption="loss over tokens by size, with the law of the fitted runs, and what was held out",
        warnings=against(first, warnings),
        environment=around,
        beside={LAW: replace(general.law, warnings=tuple(against(general, warnings))).save},
    )


def headline(reading: Reading) -> str:
    """What the law foretold, and whether it came."""
    law, held = reading.law, reading.foretold
    if not held:
        return f"The law of {len(reading.rungs)} runs; none was held out, so that nothing tests it."
    if len(held) > 1:
        inside = sum(each.inside for each in held)
        return (
            f"Of {len(held)} runs that were held out, {inside} ended inside the 95 % interval that the law of "
            f"{len(reading.rungs)} others foretold."
        )
    (one,) = held
    times = one.rung.budget(reading.count) / max(rung.budget(reading.count) for rung in reading.rungs)
    return (
        f"Foretold for {one.rung.size} after {short(one.rung.tokens)} tokens, {times:.2g} times the largest budget "
        f"fitted: {one.expected:.3f} {law.units} (95 % interval {between(one.run, '.3f')}); measured: "
        f"{one.rung.loss:.3f}, {'inside' if one.inside else 'outside'}, {off(one.rung.loss / one.expected - 1)}."
    )


def fit(reading: Reading) -> str:
    """How much was fitted, and how well."""
    found, worst = reading.rungs, int(numpy.argmax(abs(reading.residuals)))
    sizes = sorted({rung.parameters(reading.count) for rung in found})
    lengths = sorted({rung.tokens for rung in found})
    return (
        f"Fitted: {len(found)} runs, {len(sizes)} sizes of {short(sizes[0])} to {short(sizes[-1])} parameters, "
        f"{short(lengths[0])} to {short(lengths[-1])} tokens. Half of the runs lie within "
        f"{off(float(numpy.median(abs(reading.residuals))), sign='')} of the law; the farthest is {found[worst].size} "
        f"after {short(found[worst].tokens)} tokens, {off(float(numpy.expm1(reading.residuals[worst])))}."
    )


def optimum(reading: Reading) -> str:
    """What the largest budget fitted is best spent on, by the law."""
    law, flops = reading.law, max(rung.budget(reading.count) for rung in reading.rungs)
    size, tokens = law.optimum(flops)
    ratio = law.interval(partial(scaling_tables.ratio, flops))
    grows = law.interval(partial(scaling_tables.exponent, 0))
    return (
        f"By the law the best size grows with the operations as C^{law.exponents[0]:.2f} ({between(grows, '.2f')}). "
        f"The largest budget fitted, {flops:.2g} operations, is best spent on {short(size)} parameters and "
        f"{short(tokens)} tokens: {short(tokens / size)} tokens a parameter ({between(ratio)}). The rule of {RULE:.0f} "
        "is of far larger models on subword tokens."
    )


def counting(readings: list[Reading]) -> str:
    """What the other count of N would have said (arXiv:2406.12907)."""
    one, other = readings
    grows = between(other.law.interval(partial(scaling_tables.exponent, 0)), ".2f")
    held = "".join(f" and foretell {each.expected:.3f} for {each.rung.size}" for each in other.foretold[:1])
    return (
        f"With N as {COUNTS[other.count]} instead of {COUNTS[one.count]} the same runs give "
        f"C^{other.law.exponents[0]:.2f} ({grows}){held} (Kaplan's count beside Chinchilla's, arXiv:2406.12907)."
    )


def against(reading: Reading, warnings: list[str]) -> list[str]:
    """What speaks against a law: what it shows itself, and `warnings` of its runs."""
    return [*patterned(reading), *undetermined(reading), *warnings]


def patterned(reading: Reading) -> list[str]:
    """What is left over, where it is no scatter but has a shape that the law cannot have."""
    sizes, lengths = (
        numpy.log([rung.parameters(reading.count) for rung in reading.rungs]),
        numpy.log([rung.tokens for rung in reading.rungs]),
    )
    both = (sizes - sizes.mean()) * (lengths - lengths.mean())
    alike = float(numpy.corrcoef(both, reading.residuals)[0, 1])
    if abs(alike) < PATTERN:
        return []
    more, less = ("larger", "smaller") if alike < 0 else ("smaller", "larger")
    return [
        f"What the law leaves over is no scatter: {more} sizes gain more from tokens than it says, {less} ones less "
        f"(correlation with log N log D {alike:+.2f}). The sum of two power laws is not the shape of these runs, and "
        "intervals that rest on it are too narrow."
    ]


def undetermined(reading: Reading) -> list[str]:
    """Constants that the runs leave open."""
    law, least = reading.law, min(rung.loss for rung in reading.rungs)
    said = []
    floor = law.interval(attrgetter("E")) or (0.0, 0.0)
    if floor[0] < 0.05 * least:
        said.append(
            f"The runs do not determine E, the loss that nothing goes below ({between(floor)}): all are far above it, "
            "and the law says little of much longer or larger runs."
        )
    for name in CONSTANTS[3:]:
        low, high = law.interval(attrgetter(name)) or (0.0, 0.0)
        if high > 3 * low:
            said.append(f"The runs hardly determine {name}: {between((low, high))}.")
    return said


def facts(reading: Reading) -> dict:
    """Everything that a table or the figure shows, without the draws, which law.json has."""
    law = reading.law
    fitted = zip(reading.rungs, reading.residuals, strict=True)
    runs = [vars(rung) | {"law": rung.loss / float(numpy.exp(left)), "held_out": False} for rung, left in fitted]
    runs += [
        vars(each.rung)
        | {"law": each.expected, "held_out": True, "law_95": each.law, "run_95": each.run, "inside": each.inside}
        for each in reading.foretold
    ]
    return {
        "constants": {name: getattr(law, name) for name in CONSTANTS},
        "intervals_95": {name: law.interval(attrgetter(name)) for name in CONSTANTS},
        "exponents": law.exponents,
        "exponent_of_N_95": law.interval(partial(scaling_tables.exponent, 0)),
        "units": law.units,
        "runs": runs,
    }
