"""A training run as a process of its own: its command, its share of the machine, its log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gptx import files, runs
from gptx.config.keys import key_of, quoted
from gptx.sweeps.machine import share, visible_gpus

LOOK = 0.2  # seconds between two looks at processes
SAFE_PATH = {"PYTHONSAFEPATH": "1"} if sys.flags.safe_path else {}  # also of python -P, which is not inherited
STOPPED: dict[int, str] = {signal.SIGHUP: "preempted", signal.SIGINT: "interrupted", signal.SIGTERM: "preempted"}


def command(words: list[str], *, tasks: int = 1, threads: int | None = None) -> list[str]:
    """The command that trains one run with these overrides, in one process or several, with so many threads each."""
    given = any(key_of(word) == "threads" and not word.endswith("null") for word in words if not word.startswith("-"))
    module = ["gptx.train", *words, *([] if given or not threads else [f"threads={threads}"])]
    several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={tasks}", "-m"]
    return [sys.executable, "-m", *(several if tasks > 1 else []), *module]


def start(words: list[str], folder: Path, *, place: int, places: int, threads: int, tasks: int = 1,
          gpus: int | None = None) -> subprocess.Popen:  # fmt: skip
    """Start a run in `folder`, on the part of the machine that belongs to one of `places` places.

    It prints into its log, and a Ctrl-C of the terminal does not reach it: who started it decides about its end.
    """
    environment = os.environ | SAFE_PATH | {"OMP_NUM_THREADS": str(threads)}
    if known := visible_gpus():
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(
            share(known, place, places, gpus or (tasks if tasks > 1 else None))
        )
    log(folder).parent.mkdir(parents=True, exist_ok=True)
    with files.opened(log(folder), "ab") as file:
        return subprocess.Popen(
            command([*words, f"hydra.run.dir={quoted(str(folder))}"], tasks=tasks, threads=threads),
            env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip


@contextmanager
def requests_to_end() -> Iterator[Callable[[], bool]]:
    """Only notes the signals that ask this process to end, so that its loop can act between two steps; gives what
    tells whether one came since it was last asked.

    After the first one, another Ctrl-C alone is a request: a scheduler sends several signals, and so does a terminal
    that closes. What this process was started to ignore it ignores, but those that it starts do not.
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
    """Have a run save and end; the second time (`again`) it ends at once, also where it is busy outside of Python, as
    while it learns a tokenizer. torchrun hands on SIGTERM alone."""
    for number in (signal.SIGINT, signal.SIGTERM)[tasks > 1 : 1 + (again or tasks > 1)]:
        process.send_signal(number)


def wait(line: list[str], environment: dict[str, str], tasks: int = 1) -> int:
    """The exit code of a command that trains one run in this terminal; it is waited for even when asked to end."""
    asked = False
    with requests_to_end() as came:
        process = subprocess.Popen(line, env=environment | SAFE_PATH, start_new_session=True)
        while process.poll() is None:
            if came():
                ask_to_end(process, tasks, again=asked)
                asked = True
            time.sleep(LOOK)
    return process.returncode


def note_end(folder: Path, code: int, *, asked: bool = False) -> None:
    """Put down how the run in `folder` ended if it did not get so far as to do that itself: stopped, where it was
    `asked` to end or a signal did it, or failed, and why."""
    if not code or (folder / "run.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if stopped := "interrupted" if asked else STOPPED.get(-code if code < 0 else code - 128):
        runs.write(folder, state=stopped)
    else:
        runs.write(folder, state="failed", error=last_words(log(folder)) or f"ended with exit code {code}")


def log(folder: Path) -> Path:
    """Where a run that was started for others prints."""
    return folder / "process.log"


def last_words(log: Path) -> str:
    """The last line that a process printed."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
