"""Several corpora as one, each with its share of the sequences."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gptx.ingredients.data import Corpus
from gptx.ingredients.data.corpus import TokenBatch, Windows, shuffled
from gptx.ingredients.data.files import hashed
from gptx.units.phrases import count

BLOCK = 1000  # sequences in which every source has its exact share, to a thousandth


class Mixture(Corpus):
    """Corpora of one tokenizer, each giving its weight's share of the sequences.

    Of every BLOCK sequences a source has a fixed number, in an order that depends on `seed` and the block alone, and
    takes them from its own run of sequences one after another: it visits each of its windows once before it begins
    again. Raises ValueError for weights without a source or that do not add up to 1, and for different tokenizers."""

    def __init__(self, *, sources: dict[str, Any], weights: dict[str, float], tokenizer: str, context: int, seed: int):
        _refuse_odd_weights(weights, sources)
        self.weights = {name: float(weights[name]) for name in sorted(weights) if weights[name]}
        self.sources: dict[str, Windows] = {name: sources[name] for name in self.weights}
        self.context, self.seed = context, seed
        _refuse_different(self.sources, tokenizer=tokenizer, context=context)
        self.remarks = [f"{name}: {line}" for name, source in self.sources.items() for line in source.remarks]
        self.remarks += _held_apart(self.sources)
        corpora, shares = [*self.sources.values()], [*self.weights.values()]
        self.encoding, self.vocab_size = corpora[0].encoding, corpora[0].vocab_size
        self.token_bytes = corpora[0].token_bytes
        self.counts = apportioned(shares, BLOCK)  # (sources,)
        self.validation_order = proportioned(shares, [corpus.validation_windows for corpus in corpora])
        self.validation_windows = len(self.validation_order)
        rates = zip(corpora, self.counts.tolist(), strict=True)
        self.windows = min(corpus.windows * BLOCK // turns for corpus, turns in rates)  # until the first begins again
        shared = {"tokenizer": tokenizer, "vocab_size": self.vocab_size, "weights": self.weights}
        self.identity = _identity({name: source.identity for name, source in self.sources.items()}, shared)

    def __call__(self, first: int, count: int) -> TokenBatch:
        sources, numbers = self.places(first, count).T
        mixed = TokenBatch(*torch.empty(2, count, self.context, dtype=torch.int64))
        for i, corpus in enumerate(self.sources.values()):
            mixed.inputs[sources == i], mixed.targets[sources == i] = corpus.sequences(numbers[sources == i])
        return mixed

    def places(self, first: int, count: int, stride: int = 1) -> NDArray[np.int64]:
        """Source and its number there of every `stride`-th sequence of the run from `first` on, (count, 2)."""
        blocks, offsets = np.divmod(first + np.arange(count) * stride, BLOCK)
        slots = shuffled(offsets, blocks, size=BLOCK, seed=self.seed)  # the first counts[0] of a block are source 0's
        ends = np.cumsum(self.counts)
        sources = np.searchsorted(ends, slots, side="right")
        return np.stack([sources, blocks * self.counts[sources] + slots - (ends - self.counts)[sources]], axis=1)

    def validation(self, first: int, count: int) -> TokenBatch:
        """In shares of the weights, so that the mean of the windows is the weighted loss."""
        sources, order = list(self.sources.values()), self.validation_order[first : first + count].tolist()
        windows = [sources[source].validation(number, 1) for source, number in order]
        return TokenBatch(*map(torch.cat, zip(*windows, strict=True)))

    def documents(self, first: int, count: int, stride: int = 1) -> list[dict[str, int]]:
        """Each name with its source before it: stories/train:7."""
        sources, found = [*self.sources.items()], []
        for source, number in self.places(first, count, stride).tolist():
            name, corpus = sources[source]
            found.append({f"{name}/{each}": tokens for each, tokens in corpus.documents(number, 1)[0].items()})
        return found

    def names(self) -> Iterator[str]:
        return (f"{source}/{name}" for source, corpus in self.sources.items() for name in corpus.names())

    def __str__(self) -> str:
        amount = "{train_tokens:,} training tokens in {train_documents:,} documents".format
        sources = self.identity["sources"].items()
        parts = ", ".join(f"{self.weights[name]:.1%} {name} ({amount(**facts)})" for name, facts in sources)
        return (
            f"mixture of {parts}; {self.identity['tokenizer']} tokenizer, {self.vocab_size:,} tokens; "
            f"{self.windows:,} windows of {self.context:,} until a source begins again"
        )


def _identity(parts: dict[str, dict], shared: dict[str, Any]) -> dict[str, Any]:
    named = {name: {fact: part[fact] for fact in part if fact != "content"} for name, part in parts.items()}
    content = {name: part["content"] for name, part in parts.items()}
    digests = {"digest": hashed(named, shared["weights"]), "content": hashed(content, shared["weights"])}
    sums = ("train_tokens", "validation_tokens", "train_documents", "validation_documents")
    counts = {fact: sum(part[fact] for part in parts.values()) for fact in sums}
    return {"name": "mixture", **digests, **shared, "sources": parts, **counts}


def _refuse_odd_weights(weights: dict[str, float], sources: dict[str, Any]) -> None:
    names = ", ".join(sources)
    for name, weight in weights.items():
        if name not in sources:
            raise ValueError(f"data.weights.{name}={weight}: no such source; sources: {names}")
        if weight < 0 or 0 < weight < 1 / BLOCK:
            raise ValueError(f"data.weights.{name}={weight}: 0, or at least {1 / BLOCK}")
    for name in sorted(sources.keys() - weights.keys()):
        raise ValueError(f"data.weights.{name}: a weight is needed for every source; sources: {names}")
    if abs(sum(weights.values()) - 1) > 1e-6:
        shares = ", ".join(f"{name}={weight:g}" for name, weight in weights.items())
        raise ValueError(f"data.weights: {shares} add up to {sum(weights.values()):g}, not 1")


def _refuse_different(sources: dict[str, Windows], *, tokenizer: str, context: int) -> None:
    vocabulary = attrgetter("encoding._pat_str", "encoding._mergeable_ranks", "encoding._special_tokens")
    (first, corpus), *_ = sources.items()
    for name, source in sources.items():
        theirs = source.identity["tokenizer"]
        if theirs != tokenizer:
            raise ValueError(f"data.sources.{name}.tokenizer={theirs} is not the mixture's data.tokenizer={tokenizer}")
        if source.context != context:
            raise ValueError(f"data.sources.{name}.context={source.context} is not the mixture's {context}")
        if vocabulary(source) != vocabulary(corpus):
            line = f"data.sources.{first} and data.sources.{name} have different vocabularies"
            raise ValueError(f"{line}, since tokenizer={tokenizer} learns one from each text; use data.tokenizer=gpt2")


def _held_apart(sources: dict[str, Windows]) -> list[str]:
    """Leave out of the validation text of each source what others train on; says how much that is."""
    lines = []
    for name, source in sources.items():
        others = [each.train_contents for other, each in sources.items() if other != name]
        try:
            lost = source.hold_out_without(np.concatenate([np.empty(0, np.uint64), *others]))
        except ValueError as error:
            raise ValueError(f"data.sources.{name}: another source trains on what it holds out; {error}") from None
        left_out = f"{name}: {count(lost, 'held-out document')} left out, since another source trains on the same"
        lines += [left_out] * bool(lost)
    return lines


def apportioned(weights: list[float], seats: int) -> NDArray[np.int64]:
    """Whole numbers that add up to `seats`, each less than 1 from weight x seats (the largest remainders round up)."""
    exact = np.array(weights) * seats
    counts = np.floor(exact + 1e-6).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: seats - counts.sum()]] += 1
    return counts


def proportioned(weights: list[float], available: list[int]) -> NDArray[np.int64]:
    """Source and number of windows, (windows, 2): every beginning has the weights' shares, until a source runs out."""
    most = min(windows / weight for windows, weight in zip(available, weights, strict=True))
    numbers = [np.arange(max(1, int(most * weight + 1e-6))) for weight in weights]
    due = np.concatenate([(number + 0.5) / len(number) for number in numbers])
    places = np.concatenate([np.stack([np.full_like(n, source), n], axis=1) for source, n in enumerate(numbers)])
    return places[np.argsort(due, kind="stable")]
