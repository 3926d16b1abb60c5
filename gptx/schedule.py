"""Learning-rate schedules: pure functions from the number of an update to a multiplier of the peak rate.

Updates are counted from 1: `schedule(0)` is 0 wherever there is a warmup, but no update is made with it.
"""

import math

from gptx.lengths import Length


def constant(step: int) -> float:
    """The peak rate, always: the naive baseline."""
    return 1.0


def warmup(step: int, *, warmup: Length, total: Length) -> float:
    """Rises linearly from 0 to 1 over `warmup` updates, then stays."""
    refuse_long(warmup, total)
    return min(1.0, step / warmup) if warmup else 1.0


def cosine(step: int, *, warmup: Length, total: Length, floor: float = 0.0) -> float:
    """Rises linearly over `warmup` updates, then falls along half a cosine to `floor` at update `total`."""
    refuse_long(warmup, total)
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / (total - warmup)) if total > warmup else 1.0
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def refuse_long(warmup: int, total: int) -> None:
    """Raises ValueError for a warmup that the run cannot hold."""
    if warmup > total:
        raise ValueError(f"warmup={warmup} updates is longer than the run, {total} updates")
