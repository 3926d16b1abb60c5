"""`metrics.jsonl`, the true record of a run: one line an update, which every reader of the run folder can rely on."""

import contextlib
import errno
import json
import logging
import os
from pathlib import Path

from gptx.log import Run

messages = logging.getLogger(__name__)


class Jsonl:
    """Appends one line per call, written at once, so that SIGKILL loses nothing (a power cut may: nothing is fsynced).

    A line that cannot be written, as on a full disk, is left out whole. That is said once, and training goes on.
    """

    file = -1  # not open

    def open(self, run: Run) -> None:
        """Open the file and drop a last line that a kill tore; raises OSError where the folder cannot be written."""
        path = run.folder / "metrics.jsonl"
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.end = path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(self.file, self.end)
        self.warned = False

    def __call__(self, step: int, scalars: dict) -> None:
        line = json.dumps({"step": step, **scalars}, default=float).encode() + b"\n"
        try:
            if os.write(self.file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.end += len(line)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self.file, self.end)  # half a line would spoil the next one
            if not self.warned:
                messages.error("metrics.jsonl lacks step %d (%s); training goes on", step, error.strerror)
            self.warned = True

    def close(self, outcome: str) -> None:
        """Close the file, if it was opened."""
        if self.file != -1:
            os.close(self.file)
            self.file = -1


def read(path: Path) -> list[dict]:
    """Rows by step. Of a step done twice, as after a resume, the last line counts; a torn line is passed over."""
    rows = {}
    with open(path, "rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]
