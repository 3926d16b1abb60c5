"""Runs for an exercise: the commands that a user would type, and the recipes that they compose."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from gptx.config.keys import key_of
from gptx.runs import metrics
from gptx.runs.folder import RunFolder

GIVING_BACK = ("MALLOC_MMAP_THRESHOLD_=262144",)  # glibc returns what is freed, so that a peak is what was in use


def last_of_each(overrides: tuple[str, ...]) -> list[str]:
    """The overrides, of each key the last one: what the user adds wins over what the exercise says."""
    return list({key_of(override): override for override in overrides}.values())


def start(
    said: IO[str], folder: Path, *overrides: str, sweep: bool = False, environment: tuple[str, ...] = ()
) -> subprocess.Popen:
    """Begin `python -m gptx.train` in `folder`, or a sweep whose runs go there; the command is shown, and what it says
    goes to the file `said`. `environment` has words such as KEY=value."""
    where = ["--multirun", f"hydra.sweep.dir={folder}"] if sweep else [f"hydra.run.dir={folder}"]
    words = ["-m", "gptx.train", *where, *last_of_each(overrides)]
    print(f"$ {shlex.join([*environment, 'python', *words])}", flush=True)
    around = os.environ | dict(word.split("=", 1) for word in environment)
    return subprocess.Popen([sys.executable, *words], stdout=said, stderr=subprocess.STDOUT, env=around)


def train(folder: Path, *overrides: str, sweep: bool = False, environment: tuple[str, ...] = ()) -> Path:
    """Run the command to its end; the folder. Raises ValueError with what it said last, if it failed."""
    with TemporaryFile("w+") as said:
        code = start(said, folder, *overrides, sweep=sweep, environment=environment).wait()
        if code:
            raise ValueError(f"gptx.train ended with {code}: {last_words(said)}")
    return folder


def stopped(folder: Path, *overrides: str, after: int, stop: signal.Signals = signal.SIGTERM) -> int:
    """Run the command until it has made `after` updates and send it the signal; the update after which it was saved.

    Raises ValueError if it ended by itself, or otherwise than a stopped run does.
    """
    with TemporaryFile("w+") as said:
        process = start(said, folder, *overrides)
        while process.poll() is None and metrics.read(folder).steps < after:
            time.sleep(0.1)
        if process.poll() is None:
            process.send_signal(stop)
        code = process.wait()
        if code != 128 + stop:
            raise ValueError(f"gptx.train ended with {code} and was to be stopped: {last_words(said)}")
    step = RunFolder(folder).known("step")
    print(f"  {stop.name} after update {step}: saved, exit code {code}", flush=True)
    return step


def last_words(said: IO[str]) -> str:
    """What a command that failed said about it."""
    said.seek(0)
    lines = [line.strip() for line in said if line.strip()]
    return next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "nothing")


def record(folder: Path) -> dict:
    """What the run in `folder` says of itself."""
    return RunFolder(folder).begun().record


def composed(*overrides: str) -> dict:
    """The checked config of every arm that the overrides mean, by what sets it apart."""
    from gptx.estimate.capacity import examined

    return examined(last_of_each(overrides))
