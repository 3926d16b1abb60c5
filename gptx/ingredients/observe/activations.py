"""What flows through the model."""

from contextlib import ExitStack
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Le
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gptx.ingredients.observe import Observer
from gptx.units.options import Count

_DEAD = 0.01  # times the layer's root mean square: a unit that never exceeds it adds nothing to the sum of the others


class Activations(Observer):
    """Mean, root mean square and kurtosis (3 if normal) of each block's output over the first validation `windows`, the
    share of dead hidden units in its MLP (at every token below 1 % of the layer's root mean square), and its largest
    attention logit within the mask; FlexAttention shows none. Takes an extra forward pass of the uncompiled model."""

    windows: Annotated[Count, Le(1000)]  # in one forward pass

    def attach(self, trainer) -> None:
        if not isinstance(getattr(trainer.model, "blocks", None), nn.ModuleList):
            raise ValueError(f"observe=activations: {type(trainer.model).__name__} has no `blocks` (an nn.ModuleList)")

    @torch.no_grad()
    def __call__(self, trainer) -> dict[str, float]:
        device, found = trainer.parallel.device, dict[str, Tensor]()
        inputs = trainer.data.validation(0, min(self.windows, trainer.data.validation_windows)).to(device).inputs
        logits = AttentionLogits(found)
        with ExitStack() as hooks:
            for number, block in enumerate(trainer.model.blocks):
                name, inside = f"blocks.{number}", dict(block.named_modules())
                hooks.enter_context(block.register_forward_hook(partial(_note_output, found, name)))
                if down := inside.get("mlp.down"):
                    hooks.enter_context(down.register_forward_pre_hook(partial(_note_hidden, found, name)))
                if attention := inside.get("attention"):
                    hooks.enter_context(attention.register_forward_pre_hook(partial(logits.within, name)))
                    hooks.enter_context(attention.register_forward_hook(partial(logits.within, "")))
            with trainer.evaluation(), trainer.precision.autocast(device), logits:
                trainer.model(inputs)
        return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))


def _note_output(found: dict[str, Tensor], name: str, block: nn.Module, inputs, output: Tensor) -> None:
    x = output.float()
    mean, name = x.mean(), f"activations/{name}"
    found[f"{name}/mean"], found[f"{name}/rms"] = mean, x.square().mean().sqrt()
    found[f"{name}/kurtosis"] = (x - mean).pow(4).mean() / (x - mean).square().mean().square()


def _note_hidden(found: dict[str, Tensor], name: str, module: nn.Module, inputs: tuple[Tensor]) -> None:
    x = inputs[0].float().flatten(0, -2)
    found[f"activations/{name}/dead"] = (x.abs().amax(0) < _DEAD * x.square().mean().sqrt()).float().mean()


class AttentionLogits(TorchFunctionMode):
    """Reads what PyTorch's own attention functions are given in a block, whichever of them a model calls."""

    def __init__(self, found: dict[str, Tensor]):
        super().__init__()
        self.found, self.block = found, ""

    def within(self, block: str, *_) -> None:
        self.block = block

    def __torch_function__(self, function, types, args=(), kwargs=None):
        largest, kwargs = None, kwargs or {}
        if self.block and function is F.scaled_dot_product_attention:
            largest = _largest_logit(*args, **kwargs)
        elif self.block and function in (torch.softmax, Tensor.softmax, F.softmax):
            largest = args[0].amax().float()
        if largest is not None:
            name = f"attention/{self.block}/logit_max"
            self.found[name] = torch.maximum(self.found.get(name, largest), largest)
        return function(*args, **kwargs)


def _largest_logit(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
                  is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Tensor:  # fmt: skip
    """Largest score, mask included, that `scaled_dot_product_attention` gives to its softmax for these arguments."""
    (*_, T, D), S = query.shape, key.shape[-2]
    key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)  # grouped heads
    bias = torch.zeros(T, S, device=query.device)
    if is_causal:
        attn_mask = torch.ones(T, S, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        bias = bias.where(attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else attn_mask
    rows, scale = bias.expand(*query.shape[:-1], S), D**-0.5 if scale is None else scale
    with torch.autocast(query.device.type, enabled=False):  # one sequence at a time: its scores are T x T
        each = zip(query.float(), key.float(), rows, strict=True)
        return torch.stack([(q @ k.mT * scale + barred).amax() for q, k, barred in each]).amax()
