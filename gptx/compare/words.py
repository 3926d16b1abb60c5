"""How the numbers and levels of a comparison are said."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from statistics import median

from gptx.compare.effects import Effect, Effects
from gptx.compare.factors import is_group, is_rate, numeric
from gptx.compare.outcomes import Arm
from gptx.estimate.differences import Estimate
from gptx.units.phrases import joined

NAMES = {"optim": "optimizer", "optim.lr": "learning rate", "optim.weight_decay": "weight decay", "steps": "steps",
         "batch.tokens": "tokens per step", "batch.micro": "micro-batch size", "batch.rule": "batch rule",
         "model.context": "context", "model.depth": "layers", "model.width": "width",
         "parametrization.rates.all": "learning-rate factor",
         **{f"parametrization.rates.{kind}": f"learning-rate factor of {kind}"
            for kind in ("matrices", "embeddings", "head", "vectors")}}  # fmt: skip
TOKENS = {"chars": "character", "bytes": "byte"}  # by tokenizer
_UNITS = {"loss": "nats per {token}", "bits_per_byte": "bits per byte", "tokens_per_second": "tokens per second"}
_BEFORE = {"": "a ", "schedule": "schedule "}  # what tells a trait from an option of the same name
FEW = 3  # settings of several factors that are named one by one; more are counted


@dataclass(frozen=True)
class Words:
    """The metric of a comparison, its unit, and how many decimals its values get, and differences at most."""

    metric: str
    unit: str
    best: str  # lowest or highest
    decimals: int
    finest: int

    def number(self, value: float | None, *, sign: str = "", decimals: int | None = None) -> str:
        if value is None:
            return "-"
        text = f"{value:{sign},.{self.decimals if decimals is None else decimals}f}"
        return text.lstrip("+-") if not re.search("[1-9]", text) else text

    def digits(self, size: float) -> int:
        """The decimals that show two digits of a number that is no rounding error."""
        power = int(f"{size:.1e}".partition("e")[2])  # of the number as it is rounded: 0.0996 has two decimals
        return min(self.finest + 8, max(0, 1 - power)) if size else self.decimals

    def ends(self, found: Estimate) -> Iterator[str]:
        """Mean and ends of an interval, in two digits of half its width, or of the mean where that is significant."""
        values, decimals = [found.mean], self.decimals
        if found.low is not None and found.high is not None:
            values += [found.low, found.high]
            decimals = self.digits((found.high - found.low) / 2)
            if max(map(abs, values)) > 10.0**-self.finest:
                decimals = min(self.finest, decimals)
        if found.p is None or found.significant:
            decimals = max(decimals, self.digits(found.mean))
        return (self.number(value, sign="+", decimals=decimals) for value in values)

    @property
    def good(self) -> str:
        return "lower" if self.best == "lowest" else "higher"

    @property
    def per(self) -> str:
        return f", {self.unit}" if self.unit else ""

    def amount(self, text: str) -> str:
        return f"{text} {self.unit}".strip()

    def spread(self, arm: Arm) -> str:
        if arm.diverged:
            return f"diverged {arm.diverged} of {len(arm.results)}"
        return " ± ".join(self.number(each) for each in (arm.mean, arm.spread) if each is not None) or "-"

    def change(self, found: Estimate | None) -> str:
        """An estimate in a table: -0.198 (-0.205 to -0.190)."""
        if found is None:
            return "-"
        text, *span = self.ends(found)
        told = ["the same" if found.kind == "same" else " to ".join(span) or "single seed"]
        told += ["not significant"] * (found.kind == "unsure") + ["unpaired"] * (not found.paired)
        return f"{text} ({', '.join(told)})"

    def size(self, found: Estimate) -> str:
        """An estimate in a sentence: 0.20 nats per byte lower."""
        return f"{self.amount(self.short(found.mean))} {'lower' if found.mean < 0 else 'higher'}"

    def short(self, size: float) -> str:
        """The size of a number in two digits."""
        return self.number(abs(size), decimals=self.digits(size))


def words(found: Effects) -> Words:
    """The words for a comparison."""
    comparison, tokenizer = found.comparison, str(found.comparison.environment.get("tokenizer"))
    unit = _UNITS.get(comparison.metric.split("/")[-1], "").format(token=TOKENS.get(tokenizer, "token"))
    metric, best = comparison.metric.replace("/", " ").replace("_", " "), "lowest" if comparison.sign > 0 else "highest"
    return Words(metric, unit, best, *_decimals(found.arms))


def _decimals(arms: list[Arm]) -> tuple[int, int]:
    """Decimals of means, two digits of the usual spread and at most five in all; of differences, up to six."""
    values = [abs(value) for arm in arms for value in arm.results if value and math.isfinite(value)]
    if not values:
        return 4, 6
    smallest, spreads = median(values) / 10**4, [arm.spread for arm in arms if arm.spread]
    digit = max(smallest, median(spreads) / 10) if spreads else smallest
    return max(0, -math.floor(math.log10(digit))), max(0, 1 - math.floor(math.log10(smallest)))


def said(factor: str) -> str:
    """The name of a factor in a sentence."""
    return NAMES.get(factor, factor)


def named(factor: str, level: str) -> str:
    """A level as one would say it: muon, no guard, schedule warmup, model.qk_norm=true; of no factor, a trait."""
    if not factor or is_group(factor):
        return f"no {factor}" if level in ("", "none") else f"{_BEFORE.get(factor, '')}{level}"
    return f"{NAMES[factor]} {level}" if factor in NAMES else f"{factor}={level or 'not set'}"


def plain(factor: str, level: str) -> str:
    """A level where its factor has been named: cosine, not schedule cosine; but learning rate 0.01."""
    return named(factor, level).removeprefix(_BEFORE.get(factor, "-"))


def turned(things: Collection[tuple[str, str]], base: dict[str, str]) -> str:
    """What is changed, as one would say it: muon instead of adamw; weight decay 0; a trait by its name."""
    return joined(named(name, level) + f" instead of {plain(name, base.get(name, ''))}" * is_group(name)
                  for name, level in things)  # fmt: skip


def change(effect: Effect, base: dict[str, str]) -> str:
    """What an effect is of: muon instead of adamw; an interaction by its two things."""
    if effect.arm or len(effect.things) == 1:
        return turned(effect.things, base)
    return " x ".join(named(*thing) for thing in effect.things)


def tuned(found: Effects, arm: Arm | None) -> str:
    """The learning rate that an arm is at its best in; of several, those that are not at the level with most cells."""
    rates = found.question.best_over if arm else ()
    counts = {rate: Counter(each.levels[rate] for each in found.arms) for rate in rates}
    apart = [rate for rate, cells in counts.items() if arm and cells.pop(arm.levels[rate]) <= max([0, *cells.values()])]
    return joined(named(rate, arm.levels[rate]) for rate in apart or rates[:1] if arm).replace(
        "learning-rate f", "rate f"
    )


def rate_of(found: Effects) -> str:
    """The name of what each arm is at its best in."""
    best = found.question.best_over
    return said(best[0]) if len(best) == 1 else "learning rate" if all(map(is_rate, best)) else "setting"


def label(factor: str) -> str:
    """The name of a factor as the head of a column."""
    return f"{NAMES[factor]} ({factor})" if factor in NAMES else factor


def where(levels: dict[str, str]) -> str:
    """Levels as a place: at learning rate 0.01 and with muon; "" for none."""
    return " and ".join(f"{'at' if numeric([x]) else 'with'} {named(name, x)}" for name, x in levels.items())
