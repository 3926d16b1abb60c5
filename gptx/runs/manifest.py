"""The runs that a sweep consists of: `sweep.jsonl` in its folder.

It has a line for each run of every sweep of that name (folder, overrides, command, time), and one for each SLURM job
that was submitted for a run. A later line about a folder adds to the earlier ones.
"""

import json
from pathlib import Path, PurePath
from typing import Any

from gptx import files
from gptx.config.errors import ConfigError
from gptx.ingredients.log.jsonl import row_of
from gptx.runs import plain, schema
from gptx.units.printable import without_credentials

_LARGEST = 1_000_000_000  # bytes of a sweep.jsonl


def note(sweep: Path, lines: list[dict]) -> None:
    """Append lines about runs, each with the run's `folder` relative to the sweep's."""
    sweep.mkdir(parents=True, exist_ok=True)
    file = sweep / "sweep.jsonl"
    torn = file.exists() and not file.read_bytes().endswith(b"\n")  # by a kill or a full disk
    with files.opened(file, "a", encoding="utf-8") as opened:
        opened.write("\n" * torn + "".join(without_credentials(json.dumps(line)) + "\n" for line in lines))


def noted(sweep: Path) -> dict[str, dict]:
    """What is known of each run, by its folder, in the order of the first mention; a torn line is left out."""
    file, found = sweep / "sweep.jsonl", dict[str, dict]()
    try:
        lines = plain.content(file, _LARGEST).splitlines()
    except FileNotFoundError:
        return {}
    for text in lines:
        line: Any = row_of(text)
        try:
            schema.validated(line, schema.NOTED, file)
        except ConfigError:
            continue
        folder = PurePath(line.get("folder", ""))  # of a stranger's sweep it may be any other, which is not read
        if folder.parts and not folder.is_absolute() and ".." not in folder.parts and "\0" not in line["folder"]:
            found[line["folder"]] = found.get(line["folder"], {}) | line
    return found
