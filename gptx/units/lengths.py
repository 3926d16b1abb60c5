"""Lengths of time: a number of steps, written as such, as a share of the run, in tokens, or for a whole run."""

import re
from typing import Any, NewType

Length = NewType("Length", int)  # annotates an argument in steps; the config may say 500, 2% or 10Mtok

_FORMS = "a number of steps (500), a share of the run (2%) or tokens (10Mtok)"
_OF_A_RUN = "a number of steps (500), tokens (10Mtok, or 20x: per parameter), FLOPs (1e15flop) or a time (5min, 2h)"
TIMES = {"min": 60, "h": 3600}  # seconds of each
SCALE = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def of_a_run(length: Any) -> tuple[float, str] | None:
    """Number and unit of a length that only `steps` may have: tokens per parameter, FLOPs or a time; None for others.
    >>> of_a_run("20x"), of_a_run("1e15flop"), of_a_run("5min"), of_a_run("1.5h"), of_a_run("10Mtok")
    ((20.0, 'x'), (1000000000000000.0, 'flop'), (5.0, 'min'), (1.5, 'h'), None)
    """
    found = isinstance(length, str) and re.fullmatch(r"(\d+(?:\.\d+)?(?:e\+?\d+)?)(x|flop|min|h)", length)
    return (float(found[1]), found[2]) if found else None


def in_steps(length: int | str, *, steps: int, tokens: int) -> int:
    """Number of steps in `length`, for a run of `steps` steps of `tokens` tokens each (of the run itself: 0), rounded
    to the nearest but never down to zero. Raises ValueError for what is no length, such as a bare fraction (0.02).
    >>> in_steps(500, steps=10_000, tokens=4096), in_steps("2%", steps=10_000, tokens=4096)
    (500, 200)
    >>> in_steps("10Mtok", steps=10_000, tokens=4096)
    2441
    """
    text = length if isinstance(length, str) else ""
    if isinstance(length, int) and not isinstance(length, bool):
        count: float = length
    elif share := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text):
        if float(share[1]) > 100:
            raise ValueError(f"{text:.80}: a share of the run is at most 100%; a longer one is written in steps")
        count = float(share[1]) / 100 * steps
    elif amount := re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kMBT]?)tok", text):
        count = float(amount[1]) * SCALE[amount[2]] / tokens
    elif steps and of_a_run(length):
        raise ValueError(f"{text:.80} is a length of a whole run, for steps= alone; write {_FORMS}")
    else:
        raise ValueError(f"{length!r:.200} is not a length; write {_FORMS if steps else _OF_A_RUN}")
    return rounded(count, length, _FORMS if steps else _OF_A_RUN)


def rounded(count: float, length: int | str, forms: str = _OF_A_RUN) -> int:
    """Whole steps of a length that comes to `count` steps, at least 1 unless it is 0. Raises ValueError."""
    if not 0 <= count <= 2**53:  # up to here every whole number is also a float
        raise ValueError(f"{length!r:.80} is {'negative' if count < 0 else 'more than 2^53 steps'}; write {forms}")
    return max(int(count > 0), round(count))
