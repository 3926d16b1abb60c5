"""How numbers, levels and units of a comparison are said."""

import math
import re
from collections.abc import Iterable, Sequence
from statistics import median

from gptx.compare.arms import Arm, is_group
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate

NAMES = {"optim.lr": "peak rate", "batch.tokens": "tokens per update", "steps": "updates", "model.context": "context",
         "model.depth": "layers", "model.width": "width"}  # fmt: skip
TOKENS = {"chars": "character", "bytes": "byte"}  # by tokenizer
UNITS = {"loss": "nats per {token}", "bits_per_byte": "bits per byte", "tokens_per_second": "tokens per second"}
RISING = r"tokens_per_second|mfu|accuracy|parses"  # metrics of which more is better


class Words:
    """The words for one comparison: its metric, its unit, and as many decimals as the spread of seeds deserves."""

    def __init__(self, comparison: Comparison, found: Sequence[Arm]):
        last, tokenizer = comparison.metric.split("/")[-1], comparison.environment.get("tokenizer")
        token = TOKENS.get(tokenizer, "token") if isinstance(tokenizer, str) else "token"
        self.metric = comparison.metric.replace("/", " ").replace("_", " ")
        self.unit = UNITS.get(last, "").format(token=token)
        self.rising = bool(re.search(RISING, comparison.metric))
        self.decimals = decimals(found)

    def better(self, value: float) -> float:
        """A number that is less for what is better."""
        return -value if self.rising else value

    def number(self, value: float | None, *, sign: str = "") -> str:
        if value is None:
            return "-"
        text = f"{value:{sign},.{self.decimals}f}"
        return f"{0:.{self.decimals}f}" if float(text.replace(",", "")) == 0 else text

    def amount(self, value: float) -> str:
        """A number with its unit."""
        return f"{self.number(value)} {self.unit}".strip()

    def spread(self, arm: Arm) -> str:
        """Mean and standard deviation of an arm, or why it has none."""
        if arm.diverged:
            return f"diverged {arm.diverged} of {len(arm.results)}"
        return (
            f"{self.number(arm.mean)} ± {self.number(arm.spread)}" if arm.spread is not None else self.number(arm.mean)
        )

    def span(self, found: Estimate) -> str:
        """The interval of an estimate."""
        return f"{self.number(found.low, sign='+')} to {self.number(found.high, sign='+')}"

    def change(self, found: Estimate | None) -> str:
        """An estimate as a cell of a table."""
        if found is None:
            return "-"
        text = self.number(found.mean, sign="+")
        if found.low is None:
            return f"{text} (single seed)"
        return f"{text} ({self.span(found)}{'' if found.told else ', cannot tell'})"

    def difference(self, subject: str, found: Estimate | None, other: str) -> str:
        """How far the subject is from another, in a clause, and how sure that is."""
        if found is None:
            return f"{subject} and {other} have no finished seed in common"
        if found.low is None:
            return f"{subject} ends {self.distance(found.mean)} {other} with the one seed that both have, which cannot say what is chance"
        if not found.told:
            same = "end alike" if found.low == found.high else "cannot be told apart"
            return f"{subject} and {other} {same} with {count(found.n, 'seed')} ({self.number(found.mean, sign='+')}, 95 % interval {self.span(found)})"
        return f"{subject} ends {self.distance(found.mean)} {other} (95 % interval {self.span(found)}, {count(found.n, 'seed')})"

    def distance(self, difference: float) -> str:
        return f"{self.amount(abs(difference))} {'above' if difference > 0 else 'below'}"


def decimals(found: Sequence[Arm]) -> int:
    """Decimals for means: two digits of the usual spread over seeds; without one, five digits of the values."""
    spreads = [arm.spread for arm in found if arm.spread]
    values = [abs(value) for arm in found for value in arm.results if value and math.isfinite(value)]
    if not values:
        return 4
    size = median(spreads) / 10 if spreads else median(values) / 1e4
    return max(0, min(4 if median(values) > 0.1 else 9, -math.floor(math.log10(size))))


def named(factor: str, level: str) -> str:
    """A level of a factor as one would say it: muon, peak rate 0.01, model.qk_norm=true."""
    if is_group(factor):
        return level or f"no {factor}"
    return f"{NAMES[factor]} {level}" if factor in NAMES else f"{factor}={level or 'not set'}"


def label(factor: str) -> str:
    """The name of a factor as the head of a column."""
    return f"{NAMES[factor]} ({factor})" if factor in NAMES else factor


def where(levels: dict[str, str]) -> str:
    """Levels as a place: at peak rate 0.01, with model gpt_10m; empty of none."""
    return " and ".join(
        f"with {factor} {level}" if is_group(factor) else f"at {named(factor, level)}"
        for factor, level in levels.items()
    )


def joined(words: Iterable[str], last: str = "and") -> str:
    """a, b and c."""
    *first, end = list(words) or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def count(number: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
