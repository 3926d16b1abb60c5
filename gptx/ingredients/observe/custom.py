"""A user's own evaluation."""

import random
from collections.abc import Callable

import numpy
import torch
from torch import Tensor, nn

from gptx.ingredients.observe.observer import Observer
from gptx.units.lengths import Length


class Custom(Observer):
    """What `function(model, encoding)` returns: a dict of names to numbers or text. `better` says of numbers whether
    higher or lower is better.

    The model is as it is to be judged, without dropout and gradients; the encoding is tiktoken's. Random numbers that
    the function draws are not missed by the training. Raises ValueError where it returns anything else.
    """

    def __init__(self, *, every: Length, function: Callable, better: dict[str, str] | None = None):
        super().__init__(every=every)
        self.function, self.better = function, better or {}

    @torch.no_grad()
    def __call__(self, trainer) -> dict:
        device = trainer.parallel.device
        python, plain = random.getstate(), numpy.random.get_state()
        with torch.random.fork_rng([device] if device.type == "cuda" else []), trainer.evaluation():
            found = self.function(trainer.model, trainer.data.encoding)
        random.setstate(python)
        numpy.random.set_state(plain)
        if not (isinstance(found, dict) and all(isinstance(name, str) for name in found)):
            raise ValueError(f"observe=custom: its function must return a dict of numbers or text, not {found!r:.80}")
        return {name: value if isinstance(value, str) else float(value) for name, value in found.items()}


def first_token(model: nn.Module, encoding) -> dict[str, float | Tensor]:
    """An example: the probability of the likeliest token after an end of text."""
    tokens = torch.tensor([[encoding.eot_token]], device=next(model.parameters()).device)
    return {"custom/first_token": model(tokens)[0, -1].float().softmax(-1).amax()}
