"""`sweep.jsonl` in the folder of a sweep: lines about its runs and their SLURM jobs, which add to earlier ones."""

import json
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from gptx import files
from gptx.config.errors import ConfigError
from gptx.ingredients.log.jsonl import row_of
from gptx.runs import plain
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
    with suppress(FileNotFoundError):
        for text in plain.content(file, _LARGEST).splitlines():
            line: Any = row_of(text)
            with suppress(ConfigError):
                plain.validated(line, plain.NOTED, file)
                folder = PurePath(name := line.get("folder", ""))  # of a stranger's sweep any other, which is not read
                if folder.parts and not folder.is_absolute() and ".." not in folder.parts and "\0" not in name:
                    found[name] = found.get(name, {}) | line
    return found
