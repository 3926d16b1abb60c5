"""Observers that can end a run: at a validation loss, where a rising learning rate breaks the loss, at overfitting."""

import logging
import math
from dataclasses import field
from itertools import takewhile

from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.validation import Validation
from gptx.units.lengths import Length
from gptx.units.options import Count, Positive, Share

log = logging.getLogger(__name__)
_LEAST = 0.1  # share of the first loss, the least fall: the first learning rates teach nothing, and noise is no break


def _validated_before(observer: Observer, trainer) -> bool:
    """True if validation comes before the observer, which then sees the validation loss of its step."""
    earlier = takewhile(lambda each: each is not observer, trainer.observers.values())
    return any(isinstance(each, Validation) for each in earlier)


def _end(trainer, reason: str) -> None:
    """End the run for good after this step."""
    if not trainer.finished:
        trainer.ended = reason
        log.info("%s; the run ends here", reason)


class _AfterValidation(Observer):
    """An observer that reads the validation loss. Raises ValueError unless validation comes before it."""

    every: Length = field(init=False, default=Length(1))  # validation decides when there is something to see

    def attach(self, trainer) -> None:
        if not _validated_before(self, trainer):
            name = type(self).__name__.lower()
            raise ValueError(
                f"observe={name} reads the validation loss; set observe=[validation,{name}], in that order"
            )


class Target(_AfterValidation):
    """Steps and tokens until the validation loss is at most `loss`, between two validations along a line; the run ends
    there for good. A run that never gets there reports nothing, and says so at its end."""

    loss: Positive
    before = None  # step, tokens and loss of the last validation
    remembered = ("before",)

    def __call__(self, trainer) -> dict[str, float]:
        if "validation/loss" not in trainer.latest:
            return {}
        now = trainer.step, trainer.cursor * trainer.data.context, trainer.latest["validation/loss"]
        before, self.before = self.before or now, now
        if not now[2] <= self.loss:
            if trainer.finished:
                log.info("target: %g was not reached in %d steps; the last validation loss is %.4f", self.loss,
                         trainer.step, now[2])  # fmt: skip
            return {}
        share = (before[2] - self.loss) / (before[2] - now[2]) if before[2] > self.loss else 1.0
        step, tokens = (was + share * (is_ - was) for was, is_ in zip(before[:2], now[:2], strict=True))
        _end(trainer, f"target: the validation loss is {now[2]:.4f}, at most {self.loss:g}, after {step:.0f} steps "
                          f"and {tokens:.0f} tokens")  # fmt: skip
        return {"target/step": step, "target/tokens": tokens}


class Overfitting(_AfterValidation):
    """Validation loss minus the mean training cross-entropy since the validation before, at each validation.

    The alarm comes after `patience` validations in a row that were no better than the best, while the training loss
    fell; with `stop` it ends the run for good."""

    patience: Count
    stop: bool
    total = 0.0  # training losses since the last validation
    count = 0  # of them
    best: dict = field(init=False, default_factory=dict)  # the best validation: its loss, step and training loss
    worse = 0  # validations since
    remembered = ("total", "count", "best", "worse")

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
            self.best, self.worse = {"loss": held_out, "step": trainer.step, "train": train}, 0
            return found
        self.worse += 1
        if self.worse < self.patience or train >= self.best["train"]:
            return found
        alarm = (
            f"overfitting: no validation was better for {self.worse} in a row; best {self.best['loss']:.4f} after "
            f"step {self.best['step']}, now {held_out:.4f}, while the training loss fell from "
            f"{self.best['train']:.4f} to {train:.4f}"
        )
        if self.stop:
            _end(trainer, alarm)
        return found | {"overfitting/alarm": alarm}


class LrRange(Observer):
    """The training loss, smoothed by a mean whose weights halve every `half_life` steps. The run ends once the loss has
    lost the share `rise` of its fall since the start, or is not finite; `lr_range/broken` is the learning rate there.

    `python -m gptx fit lr_range` reads a peak learning rate off such a run. Raises ValueError where validation comes
    before it, since that would run before it is known that the run ends."""

    every: Length = field(init=False, default=Length(1))
    half_life: Positive
    rise: Share
    total = weight = 0.0
    first = lowest = math.nan
    remembered = ("total", "weight", "first", "lowest")

    def attach(self, trainer) -> None:
        if _validated_before(self, trainer):
            raise ValueError("observe=lr_range ends the run, after which validation must run once more; set "
                             "observe=[lr_range,validation], in that order")  # fmt: skip

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
        _end(trainer, f"lr_range: the loss broke at a learning rate of {lr:.3g}, {self.lowest:.4f} to {smooth:.4f}")
        return {"lr_range/loss": smooth, "lr_range/broken": lr}
