"""What a study searches: keys of the recipe, each with a range or choices, as written on its command line."""

import math
import re
from dataclasses import dataclass

from gptx.config.errors import ConfigError

KINDS = "log:1e-4..1e-1, float:0..0.3, int:2..8 or choice:0,5%"


@dataclass(frozen=True)
class Dimension:
    """A key of the recipe whose value is searched: in a range (evenly, evenly in its logarithm, whole numbers), or
    among choices."""

    key: str
    kind: str  # log, float, int or choice
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    @property
    def corners(self) -> tuple[str, ...]:
        """The values at its ends, or all choices, as overrides have them."""
        return self.choices or (self.spelled(self.low), self.spelled(self.high))

    def at_end(self, value) -> bool:
        """True if a value lies within a twentieth of the range of one of its ends; a better one may lie beyond."""
        if self.kind == "choice":
            return False
        ends = (self.low, self.high, value)
        low, high, at = map(math.log, ends) if self.kind == "log" else ends
        return min(at - low, high - at) <= 0.05 * (high - low)

    def spelled(self, value) -> str:
        """A value as overrides have it, numbers to four digits."""
        return str(value) if self.kind == "choice" else f"{value:.0f}" if self.kind == "int" else f"{value:.4g}"


def parse(words: list[str]) -> tuple[list[Dimension], list[str]]:
    """What is searched, and the words that are not. Raises ConfigError if nothing is, or a range is none."""
    space, rest = [], []
    for word in words:
        match = re.fullmatch(r"([^=]+)=(log|float|int|choice):(.*)", word)
        if match:
            space.append(dimension(*match.groups()))
        else:
            rest.append(word)
    if not space:
        raise ConfigError(f"nothing to search: give a key as {KINDS}, such as optim.lr=log:1e-4..1e-1")
    return space, rest


def dimension(key: str, kind: str, text: str) -> Dimension:
    """A key with the range or the choices of its value."""
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
    """The space as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    made = {
        "choice": lambda each: CategoricalDistribution(each.choices),
        "int": lambda each: IntDistribution(int(each.low), int(each.high)),
        "float": lambda each: FloatDistribution(each.low, each.high),
        "log": lambda each: FloatDistribution(each.low, each.high, log=True),
    }
    return {each.key: made[each.kind](each) for each in space}
