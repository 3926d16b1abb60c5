"""Which folder each job of a sweep has: that of the run that it is, where one stands already, or a new one."""

import hashlib
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gptx.config.errors import ConfigError
from gptx.config.groups import decides
from gptx.config.keys import NAME_BYTES, flat, key_of, recipe, slug, under
from gptx.config.recorded import recorded
from gptx.files import to_json
from gptx.runs import manifest
from gptx.runs.folder import RunFolder
from gptx.runs.same import moved_text

_PLACE = "threads", "device"  # decide at most the last digits, and are often the machine's


@dataclass
class Job:
    words: list[str]  # which Hydra composes it of
    cell: Any  # of the sweep's design, if it has one
    config: Any  # without Hydra's section, checked
    usual: Path  # the folder that it has unless its run is elsewhere or another run there
    asked: str = ""  # the time of which its steps were made

    @cached_property
    def recipe(self) -> dict:
        return recorded(self.config)

    @cached_property
    def digest(self) -> str:
        """What makes a run another one, where it runs and with how many threads aside."""
        return _digest(recipe(self.recipe), _digits(self.recipe))

    @property
    def arm(self) -> str | None:
        return self.cell and self.cell.arm


class Folders:
    """The folder of each job: that of the run that it is, if it is in the sweep's folder; else a new one."""

    def __init__(self, jobs: list[Job]):
        self.alike = Counter(job.digest for job in jobs)
        self.there = {sweep: _there(sweep) for sweep in {job.usual.parent for job in jobs}}

    def of(self, job: Job, placed: dict[Path, Job]) -> Path:
        """Raises ConfigError for an arm that is the same run as another, and for two jobs of the same folder."""
        sweep = job.usual.parent
        if self.alike[job.digest] > 1:
            _refuse_equal(job, placed)
        elif known := self.there[sweep].get(job.digest):
            return sweep / known
        apart = f"{job.usual.name.encode()[:200].decode(errors='ignore')}-{job.digest[:8]}"
        names = job.usual.name, _longer(job), apart
        for folder in (sweep / name for name in names):
            if folder not in placed and not _differing(folder, job):
                return folder
        raise ConfigError(f"has the same folder {job.usual} as another job")


def _longer(job: Job) -> str:
    """The usual name with what was typed of the keys in which the run there differs, unless that is too long."""
    keys = _differing(job.usual, job)
    typed = [word for word in job.words if any(under(key, (key_of(word),)) for key in keys)]
    usual = [job.usual.name] * (job.usual.name != "base")
    longer = ",".join([*usual, slug(typed)]) if typed else job.usual.name
    return longer if len(longer.encode()) <= NAME_BYTES else job.usual.name


def _refuse_equal(job: Job, placed: dict[Path, Job]) -> None:
    for folder, other in placed.items():
        if other.digest == job.digest and (job.arm is not None or other.recipe == job.recipe):
            raise ConfigError(f"{job.arm or job.usual.name} changes nothing: it is the same run as {folder.name}")


def _there(sweep: Path) -> dict[str, str]:
    """The folder of every run in a sweep's folder, also of one that only waits, by its digest."""
    noted, found = manifest.noted(sweep), dict[str, str]()
    for name in dict.fromkeys([*noted, *(file.parent.name for file in sorted(sweep.glob("*/run.json")))]):
        with suppress(ConfigError, OSError):
            found[_known(RunFolder(sweep / name), noted.get(name, {}).get("digest", ""))] = name
    return found


def _known(run: RunFolder, noted: str) -> str:
    """The digest of the run in a folder; its YAML is read only where `noted` is that of another recipe, or nothing."""
    result = run.record.get("recipe")
    return noted if result is None or noted.startswith(_sha(result)) else _digest(result, _digits(run.config))


def _digits(config: dict) -> dict:
    decided = {k: v for k, v in flat(config).items() if decides(k, "digits") and not decides(k, "result")}
    return {k: v for k, v in decided.items() if k not in _PLACE}


def _digest(result: dict, digits: dict) -> str:
    return f"{_sha(result)}{_sha(digits)}"


def _sha(values: dict) -> str:
    text = re.sub(r"(?<![\w.])(-?\d+)\.0(?![\w.])", r"\1", to_json(sorted(values.items())))  # 1.0 is 1
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _differing(folder: Path, job: Job) -> set[str]:
    """The keys in which another run in a folder differs; none if it is the same, or none. Its text may have moved."""
    run = RunFolder(folder)
    if job.config.overwrite or not run.holds_run:
        return set()
    with suppress(ConfigError, OSError):  # of a damaged record, which is refused elsewhere
        if result := run.record.get("recipe"):
            moved = {*moved_text(run.record, job.recipe)}
            old, new = result | _digits(run.config), recipe(job.recipe) | _digits(job.recipe)
            return {key for key in {**old, **new} if old.get(key) != new.get(key)} - moved
    return set()
