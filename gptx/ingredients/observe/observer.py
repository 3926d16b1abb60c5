"""What watches a run."""

from collections.abc import Mapping

from gptx.units.lengths import Length


class Observer:
    """Looks at the run every `every` updates, and after the last, and returns scalars (or text) to log.

    What must see inside an update registers PyTorch's own module, tensor or optimizer hooks in `attach`. `better`
    says of its metrics whether higher or lower is better, such as {"mine/accuracy": "higher"}; run.json keeps it.
    """

    better: Mapping[str, str] = {}

    def __init__(self, *, every: Length):
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 update")
        self.every = every

    def attach(self, trainer) -> None:
        """Called once, before the first update of the process."""

    def due(self, trainer) -> bool:
        """True inside an update after which this observer reports; for hooks that shall cost nothing in the others."""
        return (trainer.step + 1) % self.every == 0 or trainer.step + 1 >= trainer.steps

    def state_dict(self) -> dict:
        """What the observer must remember over a resume; plain values and tensors only."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take up what `state_dict` gave."""

    def __call__(self, trainer) -> dict:
        raise NotImplementedError
