"""Small commands: a function's signature is its command line. Keyword-only parameters are key=value, or --key for a
boolean that is to be true; the other words fill the positional ones."""

import inspect
import os
import sys
import typing
from collections.abc import Callable

from gptx.config.validate import ConfigError, nearest
from gptx.config.values import typed
from gptx.units.printable import streams


def call(function: Callable, words: list[str] | None = None) -> None:
    """Call `function` with the key=value words of the command line; a mistake is one line and exit code 1."""
    streams()
    words = sys.argv[1:] if words is None else words
    if any(word in ("-h", "--help", "help") for word in words):
        print(page(function))
        return
    try:
        places, named = parse(function, words)
        function(*places, **named)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ConfigError, ValueError, OSError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def parse(function: Callable, words: list[str]) -> tuple[list, dict]:
    """The positional and the named arguments that `words` give.

    Raises ConfigError for an unknown key, a wrong type or a missing value.
    """
    parameters, hints = inspect.signature(function).parameters, typing.get_type_hints(function)
    keys = {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    places = [name for name in parameters if name not in keys]
    several = any(parameters[name].kind is inspect.Parameter.VAR_POSITIONAL for name in places)
    positional: list = []
    given: dict = {}
    for word in words:
        name, equals, text = word.partition("=")
        if word.startswith("--") and hints.get(word[2:]) is bool and word[2:] in keys:
            name, equals, text = word[2:], "=", "true"
        elif name not in keys and (several or len(positional) < len(places)):  # folders may have an = in their names
            place = places[min(len(positional), len(places) - 1)]
            hint = hints.get(place, str)
            positional.append(word if hint is str else typed(word, hint, place.upper()))
            continue
        if not equals:
            raise ConfigError(f"{word!r} is not key=value; keys: {', '.join(keys)}")
        if name not in keys:
            raise ConfigError(f"{name}: no such key{nearest(name, keys)}")
        hint = hints[name]
        if hint is bool:
            text = {"true": True, "false": False}.get(text, text)  # type: ignore[assignment]
        optional = type(None) in typing.get_args(hint)
        given[name] = None if optional and text in ("null", "none") else typed(text, hint, name)
    for name in places[len(positional) :]:
        needed = parameters[name].default is inspect.Parameter.empty
        if parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY and needed:
            raise ConfigError(f"{name.upper()}: a value is needed")
    for name, parameter in keys.items():
        if parameter.default is inspect.Parameter.empty and given.get(name, "") == "":  # "" would be the working folder
            raise ConfigError(f"{name}: a value is needed; {name}=...")
    return positional, given


def page(function: Callable) -> str:
    """The help of a command: its docstring, then every key with its type and default."""
    lines = [inspect.getdoc(function) or "", ""]
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            lines.append(f"  {name.upper():14} in its place")
            continue
        kind = str(hints[name]) if typing.get_args(hints[name]) else hints[name].__name__
        default = "(needed)" if parameter.default is inspect.Parameter.empty else f"= {parameter.default}"
        lines.append(f"  {name:14} {kind:14} {default}")
    return "\n".join(lines)
