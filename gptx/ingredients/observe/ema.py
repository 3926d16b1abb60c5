"""Averaged weights."""

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gptx.distributed.shards import like
from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.validation import Validation
from gptx.units.options import Count, Steps


class EMA(Observer):
    """Exponential moving average of the weights after each step, validated as the weights themselves are.

    A step's share halves every `half_life` steps. The shares of all steps add up to one (the bias correction of Adam's
    moments), so the initial weights do not count. The average is kept on the device in fp32, since a small share of a
    bf16 weight would round to nothing; every checkpoint has it, and `python -m gptx sample RUN weights=ema` uses it."""

    half_life: Steps
    windows: Count | None = None
    remembered = ("weights", "updates")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.decay = 0.5 ** (1 / self.half_life)
        self.validation = Validation(every=self.every, windows=self.windows)
        self.weights, self.updates, self.parameters = list[torch.Tensor](), 0, list[torch.Tensor]()

    def attach(self, trainer) -> None:
        parameters = self.parameters = list(trainer.model.parameters())
        if not self.weights:
            self.weights = [p.detach().float().clone() for p in parameters]
        self.place()

        def average(*_) -> None:
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

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        if self.parameters:  # a rollback comes after `attach`
            self.place()
