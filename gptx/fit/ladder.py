"""A ladder of finished runs, as a law of scaling sees it: parameters, tokens and the loss at the end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from gptx.compare.outcomes import METRIC, environment
from gptx.compare.words import TOKENS
from gptx.config.keys import under
from gptx.fit.huber import Points
from gptx.runs.cells import Cell
from gptx.runs.same import meaningless
from gptx.units.phrases import joined

COUNTS = {"total": "every parameter", "non_embedding": "parameters without embeddings"}
OF_A_RUNG = (
    "model",
    "steps",
    "schedule",
    "seed",
    "data.seed",
    "data.context",
    "optim.tokens",
)  # may differ on a ladder


RECORDED = {"parameters": {*COUNTS}, "batch": {"context"}, "data": {"digest", "vocab_size", "train_tokens"}}  # of a run


@dataclass(frozen=True)
class Rung:
    """One finished run: its folder, what its size is called, N by both counts, D, and its loss."""

    name: str
    size: str
    total: int
    non_embedding: int
    tokens: int
    loss: float

    def parameters(self, count: str) -> int:
        return self.total if count == "total" else self.non_embedding

    def budget(self, count: str) -> float:
        """Operations, 6 N D."""
        return 6.0 * self.parameters(count) * self.tokens


def ladder(cells: Sequence[Cell]) -> tuple[list[Rung], list[str]]:
    """The finished runs, and what of the others is to be told. Raises ValueError for a run whose loss is no number, or
    whose record is not whole."""
    found, aside = [], []
    for cell in cells:
        loss = cell.result(METRIC)
        if loss is not None and not 0 < loss < math.inf:
            raise ValueError(f"{cell.folder}: its {METRIC} is {loss}; a run that diverged is no point of a law: name "
                             f"folders without it")  # fmt: skip
        tokens = cell.metrics.last("train/tokens")
        if cell.state != "finished":
            aside.append(f"{cell.name} is {cell.state}; left out.")
        elif loss is None or not tokens:
            aside.append(f"{cell.name} is without {METRIC if loss is None else 'train/tokens'}; left out.")
        else:
            found.append(rung(cell, int(tokens), loss))
    return sorted(found, key=lambda each: (each.total, each.tokens)), aside


def rung(cell: Cell, tokens: int, loss: float) -> Rung:
    """A finished run on the ladder. Raises ValueError if its record lacks what a law is of."""
    for name, keys in RECORDED.items():
        if not keys <= set(cell.record.get(name) or {}):
            raise ValueError(
                f"{cell.folder}/run.json: lacks {name} with {joined(sorted(keys))}; name folders without it"
            )
    total, body = (cell.record["parameters"][count] for count in COUNTS)
    return Rung(cell.name, str(cell.record.get("choices", {}).get("model") or f"{total:,}"), total, body, tokens, loss)


def points(found: Sequence[Rung], count: str) -> Points:
    """N, D and loss of runs as arrays."""
    rows = numpy.array([(rung.parameters(count), rung.tokens, rung.loss) for rung in found], float)
    return Points(*rows.T)


def held_out(found: Sequence[Rung], word: str, count: str) -> list[Rung]:
    """The runs that `word` holds out: sizes or folders, `none`, or if it is empty those of the largest budget.

    Raises ValueError for a name that no run has.
    """
    if word == "none":
        return []
    if not word:
        largest = max((rung.budget(count) for rung in found), default=0.0)
        return [rung for rung in found if rung.budget(count) >= 0.999 * largest]
    names = word.split(",") if not any(rung.name == word for rung in found) else [word]  # a folder's may hold commas
    for name in names:
        if not any(name in (rung.size, rung.name) for rung in found):
            sizes = joined(dict.fromkeys(rung.size for rung in found))
            raise ValueError(f"holdout={name}: no finished run of that name; the sizes are {sizes or 'none yet'}")
    return [rung for rung in found if rung.size in names or rung.name in names]


def doubts(cells: Sequence[Cell], found: Sequence[Rung]) -> list[str]:
    """What speaks against one law for all of these runs."""
    recipes = [cell.record.get("recipe", {}) for cell in cells if cell.record]
    keys = [key for key in dict.fromkeys(key for each in recipes for key in each) if not under(key, OF_A_RUNG)]
    aside = meaningless([cell.record for cell in cells if cell.record], keys)
    differing = [key for key in keys if key not in aside and len({str(each.get(key)) for each in recipes}) > 1]
    said = [f"The runs differ in more than size and length: {joined(differing)}."] * bool(differing)
    if len({cell.record["data"].get("digest") for cell in cells if "data" in cell.record}) > 1:
        said.append("The runs read different data, so that their losses do not compare.")
    if isinstance(windows := environment(list(cells)).get("validation windows"), list):
        said.append(
            f"The losses are of {joined(map(str, windows), 'or')} windows of the held-out text and do not compare."
        )
    if len(contexts := sorted({cell.record["batch"]["context"] for cell in cells if "batch" in cell.record})) > 1:
        said.append(
            f"The losses are of sequences of {joined(map(str, contexts), 'or')} tokens: a longer one foretells more."
        )
    least = min(
        (cell.record["data"].get("train_tokens", math.inf) for cell in cells if "data" in cell.record), default=0
    )
    longest = max((rung.tokens for rung in found), default=0)
    if longest > least:
        said.append(f"The longest run reads its {least:,} tokens {longest / least:.1f} times; what a law says is of "
                    f"tokens that are seen once.")  # fmt: skip
    return said


def units(environment: dict) -> str:
    """What a nat is of. Raises ValueError where runs have different tokenizers."""
    tokenizer = environment.get("tokenizer", "")
    if isinstance(tokenizer, list):
        raise ValueError(
            f"the runs have different tokenizers, {joined(tokenizer)}: their losses are of different units"
        )
    return f"nats a {TOKENS.get(tokenizer, 'subword token')}"
