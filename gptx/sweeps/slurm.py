"""Submits the runs of a sweep to SLURM, through submitit: a launcher of Hydra's."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import submitit
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher

from gptx.config.errors import ConfigError, one_line
from gptx.ingredients.log import typed_command
from gptx.runs import manifest
from gptx.sweeps import status
from gptx.sweeps.local import Planned, Submission
from gptx.units.printable import streams

__all__ = ["Planned", "Slurm"]  # by which Hydra finds them


class _Submitted(BaseSubmititLauncher):
    """One run as it is submitted: composed again from the files whenever it starts; the job fails if the run fails."""

    environment: dict[str, str]  # set before PyTorch is loaded

    def __call__(self, *job) -> JobReturn:
        streams(lasting=True)
        os.environ.update(self.environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored by those who started this process
        returned = super().__call__(*job)
        try:
            _ = returned.return_value
        except Exception as error:
            sys.tracebacklimit = 0
            raise RuntimeError(one_line(error)) from None  # the process ends with 1, and SLURM notices
        return returned


class Slurm(Submission):
    """Submits the runs as one job array and returns; with `wait`, when they have ended."""

    __module__ = "hydra_plugins.gptx"

    def __init__(self, *, wait: bool, submitit_folder: str, max_num_timeout: int, parallel=None, **limits):
        """`parallel` is of hydra/launcher=local, as experiments set it; here array_parallelism is used."""
        self.wait, self.folder, self.max_num_timeout, self.limits = wait, submitit_folder, max_num_timeout, limits

    def queue(self) -> dict[str, str]:
        """The jobs that SLURM has. Raises ConfigError if it does not answer: a run could be submitted twice."""
        try:
            return status.queue()
        except ValueError as error:
            raise ConfigError(f"{error}; hydra/launcher=local runs the sweep on this machine") from None

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        todo = self.todo(job_overrides, initial_job_idx)
        jobs = self.submit([job for _, job in todo]) if todo else []
        ids = {name: job.job_id for (name, _), job in zip(todo, jobs, strict=True)}
        manifest.note(self.sweep, [{"folder": name, "job": number} for name, number in ids.items()])
        for name, number in ids.items():
            print(f"{'submitted':12} {self.sweep / name}  job {number}")
        print(f"logs         {self.folder}\nprogress     {typed_command('status', str(self.sweep))}")
        if not self.wait:
            print(f"compare      {typed_command('report', str(self.sweep))}")
        for job in jobs if self.wait else []:
            job.wait()
        return []

    def script(self) -> str:
        """The batch script of one run, as it would be submitted."""
        inner: Any = self._executor()._executor
        return inner._make_submission_file_text(f"python -m gptx.train ...  # in {self.folder}", "dry_run")

    def _executor(self) -> submitit.AutoExecutor:
        shared = submitit.AutoExecutor._typed_parameters()
        limits = {name if name in shared else f"slurm_{name}": value for name, value in self.limits.items()}
        executor = submitit.AutoExecutor(self.folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        executor.update_parameters(**limits)
        return executor

    def submit(self, todo: list[tuple]) -> list[submitit.Job]:
        """The submitted jobs. Raises ConfigError with SLURM's message if it refused them."""
        run = _Submitted()
        threads = os.environ.get("OMP_NUM_THREADS") or str(self.limits["cpus_per_task"] or 1)
        run.environment = {"OMP_NUM_THREADS": threads}
        run.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
        try:
            return self._executor().map_array(run, *zip(*todo, strict=True))
        except (RuntimeError, AssertionError, NameError) as error:
            raise ConfigError(f"hydra/launcher=slurm: {' '.join(str(error).split())}") from None
