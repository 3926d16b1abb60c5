"""Hands the cells of a sweep to SLURM or to processes of this machine, through submitit: what Hydra calls launchers."""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import submitit
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from omegaconf import DictConfig, OmegaConf

from gptx import check, preflight, runs, sweep
from gptx.check import ConfigError


class Failed(Exception):
    """A cell failed, and said why in its log and its record."""


class Cell(BaseSubmititLauncher):
    """One cell as it is submitted: composed anew from the files whenever it starts, and failed where its run fails.

    `environment` is set before PyTorch is loaded.
    """

    def __init__(self, environment: dict[str, str]):
        super().__init__()
        self.environment = environment

    def __call__(self, *job) -> JobReturn:
        os.environ.update(self.environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored by those who started this process
        returned = super().__call__(*job)
        try:
            _ = returned.return_value
        except Exception as error:
            sys.tracebacklimit = 0
            raise Failed(preflight.one_line(error)) from None  # the process ends with 1, and SLURM notices
        return returned


class Submission(Launcher):
    """What both launchers share: which cells there are, and which of them are still to do."""

    def setup(self, *, hydra_context, task_function, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        self.sweep = Path(str(config.hydra.sweep.dir))

    def todo(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[tuple[str, tuple]]:
        """Folder name and arguments for `Cell` of every cell that is neither finished nor at work nor in the queue.

        Raises ConfigError, with the keys, if a folder holds a run of another recipe.
        """
        from gptx.train import refuse_other

        found, noted, jobs = [], sweep.cells(self.sweep), self.queue()
        for number, overrides in enumerate(job_overrides, start=first):
            composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            name, config = str(composed.hydra.sweep.subdir), preflight.job_of(composed)
            state = sweep.standing(self.sweep / name, noted.get(name, {}).get("job", ""), jobs)
            record = runs.read(self.sweep / name) or {}
            if "recipe" in record and not config.overwrite:
                check.check(config, allow=config.allow_targets)  # which makes updates of lengths
                resolved = OmegaConf.to_container(config, resolve=True)
                refuse_other(self.sweep / name, record["recipe"], runs.recipe(resolved))  # type: ignore[arg-type]
            if state[0] in ("running", "queued") or (state[0] == "finished" and not config.overwrite):
                print(f"{state[0]:12} {self.sweep / name}  {state[1]}")
                continue
            job = list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state()
            found.append((name, job))
        return found

    def queue(self) -> dict[str, str]:
        """The jobs that are still to come or at work elsewhere."""
        return {}

    def cell(self, environment: dict[str, str]) -> Cell:
        """What submitit has to call with the arguments of a job."""
        cell = Cell(environment)
        cell.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        return cell


class Slurm(Submission):
    """Submits the cells as one array and returns; with `wait` once they have ended."""

    __module__ = "hydra_plugins.gptx"

    def __init__(self, *, wait: bool, submitit_folder: str, max_num_timeout: int, **limits):
        self.wait, self.folder, self.max_num_timeout, self.limits = wait, submitit_folder, max_num_timeout, limits

    def queue(self) -> dict[str, str]:
        """The jobs that SLURM has. Raises ConfigError if it does not say: a cell could be submitted twice."""
        try:
            return sweep.queue()
        except ValueError as error:
            raise ConfigError(f"{error}; hydra/launcher=submitit_local runs the sweep on this machine") from None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        if not self.wait:
            preflight.cells.clear()  # they end when this process is long gone
        todo = self.todo(job_overrides, initial_job_idx)
        jobs = self.submit(todo) if todo else []
        sweep.note(self.sweep, [{"folder": n, "job": j.job_id} for (n, _), j in zip(todo, jobs, strict=True)])
        for (name, _), job in zip(todo, jobs, strict=True):
            print(f"{'submitted':12} {self.sweep / name}  job {job.job_id}")
        print(f"logs         {self.folder}\nhow it goes  python -m gptx.sweep status {self.sweep}")
        if self.wait:
            for job in jobs:
                job.wait()
        return []

    def submit(self, todo: list[tuple[str, tuple]]) -> list[submitit.Job]:
        """The jobs, accepted by SLURM. Raises ConfigError with what it said if it was not."""
        shared = submitit.AutoExecutor._typed_parameters()
        limits = {name if name in shared else f"slurm_{name}": value for name, value in self.limits.items()}
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(self.limits["cpus_per_task"] or 1)}
        try:
            executor = submitit.AutoExecutor(self.folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
            executor.update_parameters(**limits)
            return executor.map_array(self.cell(threads), *zip(*(job for _, job in todo), strict=True))
        except (RuntimeError, AssertionError, NameError) as error:
            raise ConfigError(f"hydra/launcher=slurm: {' '.join(str(error).split())}") from None


class Local(Submission):
    """Runs the cells as processes of this machine, `parallel` at a time, and waits for them."""

    __module__ = "hydra_plugins.gptx"

    def __init__(self, *, parallel: int, submitit_folder: str, cpus_per_task: int | None, gpus_per_node: int | None,
                 **limits):  # fmt: skip
        self.parallel, self.folder, self.limits = parallel, submitit_folder, limits
        self.cpus, self.gpus = cpus_per_task, gpus_per_node

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        waiting = deque(self.todo(job_overrides, initial_job_idx))
        running: dict[int, tuple[str, submitit.Job]] = {}
        stopped = False
        while waiting or running:
            try:
                free = [place for place in range(self.parallel) if place not in running]
                for place in free[: len(waiting)]:
                    name, job = waiting.popleft()
                    running[place] = name, self.start(place, job)
                    print(f"{'started':12} {self.sweep / name}  {running[place][1].paths.stdout}")
                time.sleep(0.2)
                for place in [place for place, (_, job) in running.items() if job.done()]:
                    name, _ = running.pop(place)
                    print(f"{runs.state(self.sweep / name):12} {self.sweep / name}")
            except KeyboardInterrupt:
                stopped = True
                waiting.clear()
                print("no other cell is started; those at work save and end, or at once with another Ctrl-C")
        if stopped:
            raise KeyboardInterrupt
        return []

    def start(self, place: int, job: tuple) -> submitit.Job:
        """Start a cell with the share of the machine that belongs to one of the `parallel` places."""
        cores = str(self.cpus or max(1, (os.cpu_count() or 1) // self.parallel))
        environment = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or cores,
            "CUDA_VISIBLE_DEVICES": ",".join(share(visible_gpus(), place, self.parallel, self.gpus)),
        }
        executor = submitit.LocalExecutor(self.folder)
        executor.update_parameters(**self.limits, gpus_per_node=0, signal_delay_s=120)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, not for what watches over it
        try:
            return executor.submit(self.cell(environment), *job)
        finally:
            signal.signal(signal.SIGINT, before)


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        [str(i) for i in range(torch.cuda.device_count())] if chosen is None else list(filter(None, chosen.split(",")))
    )


def share(gpus: list[str], place: int, places: int, count: int | None) -> list[str]:
    """The GPUs of one of `places` places: `count` each, else as many as there are for each; shared where too few.

    >>> share(["0", "1", "2", "3"], place=1, places=2, count=None), share(["0"], place=1, places=2, count=None)
    (['2', '3'], ['0'])
    """
    count = count or max(1, len(gpus) // places)
    return [gpus[(place * count + i) % len(gpus)] for i in range(min(count, len(gpus)))]


def register() -> None:
    """Make Hydra know the launchers: it finds them by name, and takes them from hydra_plugins alone."""
    sys.modules["hydra_plugins.gptx"] = sys.modules[__name__]
    Plugins.instance().register(Slurm)
    Plugins.instance().register(Local)
