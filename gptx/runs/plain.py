"""JSON and YAML files as plain values of known types: nothing is executed, size and depth are bounded."""

import functools
import math
import os
import stat
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Le, Predicate
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from gptx.config.errors import ConfigError
from gptx.config.groups import GROUPS
from gptx.config.recorded import yaml_loader
from gptx.files import from_json

_LARGEST = 2_000_000  # bytes: a config or a record has a few thousand
_DEEPEST = 30  # levels: a config has five
_DIGITS = 300  # of an integer that a float can still hold


def read(file: Path, *, most: int = _LARGEST) -> Any:
    """What a JSON file holds, or a .yaml file without tags and aliases. Raises FileNotFoundError, else ConfigError."""
    try:
        text = content(file, most).decode()
        yaml_file = file.suffix == ".yaml"
        value = yaml.load(text, Loader=_Plain) if yaml_file else from_json(text, object_pairs_hook=_unique)
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


def _is_moment(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text).tzinfo)
    except ValueError:
        return False


_Count = Annotated[int, Ge(0), Le(2**63 - 1)]


def _typed(kinds: dict[str, Any]) -> Any:
    """A dict type from rows of dotted keys, several in one text, and their type; `?` after a key allows null."""
    found: dict[str, Any] = {}
    for keys, kind in kinds.items():
        for name, _, rest in (key.partition(".") for key in keys.split()):
            found |= {name: found.get(name, {}) | {rest: kind} if rest else kind}
    types = {name: _typed(kind) if isinstance(kind, dict) else kind for name, kind in found.items()}
    optional = {name.rstrip("?"): kind | None if name.endswith("?") else kind for name, kind in types.items()}
    return TypedDict("Keys", optional, total=False)  # type: ignore[operator]


_REPOSITORY: Any = _typed({"sha": str, "changed": dict[str, str]})
_CODE: Any = _typed({"step": _Count, "sources": dict[str, str], "repositories": dict[str, _REPOSITORY]})
RECORD = _typed({  # run.json; every key may be missing and others be there: a folder outlives the version that wrote it
    "state": Literal["running", "finished", "failed", "preempted", "interrupted", "killed"],
    "started ended": Annotated[str, Predicate(_is_moment)],
    "job error reason data.name data.digest data.tokenizer git.sha hardware.device hardware.name": str,
    "diverged git.dirty": bool,
    "step recipe.steps data.vocab_size data.train_tokens data.validation_tokens": _Count,
    "data.train_documents data.validation_documents parameters.total parameters.non_embedding": _Count,
    "batch.tokens batch.micro batch.context batch.accumulation batch.processes": _Count,
    "hardware.threads hardware.processes": Annotated[int, Ge(1), Le(2**31)],
    "result.validation/loss result.validation/perplexity result.validation/bits_per_byte": float,
    "budget": dict[str, float],
    "measured.asked": str, "measured.steps": _Count, "measured.seconds_per_step": float,
    "memory": dict[str, _Count | None],
    "choices versions": dict[str, str],
    "overrides options": list[str],
    "better": dict[str, Literal["higher", "lower"]],  # of metrics of one's own
    "code": list[_CODE],
})  # fmt: skip

CONFIG = _typed({  # config.yaml
    " ".join(f"{row.name}._target_" for row in GROUPS.values() if not row.several): str,
    "name device": str,
    "from? log?.wandb?.entity?": str,
    "seed": int,
    "steps batch.tokens threads? observe?.validation?.windows?": _Count,
    "deterministic": bool,
    "allow_targets": list[str],
    "clip.max_norm? observe?.target?.loss log?.wandb?.init_timeout log?.wandb?.finish_timeout": float,
    "parametrization.rates": dict[str, float],
    "observe?.validation?._target_ observe?.target?._target_ log?.wandb?._target_ log?.wandb?.project": str,
    "log?.wandb?.mode": Literal["auto", "online", "offline", "disabled"],
    "log?.wandb?.every": Annotated[int, Ge(1)],
})  # fmt: skip

NOTED = _typed({"folder command when job design arm digest speed_of": str, "overrides": list[str], "confirm": bool,
                "length seconds_per_step": float})  # a line of sweep.jsonl # fmt: skip
SAVED: Any = TypedDict("Saved", dict.fromkeys(("id", "url", "entity", "project"), str))  # type: ignore[misc]


def validated(value: Any, kind: Any, file: Path, *, strict: bool = True) -> Any:
    """`value` as the type `kind`, without other keys. Raises ConfigError with file, field, and what would be right."""
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(value, strict=strict)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    names = (part if str(part).isprintable() else brief(part) for part in problem["loc"])
    field = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names).lstrip(".") or "all of it"
    if problem["type"] == "missing":
        raise ConfigError(f"{file}: {field} is missing")
    right = {
        "literal_error": "one of " + problem.get("ctx", {}).get("expected", "").replace("'", "").replace(" or ", ", "),
        "predicate_failed": "a date and time such as 2026-11-30T12:00:00+00:00",
    }.get(problem["type"], problem["msg"].removeprefix("Input should be "))
    raise ConfigError(f"{file}: {field}: {brief(problem['input'])} is not {right}")


@functools.cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
