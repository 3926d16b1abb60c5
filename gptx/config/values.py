"""A value as its type has it, and what means nothing for any key. Every function raises ValueError with one line that
starts with the key."""

import math
import re
import typing
from collections.abc import Iterator

EXACT = 2**53  # up to here every whole number is also a float
SEEDS = 2**63
THREADS = 1024
SMALLEST, GREATEST = 1.2e-38, 3.4e38  # of a number other than 0 in 32 bits
CHARACTERS = 4096  # of a text: no path is longer
SIMPLE = int | float | str | list | dict | None


def typed(plain, hint, path: str):
    """`plain` as a value of type `hint`, a tuple as a list."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    if hint is bool and not isinstance(plain, bool):
        raise ValueError(f"{path}: {plain!r:.200} is not true or false")
    try:
        try:
            adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        except PydanticUserError:  # a type that brings its own settings
            adapter = TypeAdapter(hint)
        meant = adapter.validate_python(plain)
    except ValidationError as error:
        problem = error.errors()[0]
        inside = "".join(f"[{part}]" for part in problem["loc"] if isinstance(part, int))
        named = getattr(hint, "__name__", None) if not typing.get_args(hint) else None
        wanted = f"{named or str(hint).replace('typing.', '')}{several(plain, path)}"
        raise ValueError(f"{path}{inside}: {plain!r:.200} is not a valid {wanted}") from None
    refuse_value(plain, meant, path)
    return list(meant) if isinstance(meant, tuple) else meant if isinstance(meant, SIMPLE) else plain


def refuse_value(given, meant, key: str) -> None:
    """Refuse a value, or one inside of it, that means nothing for any key; `meant` is what its type makes of it."""
    for plain, typed, path in pairs(given, meant, key):
        if isinstance(typed, str):
            refuse_text(typed, path)
        elif isinstance(typed, bool) or not isinstance(typed, int | float):
            continue
        elif isinstance(plain, bool):
            raise ValueError(f"{path}={str(plain).lower()}: a number, not true or false")
        elif isinstance(typed, int):
            if isinstance(plain, str) and not re.fullmatch(r"\s*[+-]?\d[\d_]*\s*", plain):  # pydantic reads 0-3 as -3
                raise ValueError(f"{path}: {plain!r:.80} is not a valid int{several(plain, path)}")
            refuse_whole(typed, path)
        elif not math.isfinite(typed):
            raise ValueError(f"{path}: {plain!r:.80} is not finite; numbers must be")
        elif typed and not SMALLEST <= abs(typed) <= GREATEST:
            raise ValueError(f"{path}={typed}: 0, or from {SMALLEST} to {GREATEST} in size, as 32 bits hold")


def pairs(given, meant, path: str) -> Iterator[tuple]:
    """Every single value, as it was given and as it is meant, and its path."""
    if isinstance(meant, dict) and isinstance(given, dict):
        for name, each in zip(given, zip(given.values(), meant.values(), strict=True), strict=True):
            yield from pairs(*each, f"{path}.{name}")
    elif isinstance(meant, list | tuple) and isinstance(given, list | tuple):
        for place, each in enumerate(zip(given, meant, strict=True)):
            yield from pairs(*each, f"{path}[{place}]")
    else:
        yield given, meant, path


def refuse_text(text: str, path: str) -> None:
    """Refuse control characters, line breaks outside of prompts, and what is longer than any path."""
    prompt = path.startswith("observe.") or path == "prompt"  # of a model, and so any text
    found = next((sign for sign in text if ord(sign) < 32 or 127 <= ord(sign) < 160), "")
    if found and not (prompt and found in "\n\t"):
        raise ValueError(f"{path}: {text!r:.80} has a control character, {found!r}")
    if len(text) > CHARACTERS and not prompt:
        raise ValueError(f"{path}: a text of {len(text):,} characters; at most {CHARACTERS:,}")


def refuse_whole(number: int, path: str) -> None:
    """Refuse a seed or a number of threads that is none, and a whole number that no counter holds exactly."""
    said = f"{path}={number}" if abs(number) < 10**30 else f"{path}: a number of {number.bit_length() * 3 // 10} digits"
    name = path.rpartition(".")[2]
    if name == "seed":
        if not 0 <= number < SEEDS:
            raise ValueError(f"{said}: a seed is a whole number from 0 to 2^63 - 1")
    elif name == "threads" and not 1 <= number <= THREADS:
        raise ValueError(f"{said}: at least 1 and at most {THREADS:,}, or null for PyTorch's choice")
    elif abs(number) > EXACT:
        raise ValueError(f"{said}: whole numbers go to 2^53, {EXACT:,}")


def several(text, path: str) -> str:
    """The end of a sentence where `text` looks like a range of whole numbers: how Hydra spells it."""
    found = re.fullmatch(r"(\d{1,9})\s*(?:-|:|\.\.+)\s*(\d{1,9})", text) if isinstance(text, str) else None
    if not found or int(found[1]) >= int(found[2]):
        return ""
    first, last = int(found[1]), int(found[2])
    listed = f"{path}={','.join(map(str, range(first, last + 1)))} or " if last - first < 10 else ""
    return f"; write {listed}{path}=range({first},{last + 1}), with --multirun"


def refuse_none(plain, hint, path: str) -> None:
    """Refuse Python's None, a word to Hydra, where nothing may be meant."""
    if isinstance(plain, str) and plain.strip().lower() == "none" and type(None) in typing.get_args(hint):
        raise ValueError(f"{path}={plain}: write null")
