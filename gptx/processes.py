"""A training run as a process of its own: its command, its share of the machine, its log."""

import os
import subprocess
import sys
from pathlib import Path

from gptx import runs
from gptx.places import share, visible_gpus


def command(words: list[str], *, tasks: int = 1, threads: int | None = None) -> list[str]:
    """The command that trains one run with these overrides, in one process or several, with so many threads each."""
    given = any(runs.key(word) == "threads" and not word.endswith("null") for word in words if not word.startswith("-"))
    module = ["gptx.train", *words, *([] if given or not threads else [f"threads={threads}"])]
    several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={tasks}", "-m"]
    return [sys.executable, "-m", *(several if tasks > 1 else []), *module]


def start(words: list[str], folder: Path, *, place: int, places: int, threads: int, tasks: int = 1,
          gpus: int | None = None) -> subprocess.Popen:  # fmt: skip
    """Start a run in `folder`, on the part of the machine that belongs to one of `places` places.

    It prints into its log, and a Ctrl-C of the terminal does not reach it: who started it decides about its end.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if known := visible_gpus():
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(
            share(known, place, places, gpus or (tasks if tasks > 1 else None))
        )
    log(folder).parent.mkdir(parents=True, exist_ok=True)
    with log(folder).open("ab") as file:
        return subprocess.Popen(
            command([*words, f"hydra.run.dir={quoted(str(folder))}"], tasks=tasks, threads=threads),
            env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip


def note_end(folder: Path, code: int) -> None:
    """Put down why the run in `folder` failed if it did not get so far as to do that itself."""
    if code and not (folder / "run.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        runs.write(folder, state="failed", error=last_words(log(folder)) or f"ended with exit code {code}")


def log(folder: Path) -> Path:
    """Where a run that was started for others prints."""
    return folder / "process.log"


def last_words(log: Path) -> str:
    """The last line that a process printed."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def quoted(text: str) -> str:
    """A text as a value of Hydra's, whatever signs it has."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
