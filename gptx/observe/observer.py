"""What watches a run."""

from gptx.lengths import Length


class Observer:
    """Looks at the run every `every` updates, and after the last, and returns scalars (or text) to log.

    What must see inside an update registers PyTorch's own module, tensor or optimizer hooks in `attach`.
    """

    def __init__(self, *, every: Length):
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 update")
        self.every = every

    def attach(self, trainer) -> None:
        """Called once, before the first update of the process."""

    def __call__(self, trainer) -> dict:
        raise NotImplementedError
