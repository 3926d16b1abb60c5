"""What the model is trained to do: functions from a network and a batch to a loss."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gptx.units.options import Count, Probability, check_options


@dataclass(frozen=True)
class NextToken:
    """Mean cross-entropy in nats of every next token; the softmax runs in fp32 whatever the network computes in.

    `z_loss` times the mean of log^2 Z is added, Z being the softmax's denominator: it keeps logits from drifting
    (PaLM, arXiv:2204.02311, section 5). `label_smoothing` is the share of the target spread over the vocabulary.
    With `chunk`, the logits of that many positions are held at a time and computed again in the backward pass; the
    network must take `then`, as the GPT of the group `model` does. A loss that is more than the cross-entropy has that
    as its attribute `cross_entropy`, which the run logs too.

    PyTorch 2.13's `F.linear_cross_entropy` knows no log Z, soft-cap or autocast and was slower (CPU, 50,304 tokens)."""

    z_loss: Annotated[float, Ge(0)] = 0.0
    label_smoothing: Probability = 0.0
    chunk: Count | None = None

    def __post_init__(self):
        check_options(self)

    def __call__(self, network: nn.Module, batch) -> Tensor:
        if self.chunk is not None:
            found = network(batch.inputs, then=partial(_in_chunks, batch.targets, self.loss, self.chunk))
        else:
            found = self.loss(network(batch.inputs).flatten(0, 1), batch.targets.flatten(), "mean")
        if found.ndim == 0:
            return found
        loss, entropy = found
        loss.cross_entropy = entropy.detach()
        return loss

    def loss(self, logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
        """Mean or sum over the positions, logits (N, V) and targets (N,); where the loss is more than the cross-entropy
        (2,): the loss and the cross-entropy."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction=reduction)
        if not self.z_loss and not self.label_smoothing:
            return loss
        with torch.no_grad():
            entropy = F.cross_entropy(logits, targets, reduction=reduction) if self.label_smoothing else loss
        if self.z_loss:
            squares = logits.logsumexp(-1).square()
            loss = loss + self.z_loss * (squares.mean() if reduction == "mean" else squares.sum())
        return torch.stack([loss, entropy.detach()])


next_token = NextToken()


def _in_chunks(targets: Tensor, loss: Callable, chunk: int, hidden: Tensor, head: Callable) -> Tensor:
    """The mean loss of hidden states (B, T, C), by slices of `chunk` positions whose logits are freed at once."""

    def total(hidden: Tensor, targets: Tensor) -> Tensor:
        return loss(head(hidden), targets, "sum")

    slices = zip(hidden.flatten(0, 1).split(chunk), targets.flatten().split(chunk), strict=True)
    sums = [checkpoint(total, *slice, use_reentrant=False, preserve_rng_state=False) for slice in slices]
    if sums[0].ndim == 0:
        return torch.stack(sums).sum() / targets.numel()
    return torch.stack([torch.stack(column).sum() for column in zip(*sums, strict=True)]) / targets.numel()
