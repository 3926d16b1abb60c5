"""How numbers, levels and units of a comparison are said."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from gptx.compare.arms import Arm, is_group, numeric
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate

NAMES = {"optim.lr": "peak rate", "batch.tokens": "tokens per update", "steps": "updates", "model.context": "context",
         "model.depth": "layers", "model.width": "width",
         "parametrization.rates.all": "rate factor"}  # fmt: skip
TOKENS = {"chars": "character", "bytes": "byte"}  # by tokenizer
UNITS = {"loss": "nats per {token}", "bits_per_byte": "bits per byte", "tokens_per_second": "tokens per second"}
FEW = 3  # combinations of factors that are told one by one; more are counted


@dataclass(frozen=True)
class Words:
    """The metric of a comparison, its unit, whether more of it is better, and how many decimals its values get."""

    metric: str
    unit: str
    rising: bool
    decimals: int

    def better(self, value: float) -> float:
        """A number that is less for what is better."""
        return -value if self.rising else value

    @property
    def best(self) -> str:
        return "highest" if self.rising else "lowest"

    def number(self, value: float | None, *, sign: str = "") -> str:
        """A value or a difference; a dash for none."""
        if value is None:
            return "-"
        text = f"{value:{sign},.{self.decimals}f}"
        return text.lstrip("+-") if not re.search("[1-9]", text) else text

    def brief(self, value: float) -> str:
        """A difference in two digits."""
        places = 1 - math.floor(math.log10(abs(value))) if value else 0
        return f"{value:,.{min(self.decimals, max(0, places))}f}"

    def amount(self, text: str) -> str:
        """A number with its unit."""
        return f"{text} {self.unit}".strip()

    def spread(self, arm: Arm) -> str:
        """Mean and standard deviation of an arm, or why it has none."""
        if arm.diverged:
            return f"diverged {arm.diverged} of {len(arm.results)}"
        mean = self.number(arm.mean)
        return mean if arm.spread is None else f"{mean} ± {self.number(arm.spread)}"

    def change(self, found: Estimate | None) -> str:
        """An estimate as a cell of a table."""
        if found is None:
            return "-"
        text = self.number(found.mean, sign="+")
        if found.low is None:
            return f"{text} (single seed)"
        if found.same:
            return f"{text} (the same)"
        span = f"{self.number(found.low, sign='+')} to {self.number(found.high, sign='+')}"
        return f"{text} ({span}{'' if found.told else ', cannot tell'})"

    def beside(self, found: Estimate | None, arm: Arm) -> str:
        """A difference as a cell in an arm's row, with its number of pairs where that is not the arm's n."""
        fewer = found and found.low is not None and found.n != len(arm.results)
        return f"{self.change(found)}{f', {found.n} pairs' if found and fewer else ''}"

    def relation(self, found: Estimate | None, other: str) -> str:
        """Where something is beside another, after "it is", and how sure that is."""
        if found is None:
            return f"without a finished seed in common with {other}"
        away = f"{self.amount(self.number(abs(found.mean)))} {'above' if found.mean > 0 else 'below'} {other}"
        if found.low is None or found.high is None:
            if not found.mean:
                return f"the same as {other} in the one seed that both have"
            return f"{away} in the one seed that both have, which cannot say what is chance"
        if found.same:
            return f"the same as {other} in each of {count(found.n, 'seed')}"
        seeds = count(found.n, "seed")
        if not found.told:
            low, high = (self.number(end, sign="+") for end in (found.low, found.high))
            mean = self.number(found.mean, sign="+")
            return f"not to be told from {other} ({mean}, 95 % interval {low} to {high}, {seeds})"
        near, far = (self.number(end) for end in sorted((abs(found.low), abs(found.high))))
        return f"{away} (95 % interval {near} to {far}, {seeds})"


def words(comparison: Comparison, found: Sequence[Arm]) -> Words:
    """The words for a comparison, with as many decimals as the spread of its arms deserves."""
    tokenizer = comparison.environment.get("tokenizer")
    token = TOKENS.get(tokenizer, "token") if isinstance(tokenizer, str) else "token"
    return Words(
        comparison.metric.replace("/", " ").replace("_", " "),
        UNITS.get(comparison.metric.split("/")[-1], "").format(token=token),
        comparison.better == "higher",
        decimals(found),
    )


def decimals(found: Sequence[Arm]) -> int:
    """Decimals for means: two digits of the usual spread over seeds, at most five digits; without a spread, five."""
    spreads = [arm.spread for arm in found if arm.spread]
    values = [abs(value) for arm in found for value in arm.results if value and math.isfinite(value)]
    if not values:
        return 4
    smallest = median(values) / 10**4
    digit = max(smallest, median(spreads) / 10) if spreads else smallest
    return max(0, -math.floor(math.log10(digit)))


def named(factor: str, level: str) -> str:
    """A level of a factor as one would say it: muon, peak rate 0.01, model.qk_norm=true."""
    if is_group(factor):
        return level or f"no {factor}"
    return f"{NAMES[factor]} {level}" if factor in NAMES else f"{factor}={level or 'not set'}"


def label(factor: str) -> str:
    """The name of a factor as the head of a column."""
    return f"{NAMES[factor]} ({factor})" if factor in NAMES else factor


def instead(factor: str, level: str, other: str) -> str:
    """muon instead of adamw, model.qk_norm=true instead of false."""
    return f"{named(factor, level)} instead of {(other if factor not in NAMES else '') or named(factor, other)}"


def where(levels: dict[str, str], *, again: bool = False) -> str:
    """Levels as a place: at peak rate 0.01, with model gpt_10m; empty of none. `again` leaves out the factor's name."""
    name, level = next(iter(levels.items()), ("", ""))
    if again and len(levels) == 1 and (is_group(name) or numeric([level])):
        return f"{'with' if is_group(name) else 'at'} {level}"
    return " and ".join(
        f"with {name} {level}" if is_group(name) else f"at {named(name, level)}" for name, level in levels.items()
    )


def places(contexts: list[dict[str, str]], *, again: bool = False) -> str:
    """Several places: at peak rate 0.003 and 0.01; empty of none. `again` leaves out the factor's name."""
    contexts = [context for context in contexts if context]
    if any(len(context) > 1 for context in contexts):
        return (
            joined(map(where, contexts))
            if len(contexts) <= FEW
            else f"in {len(contexts)} combinations of the other factors"
        )
    if not contexts:
        return ""
    first, *rest = contexts
    return joined([where(first, again=again), *(level for context in rest for level in context.values())])


def joined(phrases: Iterable[str], last: str = "and") -> str:
    """a, b and c."""
    *first, end = list(phrases) or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def count(number: int, noun: str) -> str:
    """1 seed, 3 seeds."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def sentence(*phrases: str) -> str:
    """Phrases that are not empty, with a capital and a full stop."""
    return f"{capital(' '.join(filter(None, phrases)))}."


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
