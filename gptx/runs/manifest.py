"""sweep.jsonl beside the runs of a sweep: which runs it has, each with its overrides, command, time and job.

Every sweep of that name adds a line for each of its runs, and one for each job that is submitted. What a later line
says of a folder is added to the earlier lines.
"""

import json
from pathlib import Path, PurePath
from typing import Any, TypeGuard

from gptx import files
from gptx.config.errors import ConfigError
from gptx.ingredients.log.jsonl import row_of
from gptx.runs import plain, schema
from gptx.units.printable import without_credentials

_LARGEST = 1_000_000_000  # bytes of a sweep.jsonl


def note(sweep: Path, runs: list[dict]) -> None:
    """Add what is known of some runs, each with its `folder` below the sweep's."""
    sweep.mkdir(parents=True, exist_ok=True)
    file = sweep / "sweep.jsonl"
    torn = file.exists() and not file.read_bytes().endswith(b"\n")  # by a kill or a full disk
    with files.opened(file, "a", encoding="utf-8") as lines:
        lines.write("\n" * torn + "".join(without_credentials(json.dumps(run)) + "\n" for run in runs))


def noted(sweep: Path) -> dict[str, dict]:
    """All that was noted of each run, by its folder, in the order of the first mention; a torn line is left out."""
    file, found = sweep / "sweep.jsonl", dict[str, dict]()
    try:
        lines = plain.content(file, _LARGEST).splitlines()
    except FileNotFoundError:
        lines = []
    for run in map(row_of, lines):
        if _is_noted(run, file):
            found[run["folder"]] = found.get(run["folder"], {}) | run
    return found


def _is_noted(run: Any, file: Path) -> TypeGuard[dict]:
    """True if the line names a folder below the sweep's: a file of somebody else may name any other."""
    try:
        schema.validated(run, schema.NOTED, file)
    except ConfigError:
        return False
    folder = PurePath(run.get("folder", ""))
    return bool(folder.parts) and not folder.is_absolute() and ".." not in folder.parts and "\0" not in run["folder"]
