"""`metrics.jsonl`, the true record of a run: one line an update, which every reader of the run folder can rely on.

`events.jsonl` beside it has what happened otherwise: spikes, diagnoses, rollbacks.
"""

import contextlib
import errno
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from gptx.files import descriptor
from gptx.log import Run, now

messages = logging.getLogger(__name__)


class Jsonl:
    """Appends one line per call, written at once, so that SIGKILL loses nothing (a power cut may: nothing is fsynced).

    A line that cannot be written, as on a full disk, is left out whole. That is said once, and training goes on.
    """

    files: tuple["Lines", ...] = ()  # not open

    def open(self, run: Run) -> None:
        """Open the files and drop a last line that a kill tore; raises OSError where the folder cannot be written."""
        self.metrics, self.events = self.files = Lines(run.folder / "metrics.jsonl"), Lines(run.folder / "events.jsonl")

    def __call__(self, step: int, scalars: dict) -> None:
        self.metrics.add({"step": step, **scalars})

    def event(self, step: int, kind: str, facts: dict) -> None:
        """Append to `events.jsonl`."""
        self.events.add({"step": step, "event": kind, "time": now(), **facts})

    def close(self, outcome: str) -> None:
        """Close the files, if they were opened."""
        for file in self.files:
            os.close(file.handle)
        self.files = ()


class Lines:
    """A file to which whole lines are added, each in one write."""

    def __init__(self, path: Path):
        self.path, self.warned = path, False
        self.handle = descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.end = path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(self.handle, self.end)

    def add(self, row: dict) -> None:
        """Add one line; where that fails, say so once."""
        line = json.dumps(row, default=float).encode() + b"\n"
        try:
            if os.write(self.handle, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.end += len(line)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self.handle, self.end)  # half a line would spoil the next one
            if not self.warned:
                messages.error("%s lacks step %d (%s); training goes on", self.path.name, row["step"], error.strerror)
            self.warned = True


def read(path: Path) -> list[dict]:
    """Rows by step. Of a step done twice, as after a resume, the last line counts; a torn line is passed over."""
    rows = {row["step"]: row for row in lines(path)}
    return [rows[step] for step in sorted(rows)]


def lines(path: Path) -> Iterator[dict]:
    """All rows in the order in which they were written; a torn line is passed over."""
    with open(path, "rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                yield json.loads(line)
