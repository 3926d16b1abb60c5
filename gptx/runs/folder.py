"""One run folder, read: every file is checked before a command sees what it says.

A file of somebody else, of another version or of a bad disk is refused in one line that names the file and the field.
Nothing in a folder runs and nothing in it is looked up: interpolations are text.
"""

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from gptx import runs
from gptx.config.errors import ConfigError
from gptx.config.keys import flat
from gptx.config.moved import current
from gptx.ingredients.log import jsonl
from gptx.runs import metrics, plain, schema
from gptx.runs.metrics import Metrics

OF_HYDRA = {"_target_": str, "_partial_": bool, "_recursive_": bool, "_convert_": str}  # wherever they stand
TOKENIZER = 100_000_000  # bytes of the largest tokenizer.json


class RunFolder:
    """What the run in `path` says of itself; each file is read once, when it is first asked for.

    Raises ConfigError for a file that is not what it should be. What is not there is empty.
    """

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def record(self) -> dict[str, Any]:
        """run.json."""
        return runs.read(self.path) or {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.yaml: lengths are updates, groups are nested, interpolations are text."""
        return settings(self.path / "config.yaml")

    @cached_property
    def overrides(self) -> list[str]:
        """overrides.yaml: what was typed."""
        file = self.path / "overrides.yaml"
        try:
            return schema.validated(plain.read_yaml(file), list[str], file)
        except FileNotFoundError:
            return []

    @property
    def state(self) -> str:
        """The recorded state; killed where it says running and no process holds the folder, missing without a run."""
        return runs.state(self.path)

    @cached_property
    def metrics(self) -> Metrics:
        """metrics.jsonl by column, with the branches that a rollback gave up."""
        with self.readable():
            return metrics.read(self.path)

    def check(self) -> None:
        """Raise ConfigError for a file that is not what it should be, metrics and events but for single lines."""
        self.record, self.config, self.overrides  # noqa: B018
        with self.readable():
            for name in ("metrics.jsonl", "events.jsonl"):
                jsonl.opened(self.path / name).close()

    @cached_property
    def rows(self) -> list[dict]:
        """The rows of metrics.jsonl as they were written."""
        with self.readable():
            return jsonl.rows(self.path / "metrics.jsonl")[0]

    @cached_property
    def events(self) -> list[dict]:
        """The rows of events.jsonl that are events."""
        with self.readable():
            return jsonl.events(self.path / "events.jsonl")[0]

    @cached_property
    def encoding(self) -> Any:
        """tokenizer.json as tiktoken has it."""
        from gptx.ingredients.data.tokenizers import load_encoding

        file = self.path / "tokenizer.json"
        with self.readable(), self.naming(file.name):
            plain.content(file, TOKENIZER)
            encoding = load_encoding(file)
        recorded = self.record.get("data", {}).get("vocab_size", encoding.n_vocab)
        if recorded != encoding.n_vocab:
            raise ConfigError(f"{file}: {encoding.n_vocab:,} tokens, and the run was trained with {recorded:,}")
        return encoding

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Makes a ConfigError of what the disk says."""
        try:
            yield
        except OSError as error:
            raise ConfigError(f"{error.filename or self.path} cannot be read ({error.strerror or error})") from None

    def begun(self) -> "RunFolder":
        """This folder. Raises ValueError if no run began in it."""
        if not self.record or not self.config:
            lacking = "config.yaml" if self.record else "run.json"
            raise ValueError(f"{self.path}: no run there (no {lacking}); a run folder looks like runs/default/base")
        return self

    def known(self, key: str, kind: Any = Any) -> Any:
        """What run.json says of a dotted key. Raises ConfigError if it says nothing."""
        return found(self.record, key, kind, self.path / "run.json")

    def chosen(self, key: str, kind: Any = Any) -> Any:
        """What config.yaml says of a dotted key. Raises ConfigError if it says nothing."""
        return found(self.config, key, kind, self.path / "config.yaml")

    def literal(self, *names: str) -> dict[str, Any]:
        """The parts of the config that are to be built, or all of it, as values that mean what they say.

        Raises ConfigError for an interpolation: resolving it would look up what a stranger asks for.
        """
        config = {name: self.config[name] for name in names or self.config if name in self.config}
        for key, value in flat(config).items():
            texts = [key, *(value if isinstance(value, list) else [value])]
            if any("${" in str(text) for text in texts):
                raise ConfigError(
                    f"{self.path / 'config.yaml'}: {key}: {plain.brief(value)} is not resolved, since it was read from "
                    "a folder; write its value there"
                )
        return config

    @contextlib.contextmanager
    def naming(self, file: str) -> Iterator[None]:
        """Names the file in what a check of its content has to say."""
        try:
            yield
        except (ConfigError, ValueError) as error:
            line = " ".join(str(error).split())
            raise ConfigError(line if str(self.path) in line else f"{self.path / file}: {line}") from None


def settings(file: Path) -> dict[str, Any]:
    """The config that a run wrote; empty if it is not there."""
    try:
        config: dict[str, Any] = plain.read_yaml(file)
    except FileNotFoundError:
        return {}
    schema.validated(config, schema.Config, file)
    for key, value in flat(config).items():
        kind = OF_HYDRA.get(key.rpartition(".")[2], object)
        if not isinstance(value, kind):
            raise ConfigError(f"{file}: {key}: {plain.brief(value)} is not a {kind.__name__}")
    return current(config)


def found(node: Any, key: str, kind: Any, file: Path) -> Any:
    """The value of a dotted key, of a type."""
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            raise ConfigError(f"{file}: {key} is missing")
        node = node[part]
    schema.validated({key: node}, schema.one(key, kind), file)
    return node
