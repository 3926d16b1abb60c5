"""Training for an exercise: the commands that a user would type, and times of recipes whose steps take turns."""

import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from gptx.config.keys import key_of
from gptx.runs import metrics
from gptx.runs.folder import RunFolder

GIVING_BACK = ("MALLOC_MMAP_THRESHOLD_=262144",)  # glibc returns what is freed, so that a peak is what was in use


def last_of_each(overrides: Sequence[str]) -> list[str]:
    """The last override of each key: what the user adds wins over the exercise's own."""
    return list({key_of(override): override for override in overrides}.values())


def configs_of(*overrides: str) -> dict:
    """The checked config of every arm that the overrides mean, by what distinguishes it."""
    from gptx.estimate.capacity import examined

    return examined(last_of_each(overrides))


def record(folder: Path) -> dict:
    """run.json of the run in `folder`."""
    return RunFolder(folder).begun().record


def run_training(folder: Path, *overrides: str, sweep: bool = False, environment: Sequence[str] = ()) -> Path:
    """Run `python -m gptx.train` in `folder`, or a sweep whose runs go there; the folder. `environment` has words such
    as KEY=value. Raises ValueError with its last words if it failed."""
    with TemporaryFile("w+") as said:
        code = _start(said, folder, *overrides, sweep=sweep, environment=environment).wait()
        if code:
            raise ValueError(f"gptx.train ended with {code}: {_last_words(said)}")
    return folder


def stopped(folder: Path, *overrides: str, after: int, stop: signal.Signals = signal.SIGTERM) -> int:
    """Run the command for `after` steps and send it the signal; the step at which it was saved. Raises ValueError if it
    ended otherwise than a stopped run does."""
    with TemporaryFile("w+") as said:
        process = _start(said, folder, *overrides)
        while process.poll() is None and metrics.read_metrics(folder).steps < after:
            time.sleep(0.1)
        if process.poll() is None:
            process.send_signal(stop)
        code = process.wait()
        if code != 128 + stop:
            raise ValueError(f"gptx.train ended with {code}, not stopped by {stop.name}: {_last_words(said)}")
    step = RunFolder(folder).known("step")
    print(f"  {stop.name} after step {step}: saved, exit code {code}", flush=True)
    return step


def _start(
    said: IO[str], folder: Path, *overrides: str, sweep: bool = False, environment: Sequence[str] = ()
) -> subprocess.Popen:
    where = ["--multirun", f"hydra.sweep.dir={folder}"] if sweep else [f"hydra.run.dir={folder}"]
    words = ["-m", "gptx.train", *where, *last_of_each(overrides)]
    print(f"$ {shlex.join([*environment, 'python', *words])}", flush=True)
    around = os.environ | dict(word.split("=", 1) for word in environment)
    return subprocess.Popen([sys.executable, *words], stdout=said, stderr=subprocess.STDOUT, env=around)


def _last_words(said: IO[str]) -> str:
    said.seek(0)
    lines = [line.strip() for line in said if line.strip()]
    return next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "nothing")


def turns(arms: dict, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds by the clock and of the processor of every step of each arm, after one to warm up. The arms (checked
    configs by name) take turns, so that what disturbs one disturbs all; nothing is reported or saved."""
    import torch

    from gptx.ingredients.observe.throughput import wall
    from gptx.job.build import trainer_of

    torch.set_num_threads(next(iter(arms.values())).threads or torch.get_num_threads())
    trainers = {name: trainer_of(cfg) for name, cfg in arms.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, trainer in trainers.items():
            device = trainer.parallel.device
            trainer.precision.prepare(device)  # what is global in PyTorch differs between the arms
            began, worked = wall(device), time.process_time()
            trainer.step_once()
            if turn:
                found[name].append((wall(device) - began, time.process_time() - worked))
    return found


def time_ratio(of: list[tuple[float, float]], to: list[tuple[float, float]]) -> dict[str, float]:
    """Median over the turns of one arm's time over another's, by the clock with its range, and of the processor."""
    clock, work = ([a[i] / b[i] for a, b in zip(of, to, strict=True)] for i in (0, 1))
    median = statistics.median
    return {"clock": median(clock), "low": min(clock), "high": max(clock), "processor": median(work)}
