"""Validation: the loss on held-out text."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from gptx.ingredients.observe import Observer
from gptx.units.options import Count

FORWARD_TOKENS = 4096  # per forward pass; of its own, so that the result does not depend on the training batch


class Validation(Observer):
    """Cross-entropy over the same validation `windows` every time (all of them if null), without dropout.

    Returns nats per token, perplexity, and bits per byte, which can be compared between tokenizers."""

    windows: Count | None = None

    @torch.no_grad()
    def __call__(self, trainer, weights=None) -> dict[str, float]:
        device = trainer.parallel.device
        token_bytes = trainer.data.token_bytes.to(device)
        totals = torch.zeros(3, dtype=torch.float64, device="cpu")  # nats, tokens, bytes
        with trainer.evaluation(weights):
            for batch, counts in passes(trainer, self.windows):
                with trainer.precision.autocast(device):
                    logits = trainer.model(batch.inputs)  # (B, T, V)
                nats = F.cross_entropy(logits.float().flatten(0, 1), batch.targets.flatten(), reduction="sum")
                found = nats, torch.tensor(batch.targets.numel()), token_bytes[batch.targets].sum()
                totals += counts * torch.tensor([float(each) for each in found], dtype=torch.float64)
        nats, tokens, size = trainer.parallel.sum(totals.to(device) if device.type == "cuda" else totals).tolist()
        loss = nats / tokens
        return {
            "validation/loss": loss,
            "validation/perplexity": math.inf if loss > 700 else math.exp(loss),
            "validation/bits_per_byte": nats / math.log(2) / size if size else math.nan,
        }


def passes(trainer, windows: int | None) -> Iterator[tuple]:
    """Batches for forward passes of this process over the first validation `windows`, and whether each counts."""
    limit, rows = trainer.data.validation_windows, max(1, FORWARD_TOKENS // trainer.data.context)
    for first, count, counts in shares(min(windows or limit, limit), rows, trainer.parallel):
        yield trainer.data.validation(first, count).to(trainer.parallel.device), counts


def shares(windows: int, rows: int, parallel) -> Iterator[tuple[int, int, bool]]:
    """First window and number of windows of each forward pass of this process, and whether they count.

    Every process makes the same number of passes, since sharded weights are gathered only where all take part; one that
    has no windows left repeats the last, which does not count."""
    for first in range(parallel.rank * rows, windows + parallel.rank * rows, parallel.world_size * rows):
        start = min(first, windows - 1)
        yield start, min(rows, windows - start), first < windows
