"""What sets runs apart: the fewest ingredients and values that tell every arm from every other."""

import re
from collections.abc import Iterable
from functools import cache

from gptx import runs
from gptx.config import presets
from gptx.config.keys import flat, key_of, under
from gptx.runs.cells import Cell

# What a comparison is never about: where a run is kept and how it is watched, and the seed, which pairs the runs.
ASIDE = ("name", "overwrite", "allow_targets", "log", "observe", "checkpoints", "experiment", "record_patch", "seed",
         "data.seed")  # fmt: skip


def factors(cells: list[Cell]) -> dict[str, list[str]]:
    """The keys in which the runs differ, with their levels in order: options of groups first, then what was typed, then
    whatever else differs and those do not account for. Empty where all are alike but for their seeds."""
    rows = described(cells)
    differing = [
        key for key in dict.fromkeys(key for row in rows for key in row) if len({r.get(key) for r in rows}) > 1
    ]
    typed = {key_of(word) for cell in cells for word in cell.record.get("overrides", [])}
    groups = presets.defaults()
    order = sorted(differing, key=lambda key: (key not in groups, key not in typed, key == "steps"))
    chosen: list[str] = []
    for key in order:
        if not accounted(key, chosen, rows):
            chosen.append(key)
    needed = list(chosen)
    for key in chosen:  # an early one may follow from later ones, as a schedule that one optimizer alone has
        rest = [other for other in needed if other != key]
        follows = key not in typed or any(other in groups and accounted(key, [other], rows) for other in rest)
        if follows and accounted(key, rest, rows) and all(accounted(other, rest, rows) for other in differing):
            needed = rest
    return {key: ordered(dict.fromkeys(row.get(key, "") for row in rows)) for key in needed}


def described(cells: list[Cell]) -> list[dict[str, str]]:
    """Options and values in which runs may differ, without those from which nothing follows."""
    cells = [cell for cell in cells if cell.config]
    rows = [described_by(cell) for cell in cells]
    aside = runs.meaningless([cell.record for cell in cells], {key for row in rows for key in row})
    return [{key: text for key, text in row.items() if key not in aside} for row in rows]


def described_by(cell: Cell) -> dict[str, str]:
    """Options and values of a run that may matter, as text."""
    values = {key: spelled(value) for key, value in flat(cell.config).items() if not key.endswith(presets.HIDDEN)}
    return {key: text for key, text in {**cell.record.get("choices", {}), **values}.items() if not under(key, ASIDE)}


def accounted(key: str, by: list[str], rows: list[dict[str, str]]) -> bool:
    """True if the values of `by` decide the value of `key` in these runs."""
    seen: dict[tuple, str | None] = {}
    return all(seen.setdefault(tuple(row.get(k) for k in by), row.get(key)) == row.get(key) for row in rows)


def confounded(cells: list[Cell], found: Iterable[str]) -> list[str]:
    """What differs between the arms although it does not follow from the `found` factors, in phrases: what was compared
    may not be what made the difference."""
    rows = described(cells)
    names, typed = tuple(found), {key_of(word) for cell in cells for word in cell.record.get("overrides", [])}
    levels = {
        key: list(dict.fromkeys(row.get(key, "not set") for row in rows))
        for key in dict.fromkeys(k for r in rows for k in r)
    }
    differing = {key: values for key, values in levels.items() if len(values) > 1 and key not in names}
    if rows and equal_tokens(rows):
        differing.pop("steps", None)
    groups = tuple(key for key in (*names, *differing) if key in presets.defaults())  # whose options bring values along
    found = [
        f"{key} is {' or '.join(ordered(values))}"
        for key, values in differing.items()
        if key in groups or key in typed or not (under(key, groups + names) or derived(key))
    ]
    return found + reordered(cells, names)


def equal_tokens(rows: list[dict[str, str]]) -> bool:
    """True if all runs are of as many tokens, but for a step of the largest batch: their steps follow from it."""
    try:
        sizes = [(int(row["steps"]), int(row["batch.tokens"])) for row in rows]
    except (KeyError, ValueError):
        return False
    totals = [steps * tokens for steps, tokens in sizes]
    return max(totals) - min(totals) < max(tokens for _, tokens in sizes)


def reordered(cells: list[Cell], names: tuple[str, ...]) -> list[str]:
    """That arms with the same seed see their batches in another order."""
    seen: dict[int, dict[tuple, set[int]]] = {}
    for cell, described in ((cell, described_by(cell)) for cell in cells):
        arm = tuple(described.get(name, "") for name in names)
        seen.setdefault(cell.seed, {}).setdefault(arm, set()).add(cell.order)
    unlike = [list(arms.values()) for arms in seen.values() if len(set(map(frozenset, arms.values()))) > 1]
    orders = ordered({str(order) for arms in unlike for each in arms for order in each})
    return [f"data.seed is {' or '.join(orders)} with the same seed"] if orders else []


@cache
def derived_keys() -> frozenset[str]:
    """The keys that presets take from others: ${steps}, or lengths such as 5 %."""
    found = set()
    for file in presets.CONF.glob("*/*.yaml"):
        for name, text in re.findall(r"^(\w+):\s*(\S+)", file.read_text(), re.MULTILINE):
            if "${" in text or re.fullmatch(r"[\d.]+(%|[kMB]?tok)", text):
                found.add(f"{file.parent.name}.{name}")
    return frozenset(found)


def derived(key: str) -> bool:
    """True if a preset takes the value of `key` from other keys."""
    return key in derived_keys()


def ordered(levels: Iterable[str]) -> list[str]:
    """Numbers by size; anything else in the order in which it came."""
    levels = list(levels)
    try:
        return sorted(levels, key=float)
    except ValueError:
        return levels


def spelled(value) -> str:
    """A value of a config as text."""
    return f"{value:g}" if isinstance(value, float) else presets.spelled(value)
