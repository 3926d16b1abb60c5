"""What the files of a run folder may say: the keys that gptx reads, with their types.

Every key may be missing and others may be there, since a folder outlives the version that wrote it; what is there is of
its type.
"""

import functools
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Predicate
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from gptx.config.errors import ConfigError
from gptx.runs.plain import brief

Count = Annotated[int, Ge(0), Le(2**63 - 1)]
Number = float  # or int


def is_moment(text: str) -> bool:
    """True of a date and time as a record has them."""
    try:
        return bool(datetime.fromisoformat(text).tzinfo)
    except ValueError:
        return False


Moment = Annotated[str, Predicate(is_moment)]


class Data(TypedDict, total=False):
    """The identity of a text."""

    name: str
    digest: str
    tokenizer: str
    vocab_size: Count
    train_tokens: Count
    validation_tokens: Count
    train_documents: Count
    validation_documents: Count


class Git(TypedDict, total=False):
    sha: str
    dirty: bool


class Repository(TypedDict, total=False):
    sha: str
    changed: dict[str, str]  # digests by file


class Code(TypedDict, total=False):
    """The code with which a run went on after update `step`."""

    step: Count
    sources: dict[str, str]  # digests by module
    repositories: dict[str, Repository]


class Hardware(TypedDict, total=False):
    device: str
    name: str
    threads: Annotated[int, Ge(1), Le(2**31)]
    processes: Annotated[int, Ge(1), Le(2**31)]


class Parameters(TypedDict, total=False):
    total: Count
    non_embedding: Count


class Cut(TypedDict, total=False):
    """How the tokens of an update are cut."""

    tokens: Count
    micro: Count
    context: Count
    accumulation: Count
    processes: Count


class Recipe(TypedDict, total=False):
    """The config of what is computed, with dotted keys."""

    steps: Count


Result = TypedDict(
    "Result",
    {"validation/loss": Number, "validation/perplexity": Number, "validation/bits_per_byte": Number},
    total=False,
)  # the last of every metric


class Record(TypedDict, total=False):
    """run.json."""

    state: Literal["running", "finished", "failed", "preempted", "interrupted", "killed"]
    started: Moment
    ended: Moment
    recipe: Recipe
    data: Data
    choices: dict[str, str]
    overrides: list[str]
    options: list[str]
    job: str
    git: Git
    code: list[Code]
    versions: dict[str, str]
    hardware: Hardware
    parameters: Parameters
    batch: Cut
    better: dict[str, Literal["higher", "lower"]]  # of metrics of one's own
    budget: dict[str, Number]
    error: str
    reason: str
    diverged: bool
    step: Count
    result: Result
    memory: dict[str, Count | None]


class Ingredient(TypedDict, total=False):
    """What is built."""

    _target_: str


class Batch(Ingredient, total=False):
    tokens: Count


class Clip(Ingredient, total=False):
    max_norm: Number | None


class Parametrization(Ingredient, total=False):
    rates: dict[str, Number]


class Validation(Ingredient, total=False):
    windows: Count | None


class Target(Ingredient, total=False):
    loss: Number


class Observe(TypedDict, total=False):
    validation: Validation | None
    target: Target | None


class Wandb(Ingredient, total=False):
    project: str
    entity: str | None
    mode: Literal["auto", "online", "offline", "disabled"]
    every: Annotated[int, Ge(1)]
    init_timeout: Number
    finish_timeout: Number


class Log(TypedDict, total=False):
    wandb: Wandb | None


Config = TypedDict(
    "Config",
    {
        "name": str,
        "seed": int,
        "steps": Count,
        "device": str,
        "threads": Count | None,
        "deterministic": bool,
        "allow_targets": list[str],
        "from": str | None,
        "model": Ingredient,
        "parametrization": Parametrization,
        "data": Ingredient,
        "objective": Ingredient,
        "optim": Ingredient,
        "decay": Ingredient,
        "schedule": Ingredient,
        "clip": Clip,
        "batch": Batch,
        "precision": Ingredient,
        "memory": Ingredient,
        "compile": Ingredient,
        "parallel": Ingredient,
        "guard": Ingredient,
        "checkpoints": Ingredient,
        "inject": Ingredient,
        "observe": Observe | None,
        "log": Log | None,
    },
    total=False,
)  # config.yaml


class Noted(TypedDict, total=False):
    """A line of sweep.jsonl."""

    folder: str
    overrides: list[str]
    command: str
    when: str
    job: str


class Saved(TypedDict):
    """Where W&B keeps a report."""

    id: str
    url: str
    entity: str
    project: str


def validated(value: Any, kind: Any, file: Path, *, strict: bool = True) -> Any:
    """`value` as the type `kind`; with other keys too where it is a dict. Raises ConfigError that names the file, the
    field, what is there and what would be right."""
    from pydantic import ValidationError

    try:
        return adapter(kind).validate_python(value, strict=strict)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    field = ""
    for part in problem["loc"]:
        name = part if str(part).isprintable() else brief(part)
        field += f"[{part}]" if isinstance(part, int) else f".{name}"
    right = problem["msg"].removeprefix("Input should be ")
    if problem["type"] == "missing":
        raise ConfigError(f"{file}: {field.lstrip('.')} is missing")
    if problem["type"] == "literal_error":
        right = f"one of {problem['ctx']['expected']}".replace("'", "").replace(" or ", ", ")
    if problem["type"] == "predicate_failed":
        right = "a date and time such as 2026-11-30T12:00:00+00:00"
    raise ConfigError(f"{file}: {field.lstrip('.') or 'all of it'}: {brief(problem['input'])} is not {right}")


@functools.cache
def adapter(kind: Any) -> Any:
    """What validates a type."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@functools.cache
def one(key: str, kind: Any) -> Any:
    """A dict with that key."""
    return TypedDict("One", {key: kind})  # type: ignore[operator]
