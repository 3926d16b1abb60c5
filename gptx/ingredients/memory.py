"""Activation memory: transforms of a model whose blocks are in `model.blocks`."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from gptx.units.options import Count, ranged


def store(model: nn.Module) -> nn.Module:
    """Keeps every activation for the backward pass."""
    return model


@ranged("memory")
def recompute(model: nn.Module, *, every: Count = 1) -> nn.Module:
    """Runs each `every`-th block again in the backward pass (arXiv:1604.06174). Raises ValueError without blocks."""
    if not hasattr(model, "blocks"):
        raise ValueError(f"memory=recompute: {type(model).__name__} has no `blocks` to compute again; memory=store")
    for block in list(model.blocks)[::every]:  # type: ignore[arg-type]
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return model
