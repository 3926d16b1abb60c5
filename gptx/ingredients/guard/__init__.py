"""What is done with an update whose loss or gradient looks wrong. A guard judges; the trainer acts.

A guard is called before every update with its number, the loss and the gradient norm before clipping, and answers
"accept", "skip" (the weights stay), "rollback" (to the last checkpoint from before update `onset`, and past the
batches that came since) or "stop" (the run is given up with `diagnosis`).
"""


class Guard:
    """Accepts everything; what a guard must have."""

    lookback = 0  # updates after which trouble may still be noticed: a checkpoint at least that old is kept
    onset = 0  # the update at which the present trouble began
    diagnosis = ""  # of the present trouble, in words

    def __call__(self, step: int, loss: float, grad_norm: float, *, overflow: bool = False) -> str:
        """The verdict on update `step`. With `overflow` an fp16 gradient was too large for the loss scale, which is
        lowered for it: no fault of the run's."""
        return "accept"

    def rate(self, step: int) -> float:
        """Factor of the learning rate at update `step`."""
        return 1.0

    def news(self) -> list[tuple[str, dict]]:
        """Kind and facts of what happened since the last call."""
        return []

    def rolled_back(self, step: int) -> int:
        """Told that the run is back after update `step`; the number of batches to skip beyond those already drawn."""
        return 0

    def state_dict(self) -> dict:
        """All that the next verdict depends on; plain values only."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take up what `state_dict` gave."""
