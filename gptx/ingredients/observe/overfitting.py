"""The moment when a model begins to memorise."""

import logging
import math

from gptx.ingredients.observe.observer import Observer
from gptx.ingredients.observe.validation import Validation
from gptx.units.lengths import Length

log = logging.getLogger(__name__)


class Overfitting(Observer):
    """Gap between the validation loss and the mean cross-entropy in training since the validation before, at each one.

    Alarm once `patience` validations in a row were no better than the best while the training loss fell below what it
    was then; with `stop` the alarm ends the run for good. Raises ValueError unless validation comes before it.
    """

    def __init__(self, *, patience: int, stop: bool):
        super().__init__(every=Length(1))  # to add up the training loss
        if patience < 1:
            raise ValueError(f"patience={patience} must be at least 1 validation")
        self.patience, self.stop = patience, stop
        self.total, self.count = 0.0, 0  # training loss since the last validation
        self.best: dict = {}  # the best validation: its loss, its update, the training loss then
        self.worse = 0  # validations since

    def attach(self, trainer) -> None:
        observers = list(trainer.observers.values())
        if not any(isinstance(observer, Validation) for observer in observers[: observers.index(self)]):
            raise ValueError(
                "observe=overfitting reads the validation loss; set observe=[validation,overfitting], in that order"
            )

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
            f"update {self.best['step']}, now {held_out:.4f}, while the training loss fell from "
            f"{self.best['train']:.4f} to {train:.4f}"
        )
        if self.stop and not trainer.finished:
            trainer.ended = alarm
            log.warning("%s; the run ends here (observe.overfitting.stop=true)", alarm)
        return found | {"overfitting/alarm": alarm}

    def state_dict(self) -> dict:
        return {"total": self.total, "count": self.count, "best": self.best, "worse": self.worse}

    def load_state_dict(self, state: dict) -> None:
        self.total, self.count = state["total"], state["count"]
        self.best, self.worse = state["best"], state["worse"]
