"""RunFolder: one run folder on the disk. Files are checked before they are used; nothing is executed or looked up."""

import contextlib
import itertools
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from gptx import files
from gptx.config.errors import ConfigError
from gptx.config.keys import flat
from gptx.config.moved import current
from gptx.ingredients.log import jsonl, shown
from gptx.runs import metrics, plain
from gptx.runs.metrics import Metrics

KEPT = (".lock", ".lock.pid", "train.log", "process.log")  # what overwrite=true leaves in the folder
_BEGINNINGS = (".lock", "train.log", "config.yaml", "overrides.yaml", "tokenizer.json")  # of a run without run.json
_OF_HYDRA = {"_target_": str, "_partial_": bool, "_recursive_": bool, "_convert_": str}  # wherever they stand
_TOKENIZER = 100_000_000  # bytes of the largest tokenizer.json


class RunFolder:
    """The run in the folder `path`; files are read once, a missing one is empty, a wrong one a ConfigError."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(shown(self.path))

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Hold the folder for this process alone; remove it if no run begins. Raises ConfigError if it is held."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = files.lock(self.path / ".lock")
        except files.Held as held:
            raise ConfigError(f"{self} is in use by {held}; wait for it, or choose another name=") from None
        with lock:
            mine = files.identity(self.path)
            try:
                yield
            finally:
                if files.identity(self.path) == mine and not self.holds_run:
                    for name in _BEGINNINGS:
                        (self.path / name).unlink(missing_ok=True)
                    self.remove_empty()

    def remove_empty(self) -> None:
        """Remove the folder if it is empty, and those above that this empties, up to the working folder."""
        here = Path.cwd()
        with contextlib.suppress(OSError):  # it is not empty
            for folder in itertools.takewhile(lambda each: here in each.parents, (self.path, *self.path.parents)):
                with contextlib.suppress(FileNotFoundError):  # another process of the run was quicker
                    folder.rmdir()

    @property
    def holds_run(self) -> bool:
        return (self.path / "run.json").exists()

    @property
    def state(self) -> str:
        """The recorded state; killed where it says running and no process holds the folder, missing without a run."""
        if (recorded := (self.read() or {}).get("state", "missing")) != "running":
            return recorded
        try:
            with files.lock(self.path / ".lock"):
                return "killed"
        except (files.Held, OSError):  # or nobody can tell, as in a folder that another user owns
            return recorded

    def read(self) -> dict[str, Any] | None:
        """run.json as it is now; None if there is none."""
        return current(self._plain("run.json", plain.RECORD))

    def _plain(self, name: str, kind: Any) -> Any:
        file = self.path / name
        try:
            value = plain.read(file)
        except FileNotFoundError:
            return None
        plain.validated(value, kind, file)
        return value

    def write(self, **values: Any) -> None:
        """Add to run.json, in one step: a crash leaves the old record or the new one."""
        files.write_text(self.path / "run.json", files.to_json((self.read() or {}) | values, indent=1))

    def _entries(self) -> list[Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() else []

    def clear(self) -> list[Path]:
        """Remove the run, but neither the lock nor other runs below it. Return the symbolic links that were removed."""
        entries = [entry for entry in self._entries() if entry.name not in KEPT and not _holds_runs(entry)]
        links = [entry for entry in entries if entry.is_symlink()]
        for entry in sorted(entries, key=lambda entry: entry.name == "run.json"):  # which says whose the rest is
            files.delete(entry)
        return links

    def refuse_links(self, *, overwrite: bool = False) -> None:
        """Raise ConfigError for a symbolic link, unless `overwrite` removes it; checkpoints may be one, to a folder."""
        for link in self._entries():
            if not link.is_symlink() or (overwrite and link.name not in KEPT):
                continue
            if link.name != "checkpoints":
                raise ConfigError(f"{shown(link)} is a symbolic link, and nothing is written through one; remove it")
            if not link.is_dir():
                line = f"a symbolic link to {link.readlink()}, which is no folder; make that folder, or remove the link"
                raise ConfigError(f"{shown(link)} is {line}")

    def refuse_strangers(self) -> None:
        """Raise ConfigError if the folder holds what is no run's: hydra.run.dir may name any; overwrite empties it."""
        known = (*KEPT, *_BEGINNINGS, "checkpoints", "wandb", "wandb_id")
        for entry in self._entries() if not self.holds_run else ():
            if entry.name not in known and not entry.name.startswith(".part.") and not _holds_runs(entry):
                raise ConfigError(f"{self} holds {entry.name}, which is no run's; a run needs a folder of its own")

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json as it was when first asked for."""
        return self.read() or {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml: lengths are steps, groups are nested, interpolations are text."""
        config = self._plain("config.yaml", plain.CONFIG) or {}
        for key, value in flat(config).items():
            kind = _OF_HYDRA.get(key.rpartition(".")[2], object)
            if not isinstance(value, kind):
                raise ConfigError(f"{self.path / 'config.yaml'}: {key}: {plain.brief(value)} is not a {kind.__name__}")
        return current(config)

    @cached_property
    def metrics(self) -> Metrics:
        """metrics.jsonl by column, with the branches that a rollback gave up."""
        with self._readable():
            return metrics.read_metrics(self.path)

    @cached_property
    def rows(self) -> list[dict]:
        """The rows of metrics.jsonl as they were written."""
        with self._readable():
            return jsonl.rows(self.path / "metrics.jsonl")[0]

    @cached_property
    def events(self) -> list[dict]:
        """The rows of events.jsonl that are events."""
        with self._readable():
            return jsonl.events(self.path / "events.jsonl")[0]

    @cached_property
    def encoding(self) -> Any:
        """tokenizer.json as tiktoken has it."""
        from gptx.ingredients.data.tokenizers import load_encoding

        file = self.path / "tokenizer.json"
        with self._readable(), self.naming(file.name):
            plain.content(file, _TOKENIZER)
            encoding = load_encoding(file)
        recorded = self.record.get("data", {}).get("vocab_size", encoding.n_vocab)
        if recorded != encoding.n_vocab:
            raise ConfigError(f"{file}: {encoding.n_vocab:,} tokens, and the run was trained with {recorded:,}")
        return encoding

    def check(self) -> None:
        """Raise ConfigError for a file that is not what it should be; single lines of metrics and events may be."""
        self.record, self.config, self._plain("overrides.yaml", list[str])
        with self._readable():
            for name in ("metrics.jsonl", "events.jsonl"):
                jsonl.opened_rows(self.path / name).close()

    def begun(self) -> "RunFolder":
        """This folder. Raises ValueError if no run began in it."""
        if not self.record or not self.config:
            lacking = "config.yaml" if self.record else "run.json"
            raise ValueError(f"{self.path}: no run there (no {lacking}); a run folder looks like runs/default/base")
        return self

    def known(self, key: str, file: str = "run.json") -> Any:
        """The value of a dotted key in run.json or config.yaml. Raises ConfigError if there is none."""
        node: Any = self.record if file == "run.json" else self.config
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                raise ConfigError(f"{self.path / file}: {key} is missing")
            node = node[part]
        return node

    def literal(self, *names: str) -> dict[str, Any]:
        """The named parts of the config, or all, ready to be built. ConfigError for what a stranger had looked up."""
        config = {name: self.config[name] for name in names or self.config if name in self.config}
        for key, value in flat(config).items():
            if "${" in f"{key} {value}":
                line = f"{plain.brief(value)} is not resolved, since it was read from a folder; write its value there"
                raise ConfigError(f"{self.path / 'config.yaml'}: {key}: {line}")
        return config

    @contextlib.contextmanager
    def naming(self, file: str) -> Iterator[None]:
        """Name the file in the error of a check of its content."""
        try:
            yield
        except (ConfigError, ValueError) as error:
            line = " ".join(str(error).split())
            raise ConfigError(line if str(self.path) in line else f"{self.path / file}: {line}") from None

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f"{error.filename or self.path} cannot be read ({error.strerror or error})") from None


def _holds_runs(entry: Path) -> bool:  # such as runs/a/b, where runs/a is a run too
    return entry.is_dir() and not entry.is_symlink() and any(entry.rglob("run.json"))
