"""Mistakes of the user, each told in one line that names the key."""

import difflib
from collections.abc import Iterable


class ConfigError(Exception):
    """A mistake of the user's, told in one line that names the key."""


def nearest(word: str, options: Iterable[str]) -> str:
    """The end of a sentence that helps after a misspelt word."""
    options = sorted(set(options))
    close = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(options)}"
