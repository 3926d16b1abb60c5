"""Validation: the loss on held-out text, of the weights and of their average."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gptx.distributed.shards import like
from gptx.ingredients.observe import Observer
from gptx.units.options import Count, Steps

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
                found = nats.item(), batch.targets.numel(), token_bytes[batch.targets].sum().item()
                totals += counts * torch.tensor(found, dtype=torch.float64)
        nats, tokens, size = trainer.parallel.sum(totals.to(device) if device.type == "cuda" else totals).tolist()
        loss = nats / tokens
        return {
            "validation/loss": loss,
            "validation/perplexity": math.inf if loss > 700 else math.exp(loss),
            "validation/bits_per_byte": nats / math.log(2) / size if size else math.nan,
        }


class EMA(Observer):
    """Exponential moving average of the weights after each step, validated as the weights themselves are.

    A step's share halves every `half_life` steps. The shares of all steps add up to one (the bias correction of Adam's
    moments), so the initial weights do not count. The average is kept on the device in fp32, since a small share of a
    bf16 weight would round to nothing; every checkpoint has it, and `python -m gptx sample RUN weights=ema` uses it."""

    half_life: Steps
    windows: Count | None = None
    remembered = ("weights", "updates")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.weights, self.updates, self.parameters = list[torch.Tensor](), 0, list[torch.Tensor]()

    def attach(self, trainer) -> None:
        parameters, decay = list(trainer.model.parameters()), 0.5 ** (1 / self.half_life)
        self.weights = self.weights or [p.detach().float().clone() for p in parameters]
        self.parameters = parameters
        self.place()

        def average(*_) -> None:
            self.updates += 1
            share = (1 - decay) / (1 - decay**self.updates)
            get_ema_multi_avg_fn(1 - share)(self.weights, [p.detach().float() for p in parameters], self.updates)

        trainer.optimizer.register_step_post_hook(average)

    def place(self) -> None:
        """Hold the average as the weights are held: on their device, and of a shard its rows."""
        self.weights = [like(w, p) for w, p in zip(self.weights, self.parameters, strict=True)]

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        if self.parameters:  # a rollback comes after `attach`
            self.place()

    def __call__(self, trainer) -> dict[str, float]:
        found = Validation(every=self.every, windows=self.windows)(trainer, self.weights)
        return {name.replace("validation/", "ema/"): value for name, value in found.items()}


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
