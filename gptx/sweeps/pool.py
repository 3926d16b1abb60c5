"""Runs as processes of this machine: their command, several at a time with a share of the machine each, their end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptx import files
from gptx.config.keys import key_of, quoted
from gptx.runs.folder import RunFolder
from gptx.sweeps.machine import share, visible_gpus

_LOOK = 0.2  # seconds between two looks at processes
_SAFE_PATH = {"PYTHONSAFEPATH": "1"} if sys.flags.safe_path else {}  # as with python -P, which is not inherited
_STATES: dict[int, str] = {signal.SIGHUP: "preempted", signal.SIGINT: "interrupted", signal.SIGTERM: "preempted"}


@dataclass
class Job:
    """A run that is trained in a process of its own."""

    folder: Path
    words: list[str]  # overrides
    threads: int
    asked: bool = False  # to end before it is finished
    started: float = field(default_factory=time.time)
    process: subprocess.Popen = field(init=False)


class Pool:
    """Trains runs as processes, `places` at a time, each with its share of the machine."""

    def __init__(self, places: int, *, tasks: int = 1, gpus: int | None = None, look: float = _LOOK):
        self.places, self.tasks, self.gpus, self.look = places, tasks, gpus, look
        self.running: dict[int, Job] = {}  # by place
        self.stopped = False

    def run(self, jobs: Iterator[Job], *, ended: Callable[[Any], None],
            watch: Callable[[Any], None] | None = None, message: str) -> None:  # fmt: skip
        """Train every job and call `ended` with it afterwards, and `watch` every `look` seconds while it runs.

        When this process is asked to end, it prints the `message` and starts no further job; those that run save and
        end. Asked again, they end at once.
        """
        with requests_to_end() as came:
            try:
                self._fill(jobs)
                while self.running:
                    time.sleep(self.look)
                    for place, job in list(self.running.items()):
                        if watch:
                            watch(job)
                        if job.process.poll() is not None:
                            ended(self.running.pop(place))
                    if came():
                        self._end(again=self.stopped)
                        self.stopped = True
                        print(message, flush=True)
                    self._fill(jobs)
            finally:
                if not self.stopped:  # an error: nobody waits for them any more
                    self._end()

    def _fill(self, jobs: Iterator[Job]) -> None:
        for place in [place for place in range(self.places) if place not in self.running]:
            if self.stopped or (job := next(jobs, None)) is None:
                return
            job.process = start_run(job.words, job.folder, place=place, places=self.places, threads=job.threads,
                                tasks=self.tasks, gpus=self.gpus)  # fmt: skip
            self.running[place] = job
            print(f"started      {job.folder}  log: {log(job.folder)}", flush=True)

    def _end(self, *, again: bool = False) -> None:
        for job in self.running.values():
            job.asked = True
            ask_to_end(job.process, self.tasks, again=again)


def train_command(words: list[str], *, tasks: int = 1, threads: int | None = None) -> list[str]:
    """The command that trains one run with these overrides, in `tasks` processes with `threads` threads each."""
    given = any(key_of(word) == "threads" and not word.endswith("null") for word in words if not word.startswith("-"))
    module = ["gptx.train", *words, *([] if given or not threads else [f"threads={threads}"])]
    several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={tasks}", "-m"]
    return [sys.executable, "-m", *(several if tasks > 1 else []), *module]


def start_run(words: list[str], folder: Path, *, place: int, places: int, threads: int, tasks: int = 1,
          gpus: int | None = None) -> subprocess.Popen:  # fmt: skip
    """Start a run in `folder`, on the share of the machine of one of `places` places.

    It prints to its log, and a Ctrl-C in the terminal does not reach it: who started it decides when it ends.
    """
    environment = os.environ | _SAFE_PATH | {"OMP_NUM_THREADS": str(threads)}
    if known := visible_gpus():
        mine = share(known, place, places, gpus or (tasks if tasks > 1 else None))
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    log(folder).parent.mkdir(parents=True, exist_ok=True)
    with files.opened(log(folder), "ab") as file:
        return subprocess.Popen(
            train_command([*words, f"hydra.run.dir={quoted(str(folder))}"], tasks=tasks, threads=threads),
            env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip


@contextmanager
def requests_to_end() -> Iterator[Callable[[], bool]]:
    """Catch the signals that ask this process to end; yields a function that says whether one came since its last call.

    After the first one, only another Ctrl-C is a request: a scheduler sends several signals, and so does a terminal
    that closes. A signal that this process was started to ignore is still ignored, but not by its child processes.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heard: list[int] = []
    seen = 0

    def note(number: int, frame) -> None:
        if before[signal.Signals(number)] is not signal.SIG_IGN and (number == signal.SIGINT or not heard):
            heard.append(number)

    def came() -> bool:
        nonlocal seen
        before, seen = seen, len(heard)
        return seen > before

    for number in before:
        signal.signal(number, note)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask_to_end(process: subprocess.Popen, tasks: int = 1, *, again: bool = False) -> None:
    """Have a run save and end; `again` ends it at once, even while it is busy outside of Python, such as training a
    tokenizer. torchrun passes on SIGTERM only."""
    for number in (signal.SIGINT, signal.SIGTERM)[tasks > 1 : 1 + (again or tasks > 1)]:
        process.send_signal(number)


def wait(line: list[str], environment: dict[str, str], tasks: int = 1) -> int:
    """Run a command that trains one run in this terminal; its exit status. If asked to end, wait until it has ended."""
    asked = False
    with requests_to_end() as came:
        process = subprocess.Popen(line, env=environment | _SAFE_PATH, start_new_session=True)
        while process.poll() is None:
            if came():
                ask_to_end(process, tasks, again=asked)
                asked = True
            time.sleep(_LOOK)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode  # of a signal, as a shell's


def note_end(folder: Path, code: int, *, asked: bool = False) -> None:
    """Record how the run in `folder` ended if it ended before it could: stopped (`asked`, or by a signal) or failed."""
    if not code or (folder / "run.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if stopped := "interrupted" if asked else _STATES.get(-code if code < 0 else code - 128):
        RunFolder(folder).write(state=stopped)
    else:
        RunFolder(folder).write(state="failed", error=last_words(log(folder)) or f"ended with exit code {code}")


def log(folder: Path) -> Path:
    """The file that a process started here prints to."""
    return folder / "process.log"


def last_words(log: Path) -> str:
    """The last line that a process printed."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
