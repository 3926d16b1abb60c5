"""Learning-rate schedules: pure functions from the number of a step to a multiplier of the peak learning rate.

Contract: a function of `step` with keyword-only options (`Length` for a number of steps) that raises ValueError for
values that make no sense, is called with any step in any order, and keeps no state. Steps count from 1: `schedule(0)`
is 0 wherever there is a warmup, but no step is made with it. Step `warmup` is the first at the peak, so a warmup of 1
is none. Step `total` is made at the floor: at 0, as in the papers, it moves nothing. A decay of 0 holds the peak.
"""

import math

from gptx.units.lengths import Length


def constant(step: int) -> float:
    """The peak learning rate, always: the naive baseline."""
    return 1.0


def warmup(step: int, *, warmup: Length, total: Length) -> float:
    """Rises linearly from 0 to 1 over `warmup` steps, then stays."""
    _refuse(warmup, total)
    return min(1.0, step / warmup) if warmup else 1.0


def cosine(step: int, *, warmup: Length, total: Length, floor: float = 0.0) -> float:
    """Rises linearly over `warmup` steps, then falls along half a cosine to `floor` at step `total`."""
    _refuse(warmup, total, floor)
    if step < warmup:
        return step / warmup
    progress = min(1.0, (step - warmup) / (total - warmup)) if total > warmup else 0.0
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def wsd(step: int, *, warmup: Length, decay: Length, total: Length, shape: str = "linear", floor: float = 0.0) -> float:
    """Rises linearly, holds the peak, and falls to `floor` over the last `decay` steps (arXiv:2405.18392): `linear` or
    `sqrt`, which is 1 - sqrt of its progress. Raises ValueError if warmup and decay are longer than the run."""
    _refuse(warmup + decay, total, floor, name="warmup + decay")
    if shape not in ("linear", "sqrt"):
        raise ValueError(f"shape={shape} is unknown; linear or sqrt")
    if step < warmup:
        return step / warmup
    progress = min(1.0, max(0.0, 1 - (total - step) / decay)) if decay else 0.0
    return floor + (1 - floor) * (1 - (progress if shape == "linear" else math.sqrt(progress)))


def linear(step: int, *, warmup: Length, total: Length, floor: float = 0.0) -> float:
    """Rises linearly, then falls along a line to `floor` at step `total` (arXiv:2502.15938)."""
    _refuse(warmup, total)
    return wsd(step, warmup=warmup, decay=Length(total - warmup), total=total, floor=floor)


def inverse_sqrt(step: int, *, warmup: Length, total: Length) -> float:
    """Rises linearly, then falls as 1 / sqrt(step), from 1 where the warmup ends (arXiv:1706.03762, section 5.3)."""
    _refuse(warmup, total)
    return min(step / warmup, math.sqrt(warmup / max(step, 1))) if warmup else 1 / math.sqrt(max(step, 1))


def range_test(step: int, *, floor: float, total: Length) -> float:
    """Rises by an equal factor each step from `floor` at step 1 to 1 at step `total`: the learning-rate range test
    (arXiv:1506.01186), which trains nothing that is kept. Raises ValueError unless 0 < floor < 1."""
    if not 0 < floor < 1:
        raise ValueError(f"schedule.floor={floor}: the first learning rate as a share of the last, above 0 and below 1")
    return floor ** (1 - min(1.0, max(0, step - 1) / max(1, total - 1)))


def _refuse(length: int, total: int, floor: float = 0.0, name: str = "warmup") -> None:
    if length > total:
        raise ValueError(f"{name}={length} steps is longer than the run, {total} steps")
    if not 0 <= floor <= 1:
        raise ValueError(f"schedule.floor={floor}: a share of the peak learning rate, from 0 to 1")
