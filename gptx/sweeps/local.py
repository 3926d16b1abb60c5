"""Trains the runs of a sweep on this machine, several at a time: a launcher of Hydra's."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from gptx.config import validate
from gptx.config.keys import options
from gptx.config.recorded import recorded
from gptx.config.rules import job_of
from gptx.distributed.rank import world_size
from gptx.job import resume
from gptx.runs import manifest
from gptx.runs.folder import RunFolder
from gptx.sweeps import pool, preflight, status
from gptx.units.amounts import clock


class Submission(BasicLauncher):
    """What both launchers share: which runs a sweep has, and which of them are still to be made."""

    hydra_context: Any
    config: Any

    def setup(self, *, hydra_context, task_function, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.sweep = Path(str(config.hydra.sweep.dir))

    def composed(self, overrides: Sequence[str]) -> tuple[str, DictConfig]:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        return str(config.hydra.sweep.subdir), job_of(config)

    def todo(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[tuple[str, tuple]]:
        """Folder name and job of every run that is still to be made. ConfigError if a folder holds another recipe."""
        preflight.remove_hydras_file(self.config)
        found, noted, jobs = [], manifest.noted(self.sweep), self.queue()
        for number, overrides in enumerate(job_overrides, start=first):
            name, config = self.composed(overrides)
            folder, run = self.sweep / name, RunFolder(self.sweep / name)
            state, _, details = status.standing(folder, job=noted.get(name, {}).get("job", ""), jobs=jobs)
            record = {} if config.overwrite else resume.record_of(run) or {}
            if "recipe" in record:
                validate.check(config, allow=config.allow_targets)  # which converts lengths to steps
                resume.refuse_other(run, record, config)
            if state in ("running", "queued") or (state == "finished" and not config.overwrite):
                but = resume.as_asked(run, record, recorded(config)) if state == "finished" else ""
                print(f"{'already ' + state:12} {folder}  {details}{but}")
                continue
            job = list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state()
            found.append((name, job))
        return found

    def queue(self) -> dict[str, str]:
        return {}  # no job waits or runs elsewhere


class Planned(BasicSweeper):
    """Hydra's sweeper, whose jobs have been made of the words already, as JSON."""

    __module__ = "hydra_plugins.gptx"

    def __init__(self, max_batch_size: int | None, lines: str):
        # not by super(): Hydra loads the module of BasicSweeper again where gptx was imported first
        self.overrides, self.batch_index, self.max_batch_size, self.params = None, 0, max_batch_size, {}
        self.lines = json.loads(lines)

    def split_arguments(self, overrides: Any, max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        return list(map(list, self.split_overrides_to_chunks(self.lines, max_batch_size)))


class Local(Submission):
    """Trains the runs as processes of this machine, several at a time; one at a time in this process, as Hydra does."""

    __module__ = "hydra_plugins.gptx"

    def __init__(self, *, parallel: int | None, tasks_per_node: int, gpus_per_node: int | None):
        self.parallel, self.tasks, self.gpus = parallel, tasks_per_node, gpus_per_node
        self.over: dict[Path, tuple[str, status.Work]] = {}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if world_size() > 1:
            return super().launch(job_overrides, initial_job_idx)
        composed = dict(self.composed(overrides) for overrides in job_overrides)
        configs = list(composed.values())
        for config in configs:
            validate.check(config, allow=config.allow_targets)  # converts lengths to steps, as `fit` needs them
        self.places = min(self.parallel or pool.room(configs, self.tasks), len(configs))
        if self.places * self.tasks == 1:
            print("1 at a time, in this process")
            return super().launch(job_overrides, initial_job_idx)
        todo = {name: job[0] for name, job in self.todo(job_overrides, initial_job_idx)}
        if todo and not self.parallel:
            self.places = min(self.places, pool.runs_in_memory(configs))
        self.train(composed, todo)
        return []

    def train(self, composed: dict[str, DictConfig], todo: dict[str, list[str]]) -> None:
        """Train the runs in `todo` (folder name -> overrides); `composed` are the configs of all runs of the sweep."""
        # independent of other work on the machine and of which runs are left: the same sweep has the same threads
        threads = pool.threads_of([*composed.values()], self.places * self.tasks)
        print(f"{self.places} at a time, each in a process of its own with threads={threads}")
        self.configs = {self.sweep / name: recorded(config) for name, config in composed.items()}
        here = {folder: self.stands(folder) for folder in self.configs if folder.name not in todo}
        self.over |= {folder: stands for folder, stands in here.items() if stands[0] == "finished"}
        jobs = (
            pool.Job(self.sweep / name, [*words, *options(self.config.hydra)], composed[name].threads or threads)
            for name, words in todo.items()
        )
        if pool.train_all(jobs, self.places, ended=self.ended, tasks=self.tasks, gpus=self.gpus):
            raise KeyboardInterrupt

    def ended(self, job: pool.Job) -> None:
        """Print how a run ended, and the progress of the sweep."""
        folder, seconds = job.folder, time.time() - job.started
        pool.note_end(folder, job.process.returncode, asked=job.asked)
        state, made, details = status.standing(folder, self.configs[folder])
        self.over[folder] = state, replace(made, wall=max(made.wall, seconds))  # with the start of the process
        label = {"failed": "FAILED", "finished": f"finished in {clock(seconds)}"}.get(state, state)
        print(f"{label:12} {folder}  {details}", flush=True)
        print(status.total([self.stands(folder) for folder in self.configs], self.places), flush=True)

    def stands(self, folder: Path) -> tuple[str, status.Work]:
        """State and work of a run; of one that has ended as it was then, since reading all of them takes long."""
        return self.over.get(folder) or status.standing(folder, self.configs[folder])[:2]
