"""Reads what wandb writes offline, as wandb 0.31 has no reader of its own: LevelDB's log format around protobufs.

Blocks of 32 KiB; a record has a header of 7 bytes (crc32 of kind and data, length, kind) and may span several blocks.
"""

import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7
FULL, FIRST, LAST = 1, 2, 4


def read(folder: Path, *, until_exit: bool = True) -> dict[str, Any]:
    """history, config, exit_code, preempting and the run's own record, of the one run below `folder`/wandb."""
    (path,) = folder.glob("wandb/*run-*/*.wandb")
    deadline = time.monotonic() + 10
    while (found := contents(path))["exit_code"] is None and until_exit and time.monotonic() < deadline:
        time.sleep(0.01)  # wandb says that it is done some milliseconds before it is
    return found


def contents(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"history": [], "config": {}, "run": None, "exit_code": None, "preempting": False}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
            found["config"] |= items(record.run.config.update)
        elif kind == "history":
            found["history"].append(items(record.history.item))
        elif kind == "exit":
            found["exit_code"] = record.exit.exit_code
        found["preempting"] |= kind == "preempting"
    return found


def items(entries: Any) -> dict[str, Any]:
    return {"/".join(entry.nested_key) or entry.key: json.loads(entry.value_json) for entry in entries}


def records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    position, whole = HEADER, b""
    while position + HEADER <= len(data):
        if (left := BLOCK - position % BLOCK) < HEADER:  # padding at the end of a block
            position += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, position)
        part = data[position + HEADER : position + HEADER + length]
        if kind == 0 or len(part) < length:  # the end, or a write that a kill cut short
            return
        assert zlib.crc32(part, zlib.crc32(bytes([kind]))) == checksum
        position += HEADER + length
        whole = part if kind in (FULL, FIRST) else whole + part
        if kind in (FULL, LAST):
            yield Record.FromString(whole)
