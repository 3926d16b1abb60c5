"""JSON and YAML files as plain values: nothing is executed, size and depth are bounded, errors name the file."""

import math
import os
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from gptx.config.errors import ConfigError
from gptx.config.recorded import yaml_loader
from gptx.files import from_json

_LARGEST = 2_000_000  # bytes: a config or a record has a few thousand
_DEEPEST = 30  # levels: a config has five
_DIGITS = 300  # of an integer that a float can still hold


def read_json(file: Path, *, most: int = _LARGEST) -> Any:
    """What a JSON file holds. Raises FileNotFoundError if there is none, else ConfigError."""
    return _parsed(file, most, lambda text: from_json(text, object_pairs_hook=_unique))


def read_yaml(file: Path) -> Any:
    """What a YAML file holds, if it is plain values: no tags and no aliases. Raises as `read_json` does."""
    return _parsed(file, _LARGEST, lambda text: yaml.load(text, Loader=_Plain))


def _parsed(file: Path, most: int, parse: Callable[[str], Any]) -> Any:
    try:
        value = parse(content(file, most).decode())
        _refuse_strange(value)
        return value
    except RecursionError:
        problem = f"nested more than {_DEEPEST} levels deep"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        problem = f"{error.problem}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(error)
    except (ValueError, yaml.YAMLError) as error:
        problem = str(error)
    raise ConfigError(f"{file} cannot be read ({' '.join(problem.split())})")


def content(file: Path, most: int = _LARGEST) -> bytes:
    """The bytes of a regular file, at most `most`. Raises FileNotFoundError if there is none, else ConfigError."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:  # a pipe would block
            about = os.fstat(opened.fileno())
            if stat.S_ISREG(about.st_mode) and about.st_size <= most:
                return opened.read(most)
            size = f"it has {about.st_size:,} bytes, at most {most:,} are usual"
            problem = size if stat.S_ISREG(about.st_mode) else "it is no file"
    except FileNotFoundError:
        raise
    except OSError as error:
        problem = str(error.strerror or error)
    raise ConfigError(f"{file} cannot be read ({problem})")


def _refuse_strange(value: Any, where: str = "", depth: int = 0) -> None:
    """Raise ValueError, with the place, unless all is text, numbers that a float can hold, lists, and dicts by text."""
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where or 'at the top'}: the key {brief(key)} is no text")
            name = key if key.isprintable() else brief(key)
            _refuse_strange(child, f"{where}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for number, child in enumerate(value):
            _refuse_strange(child, f"{where}[{number}]", depth + 1)
    elif type(value) is int and value.bit_length() > _DIGITS * math.log2(10):
        raise ValueError(f"{where}: an integer of more than {_DIGITS} digits")
    elif not isinstance(value, str | bool | int | float | None):
        raise ValueError(f"{where}: {brief(value)} is neither text nor number")


def brief(value: Any) -> str:
    """A value as text that fits into a message."""
    text = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"the key {brief(key)} comes twice")
    return dict(pairs)


class _Plain(yaml_loader()):  # type: ignore[misc]
    """Without tags and aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        anchored = isinstance(event, yaml.AliasEvent) or event.anchor
        if anchored or event.tag is not None:
            problem = "an alias or its anchor" if anchored else f"the tag {brief(event.tag)}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)
