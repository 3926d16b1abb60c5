"""The outcome of every run of a comparison: what `experiments/NAME/results.json` keeps, and what verdicts rest on."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from statistics import fmean, median_high, stdev
from typing import Any

import numpy

from gptx.compare import estimates
from gptx.compare.factors import confounded, described_by, factors, grouped, is_rate, traits
from gptx.config.errors import ConfigError
from gptx.files import to_json
from gptx.runs import metrics, plain, provenance
from gptx.runs.run import Run

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
    def sign(self) -> int:
        """What a value is multiplied by, so that lower is better."""
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


def compare(runs: list[Run], metric: str = METRIC, better: str = "") -> Comparison:
    """The comparison of some runs. Raises ValueError if none has the metric, ConfigError for an unknown `better`."""
    begun = list(filter(lambda run: run.config, runs))
    kinds = grouped(begun, lambda run: _role(run.noted))
    main = kinds.get("", [])
    found, budgets = factors(main), common_budgets(main)
    several = {name: list(_outcomes(some, found, metric, budgets)) for name, some in kinds.items()}
    outcomes, asked = several.get("", []), _as_swept(begun)
    known = list(dict.fromkeys(chain(*(run.metrics.columns for run in begun))))
    _refuse_unknown(metric, known, outcomes)
    bases = _bases(main, outcomes, asked["crossed"])
    base = next(iter(bases), {})
    return Comparison(
        metric=metric,
        factors=found,
        outcomes=outcomes,
        missing=[run.name for run in runs if run.state == "missing"],
        confounded=confounded(main, found),
        problems=[*problems(runs), *_several_bases(bases)],
        traits=traits(main, found),
        baseline=base,
        environment=environment(main),
        better=metrics.better(metric, better, [run.record.get("better", {}) for run in begun]),
        confirmed=several.get("confirm", []),
        lengths=[replace(each, levels=each.levels | base) for each in several.get("length", [])],
        budgets=budgets,
        **asked,
    )


def _refuse_unknown(metric: str, known: list[str], outcomes: list[Outcome]) -> None:
    if metric not in known and all(each.value is None for each in outcomes):
        raise ValueError(f"no run has the metric {metric}; recorded: {', '.join(known) or 'nothing yet'}")


def _as_swept(runs: list[Run]) -> dict[str, Any]:
    """What the experiment asks, and how the sweep was made, from the newest run."""
    last = runs[-1].config if runs else {}
    noted = [run.noted for run in runs]
    return {
        "question": last.get("question") or {},
        "crossed": list((last.get("sweep") or {}).get("cross") or []),
        "design": next((each["design"] for each in noted if each.get("design")), ""),
        "commands": list(dict.fromkeys(each["command"] for each in noted if each.get("command"))),
    }


def _role(noted: dict) -> str:
    """What a run is besides an arm of the comparison: "confirm", a "length" of the base, or "" for neither."""
    return "confirm" if noted.get("confirm") else "length" if noted.get("length", 1) != 1 else ""


def _bases(runs: list[Run], outcomes: list[Outcome], crossed: list[str]) -> list[dict[str, str]]:
    """The levels of the runs that a sweep calls its base, without those that it crosses with every arm."""
    levels = (x.levels for x, run in zip(outcomes, runs, strict=True) if run.noted.get("arm") == "")
    each = ({name: level for name, level in one.items() if name not in crossed and not is_rate(name)} for one in levels)
    return list({str(one): one for one in each}.values())


def _several_bases(bases: list[dict[str, str]]) -> Iterator[str]:
    if len(bases) > 1:
        differing = [name for name in bases[0] if len({base[name] for base in bases}) > 1]
        told = ", ".join(f"{name} is {' or '.join(base[name] for base in bases)}" for name in differing)
        yield f"The base differs between the sweeps of this folder ({told}); arms are compared with the first."


def _outcomes(runs: list[Run], found: Iterable[str], metric: str, budgets: dict[str, float]) -> Iterator[Outcome]:
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
            steps=run.metrics.steps or None,
            parameters=run.record.get("parameters", {}).get("total"),
            at={name: _value_at(run, metric, name, amount) for name, amount in budgets.items()},
        )


def common_budgets(runs: list[Run]) -> dict[str, float]:
    """The steps, tokens, FLOPs and seconds that every finished run reached; without what some do not know."""
    clocks = [run.clocks for run in runs if run.state == "finished"]
    ends = {name: [clock[name][-1] if len(clock[name]) else 0.0 for clock in clocks] for name in AT}
    return {name: float(min(each)) for name, each in ends.items() if each and min(each) > 0}


def _value_at(run: Run, metric: str, name: str, amount: float) -> float | None:
    """The metric at an amount of steps, tokens, FLOPs or seconds, between the two values around it."""
    steps, values = run.metrics[metric]
    if run.state != "finished" or not len(steps):
        return run.result(metric)
    clock = numpy.interp(steps, run.clocks["steps"], run.clocks[name])
    reached = clock[0] <= amount <= clock[-1] * (1 + 1e-9)
    return float(numpy.interp(amount, clock, values)) if reached else None


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
