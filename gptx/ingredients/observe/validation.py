"""Validation: the loss on held-out text, of the weights and of their average; and what ends a run by a loss."""

import logging
import math
from collections.abc import Iterator
from dataclasses import field
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gptx.distributed.shards import like
from gptx.ingredients.observe import Observer
from gptx.units.lengths import Length
from gptx.units.options import Count, Positive, Share, Steps

log = logging.getLogger(__name__)
FORWARD_TOKENS = 4096  # per forward pass; of its own, so that the result does not depend on the training batch
_LEAST = 0.1  # share of the first loss, the least fall: the first learning rates teach nothing, and noise is no break


class Validation(Observer):
    """Cross-entropy over the same validation `windows` every time (all of them if null), without dropout: nats per
    token, perplexity, and bits per byte, which can be compared between tokenizers."""

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


def passes(trainer, windows: int | None) -> Iterator[tuple]:
    """Batches for forward passes of this process over the first validation `windows`, and whether each counts."""
    limit, rows = trainer.data.validation_windows, max(1, FORWARD_TOKENS // trainer.data.context)
    for first, count, counts in shares(min(windows or limit, limit), rows, trainer.parallel):
        yield trainer.data.validation(first, count).to(trainer.parallel.device), counts


def shares(windows: int, rows: int, parallel) -> Iterator[tuple[int, int, bool]]:
    """First window and number of windows of each forward pass of this process, and whether they count. Every process
    makes as many, since they gather sharded weights together; a surplus one repeats the last and does not count."""
    for first in range(parallel.rank * rows, windows + parallel.rank * rows, parallel.world_size * rows):
        start = min(first, windows - 1)
        yield start, min(rows, windows - start), first < windows


class EMA(Observer):
    """Exponential moving average of the weights after each step, validated as the weights are. A step's share halves
    every `half_life` steps; all shares add up to one (the bias correction of Adam's moments), so initial weights do not
    count. In fp32, since small shares of bf16 weights would round to 0: `python -m gptx sample RUN weights=ema`."""

    half_life: Steps
    windows: Count | None = None
    weights: list[torch.Tensor] = field(init=False, default_factory=list)
    parameters: list[torch.Tensor] = field(init=False, default_factory=list)
    updates = 0
    remembered = ("weights", "updates")

    def attach(self, trainer) -> None:
        decay, self.parameters = 0.5 ** (1 / self.half_life), list(trainer.model.parameters())
        self.weights = self.weights or [p.detach().float().clone() for p in self.parameters]
        self.place()

        def average(*_) -> None:
            self.updates += 1
            share = (1 - decay) / (1 - decay**self.updates)
            get_ema_multi_avg_fn(1 - share)(self.weights, [p.detach().float() for p in self.parameters], self.updates)

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


class _Ending(Observer):
    """Looks at every step. Raises ValueError where validation, whose loss it reads, does not come before it."""

    every: Length = field(init=False, default=Length(1))
    order, reason = ("validation", ""), "reads the validation loss"

    def attach(self, trainer) -> None:
        earlier = takewhile(lambda each: each is not self, trainer.observers.values())
        if any(isinstance(each, Validation) for each in earlier) != (self.order[0] == "validation"):
            (name,) = {*self.order} - {"validation"}
            raise ValueError(f"observe={name} {self.reason}; set observe=[{','.join(self.order)}], in that order")

    def end(self, trainer, reason: str) -> None:
        if not trainer.finished:
            trainer.ended = reason
            log.info("%s; the run ends here", reason)


class Target(_Ending):
    """Steps and tokens until the validation loss is at most `loss`, along a line between two; there the run ends."""

    loss: Positive
    before = None  # step, tokens and loss of the last validation
    order, remembered = ("validation", "target"), ("before",)

    def __call__(self, trainer) -> dict[str, float]:
        if "validation/loss" not in trainer.latest:
            return {}
        now = trainer.step, trainer.cursor * trainer.data.context, trainer.latest["validation/loss"]
        (*was, worse), (*here, loss), self.before = self.before or now, now, now
        if not loss <= self.loss:
            if trainer.finished:
                told = "target: %g was not reached in %d steps; the last validation loss is %.4f"
                log.info(told, self.loss, trainer.step, loss)
            return {}
        share = (worse - self.loss) / (worse - loss) if worse > self.loss else 1.0
        step, tokens = (old + share * (new - old) for old, new in zip(was, here, strict=True))
        reached = f"the validation loss is {loss:.4f}, at most {self.loss:g}"
        self.end(trainer, f"target: {reached}, after {step:.0f} steps and {tokens:.0f} tokens")
        return {"target/step": step, "target/tokens": tokens}


class Overfitting(_Ending):
    """Validation loss minus the mean training cross-entropy since the validation before. The alarm, which ends the run
    with `stop`, comes after `patience` validations no better than the best, while the training loss fell."""

    patience: Count
    stop: bool
    total = 0.0  # training losses since the last validation
    count = 0  # of them
    best: dict = field(init=False, default_factory=dict)  # the best validation: its loss, step and training loss
    worse = 0  # validations since
    order, remembered = ("validation", "overfitting"), ("total", "count", "best", "worse")

    def __call__(self, trainer) -> dict:
        loss = trainer.latest.get("train/cross_entropy", trainer.latest["train/loss"])
        self.total, self.count = self.total + loss, self.count + 1
        if "validation/loss" not in trainer.latest:
            return {}
        held_out, train = trainer.latest["validation/loss"], self.total / self.count
        self.total, self.count = 0.0, 0
        found = {"overfitting/gap": held_out - train}
        if not math.isfinite(held_out + train):  # a run that diverged memorises nothing
            return found
        if not self.best or held_out < self.best["loss"]:
            self.best, self.worse = {"loss": held_out, "step": trainer.step, "train": train}, -1
        self.worse += 1
        if self.worse < self.patience or train >= self.best["train"]:
            return found
        since = "no validation was better for {} in a row; best {loss:.4f} after step {step}, now {:.4f}, while"
        fell = "the training loss fell from {train:.4f} to {:.4f}"
        alarm = f"overfitting: {since} {fell}".format(self.worse, held_out, train, **self.best)
        if self.stop:
            self.end(trainer, alarm)
        return found | {"overfitting/alarm": alarm}


class LrRange(_Ending):
    """The training loss, smoothed by a mean whose weights halve every `half_life` steps. The run ends once the loss has
    lost the share `rise` of its fall since the start, or is not finite; `lr_range/broken` is the learning rate there
    (`python -m gptx fit lr_range`). Raises ValueError where validation comes before it: it would miss the end."""

    half_life: Positive
    rise: Share
    total = weight = 0.0
    first = lowest = math.nan
    remembered = ("total", "weight", "first", "lowest")
    order, reason = ("lr_range", "validation"), "ends the run, after which validation must run once more"

    def __call__(self, trainer) -> dict[str, float]:
        loss, keep = trainer.latest["train/loss"], 0.5 ** (1 / self.half_life)
        self.total, self.weight = keep * self.total + loss, keep * self.weight + 1
        smooth = self.total / self.weight
        if math.isnan(self.first):
            self.first = self.lowest = smooth
        self.lowest = min(self.lowest, smooth)
        fallen = max(self.first - self.lowest, _LEAST * self.first)
        if math.isfinite(smooth) and smooth - self.lowest <= self.rise * fallen:
            return {"lr_range/loss": smooth}
        lr = trainer.latest["train/lr"]
        self.end(trainer, f"lr_range: the loss broke at a learning rate of {lr:.3g}, {self.lowest:.4f} to {smooth:.4f}")
        return {"lr_range/loss": smooth, "lr_range/broken": lr}
