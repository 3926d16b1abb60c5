"""`metrics.jsonl` as arrays, a column a key, with the branches that a rollback gave up."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import numpy
from numpy import ndarray

from gptx.config.errors import ConfigError
from gptx.ingredients.log import jsonl

_Columns = dict[str, tuple[ndarray, ndarray]]  # steps and values of each key, where it was recorded
EMPTY = numpy.empty(0), numpy.empty(0)
_WAYS = {  # which way the metrics of gptx go; an observer of one's own says it in `better`
    "lower": r"(train|validation|ema)/(\w+_)?(loss|perplexity|bits_per_byte|cross_entropy)|target/(step|tokens)|"
    r"overfitting/gap",
    "higher": r"train/tokens_per_second|throughput/(tokens_per_second|mfu)|downstream/(next_word_accuracy|parses)",
}
_SHOWN = {"loss": "validation loss", "perplexity": "perplexity", "bits_per_byte": "bits/byte"}


def ours(metric: str) -> str:
    """Which way a metric of gptx goes; empty of another."""
    return next((way for way, keys in _WAYS.items() if re.fullmatch(keys, metric)), "")


def better(metric: str, asked: str = "", recorded: Iterable[Mapping[str, str]] = ()) -> str:
    """Which is better in a metric, "higher" or "lower". Raises ConfigError where nothing says it, or runs disagree."""
    if asked and asked not in _WAYS:
        raise ConfigError(f"better={asked}: higher or lower")
    known = asked or ours(metric)
    told = {known} if known else {each[metric] for each in recorded if metric in each}
    if len(told) != 1:
        what = "runs disagree whether" if told else "nothing says whether"
        raise ConfigError(f"metric={metric}: {what} higher or lower is better; add better=higher or better=lower")
    return told.pop()


def declared(observers: Iterable) -> dict[str, str]:
    """What observers say in `better`. Raises ConfigError for another word than higher or lower."""
    told = {key: way for observer in observers for key, way in (getattr(observer, "better", None) or {}).items()}
    if wrong := [f"better of {key} is {way}" for key, way in told.items() if way not in _WAYS]:
        raise ConfigError(f"{wrong[0]}: must be higher or lower")
    return told


def validation_words(result: Mapping[str, float]) -> str:
    """The validation numbers of a result, in words."""
    found = (f"{words} {result[key]:.4f}" for name, words in _SHOWN.items() if (key := f"validation/{name}") in result)
    return ", ".join(found) or "no validation"


@dataclass(frozen=True)
class Metrics:
    """Numbers by key, the last text of each key that has text with its step, and branches that were given up."""

    columns: _Columns = field(default_factory=dict)
    texts: dict[str, tuple[int, str]] = field(default_factory=dict)
    abandoned: tuple[_Columns, ...] = ()
    torn: int = 0  # lines that are no row: cut by a kill, or of something else

    def __getitem__(self, key: str) -> tuple[ndarray, ndarray]:
        """Steps and values of a key; empty where it was not recorded."""
        return self.columns.get(key, EMPTY)

    def last(self, key: str) -> float | None:
        values = self[key][1]
        return float(values[-1]) if len(values) else None

    def end(self, key: str) -> float | None:
        """The value of a key after the last step; None where it was not recorded then."""
        return self.last(key) if len(self[key][0]) and self[key][0][-1] == self.steps else None

    @property
    def steps(self) -> int:
        """Steps made."""
        return int(max((steps[-1] for steps, _ in self.columns.values() if len(steps)), default=0))


def read_metrics(folder: Path) -> Metrics:
    """The metrics of the run in `folder`. Of a step done twice the later line counts; a rollback's are `abandoned`."""
    rows: list[dict] = []
    branches: list[_Columns] = []
    events, (found, torn) = jsonl.events(folder / "events.jsonl")[0], jsonl.rows(folder / "metrics.jsonl")
    back = {(each["left"], each["step"]) for each in events if each["event"] == "rollback" and "left" in each}
    for row in found:
        if rows and row["step"] <= rows[-1]["step"]:
            at = bisect_left(rows, row["step"], key=itemgetter("step"))
            if (rows[-1]["step"], row["step"] - 1) in back:
                branches.append(_columns(rows[max(0, at - 1) :])[0])  # with the step where it leaves the run
            del rows[at:]
        rows.append(row)
    return Metrics(*_columns(rows), tuple(branches), torn)


def _columns(rows: list[dict]) -> tuple[_Columns, dict[str, tuple[int, str]]]:
    steps, values, texts = defaultdict(list), defaultdict(list), dict[str, tuple[int, str]]()
    for row in rows:
        step = row["step"]
        for key, value in row.items():
            if type(value) is float or type(value) is int:
                steps[key].append(step)
                values[key].append(value)
            elif type(value) is str:
                texts[key] = step, value
    steps.pop("step", None)
    return {key: (numpy.array(at, float), numpy.array(values[key], float)) for key, at in steps.items()}, texts
