"""What a sweep says before its first run: its arms and runs, and what runs of one seed share."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from gptx.config.groups import decides
from gptx.config.keys import flat, slug
from gptx.runs.folder import RunFolder
from gptx.units.phrases import count

_ARMS = 40  # that are listed


def runs(folder: Path, made: list[tuple[list[str], Any]], recipes: Mapping[Path, dict]) -> list[str]:
    """The number of runs, those that exist, a line an arm, and what runs of the same seed share."""
    there = sum(RunFolder(run).state != "missing" for run in recipes)
    exist = f", {there} of them exist already" if there else ""
    each = Counter(cell.arm if cell.length == 1 else f"base at {cell.length:g} times the steps"
                   for _, cell in made if cell is not None and cell.arm is not None)  # fmt: skip
    arms = [f"  {arm or 'base':40} {count(number, 'run')}" for arm, number in each.items()]
    more = [f"  ... and {len(arms) - _ARMS} more arms"] * (len(arms) > _ARMS)
    told = [f"{count(len(recipes), 'run')} in {folder}{exist}", *arms[:_ARMS], *more, kinship(list(recipes.values()))]
    return list(filter(None, told))


def short_name(cell: Any) -> str:
    """The folder of a designed run: what its arm changes, and what is crossed with it."""
    length = {"length": f"{cell.length:g}"} if cell.length != 1 else {}
    told = {**cell.changed, **length, **cell.crossed}
    return slug([f"{key}={value}" for key, value in told.items()], tuple(told)) if told else "base"


def dry_run(recipes: Mapping[Path, dict]) -> list[str]:
    """The folder of every run, with its state."""
    return [f"{RunFolder(run).state:12} {run}" for run in recipes] + ["dry_run=true: nothing is trained"]


def kinship(configs: list[dict]) -> str:
    """A sentence about runs of the same seed: what they share, and which keys make the rest differ."""
    seeds = defaultdict[int, list[dict]](list)
    for config in map(flat, configs):
        seeds[config["seed"]].append(config)
    same = [each for each in seeds.values() if len(each) > 1]
    if not same:
        return ""
    found = {"initial weights": _differing(same, "weights"), "batches": _differing(same, "batches")}
    kept = " and ".join(what for what, keys in found.items() if not keys) or "neither weights nor batches"
    lost = (f"; not {what}, because of {', '.join(keys)}" for what, keys in found.items() if keys)
    return f"runs with the same seed share {kept}" + "".join(lost)


def _differing(same: list[list[dict]], what: str) -> list[str]:
    """The keys that decide it and differ within a seed; only the config group if three or more of its keys do."""
    groups = defaultdict[str, list[str]](list)
    for key in dict.fromkeys(chain.from_iterable(chain.from_iterable(same))):
        if decides(key, what) and any(len({repr(config.get(key)) for config in configs}) > 1 for configs in same):
            groups[key.split(".")[0]].append(key)
    return [word for group, keys in groups.items() for word in (keys if len(keys) < 3 else [group])]
