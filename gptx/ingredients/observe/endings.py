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
        """End the run for good after this step."""
        if not trainer.finished:
            trainer.ended = reason
            log.info("%s; the run ends here", reason)


class Target(_Ending):
    """Steps and tokens until the validation loss is at most `loss`, between two validations along a line; the run ends
    there for good. A run that never gets there reports nothing, and says so at its end."""

    loss: Positive
    before = None  # step, tokens and loss of the last validation
    order, remembered = ("validation", "target"), ("before",)

    def __call__(self, trainer) -> dict[str, float]:
        if "validation/loss" not in trainer.latest:
            return {}
        now = step, tokens, loss = (
            trainer.step,
            trainer.cursor * trainer.data.context,
            trainer.latest["validation/loss"],
        )
        (*was, worse), self.before = self.before or now, now
        if not loss <= self.loss:
            if trainer.finished:
                text = "target: %g was not reached in %d steps; the last validation loss is %.4f"
                log.info(text, self.loss, step, loss)
            return {}
        share = (worse - self.loss) / (worse - loss) if worse > self.loss else 1.0
        step, tokens = (old + share * (new - old) for old, new in zip(was, (step, tokens), strict=True))
        reached = f"the validation loss is {loss:.4f}, at most {self.loss:g}"
        self.end(trainer, f"target: {reached}, after {step:.0f} steps and {tokens:.0f} tokens")
        return {"target/step": step, "target/tokens": tokens}


class Overfitting(_Ending):
    """Validation loss minus the mean training cross-entropy since the validation before, at each validation.

    The alarm comes after `patience` validations in a row that were no better than the best, while the training loss
    fell; with `stop` it ends the run for good."""

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
            self.end(trainer, alarm)
        return found | {"overfitting/alarm": alarm}


class LrRange(_Ending):
    """The training loss, smoothed by a mean whose weights halve every `half_life` steps. The run ends once the loss has
    lost the share `rise` of its fall since the start, or is not finite; `lr_range/broken` is the learning rate there.

    `python -m gptx fit lr_range` reads a peak learning rate off such a run. Raises ValueError where validation comes
    before it, since that would run before it is known that the run ends."""

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
