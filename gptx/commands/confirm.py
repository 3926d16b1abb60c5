"""The chosen arms of a sweep on seeds that did not choose them:  python -m gptx confirm runs/NAME seed=10,11,12"""

import re
import sys
from functools import partial
from pathlib import Path

from gptx.compare.collect import compare
from gptx.compare.effects import Effects, effects
from gptx.compare.factors import described_by
from gptx.compare.outcomes import METRIC, Arm
from gptx.config.compose import as_config
from gptx.config.keys import key_of, under
from gptx.config.recorded import refuse_beyond
from gptx.ingredients.log import now, typed_command
from gptx.runs import manifest
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run, find
from gptx.sweeps import pool
from gptx.units.phrases import count
from gptx.units.printable import streams

_NOT_OF_A_RUN = "sweep", "seed", "overwrite", "dry_run"


def confirm(sweep: str, /, *, seed: str, metric: str = METRIC, parallel: int | None = None, trust: bool = False) -> int:
    """Train the chosen arms of a sweep again, on seeds that did not choose them.

      python -m gptx confirm runs/optimizers seed=10,11,12

    A winner looks better than it is on the seeds that chose it. Each arm is trained at the best learning rate of its
    grid; without such a choice, the base and the best arm. The runs go into the sweep's folder, and `python -m gptx
    report` shows both results. The same command again makes what is missing.

    Options:
    sweep: folder of the sweep
    seed: the fresh seeds, such as 10,11,12
    metric: by which the arms are chosen
    parallel: runs at a time; by default one per core or per GPU
    trust: allow records that ask for more than a recipe, as in rerun
    """
    streams(lasting=True)
    root = Path(sweep)
    chosen, seeds = _planned(root, seed, metric)
    for run in [] if trust else chosen:
        refuse_beyond(str(run.folder), [*run.record["overrides"], *run.record.get("options", [])])
    jobs = [job for run in chosen for job in _jobs(run, seeds)]
    about = {"command": typed_command("confirm", *sys.argv[1:]), "when": now(), "confirm": True}
    manifest.note(root, [{"folder": job.folder.name, "overrides": job.words, **about} for job in jobs])
    places = parallel or pool.room([as_config(run.config) for run in chosen] * len(seeds), 1)
    print(f"{count(len(chosen), 'arm')} x {count(len(seeds), 'seed')}: {count(len(jobs), 'run')} to make", flush=True)
    failed: list[Path] = []
    stopped = pool.train_all(iter(jobs), max(1, min(places, len(jobs))), ended=partial(_ended, failed))
    print(f"compare      {typed_command('report', sweep)}")
    return 130 if stopped else int(bool(failed))


def _ended(failed: list[Path], job: pool.Job) -> None:
    """Say how a run ended."""
    code = job.process.returncode
    pool.note_end(job.folder, code, asked=job.asked)
    failed.extend([job.folder] * (code != 0))
    print(f"{'FAILED' if code else 'finished':12} {job.folder}", flush=True)


def _planned(sweep: Path, seed: str, metric: str) -> tuple[list[Run], list[int]]:
    """A run of every arm to confirm, and the seeds."""
    runs = find([sweep])
    found = effects(compare(runs, metric))
    factors = found.comparison.factors
    by_levels = {tuple(described_by(run).get(name, "") for name in factors): run for run in runs if _chooses(run)}
    arms = _chosen(found)
    seeds = _fresh(seed, {x for arm in arms for x in arm.values})
    return [by_levels[tuple(arm.levels.values())] for arm in arms], seeds


def _chooses(run: Run) -> bool:
    """True of the runs among which the arms are chosen."""
    return run.state == "finished" and not run.role


def _fresh(text: str, used: set[int]) -> list[int]:
    """The seeds of `text`. Raises ValueError for what is no seed, and for one that chose the arms."""
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"seed={text}: whole numbers, such as seed=10,11,12") from None
    if seen := used.intersection(seeds):
        free = ",".join(str(max(used) + 10 + i) for i in range(len(seeds)))
        raise ValueError(f"seed={text}: {min(seen)} has chosen the arms; take seeds that have not, such as seed={free}")
    return list(dict.fromkeys(seeds))


def _chosen(found: Effects) -> list[Arm]:
    """Every arm at its best learning rate; where none was chosen, the base and the best other arm of each setting."""
    arms = list[Arm]()
    for setting in found.settings:
        known = [arm for arm in setting.arms if arm.mean is not None]
        others = [arm for arm in known if arm is not setting.base]
        arms += known if found.question.best_over else [*others[:1], *filter(None, [setting.base])]
    if len(arms) < 2:
        raise ValueError("nothing to confirm: no two arms have a result to compare")
    return list({tuple(arm.levels.values()): arm for arm in arms}.values())


def _jobs(run: Run, seeds: list[int]) -> list[pool.Job]:
    """The same recipe with other seeds, in the sweep's folder, as far as they are not finished."""
    words = [word for word in run.record["overrides"] if not under(key_of(word), _NOT_OF_A_RUN)]
    name = re.sub(r"(^|,)seed=\d+", "", run.folder.name).strip(",")
    arm, options = name * (name != "base"), run.record.get("options", [])
    threads = run.record.get("hardware", {}).get("threads") or 1
    folders = {seed: run.folder.parent / ",".join(filter(None, [arm, f"seed={seed}"])) for seed in seeds}
    todo = {seed: folder for seed, folder in folders.items() if RunFolder(folder).state != "finished"}
    return [pool.Job(folder, [*words, f"seed={seed}", *options], threads) for seed, folder in todo.items()]
