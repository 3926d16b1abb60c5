"""What is done with an update whose loss or gradient looks wrong. A guard judges; the trainer acts.

A guard is called with the loss and the gradient norm before clipping, and answers "accept" or "skip".
"""

import math


def none(loss: float, grad_norm: float) -> str:
    """Accepts everything."""
    return "accept"


def skip(loss: float, grad_norm: float) -> str:
    """Drops an update that is not finite, so that NaN and infinity never reach the weights."""
    return "accept" if math.isfinite(loss) and math.isfinite(grad_norm) else "skip"
