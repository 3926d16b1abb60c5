"""Averaged weights."""

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gptx.distributed.shards import like
from gptx.ingredients.observe.observer import Observer
from gptx.ingredients.observe.validation import Validation
from gptx.units.lengths import Length


class EMA(Observer):
    """Exponential moving average of the weights after each update, validated as the weights themselves are.

    An update's share halves every `half_life` updates. The shares of the updates so far add up to one (the bias
    correction of Adam's moments), so that the weights before the first do not count. The average is kept on the device
    in fp32, since a small share of a bf16 weight would round to nothing, saved
    with every checkpoint, and sampled with `python -m gptx sample weights=ema`.
    """

    def __init__(self, *, every: Length, half_life: Length, windows: int | None = None):
        super().__init__(every=every)
        if half_life < 1:
            raise ValueError(f"half_life={half_life} must be at least 1 update")
        self.decay = 0.5 ** (1 / half_life)
        self.validation = Validation(every=every, windows=windows)
        self.weights, self.updates, self.parameters = list[torch.Tensor](), 0, list[torch.Tensor]()

    def attach(self, trainer) -> None:
        parameters = self.parameters = list(trainer.model.parameters())
        if not self.weights:
            self.weights = [p.detach().float().clone() for p in parameters]
        self.place()

        def average(*_):
            self.updates += 1
            share = (1 - self.decay) / (1 - self.decay**self.updates)
            get_ema_multi_avg_fn(1 - share)(self.weights, [p.detach().float() for p in parameters], self.updates)

        trainer.optimizer.register_step_post_hook(average)

    def __call__(self, trainer) -> dict[str, float]:
        found = self.validation(trainer, self.weights)
        return {name.replace("validation/", "ema/"): value for name, value in found.items()}

    def place(self) -> None:
        """Hold the average as the weights are held: on their device, and of a shard its rows."""
        self.weights = [like(w, p) for w, p in zip(self.weights, self.parameters, strict=True)]

    def state_dict(self) -> dict:
        return {"weights": self.weights, "updates": self.updates}

    def load_state_dict(self, state: dict) -> None:
        self.weights, self.updates = state["weights"], state["updates"]
        if self.parameters:  # a rollback comes after `attach`
            self.place()
