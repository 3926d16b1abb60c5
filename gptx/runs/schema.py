"""The keys that gptx reads from a run folder, with their types; each may be missing, and others may be there."""

import functools
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Predicate
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from gptx.config.errors import ConfigError
from gptx.config.groups import GROUPS
from gptx.runs.plain import brief


def _is_moment(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text).tzinfo)
    except ValueError:
        return False


_Count = Annotated[int, Ge(0), Le(2**63 - 1)]
_Few = Annotated[int, Ge(1), Le(2**31)]
_Moment = Annotated[str, Predicate(_is_moment)]
_Digests = dict[str, str]


def _typed(kinds: dict[str, Any]) -> Any:
    """A dict type from rows of dotted keys, several in one text, and their type; `?` after a key allows null."""
    found: dict[str, Any] = {}
    for keys, kind in kinds.items():
        for name, _, rest in (key.partition(".") for key in keys.split()):
            if rest:
                found.setdefault(name, {})[rest] = kind
            else:
                found[name] = kind
    types = {name: _typed(kind) if isinstance(kind, dict) else kind for name, kind in found.items()}
    optional = {name.rstrip("?"): kind | None if name.endswith("?") else kind for name, kind in types.items()}
    return TypedDict("Keys", optional, total=False)  # type: ignore[operator]


_REPOSITORY = _typed({"sha": str, "changed": _Digests})
_CODE = _typed({"step": _Count, "sources": _Digests, "repositories": dict[str, _REPOSITORY]})  # type: ignore[valid-type]

RECORD = _typed({  # run.json
    "state": Literal["running", "finished", "failed", "preempted", "interrupted", "killed"],
    "started ended": _Moment,
    "job error reason data.name data.digest data.tokenizer git.sha hardware.device hardware.name": str,
    "diverged git.dirty": bool,
    "step recipe.steps data.vocab_size data.train_tokens data.validation_tokens": _Count,
    "data.train_documents data.validation_documents parameters.total parameters.non_embedding": _Count,
    "batch.tokens batch.micro batch.context batch.accumulation batch.processes": _Count,
    "hardware.threads hardware.processes": _Few,
    "result.validation/loss result.validation/perplexity result.validation/bits_per_byte": float,
    "budget": dict[str, float],
    "memory": dict[str, _Count | None],
    "choices versions": dict[str, str],
    "overrides options": list[str],
    "better": dict[str, Literal["higher", "lower"]],  # of metrics of one's own
    "code": list[_CODE],  # type: ignore[valid-type]
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

NOTED = _typed({"folder command when job": str, "overrides": list[str]})  # a line of sweep.jsonl


class Saved(TypedDict):
    """Where W&B keeps a report."""

    id: str
    url: str
    entity: str
    project: str


def validated(value: Any, kind: Any, file: Path, *, strict: bool = True) -> Any:
    """`value` as the type `kind`, without other keys. Raises ConfigError with the file, the field, what is there and
    what would be right."""
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(value, strict=strict)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    field = ""
    for part in problem["loc"]:
        name = part if str(part).isprintable() else brief(part)
        field += f"[{part}]" if isinstance(part, int) else f".{name}"
    field = field.lstrip(".") or "all of it"
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
