"""Which checkpoints stay on the disk."""

import math
from collections.abc import Iterable


def kept(losses: dict[int, float], *, newest: int, every: int | None, best: bool, safe: int) -> set[int]:
    """The updates whose checkpoints stay, of all updates saved and their validation losses (NaN where not validated).

    They are the `newest` ones, the first in each `every` updates after the first `every`, the best one if `best`, and
    the last one up to update `safe` with all after it: trouble found now may have begun as long ago as that.
    """
    steps = sorted(losses)
    stay = {*steps[-newest:], *[step for step in steps if step <= safe][-1:], *[step for step in steps if step > safe]}
    if every is not None:
        stay |= {first for first in first_of_each(every, steps) if first >= every}
    if best:
        stay |= {*best_of(losses)}
    return stay


def first_of_each(every: int, steps: Iterable[int]) -> Iterable[int]:
    """The smallest step in each stretch of `every`."""
    return {step // every: step for step in sorted(steps, reverse=True)}.values()


def best_of(losses: dict[int, float]) -> list[int]:
    """The update with the lowest loss, the earliest of several; empty if no loss is known.

    An earlier version noted a loss again in the saves until the next validation; it is that of the earliest of them.
    """
    finite = [(loss, step) for step, loss in losses.items() if math.isfinite(loss)]
    return [min(finite)[1]] if finite else []
