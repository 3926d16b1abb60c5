"""Lengths of time: a number of steps, written as such, as a share of the run, or in tokens."""

import re
from typing import NewType

Length = NewType("Length", int)  # annotates an argument in steps; the config may say 500, 2% or 10Mtok

_FORMS = "a number of steps (500), a share of the run (2%) or tokens (10Mtok)"
SCALE = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def in_steps(length: int | str, *, steps: int, tokens: int) -> int:
    """Number of steps in `length`, for a run of `steps` steps of `tokens` tokens each, rounded to the nearest but never
    down to zero. Raises ValueError for what is no length, such as a bare fraction (0.02).
    >>> in_steps(500, steps=10_000, tokens=4096), in_steps("2%", steps=10_000, tokens=4096)
    (500, 200)
    >>> in_steps("10Mtok", steps=10_000, tokens=4096)
    2441
    """
    if isinstance(length, int) and not isinstance(length, bool):
        count: float = length
    elif isinstance(length, str) and (share := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", length)):
        if float(share[1]) > 100:
            raise ValueError(f"{length:.80}: a share of the run is at most 100%; a longer one is written in steps")
        count = float(share[1]) / 100 * steps
    elif isinstance(length, str) and (amount := re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([kMBT]?)tok", length)):
        count = float(amount[1]) * SCALE[amount[2]] / tokens
    else:
        raise ValueError(f"{length!r:.200} is not a length; write {_FORMS}")
    if not 0 <= count <= 2**53:  # up to here every whole number is also a float
        raise ValueError(f"{length!r:.80} is {'negative' if count < 0 else 'more than 2^53 steps'}; write {_FORMS}")
    return max(int(count > 0), round(count))
