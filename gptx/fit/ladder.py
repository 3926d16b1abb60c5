"""A ladder of finished runs (parameters, tokens and final loss), its scaling law, and predictions for runs held out."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy

from gptx.compare.collect import environment
from gptx.compare.factors import confounded
from gptx.compare.outcomes import METRIC
from gptx.compare.words import TOKENS
from gptx.config.keys import under
from gptx.estimate.laws import CONSTANTS, Law
from gptx.fit import huber
from gptx.fit.page import incomparable
from gptx.runs.run import Run
from gptx.units.phrases import joined

COUNTS = {"total": "every parameter", "non_embedding": "parameters without embeddings"}
_MAY_DIFFER = ("model", "steps", "schedule", "seed", "data.seed", "data.context", "optim.tokens")  # on a ladder
_NEEDED = {"parameters": {*COUNTS}, "batch": {"context"}, "data": {"digest", "vocab_size", "train_tokens"}}
_BUDGETS = 4  # of isoFLOP curves
_LEAST = 3  # sizes on a parabola


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
        """Holding out sizes or folders, `none`, or for "" the largest budget. Raises ValueError for unknown names."""
        largest = max((rung.budget(count) for rung in self.rungs), default=0.0)
        names = self._names(word) if word else [r.name for r in self.rungs if r.budget(count) >= 0.999 * largest]
        return replace(self, rungs=[replace(r, held_out=r.size in names or r.name in names) for r in self.rungs])

    def _names(self, word: str) -> list[str]:
        known = {name for rung in self.rungs for name in (rung.size, rung.name)}
        names = [word] if word in known else word.split(",")  # the name of a folder may hold commas
        for name in names:
            if name not in known and word != "none":
                sizes = joined(dict.fromkeys(rung.size for rung in self.rungs)) or "none yet"
                raise ValueError(f"holdout={name}: no finished run of that name; the sizes are {sizes}")
        return names


def of_runs(cells: Sequence[Run], name: str) -> Ladder:
    """The finished runs. Raises ValueError for a loss that is not finite, incomplete records, several tokenizers."""
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
    found.sort(key=lambda each: (each.total, each.tokens))
    around = environment(used)
    return Ladder(found, _about(used, name, around), [*against_one_law(used, found), *left_out], around)


def _rung(cell: Run, tokens: int, loss: float) -> Rung:
    for name, keys in _NEEDED.items():
        if not keys <= set(cell.record.get(name) or {}):
            lacking = f"lacks {name} with {joined(sorted(keys))}"
            raise ValueError(f"{cell.folder}/run.json: {lacking}; name folders without it")
    total, body = (cell.record["parameters"][count] for count in COUNTS)
    return Rung(cell.name, str(cell.record.get("choices", {}).get("model") or f"{total:,}"), total, body, tokens, loss)


def _about(cells: Sequence[Run], name: str, around: dict) -> About:
    tokenizer = around.get("tokenizer", "")
    if isinstance(tokenizer, list):
        raise ValueError(f"the runs have different tokenizers, {joined(tokenizer)}: their losses differ in units")
    units, recipe = f"nats a {TOKENS.get(tokenizer, 'subword token')}", ""
    for group in ("data", "experiment"):
        chosen = {str(cell.record.get("choices", {}).get(group)) for cell in cells}
        recipe = f"{group}={chosen.pop()}" if len(chosen) == 1 and chosen != {"None"} else recipe
    if not cells:
        return About(name, units)
    data, text = cells[0].record["data"], min(cell.record["data"]["train_tokens"] for cell in cells)
    return About(name, units, recipe, cells[0].record["batch"]["context"], data["vocab_size"], text)


def against_one_law(cells: Sequence[Run], found: Sequence[Rung]) -> Iterator[str]:
    """What speaks against one law for all of these runs."""
    if differing := [told for told in confounded(list(cells), ()) if not under(told.split()[0], _MAY_DIFFER)]:
        yield f"The runs differ in more than size and length: {joined(differing)}."
    yield from (f"{told}." for told in incomparable(environment(list(cells))))
    contexts = sorted({cell.record["batch"]["context"] for cell in cells})
    if len(contexts) > 1:
        yield f"The runs have contexts of {joined(map(str, contexts), 'or')} tokens: a longer one lowers the loss."
    text = min((cell.record["data"]["train_tokens"] for cell in cells), default=0)
    longest = max((rung.tokens for rung in found), default=0)
    if longest > text:
        yield f"The longest run reads its {text:,} tokens {longest / text:.1f} times; the law assumes new tokens."


@dataclass(frozen=True)
class Minimum:
    """Losses of sizes at one budget, and the size at the lowest point of a parabola through them, if it is inside."""

    budget: float
    sizes: list[int]
    losses: list[float]
    best: float | None


def minima(found: Sequence[Rung], count: str) -> list[Minimum]:
    """IsoFLOP curves (arXiv:2203.15556, section 3.2): some budgets, evenly spaced, at which at least three sizes have a
    loss. Losses are interpolated between two lengths of a size, in logarithms of both, and never extrapolated."""
    sizes: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for rung in found:
        sizes[rung.parameters(count)][rung.tokens].append(float(numpy.log(rung.loss)))
    budgets = [rung.budget(count) for rung in found]
    read = (_minimum(float(flops), sizes) for flops in numpy.geomspace(min(budgets), max(budgets), 33))
    full = [each for each in read if len(each.sizes) >= _LEAST]
    step = max(1, -(-len(full) // _BUDGETS))
    return full[step // 2 :: step]


def _minimum(flops: float, sizes: dict[int, dict[int, list[float]]]) -> Minimum:
    known, losses, best = [], [], None
    for size, lengths in sorted(sizes.items()):
        tokens, here = flops / 6 / size, sorted(lengths)
        if here[0] <= tokens <= here[-1]:
            along = [float(numpy.mean(lengths[length])) for length in here]
            known.append(size)
            losses.append(float(numpy.exp(numpy.interp(numpy.log(tokens), numpy.log(here), along))))
    if len(known) >= _LEAST:
        bend, slope, _ = numpy.polyfit(numpy.log(known), losses, 2)
        place = float(numpy.exp(-slope / 2 / bend)) if bend > 0 else 0.0
        best = place if known[0] <= place <= known[-1] else None
    return Minimum(flops, known, losses, best)


@dataclass(frozen=True)
class _Prediction:
    """A held-out run: its loss by the law, and 95 % intervals of that and of a single run, which scatters around it."""

    rung: Rung
    expected: float
    law: tuple[float, float]
    run: tuple[float, float]

    @property
    def inside(self) -> bool:
        return self.run[0] <= self.rung.loss <= self.run[1]


@dataclass(frozen=True)
class LawReading:
    """The law of some runs by one count of N, the residual of each (log measured over fitted), and predictions."""

    count: str
    law: Law
    rungs: list[Rung]
    residuals: numpy.ndarray
    predictions: list[_Prediction]

    @property
    def sizes(self) -> list[int]:
        return [rung.parameters(self.count) for rung in self.rungs]

    @property
    def budgets(self) -> list[float]:
        return [rung.budget(self.count) for rung in self.rungs]

    @property
    def by_law(self) -> list[float]:
        return [rung.loss / float(numpy.exp(left)) for rung, left in zip(self.rungs, self.residuals, strict=True)]


class NoLaw(ValueError):
    """The runs do not follow the law."""


def fit_law(ladder: Ladder, count: str, draws: int) -> LawReading:
    """Fit all runs but those held out. Raises ValueError where they determine no law, NoLaw where they follow none."""
    kept, held = ([rung for rung in ladder.rungs if rung.held_out is out] for out in (False, True))
    if not kept:
        raise ValueError(f"{len(held)} finished runs, all held out: a law needs several sizes, each of several lengths")
    runs = numpy.array([(rung.parameters(count), rung.tokens, rung.loss) for rung in kept], float).T
    huber.refuse_undetermined(runs)
    best, _ = huber.fit_constants(runs)
    spent, drawn = [rung.budget(count) for rung in kept], huber.bootstrap(runs, best, draws)
    known: dict[str, Any] = asdict(ladder.about) | dict(zip(CONSTANTS, best, strict=True))
    source = f"{len(kept)} runs of {ladder.about.name}; N: {COUNTS[count]}"
    law = Law(**known, source=source, draws=drawn, operations=(min(spent), max(spent)))
    if law.undetermined:
        none = f"these {len(kept)} runs do not follow the law, and no best size is known: {law.undetermined}"
        raise NoLaw(f"{none}, as where the loss does not fall with parameters or with tokens (N: {COUNTS[count]})")
    residuals = numpy.log(runs[2]) - numpy.log(law.loss(*runs[:2]))
    return LawReading(count, law, kept, residuals, [predict(law, rung, count, residuals) for rung in held])


def predict(law: Law, rung: Rung, count: str, residuals: numpy.ndarray) -> _Prediction:
    """The prediction of a law for a run. Runs scatter as the fitted ones do, corrected for the five constants."""
    loss = partial(Law.loss, parameters=rung.parameters(count), tokens=rung.tokens)
    lost = (len(residuals) / max(1, len(residuals) - len(CONSTANTS))) ** 0.5
    scatter = numpy.random.default_rng(0).choice(residuals * lost, size=(len(law.draws), 50))
    drawn = numpy.array([loss(Law(law.name, *draw)) for draw in law.draws])
    low, high = numpy.percentile(drawn[:, None] * numpy.exp(scatter), (2.5, 97.5))
    return _Prediction(rung, loss(law), interval(law, loss), (float(low), float(high)))


def interval(law: Law, quantity: Callable[[Law], float]) -> tuple[float, float]:
    return law.interval(quantity) or (0.0, 0.0)
