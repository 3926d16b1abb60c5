"""The outcome of every run of a comparison: what `experiments/NAME/results.json` keeps, and what verdicts rest on."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from statistics import fmean, median_high, stdev
from typing import Any

from gptx.compare import estimates
from gptx.compare.factors import confounded, described_by, factors, grouped, traits
from gptx.config.errors import ConfigError
from gptx.files import to_json
from gptx.runs import metrics, plain, provenance
from gptx.runs.run import Run

METRIC = "validation/loss"
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "better", self.better or metrics.ours(self.metric))

    @property
    def sign(self) -> int:
        """What a value is multiplied by, so that lower is better."""
        return -1 if self.better == "higher" else 1

    @property
    def drawable(self) -> bool:
        return any(outcome.value is not None and math.isfinite(outcome.value) for outcome in self.outcomes)

    def save(self, file: Path) -> None:
        facts = {key: value for key, value in asdict(self).items() if key != "outcomes"}
        lines = ",\n  ".join(to_json(asdict(outcome)) for outcome in self.outcomes)
        file.write_text(f'{to_json(facts, indent=1)[:-2]},\n "outcomes": [\n  {lines}\n ]\n}}\n')


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


def compare(runs: list[Run], metric: str = METRIC, better: str = "") -> Comparison:
    """The comparison of some runs. Raises ValueError if none has the metric, ConfigError for an unknown `better`."""
    begun = list(filter(lambda run: run.config, runs))
    known = dict.fromkeys(chain.from_iterable(run.metrics.columns for run in begun))
    found = factors(begun)
    outcomes = list(_outcomes(begun, found, metric))
    if metric not in known and all(each.value is None for each in outcomes):
        raise ValueError(f"no run has the metric {metric}; recorded: {', '.join(known) or 'nothing yet'}")
    return Comparison(
        metric=metric,
        factors=found,
        outcomes=outcomes,
        missing=[run.name for run in runs if not (run.config or run.problem)],
        confounded=confounded(begun, found),
        problems=list(problems(runs)),
        traits=traits(begun, found),
        environment=environment(begun),
        better=metrics.better(metric, better, [run.record.get("better", {}) for run in begun]),
    )


def _outcomes(runs: list[Run], found: Iterable[str], metric: str) -> Iterator[Outcome]:
    """The outcome of each run. Where all have one seed, runs are repeated with another order of their batches."""
    repeated = len({run.seed for run in runs}) == 1
    for run in runs:
        described, speeds = described_by(run), run.metrics["train/tokens_per_second"][1]
        yield Outcome(
            levels={name: described.get(name, "") for name in found},
            seed=run.order if repeated else run.seed,
            state=run.state,
            value=run.result(metric),
            seconds=run.seconds,
            tokens_per_second=float(median_high(speeds)) if len(speeds) else None,
            peak_bytes=run.record.get("memory", {}).get("measured"),
            ended_at=run.ended_at,
        )


def problems(runs: list[Run]) -> Iterator[str]:
    """What could not be read of the runs."""
    for run in runs:
        if run.problem:
            yield f"{run.name}: {run.problem}; left out."
        elif run.config and run.metrics.torn > (run.state == "running"):  # whose last line may be incomplete
            yield f"{run.name}: {run.metrics.torn} of the lines of metrics.jsonl cannot be read; left out."


def environment(runs: list[Run]) -> dict:
    """Where and with what the runs were made: what they have in common, and lists where they differ; also how many
    tokens of one text are held out, if that differs: earlier versions also held out copies of what they trained on."""
    texts = [run.record["data"] for run in runs if "validation_tokens" in run.record.get("data", {})]
    same = grouped(texts, lambda data: (data.get("digest"), data.get("tokenizer"))).values()
    held = [list(dict.fromkeys(data["validation_tokens"] for data in group)) for group in same]
    unlike = [("held-out tokens", tokens) for tokens in held if len(tokens) > 1]
    common = common_environment(map(_environment, runs))
    return common | dict(unlike[:1]) | provenance.differing([run.record for run in runs])


def _environment(run: Run) -> dict:
    record, hardware, data = run.record, run.record.get("hardware", {}), run.record.get("data", {})
    return {
        "date": record.get("ended", record.get("started", ""))[:10],
        "hardware": " ".join(str(hardware[key]) for key in hardware if key in ("device", "name")),
        "threads": hardware.get("threads"),
        "imitated formats": hardware.get("imitated"),
        "commit": record.get("git", {}).get("sha", "")[:12],
        "uncommitted changes": record.get("git", {}).get("dirty", False),
        "data": data.get("digest", "")[:12],
        "tokenizer": data.get("tokenizer"),
        "validation windows": _windows(run),
        **record.get("versions", {}),
    }


def common_environment(environments: Iterable[dict]) -> dict:
    """Several environments as one: lists of what differs, without what is unknown."""
    found: dict[str, list] = {}
    for key, value in (item for each in environments for item in each.items()):
        known = found.setdefault(key, [])
        known += [one for one in (value if isinstance(value, list) else [value]) if one not in (None, "", *known)]
    return {key: values[0] if len(values) == 1 else values for key, values in found.items() if values}


def _windows(run: Run) -> int | str | None:
    """The number of windows of held-out text that a run's loss is of, "all" for all of them; None without a loss."""
    chosen = (run.config.get("observe") or {}).get("validation")
    if chosen is None:
        return None
    tokens, context = run.record.get("data", {}).get("validation_tokens"), run.record.get("batch", {}).get("context")
    there = (tokens - 1) // context if tokens and context else math.inf
    return "all" if chosen.get("windows") is None or chosen["windows"] >= there else chosen["windows"]


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
