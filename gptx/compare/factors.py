"""Which keys distinguish the runs of a comparison, what kind of factor each is, and what its levels have in common."""

import math
import re
from collections.abc import Callable, Collection, Iterable
from functools import cache
from itertools import chain
from math import prod
from typing import Any, TypeVar

from gptx.config import presets
from gptx.config.groups import SEEDS, decides
from gptx.config.keys import flat, key_of, under
from gptx.estimate.learning_rate import schedule_of
from gptx.runs.run import Run
from gptx.runs.same import meaningless

_Key = TypeVar("_Key")
_LINES = 8  # in one panel of a figure, each with a colour of its own
_SAMPLES = 500  # steps at which the shape of a schedule is looked at
_PEAK = 1 - 1e-6  # share of the peak from which on a learning rate counts as the peak


def factors(runs: list[Run]) -> dict[str, list[str]]:
    """Keys that distinguish runs, with sorted levels: groups first, then typed keys, then what these do not decide."""
    (rows, differing), typed, chosen = _described(runs), _typed(runs), list[str]()
    for key in sorted(differing, key=lambda key: (not is_group(key), key not in typed, key == "steps")):
        if not _determined([key], chosen, rows):
            chosen.append(key)
    needed = set(chosen)
    for key in chosen:  # an early key may follow from later ones, such as a schedule that only one optimizer has
        rest = needed - {key}
        if key not in typed or any(_determined([key], [group], rows) for group in filter(is_group, rest)):
            needed = rest if _determined(differing, rest, rows) else needed
    return {key: ordered(differing[key]) for key in chosen if key in needed}


def described_by(run: Run) -> dict[str, str]:
    """Options and values of a run that may matter, as text; seeds only pair the runs."""
    values = {key: level_text(value) for key, value in flat(run.config).items() if not key.endswith(presets.HIDDEN)}
    found = run.record.get("choices", {}) | values
    return {k: text for k, text in found.items() if decides(k, "result", "digits") and not under(k, SEEDS)}


def _described(runs: list[Run]) -> tuple[list[dict[str, str]], dict[str, list[str]]]:
    """What describes each run that has begun, and the keys that matter in which they differ, with their levels."""
    begun = [run for run in runs if run.config]
    rows = [described_by(run) for run in begun]
    keys = dict.fromkeys(chain.from_iterable(rows))
    aside = meaningless([run.record for run in begun], set(keys))
    levels = {key: list(dict.fromkeys(row.get(key, "") for row in rows)) for key in keys if key not in aside}
    return rows, {key: each for key, each in levels.items() if len(each) > 1}


def _typed(runs: list[Run]) -> set[str]:
    return {key_of(word) for run in runs for word in run.record.get("overrides", [])}


def _determined(keys: Collection[str], by: Collection[str], rows: list[dict[str, str]]) -> bool:
    found = {(tuple(map(row.get, by)), tuple(map(row.get, keys))) for row in rows}
    return len(found) == len({causes for causes, _ in found})


def confounded(runs: list[Run], found: Iterable[str]) -> list[str]:
    """What differs between arms and does not follow from the `found` factors, in phrases: possible other causes."""
    (rows, differing), typed, names = _described(runs), _typed(runs), tuple(found)
    if _equal_tokens(rows):
        differing.pop("steps", None)
    for name in names:
        differing.pop(name, None)
    groups = tuple(filter(is_group, (*names, *differing)))  # whose options bring values along

    def follows(key: str) -> bool:
        return key not in typed.union(groups) and (under(key, groups + names) or key in _derived())

    told = {key: " or ".join(level or "not set" for level in ordered(levels)) for key, levels in differing.items()}
    return [f"{key} is {text}" for key, text in told.items() if not follows(key)] + _reordered(runs, names)


def _equal_tokens(rows: list[dict[str, str]]) -> bool:
    """True if all runs have the same tokens, within one step of the largest batch: their steps follow from that."""
    try:
        totals = [int(row["steps"]) * int(row["batch.tokens"]) for row in rows]
        return max(totals) - min(totals) < max(int(row["batch.tokens"]) for row in rows)
    except (KeyError, ValueError):  # also without a run
        return False


def _reordered(runs: list[Run], names: tuple[str, ...]) -> list[str]:
    orders: set[int] = set()
    for same in grouped(runs, lambda run: run.seed).values():
        arms = grouped(same, lambda run: tuple(map(described_by(run).get, names)))
        seen = {frozenset(run.order for run in arm) for arm in arms.values()}
        orders |= set().union(*seen) if len(seen) > 1 else set()
    return [f"data.seed is {' or '.join(map(str, sorted(orders)))} with the same seed"] if orders else []


@cache
def _derived() -> frozenset[str]:
    """The keys that presets take from others: ${steps}, or lengths such as 5 %."""
    pattern = re.compile(r"^(\w+):\s*(?:\S*\$\{|[\d.]+(?:%|[kMB]?tok)(?!\S))", re.MULTILINE)
    files = presets.CONF.glob("*/*.yaml")
    return frozenset(f"{file.parent.name}.{name}" for file in files for name in pattern.findall(file.read_text()))


def traits(runs: list[Run], factors: Iterable[str]) -> dict:
    """For each factor of a schedule, level -> is there a "warmup", a "cool-down", if every level has one answer."""
    found = {}
    for factor in (name for name in factors if name.split(".")[0] == "schedule"):
        shapes = [(described_by(run).get(factor, ""), _shape(run.config)) for run in runs]
        known = dict(shapes)
        if all(shape and shape == known[level] for level, shape in shapes):
            found[factor] = known
    return found


def _shape(config: dict) -> dict[str, bool] | None:
    """Whether the schedule of a config rises at first and falls at the end; None for a foreign schedule."""
    factor, steps = schedule_of(config), config.get("steps")
    if factor is None or not steps:
        return None
    rates = {step: factor(step) for step in (1, steps, *range(1, steps, max(1, steps // _SAMPLES)))}
    peak = max(rates.values()) * _PEAK
    return {"warmup": rates[1] < peak, "cool-down": rates[steps] < peak}


def baseline_of(factors: dict[str, list[str]], kept: dict[str, str], text: str) -> dict[str, str]:
    """The level of each factor that others are compared with: of `text` (comma separated factor=level, or a level),
    else `kept`, else of conf/train.yaml, else the first. Raises ValueError for an unclear one, or one of no run."""
    usual = {name: presets.spelled(presets.defaults().get(name)) for name in factors}
    found = {name: usual[name] if usual[name] in levels else levels[0] for name, levels in factors.items()} | kept
    whole = any(text in levels for levels in factors.values())  # a level may have commas
    for word in filter(None, [text] if whole else text.split(",")):
        found |= _named(word, factors)
    return found


def _named(word: str, factors: dict[str, list[str]]) -> dict[str, str]:
    name, _, level = word.strip().rpartition("=")
    meant = {each: _meant(level, levels) for each, levels in factors.items() if name in ("", each)}
    places = {each: same for each, same in meant.items() if same is not None}
    if len(places) != 1:
        known = "; ".join(f"{each}={'|'.join(levels)}" for each, levels in factors.items())
        wrong = "levels of several factors" if places else "no such level"
        raise ValueError(f"baseline={word}: {wrong}; there are {known or 'no levels: only the seeds differ'}")
    return places


def _meant(text: str, levels: list[str]) -> str | None:
    same = (level for level in levels if numeric([text, level]) and float(text) == float(level))
    return text if text in levels else next(same, None)


def primary(factors: dict[str, list[str]]) -> str:
    """The factor that is asked about: the first config group, else the first not of numbers, else the first; or ""."""
    words = [name for name, levels in factors.items() if not numeric(levels)]
    return next(iter([*filter(is_group, factors), *words, *factors]), "")


def axes(factors: dict[str, list[str]], vary: Collection[str] = ()) -> tuple[str, list[str], list[str]]:
    """The factor of the x-axis (a learning rate, else a number, else the first that is not varied), those whose levels
    are lines (all others; only one where these are too many for a panel), and those whose levels are panels."""
    asked = [*vary] or [primary(factors)]
    x = axis(factors) or [*filter(lambda name: name not in asked, factors), asked[0]][0]
    rest = {name: levels for name, levels in factors.items() if name != x}
    one = [*filter(rest.__contains__, asked), primary(rest)][0]
    lines = list(rest) if prod(map(len, rest.values())) <= _LINES else [one]
    return x, lines, [name for name in rest if name not in lines]


def axis(factors: dict[str, list[str]]) -> str:
    """The x-axis: the last factor of numbers that is no config group, a learning rate before any other; "" for none."""
    numbers = [name for name, levels in factors.items() if numeric(levels) and not is_group(name)]
    return ([name for name in numbers if is_rate(name)] or numbers or [""])[-1]


def grouped(items: Iterable[Any], key: Callable[[Any], _Key]) -> dict[_Key, list[Any]]:
    """The items by a key, in the order of their appearance."""
    groups: dict[_Key, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def is_group(name: str) -> bool:
    """True if a factor chooses among the options of a config group."""
    return name in presets.defaults()


def is_rate(name: str) -> bool:
    """True if a factor is a learning rate: each arm may be judged at its best one."""
    return name.endswith(".lr") or name.startswith("parametrization.rates.")


def numeric(levels: Iterable[str]) -> bool:
    """True if all levels are finite numbers."""
    try:
        return all(math.isfinite(float(level)) for level in levels)
    except ValueError:
        return False


def ordered(levels: Iterable[str]) -> list[str]:
    """Levels once each, numbers by their size."""
    levels = list(dict.fromkeys(levels))
    try:
        return sorted(levels, key=float)
    except ValueError:
        return levels


def level_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else presets.spelled(value)
