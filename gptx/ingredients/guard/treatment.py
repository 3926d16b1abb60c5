"""What is done about trouble that does not pass by itself."""

from dataclasses import field

from gptx.units.lengths import Length
from gptx.units.options import Configured, Natural, Share, Steps


class Advice(Configured):
    """Nothing: the diagnosis is reported, and the run goes on."""

    lookback = Length(0)
    done: list[list[float]] = field(init=False, default_factory=list)  # rollbacks: step, lr factor, clock, batches

    def __call__(self) -> str:
        """The verdict on the step at which the trouble is diagnosed; "" leaves it as it is."""
        return ""

    def before(self, onset: int, step: int) -> int:
        """The step before which all was sound, if the trouble showed from `onset` on and is diagnosed at `step`."""
        return onset

    def rate(self, step: int) -> float:
        return 1.0

    def rolled_back(self, step: int, clock: int) -> int:
        """What a Guard answers; `clock` counts the steps judged."""
        return 0


class Rollback(Advice):
    """Back to before the trouble, past its batches, at a lower learning rate for a while: the recipe of PaLM
    (arXiv:2204.02311, section 5.1) and OPT (arXiv:2205.01068); at most `rollbacks` times, then the run is given up.

    The learning rate is multiplied by `lowered` for `cooldown` steps and then rises back over as many; while low, it is
    lowered further. `skip` batches beyond those drawn are skipped, doubled each time within `memory`."""

    rollbacks: Natural
    lowered: Share
    cooldown: Length
    skip: Natural
    memory: Natural
    margin: Natural
    lookback: Steps = field()  # has no default, unlike that of `Advice`
    remembered = ("done",)

    def __call__(self) -> str:
        return "rollback" if len(self.done) < self.rollbacks else "stop"

    def before(self, onset: int, step: int) -> int:
        """`margin` steps before the first symptom, no earlier than the oldest checkpoint or the previous target."""
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
