"""What flows through the model."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gptx.ingredients.observe.observer import Observer
from gptx.units.lengths import Length

WINDOWS = 1000
DEAD = 0.01  # of the layer's root mean square: what never exceeds it adds nothing to the sum of the others


class Activations(Observer):
    """Mean, root mean square and kurtosis (3 if normal) of what each block puts out, over the first validation
    `windows`; the share of its MLP's hidden units that are dead; and its largest attention logit.

    A unit is dead if it stays below 1 % of the layer's root mean square at every token: zero, or in the flat tail of
    GELU. A logit is a score as the softmax takes it, among those that the mask allows; FlexAttention shows none. An
    extra forward pass of the model itself measures it all, so that training runs as it is, compiled or recomputed.
    """

    def __init__(self, *, every: Length, windows: int):
        super().__init__(every=every)
        if not 1 <= windows <= WINDOWS:
            raise ValueError(f"windows={windows} must be at least 1, and at most {WINDOWS:,} in one pass")
        self.windows = windows

    def attach(self, trainer) -> None:
        if not isinstance(getattr(trainer.model, "blocks", None), nn.ModuleList):
            raise ValueError(f"observe=activations: {type(trainer.model).__name__} has no `blocks` (an nn.ModuleList)")

    @torch.no_grad()
    def __call__(self, trainer) -> dict[str, float]:
        device, found = trainer.parallel.device, dict[str, Tensor]()
        inputs = trainer.data.validation(0, min(self.windows, trainer.data.validation_windows)).to(device).inputs
        logits, handles = AttentionLogits(found), list[torch.utils.hooks.RemovableHandle]()
        for number, block in enumerate(trainer.model.blocks):
            name, inside = f"blocks.{number}", dict(block.named_modules())
            handles.append(block.register_forward_hook(partial(note_output, found, f"activations/{name}")))
            if "mlp.down" in inside:
                note = partial(note_hidden, found, f"activations/{name}")
                handles.append(inside["mlp.down"].register_forward_pre_hook(note))
            if "attention" in inside:
                handles.append(inside["attention"].register_forward_pre_hook(partial(logits.enter, name)))
                handles.append(inside["attention"].register_forward_hook(logits.leave))
        try:
            with trainer.evaluation(), trainer.precision.autocast(device), logits:
                trainer.model(inputs)
        finally:
            for handle in handles:
                handle.remove()
        return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))


def note_output(found: dict[str, Tensor], name: str, block: nn.Module, inputs, output: Tensor) -> None:
    """Moments over all tokens and channels."""
    x = output.float()
    mean, centred = x.mean(), x - x.mean()
    found[f"{name}/mean"], found[f"{name}/rms"] = mean, x.square().mean().sqrt()
    found[f"{name}/kurtosis"] = centred.pow(4).mean() / centred.square().mean().square()


def note_hidden(found: dict[str, Tensor], name: str, module: nn.Module, inputs: tuple[Tensor]) -> None:
    """Share of the units, the last dimension, that are dead."""
    x = inputs[0].float().flatten(0, -2)
    found[f"{name}/dead"] = (x.abs().amax(0) < DEAD * x.square().mean().sqrt()).float().mean()


class AttentionLogits(TorchFunctionMode):
    """Looks at what PyTorch's own functions for attention are given, whichever way a model calls them."""

    def __init__(self, found: dict[str, Tensor]):
        super().__init__()
        self.found, self.block = found, ""

    def enter(self, block: str, *_) -> None:
        self.block = block

    def leave(self, *_) -> None:
        self.block = ""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.block and function is F.scaled_dot_product_attention:
            self.note(largest_logit(*args, **kwargs))
        if self.block and function in (torch.softmax, Tensor.softmax, F.softmax):
            self.note(args[0].amax().float())
        return function(*args, **kwargs)

    def note(self, largest: Tensor) -> None:
        name = f"attention/{self.block}/logit_max"
        self.found[name] = torch.maximum(self.found.get(name, largest), largest)


def largest_logit(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
                  is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Tensor:  # fmt: skip
    """Largest score, mask included, that `scaled_dot_product_attention` gives to its softmax for these arguments."""
    (*_, T, D), S, largest = query.shape, key.shape[-2], []
    key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)  # grouped heads
    allowed = torch.ones(T, S, dtype=torch.bool, device=query.device)
    if is_causal:
        allowed = allowed.tril()
    bias = torch.zeros((), device=query.device).where(allowed, -torch.inf)
    if attn_mask is not None:
        bias = torch.zeros_like(bias).where(attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else attn_mask
    rows = bias.expand(*query.shape[:-1], S)
    with torch.autocast(query.device.type, enabled=False):
        for q, k, barred in zip(query.float(), key.float(), rows, strict=True):  # one sequence at a time: T x T each
            largest.append((q @ k.mT * (D**-0.5 if scale is None else scale) + barred).amax())
    return torch.stack(largest).amax()
