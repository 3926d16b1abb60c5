"""What a study searches: keys of the recipe, each with a distribution of Optuna's (a range or choices)."""

import math
import re
from typing import Any

from gptx.config.errors import ConfigError

_KINDS = "log:1e-4..1e-1, float:0..0.3, int:2..8 or choice:0,5%"


def parse_space(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The distribution of each searched key, and the other words. Raises ConfigError if there is none, or an invalid
    range."""
    space, rest = {}, []
    for word in words:
        if match := re.fullmatch(r"([^=]+)=(log|float|int|choice):(.*)", word):
            space[match[1]] = _distribution(*match.groups())
        else:
            rest.append(word)
    if not space:
        raise ConfigError(f"nothing to search: give a key as {_KINDS}, such as optim.lr=log:1e-4..1e-1")
    return space, rest


def _distribution(key: str, kind: str, text: str) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if kind == "choice":
        choices = tuple(filter(None, map(str.strip, text.split(","))))
        if len(set(choices)) < 2:
            raise ConfigError(f"{key}=choice:{text}: at least two different values, such as choice:0,5%")
        return CategoricalDistribution(choices)
    try:
        low, high = map(float, text.split(".."))
    except ValueError:
        raise ConfigError(f"{key}={kind}:{text}: a range is written LOW..HIGH, such as {_KINDS}") from None
    if not -math.inf < low < high < math.inf or (kind == "log" and low <= 0):
        line = "the first number must be below the second" + ", and above 0" * (kind == "log")
        raise ConfigError(f"{key}={kind}:{text}: {line}")
    if kind == "int":
        if low != int(low) or high != int(high):
            raise ConfigError(f"{key}=int:{text}: whole numbers")
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=kind == "log")


def corners(distribution: Any) -> list[str]:
    """The lowest and the highest value, or all choices, as in overrides."""
    return list(map(space_text, getattr(distribution, "choices", None) or (distribution.low, distribution.high)))


def at_end(distribution: Any, value: Any) -> bool:
    """True within 5 % of an end of the range, beyond which a better value may lie."""
    if hasattr(distribution, "choices"):
        return False
    ends = distribution.low, distribution.high, value
    low, high, at = map(math.log, ends) if distribution.log else ends
    return min(at - low, high - at) <= 0.05 * (high - low)


def space_text(value: Any) -> str:
    """A value as in overrides; numbers have four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
