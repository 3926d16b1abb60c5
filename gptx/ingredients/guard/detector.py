"""How unusual a loss is, by statistics that a few outliers cannot spoil: medians and quartiles of what came before."""

import math
from bisect import bisect_left, insort
from collections import deque
from typing import NamedTuple

from gptx.units.options import Configured, Count, Positive

_NORMAL = 1.349  # quartile distance of a normal distribution of standard deviation 1
_TINY = 1e-30  # stands for a gradient norm of 0, which has no logarithm


class Reading(NamedTuple):
    """How far a step is from what came before it, in robust standard deviations; 0 while too little came before."""

    z: float  # of the loss; negative where it is below
    norm_z: float  # of the gradient norm's logarithm


class Detector(Configured):
    """Judges each loss by the `window` accepted ones before it, less their trend: the median of the last `trend` ones.

    The spread has a floor, in nats, and is widened while there are few losses; the first `history` losses are not
    judged. A slow rise shows in the median of the last `smooth` losses, against the lowest such median of the last
    `memory` steps. A step costs some microseconds."""

    window: Count
    trend: Count
    smooth: Count
    memory: int
    history: Count
    floor: Positive
    remembered = ("records",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory < max(self.window, self.trend, self.smooth):
            raise ValueError(f"memory={self.memory}: at least window, trend and smooth, which are parts of it")
        self.clear()

    def clear(self) -> None:
        self.records: list[list[float]] = []  # step, loss, log norm, loss without trend, smooth loss, how many before
        self.recent, self.slow = Window(self.trend), Window(self.smooth)
        self.residuals, self.norms = Window(self.window), Window(self.window)
        self.valleys: list[list[float]] = []  # step and smooth loss, where none later is lower; the first is lowest

    def __call__(self, loss: float, grad_norm: float) -> Reading:
        if len(self.records) < self.history:
            return Reading(0.0, 0.0)
        residual, falling = loss - self.level(), min(0.0, self.residuals.quantile(0.5))
        if residual < 0:  # below the level, as losses that fall are
            residual = min(0.0, residual - falling)
        norm = math.log(max(grad_norm, _TINY)) - self.norms.quantile(0.5)
        return Reading(residual / self.sigma(), norm / max(self.norms.spread(), 0.05) * self.confidence())

    def level(self) -> float:
        return self.recent.quantile(0.5) if self.records else math.nan

    def sigma(self) -> float:
        """Standard deviation of a loss around the trend, in nats."""
        return max(self.residuals.spread(), self.floor) / self.confidence()

    def confidence(self) -> float:
        """Below 1 where the spread is known from few losses."""
        return 1 / (1 + self.history / len(self.records))

    def learn(self, step: int, loss: float, grad_norm: float) -> None:
        """Count a step among the usual ones."""
        residual, count = (loss - self.level(), self.records[-1][5] + 1) if self.records else (0.0, 0)
        self.slow.add(loss)
        self.take([step, loss, math.log(max(grad_norm, _TINY)), residual, self.slow.quantile(0.5), count])

    def take(self, record: list[float]) -> None:
        """Add a record to all windows but `slow`, whose median it has."""
        step, loss, norm, residual, smooth, count = record
        self.records.append(record)
        if len(self.records) > self.memory:
            self.records.pop(0)
        self.recent.add(loss)
        self.residuals.add(residual)
        self.norms.add(norm)
        if count >= self.smooth - 1:
            while self.valleys and self.valleys[-1][1] >= smooth:
                self.valleys.pop()
            self.valleys.append([step, smooth])
            if self.valleys[0][0] < self.records[0][0]:
                self.valleys.pop(0)

    def rise(self) -> float:
        """How far the smooth loss is above its lowest, in standard deviations of a loss."""
        return (self.records[-1][4] - self.valleys[0][1]) / self.sigma() if self.valleys else 0.0

    def rose_at(self) -> int:
        """A window before the smooth loss was last within half a standard deviation of its lowest."""
        low = self.valleys[0][1] + 0.5 * self.sigma()
        return next(int(r[0]) for r in reversed(self.records) if r[4] <= low) - self.smooth

    def flat(self, steps: int) -> bool:
        """True if the smooth loss has not fallen, by one standard deviation, over at least `steps` steps."""
        return len(self.records) >= steps and self.records[-1][4] > self.records[-steps][4] - self.sigma()

    def load_state_dict(self, state: dict) -> None:
        self.clear()
        for record in state["records"]:
            self.slow.add(record[1])
            self.take(list(record))


class Window:
    """The last `size` values, kept in order of size too, so that a quantile is looked up and not computed."""

    def __init__(self, size: int):
        self.size, self.values, self.ordered = size, deque[float](), list[float]()

    def add(self, value: float) -> None:
        self.values.append(value)
        insort(self.ordered, value)
        if len(self.values) > self.size:
            del self.ordered[bisect_left(self.ordered, self.values.popleft())]

    def quantile(self, share: float) -> float:
        """The value below which that share of them lies, interpolated."""
        place = share * (len(self.ordered) - 1)
        below = int(place)
        if below == place:
            return self.ordered[below]
        return self.ordered[below] + (place - below) * (self.ordered[below + 1] - self.ordered[below])

    def spread(self) -> float:
        """Standard deviation of a normal distribution with these quartiles."""
        return (self.quantile(0.75) - self.quantile(0.25)) / _NORMAL
