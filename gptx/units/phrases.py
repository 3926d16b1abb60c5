"""Phrases of numbers and lists: 1 seed, 2 seeds; a, b and c."""

import re
from collections.abc import Iterable


def joined(phrases: Iterable[str], last: str = "and") -> str:
    """a, b and c."""
    *first, end = list(phrases) or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def few(phrases: Iterable[str], most: int) -> list[str]:
    """The first phrases, and how many more there are."""
    told = list(phrases)
    return [*told[:most], *[f"{len(told) - most} more"] * (len(told) > most)]


def count(number: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def sentence(*phrases: str) -> str:
    """Phrases that are not empty, with a capital and a full stop."""
    return f"{capital(' '.join(filter(None, phrases)))}."


def capital(text: str) -> str:
    """With a capital, unless it begins with a key or an option's name, such as model.qk_norm=true or adam_l2."""
    return text if re.match(r"\w+[._=]\w|\w+=", text) else text[:1].upper() + text[1:]
