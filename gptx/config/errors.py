"""Mistakes of the user, each in one line that names the key."""

import difflib
import os
from collections.abc import Iterable

from gptx.units.printable import masked


class ConfigError(Exception):
    """A mistake of the user, in one line: KEY: what was wrong; what would be right."""


def nearest(word: str, options: Iterable[str]) -> str:
    """The end of a message about a misspelt word: the nearest option, or all of them."""
    options = sorted(set(options))
    close = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(options)}"


def refusal(path: str, cause: Exception, options: Iterable[str] = ()) -> ConfigError:
    """The complaint of a library or an ingredient as one line that names the key: path.option if it begins with one."""
    text = str(cause).strip() or type(cause).__name__
    if isinstance(cause, OSError) and cause.filename and cause.errno:
        text = f"{cause.filename}: {os.strerror(cause.errno)}"
    line = " ".join(text.split())
    if not path or line.startswith((f"{path}.", f"{path}=")):
        return ConfigError(line)
    return ConfigError(f"{path}{'.' if line.partition('=')[0] in options else ': '}{line}")


def one_line(error: Exception) -> str:
    """What an error, or its cause, says: one line without secrets."""
    return masked(" ".join(str(error.__cause__ or error).split()))
