"""How numbers, levels and units of a comparison are said."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from gptx.compare.arms import Arm, is_group, numeric
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate, holm
from gptx.units.phrases import count, joined

NAMES = {"optim.lr": "learning rate", "batch.tokens": "tokens per step", "steps": "steps", "model.context": "context",
         "model.depth": "layers", "model.width": "width",
         "parametrization.rates.all": "learning-rate factor"}  # fmt: skip
TOKENS = {"chars": "character", "bytes": "byte"}  # by tokenizer
UNITS = {"loss": "nats per {token}", "bits_per_byte": "bits per byte", "tokens_per_second": "tokens per second"}
FEW = 3  # combinations of factors that are told one by one; more are counted


@dataclass(frozen=True)
class Words:
    """The metric of a comparison, its unit, whether more of it is better, and how many decimals its values get, and
    differences at most."""

    metric: str
    unit: str
    rising: bool
    decimals: int
    finest: int

    def better(self, value: float) -> float:
        """A number that is less for what is better."""
        return -value if self.rising else value

    @property
    def best(self) -> str:
        return "highest" if self.rising else "lowest"

    def number(self, value: float | None, *, sign: str = "", decimals: int | None = None) -> str:
        """A value or a difference; a dash for none."""
        if value is None:
            return "-"
        text = f"{value:{sign},.{self.decimals if decimals is None else decimals}f}"
        return text.lstrip("+-") if not re.search("[1-9]", text) else text

    def brief(self, value: float) -> str:
        """A difference in two digits."""
        return f"{value:,.{self.digits(value)}f}"

    def digits(self, size: float) -> int:
        """The decimals that show two digits of a number that is no rounding error."""
        return min(self.finest + 8, max(0, 1 - math.floor(math.log10(abs(size))))) if size else self.decimals

    def ends(self, found: Estimate) -> Iterator[str]:
        """The mean of an estimate and the ends of its interval, in two digits of half its width within what the values
        can show, and of the mean where that is told."""
        single = found.low is None or found.high is None
        decimals = self.decimals if single else min(self.finest, self.digits((found.high - found.low) / 2))  # type: ignore[operator]
        if single or found.told:
            decimals = max(decimals, self.digits(found.mean))
        for value in (found.mean,) if single else (found.mean, found.low, found.high):
            yield self.number(value, sign="+", decimals=decimals)

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
        """An estimate as a cell of a table, which is judged for itself."""
        if found is None:
            return "-"
        text, *span = self.ends(found)
        aside = [" to ".join(span)] if span and not found.same else []
        aside += ["single seed"] if not span else ["the same"] if found.same else []
        aside += ["not significant"] if span and not found.told and not found.same else []
        aside += ["unpaired"] if not found.paired else []
        return f"{text} ({', '.join(aside)})"

    def against(self, found: Estimate | None, arm: Arm) -> str:
        """A difference as a cell in an arm's row, with its number of pairs where that is not the arm's n."""
        fewer = found and found.low is not None and found.paired and found.n != len(arm.results)
        return f"{self.change(found)}{f', {found.n} pairs' if found and fewer else ''}"

    def interval(self, found: Estimate) -> str:
        """-0.02, 95 % interval -0.03 to -0.01 before correction, 3 seeds."""
        text, *span = self.ends(found)
        before = " before correction" if found.told and not found.significant else ""
        seeds = count(found.n, "seed") if found.paired else "no seed in common"
        return f"{text}, 95 % interval {' to '.join(span)}{before}, {seeds}"

    def relation(self, found: Estimate, other: str) -> str:
        """Where something is compared with another, after "it is", and how sure that is."""
        text, *span = self.ends(found)
        away = f"{self.amount(text.lstrip('+-'))} {'above' if found.mean > 0 else 'below'} {other}"
        seeds = count(found.n, "seed") if found.paired else "no seed in common"
        if not span:
            basis = "in the one seed that both have" if found.paired else "without a seed in common"
            return f"{away if found.mean else f'the same as {other}'} {basis}, which cannot say what is chance"
        if found.same:
            return f"the same as {other} in each of {seeds}"
        if not found.significant:
            return f"not significantly different from {other} ({self.interval(found)})"
        near, far = (end.lstrip("+-") for end in (span if found.mean > 0 else reversed(span)))
        return f"{away} (95 % interval {near} to {far}, {seeds})"


def comparisons(made: Iterable[Estimate | None]) -> str:
    """12 comparisons: 5 significant at 95 %, 2 after Holm correction. Empty of fewer than two."""
    judged = [each for each in made if each and each.p is not None]
    if len(judged) < 2:
        return ""
    limit = holm(judged)
    kept = sum(each.p <= limit for each in judged)  # type: ignore[operator]
    alone = sum(each.told for each in judged)
    return f"{len(judged)} comparisons: {alone} significant at 95 %, {kept} after Holm correction."


def words(comparison: Comparison, found: Sequence[Arm]) -> Words:
    """The words for a comparison, with as many decimals as the spread of its arms deserves."""
    tokenizer = comparison.environment.get("tokenizer")
    token = TOKENS.get(tokenizer, "token") if isinstance(tokenizer, str) else "token"
    return Words(
        comparison.metric.replace("/", " ").replace("_", " "),
        UNITS.get(comparison.metric.split("/")[-1], "").format(token=token),
        comparison.better == "higher",
        *decimals(found),
    )


def decimals(found: Sequence[Arm]) -> tuple[int, int]:
    """Decimals for means: two digits of the usual spread over seeds, at most five digits; without a spread, five. And
    for differences, which are known better: six digits of a value."""
    spreads = [arm.spread for arm in found if arm.spread]
    values = [abs(value) for arm in found for value in arm.results if value and math.isfinite(value)]
    if not values:
        return 4, 6
    smallest = median(values) / 10**4
    digit = max(smallest, median(spreads) / 10) if spreads else smallest
    return max(0, -math.floor(math.log10(digit))), max(0, 1 - math.floor(math.log10(smallest)))


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
            else f"in {len(contexts)}{'' if again else ' combinations of the other factors'}"
        )
    if not contexts:
        return ""
    first, *rest = contexts
    return joined([where(first, again=again), *(level for context in rest for level in context.values())])
