"""What sets two runs apart, in recipe, code, packages, machine and result:  python -m gptx diff RUN OTHER_RUN"""

import itertools
import math
import textwrap
from pathlib import Path

import numpy

from gptx import runs
from gptx.compare import meaning
from gptx.compare.factors import spelled
from gptx.config.keys import flat, recipe, under
from gptx.runs import cells, provenance
from gptx.runs.cells import Cell
from gptx.runs.metrics import Metrics

WATCHED = ("name", "overwrite", "allow_targets", "log", "observe", "checkpoints", "record_patch")  # have no effect
MEAN = 20  # updates over which a training loss is averaged
WIDTH = 44  # of a column


def diff(first: str, second: str, /) -> None:
    """Compare two runs: recipe, code, packages, machine and results.

      python -m gptx diff runs/default/base runs/default/optim.lr=0.01

    Differences are sorted by what they can change: the result, its last digits, or nothing. Losses are compared at the
    same step, and after the same number of tokens.

    Options:
    first: folder of a run
    second: folder of the run to compare it with
    """
    print("\n".join(lines(find(first), find(second))))


def find(folder: str) -> Cell:
    """The run in a folder. Raises ValueError where there is none, or several."""
    found = cells.find([Path(folder)])
    if len(found) > 1:
        raise ValueError(f"{folder}: there are {len(found)} runs below it; name one, such as {found[0].folder}")
    if found[0].problem:
        raise ValueError(found[0].problem.removesuffix("; left out."))
    if not found[0].config:
        raise ValueError(f"{folder}: the run there did not begin, and there is nothing to compare")
    return found[0]


def lines(a: Cell, b: Cell) -> list[str]:
    """All that is to be said of two runs."""
    return [f"left   {a.folder}", f"right  {b.folder}", *recipes(a, b), *circumstances(a, b), *results(a, b)]


def recipes(a: Cell, b: Cell) -> list[str]:
    """What differs in what is computed: as facts, then as keys of the config."""
    facts = meaning.differences(meaning.recipe(a), meaning.recipe(b))
    keys = apart(recipe(a.config), recipe(b.config))
    aside = runs.meaningless([a.record, b.record], keys)
    keys = {key: both for key, both in keys.items() if key not in aside}
    if not facts and not keys:
        return ["", "same recipe"]
    found = table("the recipe differs, which decides the result:", facts)
    return found + table("in these keys:", keys) if keys else found


def circumstances(a: Cell, b: Cell) -> list[str]:
    """What differs in where, how and with what it was computed and watched."""
    code = provenance.of_both(a.record, b.record)
    origins = [meaning.origin(cell) | facts for cell, facts in zip((a, b), code, strict=True)]
    told = {
        "computed elsewhere or otherwise, which can change the last digits:": meaning.differences(
            meaning.place(a), meaning.place(b)
        ),
        "other code or packages, which may change anything:": meaning.differences(*origins),
        "kept and watched otherwise, which changes no result:": {
            key: both for key, both in apart(flat(a.config), flat(b.config)).items() if under(key, WATCHED)
        },
    }
    same = [["", "same machine and way of computing"], ["", "same code and packages"], []]
    return [
        line
        for (title, facts), otherwise in zip(told.items(), same, strict=True)
        for line in (table(title, facts) if facts else otherwise)
    ]


def apart(a: dict, b: dict) -> dict[str, tuple[str, str]]:
    """The keys in which two flat configs differ, with both values as text."""
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key) or (key in a) != (key in b)]
    return {key: tuple(spelled(each[key]) if key in each else "not set" for each in (a, b)) for key in keys}  # type: ignore[misc]


def results(a: Cell, b: Cell) -> list[str]:
    """How the runs came out, and their losses on the way: at the same update, and after the same tokens."""
    rows = {"state": (a.state, b.state), "updates": (f"{a.metrics.steps:,}", f"{b.metrics.steps:,}")}
    for key in [key for key in a.metrics.columns if key.startswith("validation/") and key in b.metrics.columns]:
        (steps, values), (others, theirs) = a.metrics[key], b.metrics[key]
        at_the_end = steps[-1] == a.metrics.steps and others[-1] == b.metrics.steps
        of = "" if at_the_end else f" (of updates {steps[-1]:.0f} and {others[-1]:.0f})"
        rows[f"last {key}{of}"] = numbers(float(values[-1]), float(theirs[-1]))
    rows["time in updates"] = f"{a.seconds or 0:.0f} s", f"{b.seconds or 0:.0f} s"
    found = table("result:", rows) + on_the_way("update", {}, a, b)
    tokens = [cell.metrics["train/tokens"] for cell in (a, b)]
    if all(len(values) for _, values in tokens) and tokens[0][1][0] != tokens[1][1][0]:
        found += on_the_way("token", {id(cell): at[1] for cell, at in zip((a, b), tokens, strict=True)}, a, b)
    return [*found, "", agreement(a.metrics, b.metrics)]


def on_the_way(unit: str, axis: dict, a: Cell, b: Cell) -> list[str]:
    """Training losses at a quarter, a half, three quarters and the end of what both did, counted in updates, or along
    an axis of each run."""
    curves = []
    for cell in (a, b):
        steps, losses = cell.metrics["train/loss"]
        curves.append((axis.get(id(cell), steps), losses))
    if not all(len(losses) and len(at) == len(losses) for at, losses in curves):
        return []
    end = min(float(at[-1]) for at, _ in curves)
    rows = {}
    for point in dict.fromkeys(round(end * quarter / 4) for quarter in (1, 2, 3, 4)):
        until = [int(at.searchsorted(point, side="right")) for at, _ in curves]
        if all(until):
            means = [float(losses[max(0, i - MEAN) : i].mean()) for i, (_, losses) in zip(until, curves, strict=True)]
            rows[f"{unit} {point:,}"] = numbers(*means)
    return table(f"training loss (mean of {MEAN} updates) by {unit}:", rows)


def numbers(one: float, other: float) -> tuple[str, str]:
    """Two numbers, the second with its difference from the first."""
    return f"{one:.4f}", f"{other:.4f}" + (f" ({other - one:+.2g})" if math.isfinite(other - one) else "")


def agreement(a: Metrics, b: Metrics) -> str:
    """Whether two runs recorded the same to the bit where both recorded something, or from where on and by how much
    they do not; speeds aside."""
    shared = [key for key in a.columns if key in b.columns and key.startswith(("train/", "validation/"))]
    keys = [key for key in shared if key != "train/tokens_per_second"]
    differing: dict[str, tuple[float, float]] = {}  # the first update, the largest difference
    both = 0
    for key in keys:
        steps, mine, theirs = numpy.intersect1d(a[key][0], b[key][0], return_indices=True)
        x, y = a[key][1][mine], b[key][1][theirs]
        other = (x != y) & ~(numpy.isnan(x) & numpy.isnan(y))
        both = max(both, len(steps))
        if other.any():
            differing[key] = float(steps[other][0]), float(numpy.nanmax(numpy.abs(x - y)[other]))
    if not both:
        return "no update was recorded by both"
    if not differing:
        more = "" if a.steps == b.steps else f", one goes on to {max(a.steps, b.steps):,}"
        return f"identical: the same to the bit in all {both:,} updates that both recorded ({', '.join(keys)}){more}"
    first = int(min(step for step, _ in differing.values()))
    told = (f"{key} by up to {largest:.2g}" for key, (_, largest) in itertools.islice(differing.items(), 4))
    since = f"the same up to update {first - 1:,}, then apart" if first > 1 else "apart from the first update on"
    return f"not identical: {since}, {', '.join(told)}"


def table(title: str, rows: dict[str, tuple[str, str]]) -> list[str]:
    """A title, and rows of a name and two columns, wrapped where they are long; an empty line before them."""
    name = max((len(key) for key in rows), default=0) + 2
    found = ["", title] if title else [""]
    for key, both in rows.items():
        left, right = (textwrap.wrap(text or "not known", WIDTH) for text in both)
        for i, (one, other) in enumerate(itertools.zip_longest(left, right, fillvalue="")):
            found.append(f"  {key if not i else '':{name}}{one:{WIDTH + 2}}{other}".rstrip())
    return found
