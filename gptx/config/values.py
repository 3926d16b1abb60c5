"""A value as its type has it, and what means nothing for any key. Errors are ConfigErrors that start with the key."""

import math
import re
import typing
from dataclasses import is_dataclass

from gptx.config.errors import ConfigError

_EXACT = 2**53  # up to here every whole number is also a float
_SMALLEST, _GREATEST = 1.2e-38, 3.4e38  # of a number other than 0 in 32 bits
_BELOW_1 = math.nextafter(1, 0)
OPTIMIZER = {  # what these words mean in every optimizer: the least, the most, and both in words
    "lr": (0, _GREATEST, "0 or more"),
    "weight_decay": (0, _GREATEST, "0 or more"),
    "eps": (_SMALLEST, _GREATEST, "above 0: a weight without a gradient would become 0/0"),
    "momentum": (0, _BELOW_1, "from 0 to below 1"),
    "betas": (0, _BELOW_1, "from 0 to below 1"),
}
_RANGES: dict[str, tuple[float, float, str]] = {f"optim.{word}": limits for word, limits in OPTIMIZER.items()} | {
    "seed": (0, 2**63 - 1, "a seed is a whole number from 0 to 2^63 - 1"),  # of data.seed too
    "threads": (1, 1024, "at least 1 and at most 1,024, or null for PyTorch's choice"),
}
_CHARACTERS = 4096  # of a text: no path is longer


def typed_value(plain: typing.Any, hint: typing.Any, path: str) -> typing.Any:
    """`plain` as a value of type `hint`, a tuple as a list."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    if hint is bool and not isinstance(plain, bool):
        raise ConfigError(f"{path}: {plain!r:.200} is not true or false")
    if is_dataclass(hint):  # which pydantic would make of a dict
        raise ConfigError(f"{path}: {plain!r:.200} is not a valid {_named(hint)}; an object has a _target_")
    try:
        adapter: TypeAdapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a type that brings its own settings
        adapter = TypeAdapter(hint)
    try:
        meant = adapter.validate_python(plain)
    except ValidationError as error:
        inside = "".join(f"[{part}]" for part in error.errors()[0]["loc"] if isinstance(part, int))
        wanted = _named(hint) + _as_a_list(plain, hint, path)
        raise ConfigError(f"{path}{inside}: {plain!r:.200} is not a valid {wanted}") from None
    _refuse_meaningless(plain, meant, path)
    simple = isinstance(meant, int | float | str | list | dict | None)
    return list(meant) if isinstance(meant, tuple) else meant if simple else plain


def _named(hint: typing.Any) -> str:
    if name := "" if typing.get_args(hint) else getattr(hint, "__name__", ""):
        return str(name)
    return str(hint).replace("typing.", "").replace("Literal[", "choice of [").replace(" | None", " or null")


def _refuse_meaningless(given: typing.Any, meant: typing.Any, path: str) -> None:
    if isinstance(meant, dict) and isinstance(given, dict):
        for name, was, each in zip(given, given.values(), meant.values(), strict=True):
            _refuse_meaningless(was, each, f"{path}.{name}")
    elif isinstance(meant, list | tuple) and isinstance(given, list | tuple):
        for place, (was, each) in enumerate(zip(given, meant, strict=True)):
            _refuse_meaningless(was, each, f"{path}[{place}]")
    elif isinstance(meant, str):
        refuse_text(meant, path)
    elif isinstance(meant, int | float) and not isinstance(meant, bool):
        _refuse_number(given, meant, path)


def refuse_text(text: str, path: str) -> None:
    """Refuse control characters, line breaks outside of prompts, and what is longer than any path."""
    prompt = path.startswith("observe.") or path == "prompt"  # of a model, and so any text
    found = next((sign for sign in text if ord(sign) < 32 or 127 <= ord(sign) < 160), "")
    if found and not (prompt and found in "\n\t"):
        raise ConfigError(f"{path}: {text!r:.80} has a control character, {found!r}")
    if len(text) > _CHARACTERS and not prompt:
        raise ConfigError(f"{path}: a text of {len(text):,} characters; at most {_CHARACTERS:,}")


def _refuse_number(given: typing.Any, number: float, path: str) -> None:
    if isinstance(given, bool):
        raise ConfigError(f"{path}={str(given).lower()}: a number, not true or false")
    most: float = _EXACT
    if isinstance(number, float):
        most = _GREATEST
        if not math.isfinite(number):
            raise ConfigError(f"{path}: {given!r:.80} is not finite; numbers must be")
        if number and not _SMALLEST <= abs(number) <= _GREATEST:
            raise ConfigError(f"{path}={number}: 0, or from {_SMALLEST} to {_GREATEST} in size, as 32 bits hold")
    elif isinstance(given, str) and not re.fullmatch(r"\s*[+-]?\d[\d_]*\s*", given):  # pydantic reads 0-3 as -3
        raise ConfigError(f"{path}: {given!r:.80} is not a valid int{_as_a_list(given, int, path)}")
    key = path.partition("[")[0]
    unknown = -most, most, f"whole numbers go to 2^53, {_EXACT:,}"
    least, most, words = _RANGES.get(key, _RANGES.get(key.rpartition(".")[2], unknown))
    if not least <= number <= most:
        shown = f"={number}" if abs(number) < 1e30 else f": a number of {math.log10(abs(number)):.0f} digits"
        raise ConfigError(f"{path}{shown}: {words}")


def _as_a_list(text: typing.Any, hint: typing.Any, path: str) -> str:
    """The end of a message about a text that is a range of whole numbers, or one word where a list is needed."""
    if typing.get_origin(hint) is list and isinstance(text, str) and text.isprintable():
        return f"; write {path}=[{text}]"
    found = re.fullmatch(r"(\d{1,9})\s*(?:-|:|\.\.+)\s*(\d{1,9})", text) if isinstance(text, str) else None
    if not found or int(found[1]) >= int(found[2]):
        return ""
    first, last = int(found[1]), int(found[2])
    listed = f"{path}={','.join(map(str, range(first, last + 1)))} or " if last - first < 10 else ""
    return f"; write {listed}{path}=range({first},{last + 1}), with --multirun"
