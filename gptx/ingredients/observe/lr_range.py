"""Where a rising learning rate breaks the loss."""

import math
from dataclasses import field

from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.validation import validated_before
from gptx.units.lengths import Length
from gptx.units.options import Positive, Share

LEAST = 0.1  # share of the first loss, the least fall: the first rates teach nothing, and noise is no break


class LrRange(Observer):
    """The training loss, smoothed by a mean whose weights halve every `half_life` steps. The run ends once the loss has
    lost the share `rise` of its fall since the start, or is not finite; `lr_range/broken` is the learning rate there.

    `python -m gptx fit lr_range` reads a peak learning rate off such a run. Raises ValueError where validation comes
    before it, since that would run before it is known that the run ends.
    """

    every: Length = field(init=False, default=Length(1))
    half_life: Positive
    rise: Share
    total = weight = 0.0
    first = lowest = math.nan
    remembered = ("total", "weight", "first", "lowest")

    def attach(self, trainer) -> None:
        if validated_before(self, trainer):
            raise ValueError("observe=lr_range ends the run, after which validation must run once more; set "
                             "observe=[lr_range,validation], in that order")  # fmt: skip

    def __call__(self, trainer) -> dict[str, float]:
        loss, keep = trainer.latest["train/loss"], 0.5 ** (1 / self.half_life)
        self.total, self.weight = keep * self.total + loss, keep * self.weight + 1
        smooth = self.total / self.weight
        if math.isnan(self.first):
            self.first = self.lowest = smooth
        self.lowest = min(self.lowest, smooth)
        fallen = max(self.first - self.lowest, LEAST * self.first)
        if math.isfinite(smooth) and smooth - self.lowest <= self.rise * fallen:
            return {"lr_range/loss": smooth}
        lr = trainer.latest["train/lr"]
        self.end(trainer, f"lr_range: the loss broke at a learning rate of {lr:.3g}, {self.lowest:.4f} to {smooth:.4f}")
        return {"lr_range/loss": smooth, "lr_range/broken": lr}
