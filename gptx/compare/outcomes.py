"""The outcome of every run of a comparison: what `experiments/NAME/results.json` keeps, and what verdicts rest on."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from gptx.compare.factors import grouped
from gptx.config.errors import ConfigError
from gptx.estimate import differences as estimates
from gptx.files import to_json
from gptx.runs import metrics, plain

METRIC = "validation/loss"
AT = "steps", "tokens", "flops", "time"  # budgets at which runs can be compared
_LARGEST = 100_000_000  # bytes of results.json: a thousand runs have less than one of these


@dataclass(frozen=True)
class Outcome:
    """One run: its level of each factor, and its numbers. None is unknown; a `value` of NaN is a diverged run."""

    levels: dict[str, str]
    seed: int
    state: str
    value: float | None
    seconds: float | None = None  # in steps
    tokens_per_second: float | None = None  # the median over its steps
    peak_bytes: int | None = None  # of memory, measured
    ended_at: int | None = None  # step, where that is before the last step that was asked for
    steps: int | None = None  # that it made
    parameters: int | None = None
    at: dict[str, float | None] = field(default_factory=dict)  # the metric at the budget that every run reached, by AT


@dataclass(frozen=True)
class Comparison:
    """The runs to compare. `factors` are what distinguishes them, each with its levels in order."""

    metric: str
    factors: dict[str, list[str]]
    outcomes: list[Outcome]
    missing: list[str] = field(default_factory=list)  # runs of a sweep that have not begun
    confounded: list[str] = field(default_factory=list)  # what differs besides the factors
    problems: list[str] = field(default_factory=list)  # what could not be read, a phrase each
    traits: dict[str, dict[str, dict[str, bool]]] = field(default_factory=dict)  # factor, level: is there a warmup?
    baseline: dict[str, str] = field(default_factory=dict)  # levels that were asked for as such
    environment: dict = field(default_factory=dict)
    without: list[str] = field(default_factory=list)  # tables that its pages leave out
    better: str = ""  # higher or lower; "" where that is unknown
    question: dict[str, str | list[str]] = field(default_factory=dict)  # of the experiment: see compare.question
    design: str = ""  # of the sweep; "" for a product
    crossed: list[str] = field(default_factory=list)  # keys that the design crosses with every arm
    commands: list[str] = field(default_factory=list)  # that made the runs
    confirmed: list[Outcome] = field(default_factory=list)  # of the chosen arms, on seeds that did not choose them
    lengths: list[Outcome] = field(default_factory=list)  # of the base at other numbers of steps
    budgets: dict[str, float] = field(default_factory=dict)  # by AT, that every run reached

    def __post_init__(self) -> None:
        object.__setattr__(self, "better", self.better or metrics.ours(self.metric))

    @property
    def sign(self) -> int:  # by which a value is multiplied, so that lower is better
        return -1 if self.better == "higher" else 1

    @property
    def drawable(self) -> bool:
        return any(outcome.value is not None and math.isfinite(outcome.value) for outcome in self.outcomes)

    def save(self, file: Path) -> None:
        lists = {name: getattr(self, name) for name in ("confirmed", "lengths", "outcomes")}
        text = to_json({key: value for key, value in asdict(self).items() if key not in lists}, indent=1)[:-2]
        for name, found in lists.items():
            lines = ",".join(f"\n  {to_json(asdict(outcome))}" for outcome in found)
            text += f',\n "{name}": [{lines}\n ]'
        file.write_text(f"{text}\n}}\n")


@dataclass(frozen=True)
class Arm:
    """The results of the runs at some levels of the factors, by seed: NaN diverged, a seed without result is absent."""

    levels: dict[str, str]
    values: dict[int, float]
    states: tuple[str, ...] = ()

    @property
    def results(self) -> list[float]:
        return list(self.values.values())

    @cached_property
    def diverged(self) -> int:
        return estimates.diverged(self.values)

    @cached_property
    def mean(self) -> float | None:
        """None without a result, and where one seed diverged: the other seeds alone would flatter the arm."""
        return fmean(self.results) if self.results and not self.diverged else None

    @cached_property
    def spread(self) -> float | None:
        return stdev(self.results) if len(self.results) > 1 and not self.diverged else None


def load_comparison(file: Path) -> Comparison:
    """The comparison that was saved. Raises ValueError if the file holds none."""
    try:
        found: Comparison = plain.validated(plain.read(file, most=_LARGEST), Comparison, file, strict=False)
        for name, levels in found.factors.items():
            if not all(each.levels.get(name) in levels for each in found.outcomes):
                raise ConfigError(f"a run has no level of {name}")
        return replace(found, better=metrics.better(found.metric, found.better))
    except (ConfigError, FileNotFoundError) as error:
        raise ValueError(f"{file}: no results of a comparison ({error})") from None


def at_levels(names: Iterable[str]) -> Callable[[Any], tuple[str, ...]]:
    """What gives the levels of these factors, of an outcome or an arm."""
    return lambda one: tuple(one.levels[name] for name in names)


def arms(comparison: Comparison) -> list[Arm]:
    """The arms in the order of their levels, the last factor changing first; two runs of a seed count as their mean."""
    factors, found = comparison.factors, []
    for levels, runs in grouped(comparison.outcomes, at_levels(factors)).items():
        ended = sorted((run for run in runs if run.value is not None), key=lambda run: run.seed)
        seeds = grouped(ended, lambda run: run.seed)
        values = {seed: fmean(run.value for run in several) for seed, several in seeds.items()}
        found.append(Arm(dict(zip(factors, levels, strict=True)), values, tuple(run.state for run in runs)))
    return sorted(found, key=lambda arm: [factors[name].index(level) for name, level in arm.levels.items()])


def contexts(arms: Iterable[Arm], *varied: str) -> list[tuple[dict[str, str], list[Arm]]]:
    """The arms that are alike in all factors but the `varied` ones, by the levels that they share."""
    groups = grouped(arms, lambda arm: tuple(level for level in arm.levels.items() if level[0] not in varied))
    return [(dict(levels), group) for levels, group in groups.items()]
