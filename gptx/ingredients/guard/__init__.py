"""Guards: what is done with a step whose loss or gradient looks wrong. A guard judges, the trainer acts."""

from gptx.units.options import Configured


class Guard(Configured):
    """Accepts everything. Annotated attributes of a guard are its options, `remembered` names what checkpoints keep."""

    lookback = 0  # steps after which trouble may still be noticed: a checkpoint at least that old is kept
    onset = 0  # the step at which the present trouble began
    diagnosis = ""  # the present trouble in words

    def __call__(self, step: int, loss: float, grad_norm: float, *, overflow: bool = False) -> str:
        """The verdict on step `step` before it is made, from its loss and its gradient norm before clipping: "accept",
        "skip" (the weights stay), "rollback" (to the last checkpoint from before `onset`, and past the batches since)
        or "stop" (the run ends with `diagnosis`). With `overflow` an fp16 gradient was too large for the loss scale,
        which is lowered for it: no fault of the run."""
        return "accept"

    def rate(self, step: int) -> float:
        """Factor of the learning rate at step `step`."""
        return 1.0

    def news(self) -> list[tuple[str, dict]]:
        """Kind and facts of what happened since the last call."""
        return []

    def rolled_back(self, step: int) -> int:
        """Called once the run is back after step `step`; the number of batches to skip beyond those already drawn."""
        return 0
