"""What the model is trained to do: functions from a network and a batch to a loss."""

import torch.nn.functional as F
from torch import Tensor, nn


def next_token(network: nn.Module, batch) -> Tensor:
    """Mean cross-entropy in nats of every next token; the softmax runs in fp32 whatever the network computes in."""
    logits = network(batch.inputs)  # (B, T, V)
    return F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten())
