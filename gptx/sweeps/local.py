"""Runs the cells of a sweep on this machine, several at once: what Hydra calls a launcher."""

import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from gptx.config import validate
from gptx.config.keys import options
from gptx.config.recorded import recorded
from gptx.config.rules import job_of
from gptx.distributed.rank import world_size
from gptx.job import branching
from gptx.sweeps import preflight, processes, status
from gptx.sweeps.machine import cores, fit, room, threads_asked
from gptx.units.amounts import clock


class Submission(Launcher):
    """What our launchers share: which cells there are, and which of them are still to do."""

    def setup(self, *, hydra_context, task_function, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.sweep = Path(str(config.hydra.sweep.dir))

    def composed(self, overrides: Sequence[str]) -> tuple[str, DictConfig]:
        """Folder name and own config of a cell."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        return str(config.hydra.sweep.subdir), job_of(config)

    def todo(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[tuple[str, tuple]]:
        """Folder name, and overrides and more as `slurm.Cell` takes them, of every cell that is neither finished
        nor at work nor in the queue. Raises ConfigError, with the keys, if a folder holds a run of another recipe.
        """
        from gptx.train import record_of

        preflight.remove_hydras_file(self.config)
        found, noted, jobs = [], status.cells(self.sweep), self.queue()
        for number, overrides in enumerate(job_overrides, start=first):
            name, config = self.composed(overrides)
            state = status.standing(self.sweep / name, noted.get(name, {}).get("job", ""), jobs)
            record = {} if config.overwrite else record_of(self.sweep / name) or {}
            if "recipe" in record:
                validate.check(config, allow=config.allow_targets)  # which makes updates of lengths
                branching.refuse_other(self.sweep / name, record, config)
            if state[0] in ("running", "queued") or (state[0] == "finished" and not config.overwrite):
                but = branching.as_asked(self.sweep / name, record, recorded(config)) if state[0] == "finished" else ""
                print(f"{'already ' + state[0]:12} {self.sweep / name}  {state[1]}{but}")
                continue
            job = list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state()
            found.append((name, job))
        return found

    def queue(self) -> dict[str, str]:
        """The jobs that are still to come or at work elsewhere."""
        return {}


class Local(Submission):
    """Runs the cells as processes of this machine, several at once, each with its share of it, and waits for them.

    Where it is one at a time, or this process is one of several that train together, they run in this process.
    """

    __module__ = "hydra_plugins.gptx"

    def __init__(self, *, parallel: int | None, tasks_per_node: int, gpus_per_node: int | None):
        self.parallel, self.tasks, self.gpus = parallel, tasks_per_node, gpus_per_node
        self.over: dict[Path, tuple[str, status.Work]] = {}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if world_size() > 1:
            return self.one_after_another(job_overrides, initial_job_idx)
        cells = dict(self.composed(overrides) for overrides in job_overrides)
        configs = list(cells.values())
        for config in configs:
            validate.check(
                config, allow=config.allow_targets
            )  # lengths become updates, as who foresees memory needs them
        self.places = min(self.parallel or room(configs, self.tasks), len(configs))
        if self.places * self.tasks == 1:
            print("1 at a time, in this process")
            return self.one_after_another(job_overrides, initial_job_idx)
        todo = deque((name, job[0]) for name, job in self.todo(job_overrides, initial_job_idx))
        if todo and not self.parallel:
            self.places = min(self.places, fit(configs))
        # neither from what else the machine does nor from which cells are left: the same sweep has the same threads
        share = threads_asked(configs, max(1, cores() // (self.places * self.tasks)))
        self.threads = {name: config.threads or share for name, config in cells.items()}
        print(f"{self.places} at a time, each in a process of its own with threads={share}")
        here = {name: self.stands(self.sweep / name) for name in cells.keys() - {name for name, _ in todo}}
        self.over |= {self.sweep / name: stands for name, stands in here.items() if stands[0] == "finished"}
        self.run(todo)
        return []

    def one_after_another(self, job_overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        """Hydra's own way, which spends no time on starting processes."""
        basic = BasicLauncher()
        basic.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        return basic.launch(job_overrides, first)

    def run(self, waiting: deque[tuple[str, list[str]]]) -> None:
        """Start cells as places become free. When this process is to end, those at work save and end first."""
        running: dict[int, tuple[Path, subprocess.Popen, float]] = {}
        stopped = False
        with processes.requests_to_end() as came:
            try:
                while waiting or running:
                    if came():
                        again, stopped = stopped, True
                        waiting.clear()
                        for _, process, _ in running.values():
                            processes.ask_to_end(process, self.tasks, again=again)
                        print("no other cell is started; those at work save and end, or at once with another Ctrl-C")
                    free = [place for place in range(self.places) if place not in running]
                    for place in free[: len(waiting)]:
                        name, overrides = waiting.popleft()
                        folder = self.sweep / name
                        process = processes.start(
                            [*overrides, *options(self.config.hydra)], folder, place=place, places=self.places,
                            threads=self.threads[name], tasks=self.tasks, gpus=self.gpus,
                        )  # fmt: skip
                        running[place] = folder, process, time.time()
                        print(f"started      {folder}  log: {processes.log(folder)}", flush=True)
                    time.sleep(processes.LOOK)
                    for place in [place for place, (_, process, _) in running.items() if process.poll() is not None]:
                        self.ended(*running.pop(place), asked=stopped)
            finally:
                for _, process, _ in running.values() if not stopped else ():  # nobody waits for them any more
                    processes.ask_to_end(process, self.tasks)
        if stopped:
            raise KeyboardInterrupt

    def ended(self, folder: Path, process: subprocess.Popen, started: float, *, asked: bool = False) -> None:
        """Say how a cell ended, which was `asked` to or not, and how far the sweep is."""
        processes.note_end(folder, process.returncode, asked=asked)
        config = preflight.cells.get(folder)
        made = status.work(folder, config)
        state, words = status.standing(folder, "", {}, made, config)
        self.over[folder] = state, made
        label = {"failed": "FAILED", "finished": f"finished in {clock(time.time() - started)}"}.get(state, state)
        print(f"{label:12} {folder}  {words}", flush=True)
        print(status.total([self.stands(self.sweep / cell) for cell in self.threads], self.places), flush=True)

    def stands(self, folder: Path) -> tuple[str, status.Work]:
        """State and work of a cell; of one that is over as it was then, since reading all at every end takes long."""
        if folder in self.over:
            return self.over[folder]
        config = preflight.cells.get(folder)
        made = status.work(folder, config)
        return status.standing(folder, "", {}, made, config)[0], made


def register() -> None:
    """Make Hydra know the launcher: it finds it by name, and takes it from hydra_plugins alone."""
    sys.modules["hydra_plugins.gptx"] = sys.modules[__name__]
    Plugins.instance().register(Local)
