"""The outcome of every run of a comparison: what `experiments/NAME/results.json` keeps, and verdicts rest on."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from gptx.compare.factors import confounded, described_by, factors
from gptx.compare.traits import traits
from gptx.config.errors import ConfigError
from gptx.files import to_json
from gptx.runs import metrics, provenance, schema
from gptx.runs.cells import Cell
from gptx.runs.plain import read_json

METRIC = "validation/loss"
LARGEST = 100_000_000  # bytes of the results of a comparison: a thousand runs have less than one of these


@dataclass(frozen=True)
class Outcome:
    """One run: its level of each factor, and its numbers. None is not known; a `value` of NaN is a diverged run."""

    levels: dict[str, str]
    seed: int
    state: str
    value: float | None
    seconds: float | None = None  # in updates
    tokens_per_second: float | None = None  # the median of its updates
    peak_bytes: int | None = None  # of memory, measured
    ended_at: int | None = None  # step, where that is before the last one that was asked for


@dataclass(frozen=True)
class Comparison:
    """The runs to compare. `factors` are what sets them apart, each with its levels in order."""

    metric: str
    factors: dict[str, list[str]]
    outcomes: list[Outcome]
    missing: list[str] = field(default_factory=list)  # cells of a sweep that were not begun
    confounded: list[str] = field(default_factory=list)  # what differs beside the factors
    problems: list[str] = field(default_factory=list)  # what could not be read, a phrase each
    traits: dict[str, dict[str, dict[str, bool]]] = field(default_factory=dict)  # factor, level: is there a warmup?
    baseline: dict[str, str] = field(default_factory=dict)  # levels that were asked for as such
    environment: dict = field(default_factory=dict)
    without: list[str] = field(default_factory=list)  # tables that its pages leave out
    better: str = ""  # higher or lower; "" where that is not known

    def __post_init__(self) -> None:
        object.__setattr__(self, "better", self.better or metrics.ours(self.metric))

    def save(self, file: Path) -> None:
        """Write it as JSON, a line an outcome."""
        facts = {key: value for key, value in asdict(self).items() if key != "outcomes"}
        lines = ",\n  ".join(to_json(asdict(outcome)) for outcome in self.outcomes)
        file.write_text(f'{to_json(facts, indent=1)[:-2]},\n "outcomes": [\n  {lines}\n ]\n}}\n')


def load(file: Path) -> Comparison:
    """The comparison that was saved. Raises ValueError if the file holds none."""
    try:
        found: Comparison = schema.validated(read_json(file, most=LARGEST), Comparison, file, strict=False)
        for name, levels in found.factors.items():
            if not all(each.levels.get(name) in levels for each in found.outcomes):
                raise ConfigError(f"a run is of no level of {name}")
        return replace(found, better=metrics.better(found.metric, found.better))
    except (ConfigError, FileNotFoundError) as error:
        raise ValueError(f"{file}: no results of a comparison ({error})") from None


def compare(cells: list[Cell], metric: str = METRIC, better: str = "") -> Comparison:
    """The comparison of some runs. Raises ValueError if none of them has the metric, and ConfigError where nothing says
    whether "higher" or "lower" is `better` in it."""
    begun = [cell for cell in cells if cell.config]
    found = factors(begun)
    alike = len({cell.seed for cell in begun}) == 1  # then what repeats a run is another order of its batches
    outcomes = [outcome(cell, found, metric, cell.order if alike else cell.seed) for cell in begun]
    if not any(each.value is not None for each in outcomes) and not any(len(cell.metrics[metric][1]) for cell in begun):
        known = dict.fromkeys(key for cell in begun for key in cell.metrics.columns)
        raise ValueError(f"no run has the metric {metric}; recorded: {', '.join(known) or 'nothing yet'}")
    return Comparison(
        metric=metric,
        factors=found,
        outcomes=outcomes,
        missing=[cell.name for cell in cells if not cell.config and not cell.problem],
        confounded=confounded(begun, found),
        problems=list(problems(cells)),
        traits=traits(begun, found, [outcome.levels for outcome in outcomes]),
        environment=environment(begun),
        better=metrics.better(metric, better, [cell.record.get("better", {}) for cell in begun]),
    )


def outcome(cell: Cell, found: dict[str, list[str]], metric: str, seed: int) -> Outcome:
    """What became of one run."""
    described, speeds = described_by(cell), cell.metrics["train/tokens_per_second"][1]
    measured = cell.record.get("memory", {}).get("measured")
    return Outcome(
        levels={name: described.get(name, "") for name in found},
        seed=seed,
        state=cell.state,
        value=cell.result(metric),
        seconds=cell.seconds,
        tokens_per_second=float(sorted(speeds)[len(speeds) // 2]) if len(speeds) else None,
        peak_bytes=measured,
        ended_at=cell.ended_at,
    )


def problems(cells: list[Cell]) -> Iterator[str]:
    """What of the cells could not be read."""
    for cell in cells:
        if cell.problem:
            yield f"{cell.name}: {cell.problem}"
        elif cell.config and cell.metrics.torn > (cell.state == "running"):  # whose last line may be under way
            yield f"{cell.name}: {cell.metrics.torn} of the lines of metrics.jsonl cannot be read; left out."


def environment(cells: list[Cell]) -> dict:
    """Where and with what the runs were made: what they have in common, and lists where they differ."""
    return (
        together(
            {
                "date": record.get("ended", record.get("started", ""))[:10],
                "hardware": " ".join(str(v) for k, v in record.get("hardware", {}).items() if k in ("device", "name")),
                "threads": record.get("hardware", {}).get("threads"),
                "imitated formats": record.get("hardware", {}).get("imitated"),
                "commit": record.get("git", {}).get("sha", "")[:12],
                "uncommitted changes": record.get("git", {}).get("dirty", False),
                "data": record.get("data", {}).get("digest", "")[:12],
                "tokenizer": record.get("data", {}).get("tokenizer"),
                "validation windows": validated(cell),
                **record.get("versions", {}),
            }
            for cell, record in ((cell, cell.record) for cell in cells)
        )
        | held_out(cells)
        | provenance.differing([cell.record for cell in cells])
    )


def together(environments: Iterable[dict]) -> dict:
    """Several environments as one: lists of what differs, without what is not known."""
    found: dict[str, list] = {}
    for each in environments:
        for key, value in each.items():
            values = value if isinstance(value, list) else [value]
            known = found.setdefault(key, [])
            known += [one for one in values if one not in (None, "", *known)]
    return {key: values[0] if len(values) == 1 else values for key, values in found.items() if values}


def held_out(cells: list[Cell]) -> dict[str, list[int]]:
    """How many tokens of one text are held out, where that is not the same for all: earlier versions held out copies of
    what they trained on as well."""
    found: dict[tuple, list[int]] = {}
    for data in (cell.record["data"] for cell in cells if "validation_tokens" in cell.record.get("data", {})):
        tokens = found.setdefault((data.get("digest"), data.get("tokenizer")), [])
        tokens += [data["validation_tokens"]] * (data["validation_tokens"] not in tokens)
    return next(({"held-out tokens": tokens} for tokens in found.values() if len(tokens) > 1), {})


def validated(cell: Cell) -> int | str | None:
    """The windows of the held-out text that a run's loss is of, `all` where there are no more; None without one."""
    chosen = (cell.config.get("observe") or {}).get("validation")
    if chosen is None:
        return None
    tokens, context = cell.record.get("data", {}).get("validation_tokens"), cell.record.get("batch", {}).get("context")
    there = (tokens - 1) // context if tokens and context else math.inf
    return "all" if chosen.get("windows") is None or chosen["windows"] >= there else chosen["windows"]
