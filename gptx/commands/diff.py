"""The differences of two runs:  python -m gptx diff RUN OTHER_RUN"""

import itertools
import math
import textwrap

from numpy import ndarray

from gptx.compare.factors import level_text
from gptx.compare.meaning import agreement, differences_in_meaning, origin, place, recipe_in_words, single_run
from gptx.config.groups import decides
from gptx.config.keys import flat, recipe
from gptx.runs import provenance
from gptx.runs.run import Run
from gptx.runs.same import meaningless

_MEAN = 20  # steps over which a training loss is averaged
_WIDTH = 44  # of a column


def diff(first: str, second: str, /) -> None:
    """Compare two runs: recipe, code, packages, machine and results.

      python -m gptx diff runs/default/base runs/default/optim.lr=0.01

    Differences are sorted by what they can change: the result, its last digits, or nothing. Losses are compared at the
    same step, and after the same number of tokens.

    Options:
    first: folder of a run
    second: folder of the run to compare it with
    """
    print("\n".join(difference_lines(single_run(first), single_run(second))))


def difference_lines(a: Run, b: Run) -> list[str]:
    """The differences of two runs as a report for the terminal."""
    keys = _apart(recipe(a.config), recipe(b.config))
    for key in meaningless([a.record, b.record], list(keys)):
        keys.pop(key)
    code = provenance.of_both(a.record, b.record)
    other = _apart(flat(a.config), flat(b.config)).items()
    sections = (  # title, rows, what to say where there are none
        ("the recipe differs, which decides the result:",
         differences_in_meaning(recipe_in_words(a), recipe_in_words(b)), "" if keys else "same recipe"),
        ("in these keys:", keys, ""),
        ("computed elsewhere or in another way, which can change the last digits:",
         differences_in_meaning(place(a), place(b)), "same machine and way of computing"),
        ("other code or packages, which can change anything:",
         differences_in_meaning(origin(a) | code[0], origin(b) | code[1]), "same code and packages"),
        ("kept and measured differently, which changes no result:",
         {key: both for key, both in other if not decides(key, "result", "digits")}, ""),
    )  # fmt: skip
    found = [f"left   {a.folder}", f"right  {b.folder}"]
    for title, rows, same in sections:
        found += _table(title, rows) if rows else ["", same] if same else []
    return found + _results(a, b)


def _apart(a: dict, b: dict) -> dict[str, tuple[str, str]]:
    """The keys in which two flat configs differ, with both values as text."""
    keys = [key for key in {**a, **b} if a.get(key) != b.get(key) or (key in a) != (key in b)]
    return {key: tuple(level_text(each[key]) if key in each else "not set" for each in (a, b)) for key in keys}  # type: ignore[misc]


def _results(a: Run, b: Run) -> list[str]:
    rows = {"state": (a.state, b.state), "steps": (f"{a.metrics.steps:,}", f"{b.metrics.steps:,}")}
    for key in filter(b.metrics.columns.__contains__, a.metrics.columns):
        if key.startswith("validation/"):
            (steps, values), (others, theirs) = a.metrics[key], b.metrics[key]
            at_the_end = (steps[-1], others[-1]) == (a.metrics.steps, b.metrics.steps)
            of = "" if at_the_end else f" (of steps {steps[-1]:.0f} and {others[-1]:.0f})"
            rows[f"last {key}{of}"] = _numbers(float(values[-1]), float(theirs[-1]))
    rows["time in steps"] = f"{a.seconds or 0:.0f} s", f"{b.seconds or 0:.0f} s"
    (steps, losses), (others, theirs) = a.metrics["train/loss"], b.metrics["train/loss"]
    found = _table("result:", rows) + _on_the_way("step", (steps, others), (losses, theirs))
    tokens = a.metrics["train/tokens"][1], b.metrics["train/tokens"][1]
    if all(map(len, tokens)) and tokens[0][0] != tokens[1][0]:
        found += _on_the_way("token", tokens, (losses, theirs))
    return [*found, "", agreement(a.metrics, b.metrics)]


def _on_the_way(unit: str, axes: tuple[ndarray, ndarray], losses: tuple[ndarray, ndarray]) -> list[str]:
    """Training losses at a quarter, a half, three quarters and the end of what both runs did, counted in `unit`s."""
    if not all(len(values) and len(at) == len(values) for at, values in zip(axes, losses, strict=True)):
        return []
    end = min(float(at[-1]) for at in axes)
    rows = {}
    for point in dict.fromkeys(round(end * quarter / 4) for quarter in (1, 2, 3, 4)):
        until = [int(at.searchsorted(point, side="right")) for at in axes]
        if all(until):
            means = [float(values[max(0, i - _MEAN) : i].mean()) for i, values in zip(until, losses, strict=True)]
            rows[f"{unit} {point:,}"] = _numbers(*means)
    return _table(f"training loss (mean of {_MEAN} steps) by {unit}:", rows)


def _numbers(one: float, other: float) -> tuple[str, str]:
    return f"{one:.4f}", f"{other:.4f}" + (f" ({other - one:+.2g})" if math.isfinite(other - one) else "")


def _table(title: str, rows: dict[str, tuple[str, str]]) -> list[str]:
    name = max((len(key) for key in rows), default=0) + 2
    found = ["", title]
    for key, both in rows.items():
        left, right = (textwrap.wrap(text or "not known", _WIDTH) for text in both)
        for i, (one, other) in enumerate(itertools.zip_longest(left, right, fillvalue="")):
            found.append(f"  {key if not i else '':{name}}{one:{_WIDTH + 2}}{other}".rstrip())
    return found
