"""From run folders to a comparison, and what the runs were made with."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from statistics import median_high
from typing import Any

import numpy

from gptx.compare.factors import confounded, described_by, factors, grouped, is_rate, ordered, traits
from gptx.compare.outcomes import AT, METRIC, Comparison, Outcome, at_levels
from gptx.config.groups import SEEDS
from gptx.config.keys import under
from gptx.files import to_json
from gptx.runs import metrics, provenance
from gptx.runs.run import Run

_END = 0.005  # share of a run that may lack where it has reached a budget


def compare(runs: list[Run], metric: str = METRIC, better: str = "") -> Comparison:
    """The comparison of some runs. Raises ValueError if none has the metric, ConfigError for an unknown `better`."""
    begun = list(filter(lambda run: run.config, runs))
    kinds = grouped(begun, lambda run: run.role)
    main = kinds.get("", [])
    found, budgets = factors(main), common_budgets(main)
    several = {name: list(_outcomes(some, found, metric, budgets)) for name, some in kinds.items()}
    outcomes, asked = several.get("", []), _as_swept(begun)
    _refuse_unknown(metric, begun, outcomes)
    bases = _bases(main, outcomes, asked["crossed"])
    base = next(iter(bases), {})
    return Comparison(
        metric, found, outcomes, missing=[run.name for run in runs if run.state == "missing"],
        confounded=confounded(main, found), problems=[*problems(runs), *_several_bases(bases)],
        traits=traits(main, found), baseline=base, budgets=budgets, confirmed=several.get("confirm", []),
        lengths=[replace(each, levels=each.levels | base) for each in several.get("length", [])],
        environment=environment(main) | {"recipe": _shared_recipe(main, found)},
        better=metrics.better(metric, better, [run.record.get("better", {}) for run in begun]), **asked,
    )  # fmt: skip


def _refuse_unknown(metric: str, runs: list[Run], outcomes: list[Outcome]) -> None:
    known = list(dict.fromkeys(chain(*(run.metrics.columns for run in runs))))
    if metric not in known and all(each.value is None for each in outcomes):
        raise ValueError(f"no run has the metric {metric}; recorded: {', '.join(known) or 'nothing yet'}")


def _shared_recipe(runs: list[Run], names: Iterable[str]) -> str:
    """A digest of what all runs have in common besides the factors and the seeds."""
    varied = (*names, *SEEDS)
    each = [{(key, str(value)) for key, value in run.record.get("recipe", {}).items()} for run in runs]
    text = to_json(sorted(pair for pair in set.intersection(*each) if not under(pair[0], varied)) if each else [])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def with_earlier(new: Comparison, old: Comparison) -> Comparison:
    """The runs of a comparison, and those of an earlier one that are none of them. ValueError for another question."""
    mine, its = ((each.metric, *sorted(each.factors)) for each in (new, old))
    if mine != its:
        raise ValueError(f"add=true: results.json compares {', '.join(its)}, these runs {', '.join(mine)}")
    if len({each.environment.get("recipe") for each in (new, old)} - {None}) > 1:
        raise ValueError("add=true: results.json is of runs of another recipe; without add=true it is replaced")
    levels = {name: ordered([*new.factors[name], *old.factors[name]]) for name in new.factors}
    common = common_environment([old.environment, new.environment])
    both: dict[str, Any] = {name: _joined(new, old, name) for name in ("outcomes", "confirmed", "lengths")}
    return replace(new, factors=levels, environment=common, budgets={}, **both)


def _joined(new: Comparison, old: Comparison, name: str) -> list[Outcome]:
    def identity(run: Outcome) -> tuple:
        return at_levels(new.factors)(run), run.seed, run.steps if name == "lengths" else None

    known = set(map(identity, getattr(new, name)))
    return [*(run for run in getattr(old, name) if identity(run) not in known), *getattr(new, name)]


def _as_swept(runs: list[Run]) -> dict[str, Any]:
    """What the experiment asks, and how the sweep was made, from the newest run."""
    last = runs[-1].config if runs else {}
    told = {key: [run.noted[key] for run in runs if run.noted.get(key)] for key in ("design", "command")}
    crossed = list((last.get("sweep") or {}).get("cross") or [])
    return {"question": last.get("question") or {}, "crossed": crossed, "design": next(iter(told["design"]), ""),
            "commands": list(dict.fromkeys(told["command"]))}  # fmt: skip


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
            {name: described.get(name, "") for name in found}, run.order if repeated else run.seed, run.state,
            run.result(metric), run.seconds, float(median_high(speeds)) if len(speeds) else None,
            peak_bytes=run.record.get("memory", {}).get("measured"), ended_at=run.ended_at,
            steps=run.metrics.steps or None, parameters=run.record.get("parameters", {}).get("total"),
            at={name: _value_at(run, metric, name, amount) for name, amount in budgets.items()},
        )  # fmt: skip


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
    if amount >= (1 - _END) * clock[-1]:
        return run.result(metric)
    return float(numpy.interp(amount, clock, values)) if amount >= clock[0] else None


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
    record, hardware, git, data = run.record, *(run.record.get(part, {}) for part in ("hardware", "git", "data"))
    return {
        "date": record.get("ended", record.get("started", ""))[:10],
        "hardware": " ".join(str(hardware[key]) for key in hardware if key in ("device", "name")),
        "threads": hardware.get("threads"), "imitated formats": hardware.get("imitated"),
        "commit": git.get("sha", "")[:12], "uncommitted changes": git.get("dirty", False),
        "data": data.get("digest", "")[:12], "tokenizer": data.get("tokenizer"),
        "validation windows": _windows(run), **record.get("versions", {}),
    }  # fmt: skip


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
