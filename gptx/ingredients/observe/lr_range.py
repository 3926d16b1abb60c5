"""Where a rising learning rate breaks the loss."""

import logging
import math

from gptx.ingredients.observe.observer import Observer
from gptx.ingredients.observe.validation import Validation
from gptx.units.lengths import Length

log = logging.getLogger(__name__)
LEAST = 0.1  # of the first loss, as a fall: at first rates that teach nothing the loss is noise, which is no break


class LrRange(Observer):
    """The smoothed training loss (a mean whose weights halve every `half_life` updates), and the end of the run once it
    has lost `rise` of what it had gained since its start, or is not finite. Its rate is then `lr_range/broken`.

    `python -m gptx fit lr_range` reads a peak rate off such a run. Raises ValueError where validation comes before it,
    which would have looked before the run is known to end.
    """

    def __init__(self, *, half_life: float, rise: float):
        super().__init__(every=Length(1))
        if not half_life > 0:
            raise ValueError(f"observe.lr_range.half_life={half_life}: a number of updates above 0")
        if not 0 < rise <= 1:
            raise ValueError(f"observe.lr_range.rise={rise}: a share of the fall, above 0 and at most 1")
        self.keep, self.rise = 0.5 ** (1 / half_life), rise
        self.total = self.weight = 0.0
        self.first = self.lowest = math.nan

    def attach(self, trainer) -> None:
        observers = list(trainer.observers.values())
        if any(isinstance(observer, Validation) for observer in observers[: observers.index(self)]):
            raise ValueError(
                "observe=lr_range ends the run, after which validation must look once more; set "
                "observe=[lr_range,validation], in that order"
            )

    def __call__(self, trainer) -> dict[str, float]:
        loss = trainer.latest["train/loss"]
        self.total, self.weight = self.keep * self.total + loss, self.keep * self.weight + 1
        smooth = self.total / self.weight
        if math.isnan(self.first):
            self.first = self.lowest = smooth
        self.lowest = min(self.lowest, smooth)
        fallen = max(self.first - self.lowest, LEAST * self.first)
        broken = not math.isfinite(smooth) or smooth - self.lowest > self.rise * fallen
        if not broken:
            return {"lr_range/loss": smooth}
        lr = trainer.latest["train/lr"]
        if not trainer.finished:
            trainer.ended = f"lr_range: the loss broke at a rate of {lr:.3g}, {self.lowest:.4f} to {smooth:.4f}"
            log.info("%s; the run ends here", trainer.ended)
        return {"lr_range/loss": smooth, "lr_range/broken": lr}

    def state_dict(self) -> dict:
        return {"total": self.total, "weight": self.weight, "first": self.first, "lowest": self.lowest}

    def load_state_dict(self, state: dict) -> None:
        self.total, self.weight = state["total"], state["weight"]
        self.first, self.lowest = state["first"], state["lowest"]
