"""Gradient clipping. Every function returns the joint L2 norm before clipping, the run's vital sign."""

from collections.abc import Iterable

import torch
from torch import Tensor

from gptx.distributed.shards import whole_state


def global_norm(parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
    """Scales all gradients by one factor so that their joint L2 norm is at most `max_norm`; PyTorch's own."""
    _refuse(max_norm)
    parameters = list(parameters)
    norm = none(parameters)
    torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def scratch(parameters: Iterable[Tensor], *, max_norm: float) -> Tensor:
    """Does what `global_norm` does, written out."""
    _refuse(max_norm)
    grads = [p.grad for p in parameters if p.grad is not None]
    squares = [grad.to(torch.promote_types(grad.dtype, torch.float32)).square().sum() for grad in grads]
    norm = torch.sqrt(whole_state(torch.stack(squares).sum()))
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for grad in grads:
        grad.mul_(factor)
    return norm


def none(parameters: Iterable[Tensor]) -> Tensor:
    """Leaves the gradients as they are. The norm is in fp32 also where they are bf16: 8 bits are too few."""
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.zeros(())
    precise = torch.promote_types(grads[0].dtype, torch.float32)
    return torch.linalg.vector_norm(whole_state(torch.stack(torch._foreach_norm(grads, 2, precise))))


def _refuse(max_norm: float) -> None:
    if not max_norm > 0:
        raise ValueError(f"clip.max_norm={max_norm}: above 0; clip=none does not clip")
