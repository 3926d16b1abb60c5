"""A user's own evaluation."""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from gptx.ingredients.observe import Observer
from gptx.trainer import rng_state, set_rng_state


class Custom(Observer):
    """What `function(model, encoding)` returns: a dict of names to numbers or text. `better` says which way they go. It
    gets the model as it is validated, without dropout and gradients, and the tokenizer in tiktoken's form, and may draw
    random numbers (training does not notice). Raises ValueError, also before the first step, if it returns another."""

    function: Callable
    better: dict[str, str] | None = None  # type: ignore[assignment, misc]

    def attach(self, trainer) -> None:
        self(trainer)

    @torch.no_grad()
    def __call__(self, trainer) -> dict:
        device, state = trainer.parallel.device, rng_state(trainer.parallel.device)
        with trainer.evaluation():
            found = self.function(trainer.model, trainer.data.encoding)
        set_rng_state(state, device)
        if isinstance(found, dict) and all(isinstance(name, str) for name in found):
            with suppress(TypeError, ValueError, RuntimeError):  # float(): no number, or a tensor of several
                return {name: each if isinstance(each, str) else float(each) for name, each in found.items()}
        raise ValueError(f"observe=custom: its function must return a dict of numbers or text, not {found!r:.80}")


def first_token(model: nn.Module, encoding) -> dict[str, float | Tensor]:
    """An example: the probability of the likeliest token after an end of text."""
    tokens = torch.tensor([[encoding.eot_token]], device=next(model.parameters()).device)
    return {"custom/first_token": model(tokens)[0, -1].float().softmax(-1).amax()}
