"""Observers: what is measured in a run besides its loss. `Observer` says what one can offer."""

from collections.abc import Mapping
from typing import ClassVar

from gptx.units.options import Configured, Steps


class Observer(Configured):
    """The trainer calls it after every `every` steps and after the last one; it returns numbers (or text) by name. Its
    annotated attributes are the options of its YAML. `attach` runs once, before the first step: it registers hooks, and
    raises ValueError where the run has nothing to show. `remembered` names what checkpoints keep (plain values and
    tensors); `better` which way metrics go, {"mine/accuracy": "higher"}; `trainer.latest` has the step's report so far.
    """

    every: Steps
    better: ClassVar[Mapping[str, str]] = {}

    def attach(self, trainer) -> None:
        """Prepare for this run."""

    def __call__(self, trainer) -> dict:
        raise NotImplementedError

    def due(self, trainer) -> bool:
        """True during a step after which this observer reports; for hooks that cost nothing in the others."""
        return (trainer.step + 1) % self.every == 0 or trainer.step + 1 >= trainer.steps
