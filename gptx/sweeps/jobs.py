"""The jobs of a sweep, each composed, examined and given its folder before the first of them is trained."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gptx.config.build import build
from gptx.config.cells import cells, listed
from gptx.config.command_line import explained, refuse_choices
from gptx.config.errors import ConfigError, one_line
from gptx.config.keys import key_of, quoted, slug, under
from gptx.config.presets import CONF, load_preset
from gptx.config.rules import examine, job_of, refuse_format
from gptx.config.validate import check, time_asked
from gptx.distributed.rank import rank, world_size
from gptx.estimate import capacity
from gptx.files import refuse_link
from gptx.ingredients.checkpoints.files import saved
from gptx.ingredients.log import now, typed_command
from gptx.job.resume import count_steps, record_of
from gptx.runs import manifest
from gptx.runs.folder import RunFolder
from gptx.sweeps import listing
from gptx.sweeps.folders import Folders, Job
from gptx.sweeps.speed import RECORDED, Speed
from gptx.units.hardware import cores


def examine_job(job: DictConfig, launcher: Mapping, folder: Path) -> None:
    """Examine one job for the processes and the machine that a launcher, if any, will give it. Raises ConfigError."""
    RunFolder(folder).refuse_links(overwrite=job.overwrite)
    world = launcher.get("nodes", 1) * (launcher.get("tasks_per_node", 1) if world_size() == 1 else world_size())
    local = launcher.get("_target_", "gptx.Local").endswith(("BasicLauncher", "gptx.Local"))
    count_steps(job, RunFolder(folder), afresh=job.overwrite)
    room = capacity.this_machine if local else partial(capacity.asked, launcher)
    examine(job, world, capacity.within_room(room, world), begun=begun(job, folder))
    if launcher and local:
        refuse_format(job)


def begun(job: DictConfig, folder: Path) -> bool:
    """True if the run there is finished or has checkpoints of its own. Raises ConfigError for a damaged record."""
    if job.overwrite:
        return False
    record_of(RunFolder(folder))
    return bool(saved(folder / "checkpoints")) or RunFolder(folder).state == "finished"


def examine_sweep(config: DictConfig) -> dict[Path, dict]:
    """The config of each run of a sweep by its folder, examined; Hydra's sweeper then has their words. SystemExit with
    a table of those that cannot run."""
    words = list(OmegaConf.to_container(config.hydra.overrides.task))  # type: ignore[arg-type]
    made = [(_kept(config, line), cell) for line, cell in cells(listed(words, config), config)]
    name_folders(config, [line for line, _ in made])
    sweep, at_once = Path(config.hydra.sweep.dir), _at_once(config, len(made))
    speed = Speed(sweep, config.hydra.runtime.choices["hydra/launcher"], at_once)
    placed = _placed(config, made, speed)
    lines = listing.first_lines(sweep, placed, speed.told, at_once)
    _hand_over(config, [job.words for job in placed.values()])
    if rank() == 0:
        print("\n".join(lines), file=sys.stderr)
        if not config.dry_run:
            _note(sweep, placed, build(config.sweep).design, speed.known)
    return {folder: job.recipe for folder, job in placed.items()}


def _placed(config: DictConfig, made: list[tuple[list[str], Any]], speed: Speed) -> dict[Path, Job]:
    """Every job by its folder, examined."""
    problems, jobs, placed = list[tuple[str, str]](), dict[int, Job](), dict[Path, Job]()
    for number, (line, cell) in enumerate(made):
        with _among(problems, number, line):
            jobs[number] = _composed(config, line, cell, speed)
    folders = Folders([*jobs.values()])
    for number, job in jobs.items():
        with _among(problems, number, job.words):
            folder = folders.of(job, placed)
            examine_job(job.config, config.hydra.launcher, folder)
            placed[folder] = job
            job.words.append(f"hydra.sweep.subdir={quoted(folder.name)}")
    _refuse(problems, len(made))
    return placed


def _kept(config: DictConfig, words: list[str]) -> list[str]:
    """A job's words; unless something else was asked for, it keeps one checkpoint."""
    usual = load_preset(CONF / "checkpoints/newest.yaml")
    asked = any(under(key_of(word), ("checkpoints",)) for word in words) or dict(config.checkpoints) != usual
    return [*words, *["checkpoints.keep=1", "checkpoints.keep_best=false"] * (not asked)]


def name_folders(config: DictConfig, lines: list[list[str]]) -> None:
    """Have every job name its folder after the keys in which the jobs differ, by an override that each takes along."""
    every = [{key_of(override): override for override in line} for line in lines]
    swept = sorted(k for k in every[0] if len({line.get(k) for line in every}) > 1)
    if swept:
        alike = len({slug(line, tuple(swept)) for line in lines}) < len(lines)  # paths with the same last part
        resolver = "gptx.whole_slug" if alike else "gptx.slug"
        with read_write(config.hydra.overrides):
            config.hydra.overrides.hydra.append(f"hydra.sweep.subdir=${{{resolver}:{','.join(swept)}}}")


@contextmanager
def _among(problems: list[tuple[str, str]], number: int, words: list[str]) -> Iterator[None]:
    """Put an error among the problems; composing can fail in many ways."""
    try:
        yield
    except Exception as error:
        problems.append((f"job {number}: {' '.join(words)}", one_line(explained(error, words))))


def _composed(config: DictConfig, words: list[str], cell: Any, speed: Speed) -> Job:
    refuse_choices(words)
    composed = GlobalHydra.instance().config_loader().load_sweep_config(config, words)
    job, asked = job_of(composed), ""
    if time_asked(job) is not None:
        asked = str(job.steps)
        speed.count_steps(job)
        words = [*(word for word in words if key_of(word) != "steps"), f"steps={job.steps}"]
    check(job, allow=job.allow_targets)
    usual = listing.short_name(cell) if cell and cell.arm is not None else composed.hydra.sweep.subdir
    return Job(words, cell, job, Path(composed.hydra.sweep.dir) / usual, asked)


def _at_once(config: DictConfig, jobs: int) -> int:
    launcher = config.hydra.launcher
    return min(jobs, launcher.get("parallel") or launcher.get("array_parallelism") or cores())


def _refuse(problems: list[tuple[str, str]], jobs: int) -> None:
    """SystemExit with the problems, one a job; in one line where all jobs have the same."""
    if len({line for _, line in problems}) == 1 and len(problems) == jobs:
        raise ConfigError(f"{problems[0][1]}{f' (all {jobs} jobs)' if jobs > 1 else ''}")
    if problems:
        told = "\n".join(f"  {job}\n    {line}" for job, line in problems)
        raise SystemExit(f"{len(problems)} of {jobs} jobs cannot run, so nothing was started:\n{told}")


def _hand_over(config: DictConfig, lines: list[list[str]]) -> None:
    """Have Hydra's sweeper launch these jobs."""
    plain = json.dumps(lines, allow_nan=False).replace("$", "\\u0024")  # which OmegaConf would look up
    with open_dict(config.hydra):
        size = config.hydra.sweeper.get("max_batch_size")
        config.hydra.sweeper = {"_target_": "hydra_plugins.gptx.Planned", "max_batch_size": size, "lines": plain}


def _note(sweep: Path, placed: dict[Path, Job], design: str, speed: dict[str, Any]) -> None:
    """Record what the sweep consists of, for `python -m gptx status` and `report`."""
    about = {"command": typed_command("train", *sys.argv[1:]), "when": now()}
    refuse_link(sweep / "multirun.yaml")  # which Hydra writes there
    lines = []
    for folder, job in placed.items():
        words = [word for word in job.words if not key_of(word).startswith("hydra.")]
        line = {
            "folder": str(folder.relative_to(sweep)),
            "overrides": words,
            "digest": job.digest,
            "confirm": False,
            **about,
        }
        swept = {} if job.arm is None else {"design": design, "arm": job.arm, "length": float(job.cell.length)}
        timed = {key: speed[key] for key in RECORDED} if job.asked else {}
        lines.append(line | swept | timed)
    manifest.note(sweep, lines)
