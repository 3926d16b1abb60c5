"""What a sweep needs and what it can show, before it is run: space on the disk, and how small a difference."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.config.groups import decides
from gptx.config.keys import flat
from gptx.config.model_size import model_size, vocabulary
from gptx.config.paths import ROOT
from gptx.config.recorded import recorded
from gptx.estimate.memory import likely_vocabulary, prediction
from gptx.estimate.power import residual_sd, seeds_needed, smallest_difference
from gptx.runs import plain
from gptx.runs.run import find
from gptx.units.amounts import memory
from gptx.units.phrases import count

_OVERHEAD = 100_000  # bytes of a checkpoint besides its tensors: random states, the recipe
_RECORDED = 500  # bytes of a step in metrics.jsonl, and in W&B's file
_ADAM = 12  # bytes of a parameter and its two moments
_RESULTS = 100_000_000  # bytes of results.json at most


def seeds_by_arm(configs: Iterable[Any]) -> dict[str, int]:
    """How many seeds each arm has, by what decides its result except for seeds."""
    found: dict[str, int] = {}
    for config in configs:
        arm = alike(recorded(config), "result")
        found[arm] = found.get(arm, 0) + 1
    return found


def alike(config: dict, *what: str) -> str:
    """A text that configs share if they differ in nothing that decides `what`, except for seeds."""
    kept = {k: v for k, v in flat(config).items() if decides(k, *what) and k.rpartition(".")[2] != "seed"}
    return str(sorted(kept.items()))


def vocabularies(configs: list[Any], vocab_size: int | None = None, size: Callable = vocabulary) -> list[int]:
    """The size of each config's vocabulary, or the given one; a text that several share is read once."""
    keys, found = [alike({"data": recorded(config)["data"]}, "weights") for config in configs], dict[str, int]()
    for key, config in zip(keys, configs, strict=True):
        found[key] = found.get(key) or vocab_size or size(config)
    return [found[key] for key in keys]


@dataclass(frozen=True)
class Disk:
    """Bytes that runs need on the disk while the last of them are trained, and those that are free there."""

    runs: int
    kept: int  # checkpoints of a run, the most
    checkpoint: int  # bytes of the largest
    needed: int
    free: int

    def __str__(self) -> str:
        each = f"{count(self.runs, 'run')} with up to {count(self.kept, 'checkpoint')} of {memory(self.checkpoint)}"
        return f"{memory(self.needed)} on the disk ({each}), {memory(self.free)} are free"


def disk_of(
    configs: list[Any], folder: Path, *, at_once: int, vocab_size: int | None = None, likely: bool = False
) -> Disk:
    """The space that the runs of some checked configs need in a folder, by what is predicted of their states; `likely`:
    without reading a text for the size of its vocabulary."""
    sizes: dict[str, int] = {}
    runs, size_of = [], likely_vocabulary if likely else vocabulary
    for config, vocab in zip(configs, vocabularies(configs, vocab_size, size_of), strict=True):
        key = alike(recorded(config), "state") + str(config.get("observe"))
        sizes[key] = size = sizes.get(key) or checkpoint_bytes(config, vocab)
        runs.append((kept_checkpoints(config), size, _RECORDED * config.steps))
    needed = sum(kept * size + rows for kept, size, rows in runs) + at_once * max(sizes.values(), default=0)
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    most = max((kept for kept, _, _ in runs), default=0)
    return Disk(len(runs), most, max(sizes.values(), default=0), needed, shutil.disk_usage(there).free)


def refuse_full(disk: Disk, folder: Path) -> None:
    """Raise ConfigError for runs that the free space cannot hold."""
    if disk.needed > disk.free:
        raise ConfigError(f"{folder}: {disk}; free some, or choose checkpoints.keep=1 or fewer runs")


def checkpoint_bytes(config: Any, vocab_size: int) -> int:
    """Bytes of a checkpoint of a checked config: predicted, else those of Adam's state."""
    saved = config.copy()
    saved.steps = max(2, config.steps)
    if "every" in saved.checkpoints:
        saved.checkpoints.every = 1  # else nothing is copied, and so not predicted
    found = prediction(saved, vocab_size)
    if isinstance(found, str):
        return _ADAM * model_size(config, vocab_size)[0] + _OVERHEAD
    averaged = any(str(node._target_).endswith(".EMA") for node in (config.get("observe") or {}).values())
    return max(found.copy, found.weights + found.moments) + averaged * found.weights + _OVERHEAD


def kept_checkpoints(config: Any) -> int:
    """How many checkpoints of a run stay, at most: the newest, the best, one in each `keep_every`, and those that the
    guard may go back to."""
    values = config.checkpoints
    every, each = values.get("every") or config.steps, values.get("keep_every")
    lookback, off = build(config.guard).lookback, bool(config.steps % every)  # the last save is between two
    newest = max(values.get("keep", 1), -(-lookback // every) + 1 + off)
    kept = newest + bool(values.get("keep_best")) + (config.steps // each if each else 0)
    return min(-(-config.steps // every) + bool(lookback), kept)


@dataclass(frozen=True)
class Spread:
    """The standard deviation of a run's result once its arm and its seed are accounted for, and where it is from."""

    sd: float
    source: str


def pilot_spread(folder: Path, metric: str) -> Spread:
    """The spread of the runs in a folder, or of its results.json. Raises ValueError where they show none."""
    if (folder / "results.json").is_file():
        found = _of_file(folder / "results.json", metric)
    else:
        runs = [(run, run.result(metric)) for run in find([folder])]
        found = residual_sd((alike(run.config, "result"), run.seed, value) for run, value in runs if value is not None)
    if not found:
        line = f"no {metric} of two arms with two seeds in common"
        raise ValueError(f"pilot={folder}: {line}; such as schedule=cosine,constant seed=0,1")
    return Spread(found, f"of {folder}")


def shipped_spread(metric: str) -> Spread | None:
    """The median spread of the experiments that are shipped with results of that metric; None without any."""
    files = sorted(ROOT.glob("experiments/*/results.json"))
    found = [sd for sd in (_of_file(file, metric) for file in files) if sd]
    if not found:
        return None
    span = f"{len(found)} experiments/*/results.json, {min(found):.2g} to {max(found):.2g}"
    return Spread(median(found), f"the median of {span}, of other recipes; pilot=FOLDER takes yours")


def _of_file(file: Path, metric: str) -> float | None:
    kept = plain.read(file, most=_RESULTS)
    if not isinstance(kept, dict) or kept.get("metric") != metric:
        return None
    rows = [each for each in kept.get("outcomes", []) if isinstance(each.get("value"), float)]
    return residual_sd((str(sorted(each["levels"].items())), each["seed"], each["value"]) for each in rows)


def can_show(arms: int, seeds: int, spread: Spread | None, metric: str, difference: float) -> Iterator[str]:
    """What arms of that many seeds can show, in lines: the smallest difference, and the seeds that another takes."""
    if spread is None or arms < 2:
        yield (
            "one arm: nothing is compared"
            if arms < 2
            else f"not known: no shipped experiment has {metric}; pilot=FOLDER"
        )
        return
    smallest = smallest_difference(spread.sd, arms, seeds)
    shown = (
        f"{smallest:.3g} is the smallest that {count(seeds, 'seed')} show"
        if smallest
        else "any size: one seed shows none"
    )
    rule = f"80 % power, two-sided 5 % over {count(arms - 1, 'comparison')} with the base (Dunnett)"
    yield f"a difference of {shown} in {metric}: {rule}"
    needed = seeds_needed(difference, spread.sd, arms)
    yield f"a difference of {difference:g} takes {f'{needed} seeds' if needed else 'more than 1,000 seeds'}"
    yield f"by an sd of {spread.sd:.3g} that neither arm nor seed explains: {spread.source}"
