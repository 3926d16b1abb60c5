"""What is done about trouble that does not pass by itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gptx.units.lengths import Length


class Advice:
    """Nothing: the diagnosis is told, and the run goes on."""

    lookback = 0
    done: Sequence[
        list[float]
    ] = ()  # rollbacks: the update gone back to, the rate's factor, the clock, batches skipped

    def __call__(self) -> str:
        """The verdict on the update at which the trouble is diagnosed; "" leaves it as it is."""
        return ""

    def before(self, onset: int, step: int) -> int:
        """The update before which all was sound, if the trouble showed from `onset` on and is diagnosed at `step`."""
        return onset

    def rate(self, step: int) -> float:
        """Factor of the learning rate at update `step`."""
        return 1.0

    def rolled_back(self, step: int, clock: int) -> int:
        """Told of a rollback to after update `step`; the number of batches to skip beyond those already drawn."""
        return 0

    def state_dict(self) -> dict:
        """Plain values."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take up what `state_dict` gave."""


@dataclass
class Rollback(Advice):
    """Back to before the trouble, past its batches, at a lower rate for a while: the recipe of PaLM (arXiv:2204.02311,
    section 5.1) and OPT (arXiv:2205.01068); at most `rollbacks` times, then the run is given up.

    The rate is multiplied by `lowered` for `cooldown` updates and then rises back over as many; where it is still low,
    it is lowered further. `skip` batches beyond those drawn are left out, twice as many each time within `memory`.
    """

    rollbacks: int
    lowered: float
    cooldown: Length
    skip: int
    memory: int
    margin: int
    lookback: Length
    done: list[list[float]] = field(init=False, default_factory=list)

    def __post_init__(self):
        if not 0 < self.lowered <= 1:
            raise ValueError(f"guard.treatment.lowered={self.lowered}: a factor of the rate, above 0 and at most 1")
        for key in ("rollbacks", "skip", "margin", "memory"):
            if getattr(self, key) < 0:
                raise ValueError(f"guard.treatment.{key}={getattr(self, key)}: at least 0")
        if self.lookback < 1:
            raise ValueError(f"guard.treatment.lookback={self.lookback}: at least 1 update")

    def __call__(self) -> str:
        return "rollback" if len(self.done) < self.rollbacks else "stop"

    def before(self, onset: int, step: int) -> int:
        """Some updates before the first sign, as what spoils the weights shows only later; but no further than
        checkpoints reach, nor before what the last rollback went back to, which was sound."""
        return max(1, onset - self.margin, step - self.lookback + 1, *(int(one[0]) + 1 for one in self.done[-1:]))

    def rate(self, step: int) -> float:
        if not self.done:
            return 1.0
        back, factor, *_ = self.done[-1]
        restored = (step - back) / self.cooldown - 1 if self.cooldown else 1.0
        return factor + (1 - factor) * min(1.0, max(0.0, restored))

    def rolled_back(self, step: int, clock: int) -> int:
        recent = [skipped for *_, when, skipped in self.done if when > clock - self.memory]
        skipped = 2 * recent[-1] if recent else self.skip
        self.done.append([step, self.lowered * self.rate(step + 1), clock, skipped])
        return int(skipped)

    def state_dict(self) -> dict:
        return {"done": [list(one) for one in self.done]}

    def load_state_dict(self, state: dict) -> None:
        self.done = [list(one) for one in state["done"]]
