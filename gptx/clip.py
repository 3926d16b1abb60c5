"""Gradient clipping. Every function returns the joint L2 norm before clipping, the run's vital sign."""

from collections.abc import Iterable

import torch
from torch import Tensor


def global_norm(parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
    """Scales all gradients by one factor so that their joint L2 norm is at most `max_norm`; PyTorch's own."""
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm)


def scratch(parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
    """Does what `global_norm` does, written out."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.sqrt(torch.stack([grad.square().sum() for grad in grads]).sum())
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for grad in grads:
        grad.mul_(factor)
    return norm


def none(parameters: Iterable[Tensor]) -> Tensor:
    """Leaves the gradients as they are."""
    return torch.nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
