"""What a sweep says before its first run: its arms and runs, and what runs of one seed share."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from gptx.compare.outcomes import METRIC
from gptx.config.errors import ConfigError
from gptx.config.groups import decides
from gptx.config.keys import flat, slug
from gptx.estimate.power import smallest_difference
from gptx.estimate.sweep import alike, disk_of, refuse_full, shipped_spread
from gptx.runs.folder import RunFolder
from gptx.sweeps.folders import Job
from gptx.units.phrases import count

_ARMS = 40  # that are listed


def first_lines(folder: Path, jobs: Mapping[Path, Job], length: str, at_once: int) -> list[str]:
    """The runs, those that exist, a line an arm, what runs of the same seed share, and what the sweep needs and can
    show. Raises ConfigError where the disk cannot hold it."""
    states = {path: _state(path) for path in jobs}
    todo = [job.config for path, job in jobs.items() if job.config.overwrite or states[path] != "finished"]
    there = sum(state != "missing" for state in states.values())
    exist = f", {there} of them exist already" if there else ""
    cost = "; ".join(filter(None, [_needs(folder, todo, at_once), _shows(list(jobs.values()))]))
    share = kinship([job.recipe for job in jobs.values()])
    told = [f"{count(len(jobs), 'run')} in {folder}{exist}", *_arms(jobs.values()), share, length, cost]
    return list(filter(None, told))


def _arms(jobs: Iterable[Job]) -> list[str]:
    """A line an arm of a design, with the number of its runs."""
    cells = [job.cell for job in jobs if job.arm is not None]
    each = Counter(cell.arm if cell.length == 1 else f"base at {cell.length:g} times the steps" for cell in cells)
    lines = [f"  {arm or 'base':40} {count(number, 'run')}" for arm, number in each.items()]
    return lines[:_ARMS] + [f"  ... and {len(lines) - _ARMS} more arms"] * (len(lines) > _ARMS)


def _needs(folder: Path, todo: list[Any], at_once: int) -> str:
    """The space on the disk that runs need, if any do. Raises ConfigError for more than there is."""
    try:
        disk = disk_of(todo, folder, at_once=at_once, likely=True) if todo else None
    except ConfigError:  # a model of the user's that cannot be built without data
        disk = None
    if disk is None:
        return ""
    refuse_full(disk, folder)
    return f"needs {disk}"


def _shows(jobs: list[Job]) -> str:
    """The smallest difference that the seeds can show; "" where nothing is compared."""
    seeds = defaultdict[str, set[int]](set)
    for job in jobs:
        seeds[alike(job.recipe, "result") if job.arm is None else job.arm].add(job.recipe["seed"])
    least, spread = min(map(len, seeds.values())), shipped_spread(METRIC)
    if len(seeds) < 2 or spread is None:
        return ""
    found = smallest_difference(spread.sd, len(seeds), least)
    shown = (
        f"{least} seeds an arm show about {found:.2g} of {METRIC} at 80 % power" if found else "one seed shows nothing"
    )
    return f"{shown}; python -m gptx plan sweep says more, and the time"


def short_name(cell: Any) -> str:
    """The folder of a designed run: what its arm changes, and what is crossed with it."""
    length = {"length": f"{cell.length:g}"} if cell.length != 1 else {}
    told = {**cell.changed, **length, **cell.crossed}
    return slug([f"{key}={value}" for key, value in told.items()], tuple(told)) if told else "base"


def _state(folder: Path) -> str:
    """The state of a run; of one whose record is damaged, which overwrite=true replaces, that."""
    try:
        return RunFolder(folder).state
    except ConfigError:
        return "unreadable"


def dry_run(folders: Iterable[Path]) -> list[str]:
    """The folder of every run, with its state."""
    return [f"{_state(run):12} {run}" for run in folders] + ["dry_run=true: nothing is trained"]


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
