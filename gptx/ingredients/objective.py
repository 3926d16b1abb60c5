"""What the model is trained to do: functions from a network and a batch to a loss."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gptx.units.options import Configured, Count, Probability


class NextToken(Configured):
    """Mean cross-entropy in nats of every next token; the softmax runs in fp32 whatever the network computes in.
    A loss that is more than the cross-entropy has that as its attribute `cross_entropy`, which the run logs too.
    PyTorch 2.13's `F.linear_cross_entropy` knows no log Z, soft-cap or autocast and was slower (CPU, 50,304 tokens)."""

    z_loss: Annotated[float, Ge(0)] = 0.0  # times mean log^2 Z, against drifting logits (arXiv:2204.02311, sec. 5)
    label_smoothing: Probability = 0.0  # share of the target that is spread over the vocabulary
    chunk: Count | None = None  # positions whose logits are held at a time, and computed again in the backward pass

    def __call__(self, network: nn.Module, batch) -> Tensor:
        if self.chunk is None:
            found = self.loss(network(batch.inputs).flatten(0, 1), batch.targets.flatten(), "mean")
        else:
            found = network(batch.inputs, then=partial(self.in_chunks, batch.targets, self.chunk))
        if found.ndim:
            found, entropy = found
            found.cross_entropy = entropy.detach()
        return found

    def loss(self, logits: Tensor, targets: Tensor, reduction: str) -> Tensor:
        """Mean or sum of the loss of logits (N, V), targets (N,); if it is more, (2,): it and the cross-entropy."""
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

    def in_chunks(self, targets: Tensor, chunk: int, hidden: Tensor, head: Callable) -> Tensor:
        """The mean loss of hidden states (B, T, C), by slices of `chunk` positions whose logits are freed at once."""
        targets = targets.flatten()
        sums = [
            checkpoint(lambda h, t: self.loss(head(h), t, "sum"), *slice, use_reentrant=False, preserve_rng_state=False)
            for slice in zip(hidden.flatten(0, 1).split(chunk), targets.split(chunk), strict=True)
        ]
        return torch.stack(sums, -1).sum(-1) / targets.numel()


next_token = NextToken()
