"""How long a run takes to a loss that was named before."""

import logging

from gptx.ingredients.observe.observer import Observer
from gptx.ingredients.observe.validation import Validation
from gptx.units.lengths import Length

log = logging.getLogger(__name__)


class Target(Observer):
    """Updates and tokens until the validation loss is at most `loss`, between two validations along a line; the run
    ends there for good. A run that never gets there reports nothing, and says so at its end.

    Raises ValueError unless validation comes before it.
    """

    def __init__(self, *, loss: float):
        super().__init__(every=Length(1))  # validation decides when there is something to see
        if not loss > 0:
            raise ValueError(f"observe.target.loss={loss}: a validation loss in nats a token, above 0")
        self.loss = loss
        self.before: tuple[float, float, float] | None = None  # updates, tokens and loss of the last validation

    def attach(self, trainer) -> None:
        observers = list(trainer.observers.values())
        if not any(isinstance(observer, Validation) for observer in observers[: observers.index(self)]):
            raise ValueError("observe=target reads the validation loss; set observe=[validation,target], in that order")

    def __call__(self, trainer) -> dict[str, float]:
        if "validation/loss" not in trainer.latest:
            return {}
        now = trainer.step, trainer.cursor * trainer.data.context, trainer.latest["validation/loss"]
        before, self.before = self.before or now, now
        if not now[2] <= self.loss:
            if trainer.finished:
                log.info("target: %g was not reached in %d updates; the last validation loss is %.4f", self.loss,
                         trainer.step, now[2])  # fmt: skip
            return {}
        share = (before[2] - self.loss) / (before[2] - now[2]) if before[2] > self.loss else 1.0
        step, tokens = (was + share * (is_ - was) for was, is_ in zip(before[:2], now[:2], strict=True))
        if not trainer.finished:
            trainer.ended = f"target: the validation loss is {now[2]:.4f}, at most {self.loss:g}"
            log.info("%s; the run ends here, after %.0f updates and %.0f tokens", trainer.ended, step, tokens)
        return {"target/step": step, "target/tokens": tokens}

    def state_dict(self) -> dict:
        return {"before": self.before}

    def load_state_dict(self, state: dict) -> None:
        self.before = state["before"] and tuple(state["before"])
