"""Runs as processes of this machine: how many at a time, the share of it that each has, their command and their end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gptx import files
from gptx.config.groups import decides
from gptx.config.keys import flat, key_of, quoted
from gptx.config.recorded import recorded
from gptx.job.signals import caught
from gptx.runs.folder import RunFolder
from gptx.units.hardware import cores, machine_memory

_RESERVE = 500_000_000  # bytes of a process besides what its run is predicted to need: PyTorch itself
_SHARE = 0.8  # of the machine's memory that runs may fill
_STOPPED = "no other run is started; those that run save and end, or end at once with another Ctrl-C"
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


def train_all(jobs: Iterator, places: int, *, ended: Callable, watch: Callable = lambda job: None,
              look: float = _LOOK, tasks: int = 1, gpus: int | None = None) -> bool:  # fmt: skip
    """Train every job as a process, `places` at a time, each with its share of the machine; call `ended` with it
    afterwards, and `watch` every `look` seconds while it runs. True if this process was asked to end."""
    running: dict[int, Job] = {}  # by place
    stopped = False

    def end() -> None:
        for job in running.values():
            ask_to_end(job.process, tasks, again=stopped)
            job.asked = True

    with requests_to_end() as came:
        try:
            while True:
                free = [place for place in range(places) if place not in running]
                for place, job in zip(free, () if stopped else jobs, strict=False):
                    job.process = start_run(job.words, job.folder, place=place, places=places, threads=job.threads,
                                            tasks=tasks, gpus=gpus)  # fmt: skip
                    running[place] = job
                    print(f"started      {job.folder}  log: {log(job.folder)}", flush=True)
                if not running:
                    return stopped
                time.sleep(look)
                for place, job in list(running.items()):
                    watch(job)
                    if job.process.poll() is not None:
                        ended(running.pop(place))
                if came():
                    end()
                    stopped = True
                    print(_STOPPED, flush=True)
        finally:
            if not stopped:  # an error: nobody waits for them any more
                end()


def room(configs: list, tasks: int) -> int:
    """Number of runs of `tasks` processes that fit: cores / threads on CPU (a run has 1 by default), one per GPU."""
    from gptx.ingredients.parallel import find_device

    on_cpu = all(find_device(config.device).type == "cpu" for config in configs)
    processors = cores() // threads_of(configs, cores()) if on_cpu else len(visible_gpus())
    return max(1, min(len(configs), processors // tasks))


def threads_of(configs: list, at_once: int) -> int:
    """The threads of a process: as the recipes or the environment ask, else a share of the cores for `at_once`."""
    asked = max(config.threads or 0 for config in configs) or int(os.environ.get("OMP_NUM_THREADS") or 0)
    return asked or max(1, cores() // at_once)


def runs_in_memory(configs: list) -> int:
    """Number of runs that fit in memory, if all were as large as the largest is predicted to be; on GPUs one each."""
    from gptx.estimate.memory import likely_vocabulary, prediction
    from gptx.ingredients.parallel import find_device

    configs = [config for config in configs if find_device(config.device).type == "cpu"]
    if not configs:
        return len(visible_gpus())
    needs = [{k: v for k, v in flat(recorded(config)).items() if decides(k, "state", "speed")} for config in configs]
    different = {str(keys): config for keys, config in zip(needs, configs, strict=True)}.values()
    largest = max(getattr(prediction(config, likely_vocabulary(config)), "peak", 0) for config in different)
    return max(1, int(_SHARE * machine_memory() // (2 * largest + _RESERVE)))  # an allocator keeps as much again


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(i) for i in range(torch.cuda.device_count())]
    return [name for name in chosen.split(",") if name]


def share(gpus: list[str], place: int, places: int, count: int | None) -> list[str]:
    """The GPUs of one of `places` places: `count` each, by default an equal share; shared if there are too few.

    >>> share(["0", "1", "2", "3"], place=1, places=2, count=None), share(["0"], place=1, places=2, count=None)
    (['2', '3'], ['0'])
    """
    count = count or max(1, len(gpus) // places)
    return [gpus[(place * count + i) % len(gpus)] for i in range(min(count, len(gpus)))]


def train_command(words: list[str], *, tasks: int = 1, threads: int | None = None) -> list[str]:
    """The command that trains one run with these overrides, in `tasks` processes with `threads` threads each."""
    given = any(key_of(word) == "threads" and not word.endswith("null") for word in words if not word.startswith("-"))
    several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={tasks}", "-m"] * (tasks > 1)
    return [sys.executable, "-m", *several, "gptx.train", *words, *[f"threads={threads}"] * bool(threads and not given)]


def start_run(words: list[str], folder: Path, *, place: int, places: int, threads: int, tasks: int = 1,
          gpus: int | None = None) -> subprocess.Popen:  # fmt: skip
    """Start a run on one of `places` shares of the machine; it prints to its log, and Ctrl-C does not reach it."""
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
    After the first one only another Ctrl-C counts: a scheduler sends several, and so does a terminal that closes. What
    this process was started to ignore is still ignored, but not by its child processes."""
    ignored = [number for number in _STATES if signal.getsignal(number) is signal.SIG_IGN]
    heard: list[int] = []
    seen = 0

    def note(number: int, frame) -> None:
        if number not in ignored and (number == signal.SIGINT or not heard):
            heard.append(number)

    def came() -> bool:
        nonlocal seen
        before, seen = seen, len(heard)
        return seen > before

    with caught(_STATES, note):
        yield came


def ask_to_end(process: subprocess.Popen, tasks: int = 1, *, again: bool = False) -> None:
    """Have a run save and end; `again` ends it at once, whatever it does. torchrun passes on SIGTERM only."""
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
    stopped = "interrupted" if asked else _STATES.get(-code if code < 0 else code - 128)
    error = {} if stopped else {"error": last_words(log(folder)) or f"ended with exit code {code}"}
    RunFolder(folder).write(state=stopped or "failed", **error)


def log(folder: Path) -> Path:
    return folder / "process.log"


def last_words(log: Path) -> str:
    """The last line that a process printed."""
    return log.read_text(errors="replace").strip().rpartition("\n")[2].strip() if log.exists() else ""
