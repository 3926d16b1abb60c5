"""Learning-rate schedules: pure functions from the number of an update to a multiplier of the peak rate.

Updates are counted from 1: `schedule(0)` is 0 wherever there is a warmup, but no update is made with it. The update
`warmup` is the first at the peak, so that a warmup of 1 is none. The update `total` is made at the floor: at a floor
of 0, as in the papers, it moves nothing. Where the fall has no updates, the peak is held to the end.
"""

import math

from gptx.units.lengths import Length


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
    refuse_floor(floor)
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / (total - warmup)) if total > warmup else 0.0
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def wsd(step: int, *, warmup: Length, decay: Length, total: Length, shape: str = "linear", floor: float = 0.0) -> float:
    """Rises linearly, holds the peak, and falls to `floor` over the last `decay` updates (arXiv:2405.18392).

    The fall is `linear` or `sqrt`, which is 1 - sqrt of its progress. Raises ValueError for another shape, or if
    warmup and decay together are longer than the run.
    """
    refuse_long(warmup + decay, total, "warmup + decay")
    refuse_floor(floor)
    if shape not in ("linear", "sqrt"):
        raise ValueError(f"shape={shape} is unknown; linear or sqrt")
    if step < warmup:
        return step / warmup
    progress = min(1.0, max(0.0, 1 - (total - step) / decay)) if decay else 0.0
    return floor + (1 - floor) * (1 - (progress if shape == "linear" else math.sqrt(progress)))


def linear(step: int, *, warmup: Length, total: Length, floor: float = 0.0) -> float:
    """Rises linearly, then falls along a line to `floor` at update `total` (arXiv:2502.15938)."""
    refuse_long(warmup, total)
    return wsd(step, warmup=warmup, decay=Length(total - warmup), total=total, floor=floor)


def inverse_sqrt(step: int, *, warmup: Length, total: Length) -> float:
    """Rises linearly, then falls as 1 / sqrt(step), from 1 where the warmup ends (arXiv:1706.03762, section 5.3)."""
    refuse_long(warmup, total)
    return min(step / warmup, math.sqrt(warmup / max(step, 1))) if warmup else 1 / math.sqrt(max(step, 1))


def range_test(step: int, *, floor: float, total: Length) -> float:
    """Rises exponentially from `floor` at update 1 to 1 at update `total`, an equal factor each time: the learning-rate
    range test (arXiv:1506.01186), which trains nothing that is kept. Raises ValueError unless 0 < floor < 1."""
    if not 0 < floor < 1:
        raise ValueError(f"schedule.floor={floor}: the first rate as a share of the last, above 0 and below 1")
    return floor ** (1 - min(1.0, max(0, step - 1) / max(1, total - 1)))


def refuse_floor(floor: float) -> None:
    """Raises ValueError for a floor that is no share of the peak."""
    if not 0 <= floor <= 1:
        raise ValueError(f"schedule.floor={floor}: a share of the peak rate, from 0 to 1")


def refuse_long(length: int, total: int, name: str = "warmup") -> None:
    """Raises ValueError for a part of the schedule that the run cannot hold."""
    if length > total:
        raise ValueError(f"{name}={length} updates is longer than the run, {total} updates")
