"""The moment when a model begins to memorise."""

import math
from dataclasses import field

from gptx.ingredients.observe.validation import AfterValidation
from gptx.units.options import Count


class Overfitting(AfterValidation):
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
            self.end(trainer, alarm)
        return found | {"overfitting/alarm": alarm}
