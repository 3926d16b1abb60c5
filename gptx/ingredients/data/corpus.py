"""Tokens as batches: a batch is a function of the seed and of its place in the run; its order is never stored."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptx.ingredients.data import Corpus
from gptx.ingredients.data.cache import SPLITS, token_type, tokenised
from gptx.ingredients.data.documents import Catalogue, among, contents
from gptx.ingredients.data.files import hash64
from gptx.ingredients.data.sources import Source
from gptx.ingredients.data.tokenizers import known, load_encoding, token_lengths
from gptx.units.phrases import count

_ORDERS = ("shuffled", "written")
_NAMED = 5  # of the files that are left out
_ROUNDS = 6  # four make a pseudo-random permutation (Luby & Rackoff 1988); two more since short texts have small halves
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class TokenBatch(NamedTuple):
    """Sequences and, at each position, the token that comes next; both int64."""

    inputs: Tensor  # (B, T)
    targets: Tensor  # (B, T)

    def cut(self, length: int) -> "TokenBatch":
        """The same tokens in sequences of `length`, which divides T: (B * T / length, length)."""
        return TokenBatch(*(tensor.reshape(-1, length) for tensor in self))

    def to(self, device: torch.device | str) -> "TokenBatch":
        """Copy to `device`, to CUDA from pinned memory without waiting for it."""
        cuda = torch.device(device).type == "cuda"
        return TokenBatch(*((each.pin_memory() if cuda else each).to(device, non_blocking=cuda) for each in self))


class Windows(Corpus):
    """A tokenised text cut into windows of `context` tokens.

    An epoch visits each of its `windows` once, in an order that depends on `seed` and the epoch alone (with `order`
    "written": in that of the text), and shifts all borders by a part of a window, so that no token always comes first.
    With `apart`, held-out documents that are trained on as well are left out. Raises ValueError if a split is short."""

    def __init__(self, source: Source, *, tokenizer: str, context: int, seed: int, order: str, apart: bool = False):
        if order not in _ORDERS:
            raise ValueError(f"order={order} is unknown; one of {', '.join(_ORDERS)}")
        if context < 1:
            raise ValueError(f"context={context} must be at least 1")
        folder = tokenised(source, known(tokenizer))
        self.context, self.seed, self.order = context, seed, order
        self.encoding = load_encoding(folder / "tokenizer.json")
        self.vocab_size = self.encoding.n_vocab
        if self.encoding.eot_token != self.vocab_size - 1:
            line = f"the end of text is token {self.encoding.eot_token:,} and must be the last, {self.vocab_size - 1:,}"
            raise ValueError(f"tokenizer={tokenizer}: {line}, where model.mask=document looks for it")
        self.token_bytes = torch.from_numpy(token_lengths(self.encoding))
        self.train_tokens, self.validation_tokens = (mapped(folder / split, self.vocab_size) for split in SPLITS)
        self.where = source.where
        self.refuse_short("training", len(self.train_tokens))
        self.catalogue = Catalogue(folder / "train")
        self.train_contents = contents(folder / "train", self.train_tokens)
        self.validation_contents = contents(folder / "validation", self.validation_tokens)
        ends = np.append(Catalogue(folder / "validation").starts, len(self.validation_tokens))
        self.validation_lengths = np.diff(ends)  # of its documents, in tokens
        self.remarks = _remarks(source.left_out, self.train_contents, self.validation_contents, apart=apart)
        self.windows = max(1, len(self.train_tokens) // context - 1)  # one fewer than fit, so that borders can shift
        named = {"name": source.name, "digest": source.digest, "content": source.content, "tokenizer": tokenizer}
        tokens = {"vocab_size": self.vocab_size, "train_tokens": len(self.train_tokens), "validation_tokens": 0}
        self.identity = named | tokens | {"train_documents": len(self.catalogue.starts), "validation_documents": 0}
        self.hold_out_without(self.train_contents if apart else np.empty(0, np.uint64))

    def refuse_short(self, split: str, length: int) -> None:
        if length <= self.context:
            shorter = f", or set model.context to {length - 1} or less" if length > 1 else ""
            line = f"{length:,} tokens, fewer than one window of context + 1 = {self.context + 1:,}; give more text"
            raise ValueError(f"the {split} text of {self.where} has {line}, hold out another share{shorter}")

    def hold_out_without(self, trained: NDArray[np.uint64]) -> int:
        """Leave documents of these contents out of the validation text; returns how many there were."""
        kept = ~among(self.validation_contents, trained)
        if not kept.all():
            self.validation_tokens = self.validation_tokens[np.repeat(kept, self.validation_lengths)]
            self.validation_contents = self.validation_contents[kept]
            self.validation_lengths = self.validation_lengths[kept]
        self.refuse_short("validation", len(self.validation_tokens))
        self.validation_windows = (len(self.validation_tokens) - 1) // self.context
        self.identity["validation_tokens"] = len(self.validation_tokens)
        self.identity["validation_documents"] = len(self.validation_lengths)
        return int((~kept).sum())

    def __call__(self, first: int, count: int) -> TokenBatch:
        return self.sequences(np.arange(first, first + count))

    def sequences(self, numbers: NDArray[np.int64]) -> TokenBatch:
        return batch(self.train_tokens, self.starts(numbers), self.context)

    def validation(self, first: int, count: int) -> TokenBatch:
        return batch(self.validation_tokens, np.arange(first, first + count) * self.context, self.context)

    def starts(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in the training tokens those sequences of the run begin, (numbers,)."""
        epochs, positions = np.divmod(numbers, self.windows)
        room = len(self.train_tokens) - self.windows * self.context  # an epoch begins at one of its first `room` tokens
        shifts = _random_bits(epochs, seed=self.seed, stream="borders") % np.uint64(room)
        if self.order == "shuffled":
            positions = shuffled(positions, epochs, size=self.windows, seed=self.seed)
        return positions * self.context + shifts.astype(np.int64)

    def documents(self, first: int, count: int, stride: int = 1) -> list[dict[str, int]]:
        starts = self.starts(first + np.arange(count) * stride).tolist()
        return [self.catalogue.within(start, start + self.context) for start in starts]

    def names(self) -> Iterator[str]:
        return iter(self.catalogue)

    def __str__(self) -> str:
        facts = self.identity
        return (
            f"{facts['name']}: {facts['train_tokens']:,} training tokens in {facts['train_documents']:,} documents, "
            f"{facts['validation_tokens']:,} validation tokens in {facts['validation_documents']:,}; "
            f"{facts['tokenizer']} tokenizer, {self.vocab_size:,} tokens; "
            f"{self.windows:,} windows of {self.context:,} an epoch"
        )


def _remarks(unread: Sequence[str], train: NDArray[np.uint64], held: NDArray[np.uint64], *, apart: bool) -> list[str]:
    more = [f"and {len(unread) - _NAMED:,} more"] * (len(unread) > _NAMED)
    lines = [f"{count(len(unread), 'file')} left out: {'; '.join([*unread[:_NAMED], *more])}"] * bool(unread)
    copies, trained = int((np.diff(np.sort(np.append(train, held))) == 0).sum()), int(among(held, train).sum())
    lines += [f"{copies:,} of {len(train) + len(held):,} documents are copies of others"] * bool(copies)
    if trained and apart:
        lines[-1] += f"; {trained:,} of {len(held):,} held-out documents left out, which are also in the training text"
    elif trained:
        lines.append(f"warning: {trained:,} of {len(held):,} held-out documents are trained on as well")
    return lines


def mapped(base: Path, vocab_size: int) -> NDArray[np.unsignedinteger]:
    """The token ids of a split, (tokens,), mapped into memory."""
    dtype, path = token_type(vocab_size), Path(f"{base}.tokens")
    return np.asarray(np.memmap(path, dtype=dtype, mode="r")) if path.stat().st_size else np.empty(0, dtype=dtype)


def batch(tokens: NDArray[np.unsignedinteger], starts: NDArray[np.int64], context: int) -> TokenBatch:
    """Read the windows that begin at `starts`; targets are the inputs moved on by one."""
    windows = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64)  # (B, T + 1)
    return TokenBatch(*(torch.from_numpy(windows[:, cut].copy()) for cut in (slice(None, -1), slice(1, None))))


def shuffled(positions: NDArray[np.int64], epochs: NDArray[np.int64], *, size: int, seed: int) -> NDArray[np.int64]:
    """Map each position in [0, size) to the place that the permutation of its epoch and `seed` gives it: a Feistel
    network over a grid just larger than `size`, with cycle walking (Black & Rogaway 2002, sections 4 and 5)."""
    columns = -(-size // (rows := math.isqrt(size - 1) + 1))
    rounds = _GOLDEN * np.arange(1, _ROUNDS + 1, dtype=np.uint64)[:, None]
    keys = _mixed(_random_bits(epochs, seed=seed, stream="order") + rounds)
    places = _feistel(positions.astype(np.uint64), keys, rows=rows, columns=columns)
    while (outside := places >= size).any():  # rows * columns exceeds size by less than one row
        places[outside] = _feistel(places[outside], keys[:, outside], rows=rows, columns=columns)
    return places.astype(np.int64)


def _feistel(values: NDArray[np.uint64], keys: NDArray[np.uint64], *, rows: int, columns: int) -> NDArray[np.uint64]:
    """Permute [0, rows * columns): each round adds a keyed hash of one coordinate to the other, which can be undone."""
    row, column = np.divmod(values, np.uint64(columns))
    for even, odd in zip(keys[::2], keys[1::2], strict=True):
        row = (row + _mixed(column ^ even) % np.uint64(rows)) % np.uint64(rows)
        column = (column + _mixed(row ^ odd) % np.uint64(columns)) % np.uint64(columns)
    return row * np.uint64(columns) + column


def _random_bits(epochs: NDArray[np.int64], *, seed: int, stream: str) -> NDArray[np.uint64]:
    """One 64-bit number per epoch, a function of `seed`, the epoch and the name of the stream alone."""
    start = np.uint64(hash64([f"{stream} {seed}".encode()], "little"))
    return _mixed(start ^ _mixed(epochs.astype(np.uint64) + _GOLDEN))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash 64 bits to 64 bits (the finaliser of SplitMix64: Steele, Lea & Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class RandomTokens(Corpus):
    """Random tokens in memory for training and validation, to measure speed; after its 1,024 rows it begins again."""

    validation_windows = 1_000_000  # any number: the rows repeat

    def __init__(self, *, vocab_size: int, context: int):
        self.vocab_size, self.context, self.identity, self.remarks = vocab_size, context, {"name": "noise"}, []
        self.tokens = torch.randint(vocab_size, (1024, context + 1), generator=torch.Generator().manual_seed(0))
        self.token_bytes = torch.ones(vocab_size, dtype=torch.long)

    def __call__(self, first: int, count: int) -> TokenBatch:
        rows = self.tokens[torch.arange(first, first + count) % len(self.tokens)]
        return TokenBatch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())

    validation = __call__
