"""`metrics.jsonl`, the true record of a run: one line an update, which every reader of the run folder can rely on.

`events.jsonl` beside it has what happened otherwise: spikes, diagnoses, rollbacks. Of a number that is not finite a
line has null, and `"nonfinite": {"train/loss": "nan"}` says which it was.
"""

import contextlib
import errno
import io
import logging
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gptx.files import descriptor, from_json, to_json
from gptx.ingredients.log import RunInfo, now

messages = logging.getLogger(__name__)
LONG = re.compile(rb"\d{300}")  # a number that a float may not hold


class Jsonl:
    """Appends one line per call, written at once, so that SIGKILL loses nothing (a power cut may: nothing is fsynced).

    A line that cannot be written, as on a full disk, is left out whole. That is said once, and training goes on.
    """

    files: tuple["Lines", ...] = ()  # not open

    def open(self, run: RunInfo) -> None:
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
        line = to_json(row).encode() + b"\n"
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
    """Rows by step. Of a step done twice, as after a resume, the last line counts."""
    return by_step(rows(path)[0])


def by_step(found: list[dict]) -> list[dict]:
    """The last row of each step, in the order of the steps."""
    last = {row["step"]: row for row in found}
    return [last[step] for step in sorted(last)]


def rows(file: Path, *, first: int = 1) -> tuple[list[dict], int]:
    """The rows of a file, in its order, and how many of its lines are none: cut by a kill, or of something else, as of
    a step before the `first`.

    Nothing where there is no file. Raises OSError where it cannot be read.
    """
    with opened(file) as source:
        lines = source.read().splitlines()
    found: list = []
    with contextlib.suppress(ValueError, RecursionError):
        found = from_json(b"[%b]" % b",".join(lines))  # at once, which takes half the time
    if len(found) != len(lines):
        found = [row_of(line) for line in lines]
    kept = [row for row in found if type(row) is dict and whole(row.get("step")) and row["step"] >= first]
    kept = [row for row in kept if tokens(row.get("train/tokens", 0))]
    if any(LONG.search(line) for line in lines):
        kept = [row for row in kept if all(map(number, (v for v in row.values() if type(v) is int)))]
    return kept, len(lines) - len(kept)


def opened(file: Path) -> BinaryIO:
    """The file to read, or an empty one where there is none. Raises OSError for what is no regular file."""
    try:
        source = open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb")  # noqa: SIM115 - a pipe would be waited for
    except FileNotFoundError:
        return io.BytesIO()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
    if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        source.close()
        raise OSError(errno.EINVAL, "it is no file", str(file))
    return source


def row_of(line: bytes) -> object:
    """What a line says; None where it was cut."""
    with contextlib.suppress(ValueError, RecursionError):
        return from_json(line)
    return None


def events(file: Path) -> tuple[list[dict], int]:
    """The events of a file, in its order, and how many of its lines are none."""
    found, torn = rows(file, first=0)
    kept = [row for row in found if all(right(row[name]) for name, right in FACTS.items() if name in row)]
    return [{"event": "", "text": "", "time": ""} | row for row in kept], torn + len(found) - len(kept)


def whole(value: object) -> bool:
    """True of a count of updates or sequences."""
    return type(value) is int and 0 <= value <= 2**53


def tokens(value: object) -> bool:
    """True of a number of tokens."""
    return type(value) in (int, float) and 0 <= value < 2**63  # type: ignore[operator]


def number(value: object) -> bool:
    """True of a number that a float can hold."""
    return type(value) is float or (type(value) is int and value.bit_length() < 1024)


def text(value: object) -> bool:
    return type(value) is str


def span(value: object) -> bool:
    """True of the first sequence and the one after the last."""
    return type(value) is list and len(value) == 2 and all(map(whole, value)) and value[0] < value[1]


def blamed(value: object) -> bool:
    """True of documents with what speaks against them."""
    rights = {"name": text, "loss": number, "above": number, "sequences": whole, "share": number}
    return type(value) is list and all(
        type(row) is dict and all(right(row.get(name)) for name, right in rights.items()) for row in value
    )


FACTS: dict[str, Callable[[object], bool]] = {  # what events hold that commands read
    "event": text, "text": text, "time": text, "left": whole, "cursor": whole, "rate": number, "dropped": whole,
    "onset": whole, "verdict": text, "cause": text, "response": text, "sequences": span, "documents": blamed,
}  # fmt: skip
