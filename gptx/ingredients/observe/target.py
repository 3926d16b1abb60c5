"""How long a run takes to a loss that was named before."""

import logging

from gptx.ingredients.observe.validation import AfterValidation
from gptx.units.options import Positive

log = logging.getLogger(__name__)


class Target(AfterValidation):
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
        self.end(trainer, f"target: the validation loss is {now[2]:.4f}, at most {self.loss:g}, after {step:.0f} steps "
                          f"and {tokens:.0f} tokens")  # fmt: skip
        return {"target/step": step, "target/tokens": tokens}
