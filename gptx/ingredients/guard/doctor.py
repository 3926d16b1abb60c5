"""Finds trouble, follows it, gives it a name, and has it treated."""

import copy
import math

from gptx.ingredients.guard import Guard
from gptx.ingredients.guard.detector import Detector, Reading
from gptx.ingredients.guard.treatment import Advice
from gptx.ingredients.guard.verdicts import DRIFTS, FLAT_THEN_NAN, NAN_AT_ONCE, RECOVERS, REPEATS, STAYS, Verdict
from gptx.units.lengths import Length

STATE = (
    "events", "clock", "accepted", "suspect", "suspected", "norms", "overflown", "nonfinite", "calm", "dropped",
    "incident", "openings", "onset", "diagnosis",
)  # fmt: skip
OUTSIDE = Reading(math.inf, math.inf)  # what is not finite
SOON = 5  # updates within which a second outlier is no coincidence
CALM = 3  # updates in a row that are back among the usual ones, after which a spike is over
FROZEN = 10  # updates in a row that are not finite: the weights stand still, and no more will come of it
HOPELESS = 100  # of them, after which the run is given up whatever the treatment: it computes nothing
REPEATED = 3  # spikes within the detector's memory, from which on it is the data


class Doctor(Guard):
    """Drops what is not finite, reports incidents, and says by S1's six rows (section 15.8) what they are.

    An update is an outlier from |z| = `outlier` on. An incident opens where z reaches `certain`, with a second outlier
    within 5 updates, with an outlier of the gradient norm too, and where loss or norm is not finite; a norm alone
    opens none. It is over once 3 updates in a row are usual; where that takes more than `patience` updates, and where
    the loss creeps up by `drift` standard deviations, the `treatment` follows. fp16 overflows count from the
    `overflows`-th in a row on. With `drop_outliers` no outlier reaches the weights, in an incident or outside.
    """

    def __init__(self, *, detector: Detector, treatment: Advice, drop_outliers: bool, outlier: float, certain: float,
                 drift: float, patience: Length, overflows: int):  # fmt: skip
        if not 0 < outlier <= certain:
            raise ValueError(f"guard.outlier={outlier} and guard.certain={certain}: above 0, and the second no smaller")
        if not drift > 0:
            raise ValueError(f"guard.drift={drift}: standard deviations, above 0")
        for key, count in {"patience": patience, "overflows": overflows}.items():
            if count < 1:
                raise ValueError(f"guard.{key}={count}: at least 1 update")
        self.detector, self.treatment, self.drop_outliers = detector, treatment, drop_outliers
        self.outlier, self.certain, self.drift = outlier, certain, drift
        self.patience, self.overflows = patience, overflows
        self.lookback = treatment.lookback
        self.events: list[tuple[str, dict]] = []
        self.clock = 0  # updates judged, which repeat after a rollback
        self.accepted = 0  # of them usual
        self.suspect = -SOON  # when the last outlier was
        self.suspected = 0  # and which update
        self.norms = 0  # outliers of the gradient norm alone
        self.overflown = self.nonfinite = self.calm = 0  # in a row
        self.incident: dict = {}
        self.dropped = 0  # updates that did not reach the weights
        self.openings: list[int] = []  # when the latest incidents opened

    def __call__(self, step: int, loss: float, grad_norm: float, *, overflow: bool = False) -> str:
        self.clock += 1
        self.overflown = self.overflown + 1 if overflow else 0
        if 0 < self.overflown < self.overflows:
            return "accept"
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        reading = self.detector(loss, grad_norm) if finite else OUTSIDE
        unusual = abs(reading.z) >= self.outlier
        if not self.incident and self.alarm(reading):
            self.open(step, loss, grad_norm, reading)
        if unusual:
            dropped = self.drop_outliers or not finite
            self.dropped += dropped
            self.suspect, self.suspected, self.calm = self.clock, step, 0
            self.nonfinite = 0 if finite else self.nonfinite + 1
            if dropped and not self.incident:
                self.tell("outlier", f"{self.beside(loss, reading)}: the update is dropped", z=reading.z, loss=loss)
            return self.follow(step, loss) or ("skip" if dropped else "accept")
        self.norms += reading.norm_z >= self.outlier
        self.detector.learn(step, loss, grad_norm)
        self.accepted, self.calm, self.nonfinite = self.accepted + 1, self.calm + 1, 0
        return self.follow(step, loss) or "accept"

    def alarm(self, reading: Reading) -> bool:
        """Whether an incident begins."""
        again = self.clock - self.suspect < SOON
        together = abs(reading.z) >= self.outlier and (again or reading.norm_z >= self.outlier)
        return together or abs(reading.z) >= self.certain

    def open(self, step: int, loss: float, grad_norm: float, reading: Reading) -> None:
        """Begin an incident, with this update or with an outlier just before."""
        onset = self.suspected if self.clock - self.suspect < SOON else step
        self.openings = [when for when in self.openings if when > self.clock - self.detector.memory] + [self.clock]
        self.incident = {"onset": onset, "detected": step, "opened": self.clock, "told": False}
        self.tell("spike", self.beside(loss, reading), z=reading.z, norm_z=reading.norm_z, loss=loss,
                  grad_norm=grad_norm, usual=self.detector.level(), norm_outliers=self.norms)  # fmt: skip

    def follow(self, step: int, loss: float) -> str:
        """See how an open incident goes on, or whether one creeps up; what is to be done about it, "" if nothing."""
        if not self.incident:
            if self.detector.rise() < self.drift:
                return ""
            onset = max(1, self.detector.rose_at())
            self.incident = {"onset": onset, "detected": step, "opened": self.clock, "told": False}
            return self.treat(step, loss, DRIFTS, f"the loss has crept up to {loss:.4g} since about update {onset}")
        since, lasted = f"since update {self.incident['onset']}", self.clock - self.incident["opened"]
        if self.calm >= CALM:
            if not self.incident["told"]:
                verdict = REPEATS if len(self.openings) >= REPEATED else RECOVERS
                lasted += 1 - CALM
                text = f"back to usual after {lasted} updates; {self.dropped} in all were kept from the weights so far"
                self.tell("recovered", text, verdict, loss=loss, lasted=lasted, dropped=self.dropped)
            self.incident = {}
        elif (lasted >= self.patience or self.nonfinite >= FROZEN) and not self.incident["told"]:
            what = "loss or gradient not finite" if self.nonfinite else f"loss {loss:.4g}, not back to usual"
            return self.treat(step, loss, self.name(), f"{what} {since}")
        return "stop" if self.nonfinite >= HOPELESS else ""

    def name(self) -> Verdict:
        """The verdict on a spike that does not pass."""
        if self.nonfinite and self.accepted < self.detector.history:
            return NAN_AT_ONCE
        if self.nonfinite and self.detector.flat(updates=self.detector.memory // 4):
            return FLAT_THEN_NAN
        return REPEATS if len(self.openings) >= REPEATED else STAYS

    def treat(self, step: int, loss: float, verdict: Verdict, text: str) -> str:
        """Tell the diagnosis; what the treatment asks for."""
        self.diagnosis = told(text, verdict)
        self.tell("diagnosis", text, verdict, loss=loss, rollbacks=len(self.treatment.done))
        self.onset = self.treatment.before(self.incident["onset"], step)
        asked = self.treatment()
        if asked:
            self.incident, self.calm, self.nonfinite = {}, 0, 0
            self.diagnosis += f" (after {len(self.treatment.done)} rollbacks)"
        else:  # what was unusual is usual from here on
            self.incident["told"] = True
            self.detector.clear()
        return asked

    def beside(self, loss: float, reading: Reading) -> str:
        """The loss and what would have been usual."""
        if reading is OUTSIDE:
            return f"{'the gradient' if math.isfinite(loss) else 'the loss'} is not finite"
        return f"loss {loss:.4g} where {self.detector.level():.4g} is usual, z = {reading.z:.1f}"

    def tell(self, kind: str, text: str, verdict: Verdict | None = None, **facts) -> None:
        """Keep an event for the trainer."""
        named = {"verdict": verdict.name, "cause": verdict.cause, "response": verdict.response} if verdict else {}
        when = {key: self.incident[key] for key in ("onset", "detected") if key in self.incident}
        self.events.append((kind, {"text": told(text, verdict), **when, **facts, **named}))

    def rate(self, step: int) -> float:
        return self.treatment.rate(step)

    def news(self) -> list[tuple[str, dict]]:
        events, self.events = self.events, []
        return events

    def rolled_back(self, step: int) -> int:
        self.detector.forget_after(step)
        self.suspect = self.clock - SOON  # it belongs to what was undone
        skipped = self.treatment.rolled_back(step, self.clock)
        factor = self.rate(step + 1)
        text = f"the learning rate times {factor:.3g} from update {step + 1} on, {skipped} more batches left out"
        self.tell("treatment", text, factor=factor, skipped=skipped, rollbacks=len(self.treatment.done))
        return skipped

    def state_dict(self) -> dict:
        own = {name: copy.copy(getattr(self, name)) for name in STATE}
        return {**own, "detector": self.detector.state_dict(), "treatment": self.treatment.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        for name in STATE:
            setattr(self, name, copy.copy(state[name]))
        self.detector.load_state_dict(state["detector"])
        self.treatment.load_state_dict(state["treatment"])


def told(text: str, verdict: Verdict | None) -> str:
    """One line with the verdict's words."""
    return f"{verdict.name}: {text}; likely {verdict.cause}. Advice: {verdict.response}" if verdict else text
