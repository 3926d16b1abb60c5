"""Command lines made from functions: positional parameters are words in order, keyword-only ones are key=value.

The help page is read from the source, so that no command is imported for it. A docstring has one sentence, examples,
and a block of `name: meaning` lines below `Options:`.
"""

import ast
import inspect
import os
import re
import sys
import textwrap
import typing
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

from gptx.config.errors import ConfigError, nearest

ROOT = Path(__file__).parents[2]
HELP = {"-h", "--help", "help"}
KINDS = {"str": "text", "int": "integer", "float": "number", "bool": "true/false"}
USUAL = {  # meanings of options that several commands have
    "run": "folder of a run, such as runs/default/base",
    "folders": "folders of runs, or folders that hold some",
    "overrides": "key=value words of gptx.train, and --config-dir FOLDER",
    "checkpoint": "newest, best (lowest validation loss), or one by name such as step_00000100",
    "weights": "judged (those that validation used) or ema (averaged, of a run with observe=ema)",
    "device": "auto, cpu, cuda or mps",
    "threads": "threads that PyTorch computes with; by default all cores",
    "allow_targets": "package of your own classes that the run's config may name, such as mylib.",
}


@dataclass(frozen=True)
class Option:
    """A line of a help page."""

    name: str  # in capitals where it is positional
    kind: str
    default: str
    meaning: str


def call(function: Callable, words: list[str] | None = None) -> None:
    """Call `function` with the words of the command line; what it returns is the exit code.

    A mistake is one line and exit code 1.
    """
    from gptx.units.printable import streams

    streams()
    words = sys.argv[1:] if words is None else words
    if HELP & {*words}:
        print(page(Path(inspect.getsourcefile(function) or ""), function.__name__))
        return
    try:
        places, named = parse(function, words)
        if code := function(*places, **named):
            raise SystemExit(int(code))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ConfigError, ValueError, OSError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def parse(function: Callable, words: list[str]) -> tuple[list, dict]:
    """The positional and the named arguments that `words` give.

    Raises ConfigError for an unknown key, a wrong type, a missing value or an old spelling.
    """
    parameters, hints = inspect.signature(function).parameters, typing.get_type_hints(function)
    keys = {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    places = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    several = any(p.kind is p.VAR_POSITIONAL for p in places)
    positional: list = []
    given: dict = {}
    for word in words:
        name, equals, text = word.partition("=")
        _refuse_old(word, keys, [place.name for place in places])
        if not word:
            raise ConfigError("an empty word; quote a variable only where it has a value")
        if name not in keys and (several or (len(positional) < len(places) and not _keyed(word))):
            place = places[min(len(positional), len(places) - 1)]
            positional.append(_value(word, hints.get(place.name, str), place.name.upper()))
        elif not equals:
            raise ConfigError(f"{word!r} is not key=value; keys: {', '.join(keys)}")
        elif name not in keys:
            raise ConfigError(f"{name}: no such key{nearest(name, keys)}")
        elif name in given:
            raise ConfigError(f"{name}: is given twice")
        else:
            given[name] = _value(text, hints[name], name)
    for place in places[len(positional) :]:
        if place.kind is not place.VAR_POSITIONAL and place.default is place.empty:
            raise ConfigError(f"{place.name.upper()}: a value is needed; --help shows an example")
    for name, parameter in keys.items():
        if parameter.default is parameter.empty and given.get(name, "") == "":  # "" would be the working folder
            raise ConfigError(f"{name}: a value is needed; {name}=...")
    return positional, given


def _refuse_old(word: str, keys: dict, places: list[str]) -> None:
    """Raise ConfigError for `run=FOLDER` and `--flag`, with the spelling of today."""
    name, equals, text = word.partition("=")
    if equals and name in places and not os.path.exists(word):
        raise ConfigError(f"{word}: write {text} alone, without {name}=")
    option = name.removeprefix("--").replace("-", "_")
    if word.startswith("--") and option in keys:
        raise ConfigError(f"{word}: write {option}={text or ('true' if keys[option].annotation is bool else '...')}")


def _keyed(word: str) -> bool:
    """True for key=value; folders, such as seed=0, may look like it."""
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier() and not os.path.exists(word)


def _value(text: str, hint, name: str):
    """A word as a value of a parameter's type."""
    from gptx.config.values import typed

    if text in ("null", "none") and type(None) in typing.get_args(hint):
        return None
    if hint is str and name.isupper():  # the name of a folder may have any sign
        return text
    return typed({"true": True, "false": False}.get(text, text) if hint is bool else text, hint, name)


def page(file: Path, name: str) -> str:
    """The help of the function `name` in `file`: its docstring, and a line for each option."""
    text = (ast.get_docstring(_definition(_parsed(file), name)) or "").partition("Options:\n")[0]
    found = options(file, name)
    widths = [2 + max((len(astuple(option)[i]) for option in found), default=0) for i in range(3)]
    lines = []
    for option in found:
        *cells, meaning = astuple(option)
        start = "  " + "".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        lines += textwrap.wrap(meaning or "-", 120, initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join([text.rstrip(), "", *lines])


def options(file: Path, name: str) -> list[Option]:
    """The parameters of the function `name` in `file`, with their lines below `Options:` in its docstring."""
    tree = _parsed(file)
    function = _definition(tree, name)
    block = (ast.get_docstring(function) or "").partition("Options:\n")[2]
    told = re.findall(r"^(\w+): (.*(?:\n(?!\w+: ).*)*)", block, re.MULTILINE)
    meanings = USUAL | {key: " ".join(meaning.split()) for key, meaning in told}
    given, found = function.args, []
    for place in [*given.posonlyargs, *given.args, *filter(None, [given.vararg])]:
        found.append(Option(place.arg.upper(), "", "", meanings.get(place.arg, "")))
    for key, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        hint = ast.unparse(key.annotation).removesuffix(" | None") if key.annotation else ""
        found.append(Option(key.arg, KINDS.get(hint, hint), _default(default, tree), meanings.get(key.arg, "")))
    return found


def sentence(file: Path, name: str) -> str:
    """The first line of a function's docstring."""
    text = ast.get_docstring(_definition(_parsed(file), name)) or ""
    return text.partition("\n\n")[0].replace("\n", " ").rstrip(".")


def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _definition(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)


def _default(node: ast.expr | None, tree: ast.Module) -> str:
    """A default as one types it; a constant's value is looked up, also in the file that it is imported from."""
    if node is None:
        return "needed"
    if not isinstance(node, ast.Name):
        value = ast.literal_eval(node)
        return str(value).lower() if isinstance(value, bool) else "none" if value in (None, "") else str(value)
    for line in tree.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == node.id:
            return _default(line.value, tree)
        if isinstance(line, ast.ImportFrom) and node.id in [each.name for each in line.names]:
            return _default(node, _parsed(Path(ROOT, *str(line.module).split(".")).with_suffix(".py")))
    return node.id
