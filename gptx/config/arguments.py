"""Command lines made from functions: positional parameters are words in order, keyword-only ones are key=value. Help is
read from the source, not imported: a docstring has a sentence, examples, and `name: meaning` lines below `Options:`."""

import ast
import inspect
import os
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gptx.config.errors import ConfigError, nearest
from gptx.config.values import refuse_text, typed_value
from gptx.units.printable import streams

HELP = {"-h", "--help", "help"}
_KINDS = {"str": "text", "int": "integer", "float": "number", "bool": "true/false", "tuple[str, ...]": "list"}
_USUAL = {  # meanings of options that several commands have
    "run": "folder of a run, such as runs/default/base",
    "folders": "folders of runs, or folders that hold some",
    "overrides": "key=value words of gptx.train, and --config-dir FOLDER",
    "checkpoint": "newest, best (lowest validation loss), or one by name such as step_00000100",
    "weights": "judged (those that validation used) or ema (averaged, of a run with observe=ema)",
    "device": "auto, cpu, cuda or mps",
    "threads": "threads that PyTorch computes with; by default all cores",
    "allow_targets": "packages of your own classes that the run's config may name, such as [mylib.]",
}


def call(function: Callable, words: list[str]) -> None:
    """Call `function` with the words of the command line; it returns the exit code. A mistake is one line, and 1."""
    streams()
    try:
        with _closed_pipe():
            if HELP & {*words}:
                print(help_page(Path(inspect.getsourcefile(function) or ""), function.__name__), flush=True)
                return
            places, named = parse(function, words)
            if code := function(*places, **named):
                raise SystemExit(int(code))
    except (ConfigError, ValueError, OSError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def show(text: str) -> None:
    """Print a help page or the list of commands."""
    with _closed_pipe():
        print(text, flush=True)


@contextmanager
def _closed_pipe() -> Iterator[None]:
    """Ends quietly where `| head` has seen enough."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse(function: Callable, words: list[str]) -> tuple[list, dict]:
    """The positional and the named arguments that `words` give. Raises ConfigError for a word that means none."""
    signature, hints = inspect.signature(function), typing.get_type_hints(function)
    keys = {name: signature.parameters[name] for name in inspect.getfullargspec(function).kwonlyargs}
    places = list(signature.parameters.values())[: len(signature.parameters) - len(keys)]  # keyword-only ones come last
    positional: list = []
    given: dict = {}
    for word in words:
        name, equals, text = word.partition("=")
        _refuse(word, keys, places, given)
        if name in keys and equals:
            if text or keys[name].default is not signature.empty:  # else an empty path would be the working folder
                given[name] = _value(text, hints[name], name)
        elif places and (places[0].kind is inspect.Parameter.VAR_POSITIONAL or not _keyed(word)):
            place = places.pop(0)
            places += [place] * (place.kind is place.VAR_POSITIONAL)  # which takes all words that follow
            positional.append(_value(word, hints.get(place.name, str), place.name.upper()))
        else:
            line = f"{name}: no such key{nearest(name, keys)}"
            raise ConfigError(line if equals else f"{word!r} is not key=value; keys: {', '.join(keys)}")
    try:
        signature.bind(*positional, **given)
    except TypeError as error:  # missing a required argument: 'run'
        raise ConfigError(f"{str(error).split(chr(39))[1]}: a value is needed; --help shows an example") from None
    return positional, given


def _refuse(word: str, keys: dict, places: list[inspect.Parameter], given: dict) -> None:
    name, equals, text = word.partition("=")
    if not word:
        raise ConfigError("an empty word: a value is needed")
    if name in given:
        raise ConfigError(f"{name}: is given twice")
    if equals and name in [place.name for place in places] and not os.path.exists(word):
        raise ConfigError(f"{word}: write {text} alone, without {name}=")
    option = name.removeprefix("--").replace("-", "_")
    if word.startswith("--") and option in keys:
        example = {bool: "true"}.get(keys[option].annotation, "...")
        raise ConfigError(f"{word}: write {option}={text or example}")


def _keyed(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier() and not os.path.exists(word)  # a folder may be called seed=0


def _value(text: str, hint, name: str):
    if text in ("null", "none") and type(None) in typing.get_args(hint):
        return None
    if hint in (str, str | None):  # without pydantic, which takes a moment
        if not name.isupper():  # the name of a folder may have any sign
            refuse_text(text, name)
        return text
    if typing.get_origin(hint) is tuple:  # [a,b] as in overrides, or a,b
        return tuple(part.strip() for part in text.strip("[]").split(",") if part.strip())
    return typed_value({"true": True, "false": False}.get(text, text) if hint is bool else text, hint, name)


def help_page(file: Path, name: str) -> str:
    """The help of the function `name` in `file`: its docstring, and a line for each option."""
    text, rows = described(file, name)
    widths = [2 + max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = []
    for row in rows:
        start = "  " + "".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False))
        lines += textwrap.wrap(row[3] or "-", 120, initial_indent=start, subsequent_indent=" " * len(start))
    return "\n".join([text, "", *lines])


def described(file: Path, name: str) -> tuple[str, list[tuple[str, str, str, str]]]:
    """The docstring of a function without `Options:`, and of each parameter name (or NAME), type, default, meaning."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    text, _, block = (ast.get_docstring(function) or "").partition("Options:\n")
    told = re.findall(r"^(\w+): (.*(?:\n(?!\w+: ).*)*)", block, re.MULTILINE)
    meanings = _USUAL | {key: " ".join(meaning.split()) for key, meaning in told}
    given = function.args
    places = [*given.posonlyargs, *given.args, *filter(None, [given.vararg])]
    rows = [(place.arg.upper(), "", "", meanings.get(place.arg, "")) for place in places]
    for key, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        hint = ast.unparse(key.annotation).removesuffix(" | None") if key.annotation else ""
        rows.append((key.arg, _KINDS.get(hint, hint), _default(default, tree), meanings.get(key.arg, "")))
    return text.rstrip(), rows


def _default(node: ast.expr | None, tree: ast.Module) -> str:
    """A default as one types it; a constant's value is looked up, also in the file that it is imported from."""
    if node is None:
        return "needed"
    if not isinstance(node, ast.Name):
        value = ast.literal_eval(node)
        return "none" if value in (None, "", ()) else str(value).lower() if isinstance(value, bool) else str(value)
    for line in tree.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == node.id:
            return _default(line.value, tree)
        if isinstance(line, ast.ImportFrom) and re.search(rf"\b{node.id}\b", ast.unparse(line)):
            file = Path(__file__).parents[2].joinpath(*str(line.module).split(".")).with_suffix(".py")
            return _default(node, ast.parse(file.read_text(encoding="utf-8")))
    return node.id
