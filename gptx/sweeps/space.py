"""What a study searches: keys of the recipe, each with a range or choices."""

import math
import re
from dataclasses import dataclass

from gptx.config.errors import ConfigError

KINDS = "log:1e-4..1e-1, float:0..0.3, int:2..8 or choice:0,5%"


@dataclass(frozen=True)
class Dimension:
    """A key that is searched: in a range (uniform, uniform in the logarithm, or integers), or among choices."""

    key: str
    kind: str  # log, float, int or choice
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    @property
    def corners(self) -> tuple[str, ...]:
        """Its lowest and highest value, or all choices, as in overrides."""
        return self.choices or (self.spelled(self.low), self.spelled(self.high))

    def at_end(self, value) -> bool:
        """True within 5 % of an end of the range, beyond which a better value may lie."""
        if self.kind == "choice":
            return False
        ends = (self.low, self.high, value)
        low, high, at = map(math.log, ends) if self.kind == "log" else ends
        return min(at - low, high - at) <= 0.05 * (high - low)

    def spelled(self, value) -> str:
        """A value as in overrides; numbers have four digits."""
        return str(value) if self.kind == "choice" else f"{value:.0f}" if self.kind == "int" else f"{value:.4g}"


def parse(words: list[str]) -> tuple[list[Dimension], list[str]]:
    """The dimensions of the search, and the other words. Raises ConfigError if there is none, or an invalid range."""
    space, rest = [], []
    for word in words:
        match = re.fullmatch(r"([^=]+)=(log|float|int|choice):(.*)", word)
        if match:
            space.append(_dimension(*match.groups()))
        else:
            rest.append(word)
    if not space:
        raise ConfigError(f"nothing to search: give a key as {KINDS}, such as optim.lr=log:1e-4..1e-1")
    return space, rest


def _dimension(key: str, kind: str, text: str) -> Dimension:
    if kind == "choice":
        choices = tuple(part.strip() for part in text.split(",") if part.strip())
        if len(set(choices)) < 2:
            raise ConfigError(f"{key}=choice:{text}: at least two different values, such as choice:0,5%")
        return Dimension(key, kind, choices=choices)
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ConfigError(f"{key}={kind}:{text}: a range is written LOW..HIGH, such as {KINDS}") from None
    if not (math.isfinite(ends[0]) and ends[0] < ends[1] < math.inf) or (kind == "log" and ends[0] <= 0):
        raise ConfigError(
            f"{key}={kind}:{text}: the first number must be below the second" + ", and above 0" * (kind == "log")
        )
    if kind == "int" and any(end != int(end) for end in ends):
        raise ConfigError(f"{key}=int:{text}: whole numbers")
    return Dimension(key, kind, *ends)


def distributions(space: list[Dimension]) -> dict:
    """The space as Optuna's distributions, by key."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict = {}
    for each in space:
        if each.kind == "choice":
            found[each.key] = CategoricalDistribution(each.choices)
        elif each.kind == "int":
            found[each.key] = IntDistribution(int(each.low), int(each.high))
        else:
            found[each.key] = FloatDistribution(each.low, each.high, log=each.kind == "log")
    return found
