"""Training for an exercise: the commands that a user would type, and times of recipes whose steps take turns."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from subprocess import STDOUT, Popen
from tempfile import TemporaryFile

import numpy

from gptx.config.keys import key_of
from gptx.runs import metrics
from gptx.runs.folder import RunFolder


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


def run_training(folder: Path, *overrides: str, sweep: bool = False, trim: bool = False, stop_after: int = 0) -> Path:
    """Run `python -m gptx.train` in `folder`, or a sweep whose runs go there; the folder. With `stop_after` the run
    gets SIGTERM after that many steps. Raises ValueError with its last words if it ends otherwise than it should."""
    where = ["--multirun", f"hydra.sweep.dir={folder}"] if sweep else [f"hydra.run.dir={folder}"]
    words = ["-m", "gptx.train", *where, *last_of_each(overrides)]
    # glibc then returns what is freed, so that a peak is what was in use
    environment = {"MALLOC_MMAP_THRESHOLD_": "262144"} if trim else {}
    print(f"$ {shlex.join([*map('='.join, environment.items()), 'python', *words])}", flush=True)
    with TemporaryFile("w+") as said:
        process = Popen([sys.executable, *words], stdout=said, stderr=STDOUT, env=os.environ | environment)
        while stop_after and process.poll() is None and metrics.read_metrics(folder).steps < stop_after:
            time.sleep(0.1)
        if stop_after:
            process.send_signal(signal.SIGTERM)
        code, expected = process.wait(), 128 + signal.SIGTERM if stop_after else 0
        if code != expected:
            said.seek(0)
            lines = f"nothing\n{said.read()}".strip().split("\n")
            last = max(reversed(lines), key=lambda line: "error" in line.lower()).strip()
            raise ValueError(f"gptx.train ended with {code} and not with {expected}: {last}")
    if stop_after:
        print(f"  SIGTERM after step {record(folder)['step']}: saved, exit code {code}", flush=True)
    return folder


def turns(arms: dict, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds by the clock and of the processor of every step of each arm, after one to warm up. The arms (checked
    configs by name) take turns, so that what disturbs one disturbs all; nothing is reported or saved."""
    import torch

    from gptx.ingredients.observe.throughput import wall
    from gptx.job.build import trainer_of

    torch.set_num_threads(next(iter(arms.values())).threads or torch.get_num_threads())
    trainers = {name: trainer_of(cfg) for name, cfg in arms.items()}
    found = {name: list[tuple[float, float]]() for name in arms}
    for _ in range(rounds + 1):
        for name, trainer in trainers.items():
            device = trainer.parallel.device
            trainer.precision.prepare(device)  # what is global in PyTorch differs between the arms
            began, worked = wall(device), time.process_time()
            trainer.step_once()
            found[name].append((wall(device) - began, time.process_time() - worked))
    return {name: seconds[1:] for name, seconds in found.items()}


def time_ratio(of: list[tuple[float, float]], to: list[tuple[float, float]]) -> dict[str, float]:
    """Median over the turns of one arm's time over another's, by the clock with its range, and of the processor."""
    clock, work = (numpy.array(of) / numpy.array(to)).T.tolist()
    return {"clock": median(clock), "low": min(clock), "high": max(clock), "processor": median(work)}
