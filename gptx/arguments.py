"""Small commands: a function's keyword-only signature is its command line, as key=value."""

import inspect
import os
import sys
import typing
from collections.abc import Callable

from gptx.check import ConfigError, nearest, typed


def call(function: Callable, words: list[str] | None = None) -> None:
    """Call `function` with the key=value words of the command line; a mistake is one line and exit code 1."""
    words = sys.argv[1:] if words is None else words
    if any(word in ("-h", "--help", "help") for word in words):
        print(page(function))
        return
    try:
        function(**parse(function, words))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ConfigError, ValueError, OSError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def parse(function: Callable, words: list[str]) -> dict:
    """The arguments that `words` give. Raises ConfigError for an unknown key, a wrong type or a missing value."""
    parameters, hints, given = inspect.signature(function).parameters, typing.get_type_hints(function), {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is not key=value; keys: {', '.join(parameters)}")
        if name not in parameters:
            raise ConfigError(f"{name}: no such key{nearest(name, parameters)}")
        hint = hints[name]
        if hint is bool:
            text = {"true": True, "false": False}.get(text, text)  # type: ignore[assignment]
        optional = type(None) in typing.get_args(hint)
        given[name] = None if optional and text in ("null", "none") else typed(text, hint, name)
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            raise ConfigError(f"{name}: a value is needed; {name}=...")
    return given


def page(function: Callable) -> str:
    """The help of a command: its docstring, then every key with its type and default."""
    lines = [inspect.getdoc(function) or "", ""]
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        kind = str(hints[name]) if typing.get_args(hints[name]) else hints[name].__name__
        default = "(needed)" if parameter.default is inspect.Parameter.empty else f"= {parameter.default}"
        lines.append(f"  {name:14} {kind:14} {default}")
    return "\n".join(lines)
