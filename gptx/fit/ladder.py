"""A ladder of finished runs, as a scaling law sees it: parameters, tokens and final loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
from typing_extensions import TypedDict

from gptx import runs
from gptx.compare.outcomes import METRIC, environment
from gptx.compare.words import TOKENS
from gptx.config.keys import under
from gptx.fit.huber import Points
from gptx.fit.page import recorded
from gptx.runs.cells import Cell
from gptx.units.phrases import joined

COUNTS = {"total": "every parameter", "non_embedding": "parameters without embeddings"}
MAY_DIFFER = ("model", "steps", "schedule", "seed", "data.seed", "data.context", "optim.tokens")  # on a ladder
NEEDED = {
    "parameters": {*COUNTS},
    "batch": {"context"},
    "data": {"digest", "vocab_size", "train_tokens"},
}  # of run.json


@dataclass(frozen=True)
class Rung:
    """One finished run: its folder, the name of its size, N by both counts, D, and its loss."""

    name: str
    size: str
    total: int
    non_embedding: int
    tokens: int
    loss: float
    held_out: bool = False

    def parameters(self, count: str) -> int:
        return self.total if count == "total" else self.non_embedding

    def budget(self, count: str) -> float:
        """FLOPs, 6 N D."""
        return 6.0 * self.parameters(count) * self.tokens


@dataclass(frozen=True)
class About:
    """What gptx.estimate.laws.Law says of the runs that it was fitted to."""

    name: str
    units: str
    recipe: str = ""
    context: int = 1024
    vocab: int = 0
    text: int = 0


@dataclass(frozen=True)
class Ladder:
    """Finished runs, smallest first, and `warnings`: what speaks against one law for all of them."""

    rungs: list[Rung]
    about: About
    warnings: list[str]
    environment: dict

    def holding_out(self, word: str, count: str) -> "Ladder":
        """With those runs marked that `word` holds out: sizes or folders, `none`, or if it is empty those of the
        largest budget. Raises ValueError for a name that no run has."""
        names = [word] if any(rung.name == word for rung in self.rungs) else word.split(",")  # a name may hold commas
        largest = max((rung.budget(count) for rung in self.rungs), default=0.0)
        for name in names if word not in ("", "none") else ():
            if not any(name in (rung.size, rung.name) for rung in self.rungs):
                sizes = joined(dict.fromkeys(rung.size for rung in self.rungs)) or "none yet"
                raise ValueError(f"holdout={name}: no finished run of that name; the sizes are {sizes}")

        def held(rung: Rung) -> bool:
            return rung.size in names or rung.name in names if word else rung.budget(count) >= 0.999 * largest

        return replace(self, rungs=[replace(rung, held_out=held(rung)) for rung in self.rungs])


class _Runs(TypedDict):
    runs: list[Rung]


class _Recorded(TypedDict):
    total: _Runs
    about: About
    warnings: list[str]
    environment: dict[str, Any]


def of_fit(file: Path) -> Ladder:
    """The runs of an earlier fit. Raises ValueError for a file that is no fit.json of a law."""
    found = recorded(file, _Recorded, "scaling")
    return Ladder(_sorted(found["total"]["runs"]), found["about"], found["warnings"], found["environment"])


def of_runs(cells: Sequence[Cell], name: str) -> Ladder:
    """The finished runs. Raises ValueError for a run whose loss is not finite or whose record is incomplete, and for
    runs of different tokenizers."""
    found, used, left_out = [], [], []
    for cell in cells:
        loss, tokens = cell.result(METRIC), cell.metrics.last("train/tokens")
        if loss is not None and not 0 < loss < math.inf:
            raise ValueError(f"{cell.folder}: its {METRIC} is {loss}; name folders without it")
        if cell.state != "finished":
            left_out.append(f"{cell.name} is {cell.state}; left out.")
        elif loss is None or not tokens:
            left_out.append(f"{cell.name} is without {METRIC if loss is None else 'train/tokens'}; left out.")
        else:
            found.append(_rung(cell, int(tokens), loss))
            used.append(cell)
    around = environment(used)
    return Ladder(_sorted(found), _about(used, name, around), [*warnings(used, found), *left_out], around)


def _sorted(rungs: list[Rung]) -> list[Rung]:
    return sorted(rungs, key=lambda each: (each.total, each.tokens))


def _rung(cell: Cell, tokens: int, loss: float) -> Rung:
    for name, keys in NEEDED.items():
        if not keys <= set(cell.record.get(name) or {}):
            lacking = f"lacks {name} with {joined(sorted(keys))}"
            raise ValueError(f"{cell.folder}/run.json: {lacking}; name folders without it")
    total, body = (cell.record["parameters"][count] for count in COUNTS)
    return Rung(cell.name, str(cell.record.get("choices", {}).get("model") or f"{total:,}"), total, body, tokens, loss)


def _about(cells: Sequence[Cell], name: str, around: dict) -> About:
    """What is common to the runs; the recipe is their experiment, or their data. Raises ValueError for runs of
    different tokenizers."""
    tokenizer = around.get("tokenizer", "")
    if isinstance(tokenizer, list):
        raise ValueError(f"the runs have different tokenizers, {joined(tokenizer)}: their losses differ in units")
    units = f"nats a {TOKENS.get(tokenizer, 'subword token')}"
    if not cells:
        return About(name, units)
    recipe = ""
    for group in ("data", "experiment"):
        chosen = {str(cell.record.get("choices", {}).get(group)) for cell in cells}
        recipe = f"{group}={chosen.pop()}" if len(chosen) == 1 and chosen != {"None"} else recipe
    data, batch = cells[0].record["data"], cells[0].record["batch"]
    text = min(cell.record["data"]["train_tokens"] for cell in cells)
    return About(name, units, recipe, batch["context"], data["vocab_size"], text)


def warnings(cells: Sequence[Cell], found: Sequence[Rung]) -> list[str]:
    """What speaks against one law for all of these runs."""
    records = [cell.record for cell in cells]
    recipes = [record.get("recipe", {}) for record in records]
    keys = [key for key in dict.fromkeys(key for each in recipes for key in each) if not under(key, MAY_DIFFER)]
    aside = runs.meaningless(records, keys)
    differing = [key for key in keys if key not in aside and len({str(each.get(key)) for each in recipes}) > 1]
    said = [f"The runs differ in more than size and length: {joined(differing)}."] * bool(differing)
    if len({record["data"]["digest"] for record in records}) > 1:
        said.append("The runs read different data: their losses are not comparable.")
    if isinstance(windows := environment(list(cells)).get("validation windows"), list):
        choice = joined(map(str, windows), "or")
        said.append(f"The losses are of {choice} windows of the held-out text and are not comparable.")
    if len(contexts := sorted({record["batch"]["context"] for record in records})) > 1:
        choice = joined(map(str, contexts), "or")
        said.append(f"The losses are of sequences of {choice} tokens: longer sequences are easier to predict.")
    text = min((record["data"]["train_tokens"] for record in records), default=0)
    longest = max((rung.tokens for rung in found), default=0)
    if longest > text:
        said.append(
            f"The longest run reads its {text:,} tokens {longest / text:.1f} times; the law assumes new tokens."
        )
    return said


def points(found: Sequence[Rung], count: str) -> Points:
    """N, D and loss of runs as arrays."""
    return Points(*numpy.array([(rung.parameters(count), rung.tokens, rung.loss) for rung in found], float).T)
