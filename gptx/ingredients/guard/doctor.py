"""Finds trouble, follows it, gives it a name, and has it treated."""

import math
from dataclasses import field

from gptx.ingredients.guard import Guard
from gptx.ingredients.guard.detector import Detector, Reading
from gptx.ingredients.guard.treatment import Advice
from gptx.units.options import Count, Positive, Steps

_OUTSIDE = Reading(math.inf, math.inf)  # what is not finite
_SOON = 5  # steps within which a second outlier is no coincidence
_CALM = 3  # usual steps in a row after which a spike is over
_FROZEN = 10  # steps in a row that are not finite: the weights stand still, and nothing more will happen
_HOPELESS = 100  # such steps after which the run is given up whatever the treatment: it computes nothing
_REPEATED = 3  # spikes within the detector's memory from which on the data is the cause

# courses that the loss can take, with their likely causes and what to do
RECOVERS = {"verdict": "single spike, recovers", "cause": "a hard or rare batch, or one fault in computing it",
            "response": "nothing, as long as it stays alone"}  # fmt: skip
STAYS = {"verdict": "spike, does not recover", "cause": "a learning rate too high for the present weights",
         "response": "go back to a checkpoint from before it and continue with a lower learning rate"}  # fmt: skip
DRIFTS = {"verdict": "slow divergence", "cause": "an instability that builds up, or data that gets worse",
          "response": "lower the learning rate, look at the data, warm up for longer"}  # fmt: skip
NAN_AT_ONCE = {"verdict": "immediate NaN",
               "cause": "a learning rate or an initialisation out of scale, or a number format that overflows",
               "response": "check the learning rate and the initialisation; compute in bf16, not fp16"}  # fmt: skip
REPEATS = {"verdict": "repeated spikes", "cause": "a part of the data that is not like the rest",
           "response": "look at the offending batches; clean them or leave them out"}  # fmt: skip
FLAT_THEN_NAN = {"verdict": "plateau, then NaN", "cause": "layers that saturated or died before anything showed",
                 "response": "watch activations and norms layer by layer (observe=activations)"}  # fmt: skip


class Doctor(Guard):
    """Drops what is not finite, reports incidents, and names them by the six rows of S1 (section 15.8).

    A step is an outlier from |z| = `outlier` on. An incident begins where z reaches `certain`, with a second outlier
    within 5 steps or one of the gradient norm too, and where loss or norm is not finite. It is over once 3 steps in a
    row are usual; if that takes over `patience` steps, or if the loss creeps up by `drift` standard deviations, the
    `treatment` follows. fp16 overflows count from the `overflows`-th in a row on. With `drop_outliers` no outlier
    reaches the weights, in an incident or outside."""

    detector: Detector
    treatment: Advice
    drop_outliers: bool
    outlier: Positive
    certain: float
    drift: Positive
    patience: Steps
    overflows: Count
    events: list[tuple[str, dict]] = field(init=False, default_factory=list)
    incident: dict = field(init=False, default_factory=dict)
    openings: list[int] = field(init=False, default_factory=list)  # when the latest incidents began, by the clock
    clock = 0  # steps judged, which repeat after a rollback
    suspect, suspected = -_SOON, 0  # the last outlier: clock and step
    accepted = norms = dropped = 0  # usual steps; outliers of the norm alone; steps that did not reach the weights
    overflown = nonfinite = calm = 0  # steps in a row
    remembered = ("events", "clock", "accepted", "suspect", "suspected", "norms", "overflown", "nonfinite", "calm",
                  "dropped", "incident", "openings", "onset", "diagnosis")  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.outlier <= self.certain:
            raise ValueError(f"guard.outlier={self.outlier} and guard.certain={self.certain}: the second no smaller")
        self.lookback = self.treatment.lookback

    def __call__(self, step: int, loss: float, grad_norm: float, *, overflow: bool = False) -> str:
        self.clock += 1
        self.overflown = self.overflown + 1 if overflow else 0
        if 0 < self.overflown < self.overflows:
            return "accept"
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        reading = self.detector(loss, grad_norm) if finite else _OUTSIDE
        if not self.incident and self.alarm(reading):
            self.open(step, loss, grad_norm, reading)
        if abs(reading.z) >= self.outlier:
            return self.suspicious(step, loss, reading, finite)
        self.norms += reading.norm_z >= self.outlier
        self.detector.learn(step, loss, grad_norm)
        self.accepted, self.calm, self.nonfinite = self.accepted + 1, self.calm + 1, 0
        return self.follow(step, loss) or "accept"

    def suspicious(self, step: int, loss: float, reading: Reading, finite: bool) -> str:
        dropped = self.drop_outliers or not finite
        self.dropped += dropped
        self.suspect, self.suspected, self.calm = self.clock, step, 0
        self.nonfinite = 0 if finite else self.nonfinite + 1
        if dropped and not self.incident:
            self.tell("outlier", f"{self.compared(loss, reading)}: the step is skipped", z=reading.z, loss=loss)
        return self.follow(step, loss) or ("skip" if dropped else "accept")

    def alarm(self, reading: Reading) -> bool:
        again = self.clock - self.suspect < _SOON
        together = abs(reading.z) >= self.outlier and (again or reading.norm_z >= self.outlier)
        return together or abs(reading.z) >= self.certain

    def open(self, step: int, loss: float, grad_norm: float, reading: Reading) -> None:
        onset = self.suspected if self.clock - self.suspect < _SOON else step
        self.openings = [when for when in self.openings if when > self.clock - self.detector.memory] + [self.clock]
        self.incident = {"onset": onset, "detected": step, "opened": self.clock, "told": False}
        self.tell("spike", self.compared(loss, reading), z=reading.z, norm_z=reading.norm_z, loss=loss,
                  grad_norm=grad_norm, usual=self.detector.level(), norm_outliers=self.norms)  # fmt: skip

    def follow(self, step: int, loss: float) -> str:
        """The verdict that an open incident asks for, or a loss that creeps up; "" if none."""
        if not self.incident:
            if self.detector.rise() < self.drift:
                return ""
            onset = max(1, self.detector.rose_at())
            self.incident = {"onset": onset, "detected": step, "opened": self.clock, "told": False}
            return self.treat(step, loss, DRIFTS, f"the loss has crept up to {loss:.4g} since about step {onset}")
        lasted, told = self.clock - self.incident["opened"], self.incident["told"]
        if self.calm >= _CALM:
            if not told:
                lasted += 1 - _CALM
                text = f"back to usual after {lasted} steps; {self.dropped} in all were kept from the weights so far"
                self.tell("recovered", text, self.named(RECOVERS), loss=loss, lasted=lasted, dropped=self.dropped)
            self.incident = {}
        elif (lasted >= self.patience or self.nonfinite >= _FROZEN) and not told:
            what = "loss or gradient not finite" if self.nonfinite else f"loss {loss:.4g}, not back to usual"
            return self.treat(step, loss, self.name(), f"{what} since step {self.incident['onset']}")
        return "stop" if self.nonfinite >= _HOPELESS else ""

    def name(self) -> dict[str, str]:
        """What a spike is that does not pass."""
        if self.nonfinite and self.accepted < self.detector.history:
            return NAN_AT_ONCE
        if self.nonfinite and self.detector.flat(self.detector.memory // 4):
            return FLAT_THEN_NAN
        return self.named(STAYS)

    def named(self, single: dict[str, str]) -> dict[str, str]:
        return REPEATS if len(self.openings) >= _REPEATED else single

    def treat(self, step: int, loss: float, verdict: dict[str, str], text: str) -> str:
        """Report the diagnosis; returns the verdict that the treatment asks for."""
        self.diagnosis = self.tell("diagnosis", text, verdict, loss=loss, rollbacks=len(self.treatment.done))
        self.onset = self.treatment.before(self.incident["onset"], step)
        asked = self.treatment()
        if asked:
            self.incident, self.calm, self.nonfinite = {}, 0, 0
            self.diagnosis += f" (after {len(self.treatment.done)} rollbacks)"
        else:  # what was unusual is usual from here on
            self.incident["told"] = True
            self.detector.clear()
        return asked

    def compared(self, loss: float, reading: Reading) -> str:
        if reading is _OUTSIDE:
            return f"{'the gradient' if math.isfinite(loss) else 'the loss'} is not finite"
        return f"loss {loss:.4g} where {self.detector.level():.4g} is usual, z = {reading.z:.1f}"

    def tell(self, kind: str, text: str, verdict: dict[str, str] | None = None, **facts) -> str:
        """Keep an event for the trainer; returns its text."""
        when = {key: self.incident[key] for key in ("onset", "detected") if key in self.incident}
        if verdict:
            text = f"{verdict['verdict']}: {text}; likely {verdict['cause']}. Advice: {verdict['response']}"
        self.events.append((kind, {"text": text, **when, **facts, **(verdict or {})}))
        return text

    def rate(self, step: int) -> float:
        return self.treatment.rate(step)

    def news(self) -> list[tuple[str, dict]]:
        events, self.events = self.events, []
        return events

    def rolled_back(self, step: int) -> int:
        self.detector.load_state_dict({"records": [each for each in self.detector.records if each[0] <= step]})
        self.suspect = self.clock - _SOON  # it belongs to what was undone
        skipped = self.treatment.rolled_back(step, self.clock)
        factor = self.rate(step + 1)
        text = f"the learning rate times {factor:.3g} from step {step + 1} on, {skipped} more batches skipped"
        self.tell("treatment", text, factor=factor, skipped=skipped, rollbacks=len(self.treatment.done))
        return skipped

    def state_dict(self) -> dict:
        return super().state_dict() | {name: getattr(self, name).state_dict() for name in ("detector", "treatment")}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.detector.load_state_dict(state["detector"])
        self.treatment.load_state_dict(state["treatment"])
