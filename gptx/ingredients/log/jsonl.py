"""The record of a run: `metrics.jsonl`, one line per step, and `events.jsonl`: spikes, diagnoses, rollbacks."""

import contextlib
import errno
import io
import os
import stat
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from annotated_types import Ge, Le, Len, Predicate
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from gptx.files import descriptor, from_json, to_json
from gptx.ingredients.log import RunInfo, Sink, now

_MOST = 2**53


class Jsonl(Sink):
    """Appends a line per call at once: SIGKILL loses none, a power cut may. One that fails is left out as a whole."""

    files: tuple["Lines", ...] = field(init=False, default=())  # not open

    def open(self, run: RunInfo) -> None:
        """Open the files and drop a last line that a kill tore; raises OSError where the folder cannot be written."""
        self.files = Lines(run.folder / "metrics.jsonl"), Lines(run.folder / "events.jsonl")

    def __call__(self, step: int, scalars: dict) -> None:
        self.attempt("metrics.jsonl", step, self.files[0].add, {"step": step, **scalars})

    def event(self, step: int, kind: str, facts: dict) -> None:
        self.attempt("events.jsonl", step, self.files[1].add, {"step": step, "event": kind, "time": now(), **facts})

    def close(self, outcome: str) -> None:
        for file in self.files:
            os.close(file.handle)
        self.files = ()


class Lines:
    """A file to which whole lines are added, each in one write."""

    def __init__(self, path: Path):
        self.handle = descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.end = path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(self.handle, self.end)

    def add(self, row: dict) -> None:
        line = to_json(row).encode() + b"\n"
        if os.write(self.handle, line) < len(line):
            os.ftruncate(self.handle, self.end)  # half a line would spoil the next one
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.end += len(line)


def by_step(found: list[dict]) -> list[dict]:
    """The rows in the order of their steps. If a step was made twice, as after a resume, its last row counts."""
    last = {row["step"]: row for row in found}
    return [last[step] for step in sorted(last)]


def rows(file: Path, *, first: int = 1) -> tuple[list[dict], int]:
    """The rows of a file, in its order, and the number of other lines: cut by a kill, of something else, or of a step
    before `first`. No rows where there is no file; raises OSError where it cannot be read."""
    with opened_rows(file) as source:
        lines = source.read().splitlines()
    found: list = []
    with contextlib.suppress(ValueError, RecursionError):
        found = from_json(b"[%b]" % b",".join(lines))  # at once, which takes half the time
    if len(found) != len(lines):
        found = [row_of(line) for line in lines]
    kept = [row for row in found if _is_row(row) and row["step"] >= first]
    return kept, len(lines) - len(kept)


def whole_rows(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _is_row(row: Any) -> bool:
    """True for numbers that a float can hold too."""
    if type(row) is not dict or not whole_rows(row.get("step")):
        return False
    tokens = row.get("train/tokens", 0)
    floats = all(type(value) is not int or value.bit_length() < 1024 for value in row.values())
    return floats and type(tokens) in (int, float) and 0 <= tokens < 2**63


def opened_rows(file: Path) -> BinaryIO:
    """The file to read, or an empty one where there is none. Raises OSError for what is no regular file."""
    try:  # without waiting for the other end of a pipe
        source = open(str(file), "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))  # noqa: SIM115
    except FileNotFoundError:
        return io.BytesIO()
    if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        source.close()
        raise OSError(errno.EINVAL, "it is no file", str(file))
    return source


def row_of(line: str | bytes) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return from_json(line)
    return None


_Count = Annotated[int, Ge(0), Le(_MOST)]
_Span = Annotated[list[_Count], Len(2, 2), Predicate(lambda span: span[0] < span[1])]  # first, and one after the last
_DOCUMENT = {"name": str, "loss": float, "above": float, "sequences": _Count, "share": float}
_EVENT = {  # what commands read of an event, which may have more
    "event": str, "text": str, "time": str, "left": _Count, "cursor": _Count, "rate": float, "dropped": _Count,
    "onset": _Count, "verdict": str, "cause": str, "response": str, "sequences": _Span,
}  # fmt: skip


def events(file: Path) -> tuple[list[dict], int]:
    """The events of a file, in its order, and the number of other lines."""
    found, torn = rows(file, first=0)
    kept = []
    for row in found:
        with contextlib.suppress(ValueError):
            _schema().validate_python(row, strict=True)
            kept.append({"event": "", "text": "", "time": ""} | row)
    return kept, torn + len(found) - len(kept)


@cache
def _schema():
    from pydantic import TypeAdapter

    document = TypedDict("document", _DOCUMENT)
    return TypeAdapter(TypedDict("event", _EVENT | {"documents": list[document]}, total=False))
