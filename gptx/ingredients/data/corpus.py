"""Tokens on disk as batches: a batch is a pure function of the seed and of its place in the run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptx.ingredients.data.cache import SPLITS, token_type, tokenised
from gptx.ingredients.data.copies import among, contents, told
from gptx.ingredients.data.documents import Catalogue, blamed
from gptx.ingredients.data.order import drawn, shuffled
from gptx.ingredients.data.sources import Source
from gptx.ingredients.data.tokenizers import known, load_encoding, save_encoding, token_lengths

ORDERS = ("shuffled", "written")
NAMED = 5  # of the files that are left out


class TokenBatch(NamedTuple):
    """Sequences and, at each position, the token that comes next; both int64."""

    inputs: Tensor  # (B, T)
    targets: Tensor  # (B, T)

    def cut(self, length: int) -> "TokenBatch":
        """The same tokens in sequences of `length`, which divides T: (B * T / length, length)."""
        return TokenBatch(*(tensor.reshape(-1, length) for tensor in self))

    def to(self, device: torch.device | str) -> "TokenBatch":
        """Copy to `device`, towards CUDA from pinned memory without waiting for it."""
        if torch.device(device).type == "cuda":
            return TokenBatch(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in self))
        return TokenBatch(*(tensor.to(device) for tensor in self))


class Corpus:
    """A tokenised text cut into windows of `context` tokens; a call gives the sequences of the run that it asks for.

    An epoch visits each of its `windows` once, in an order that depends on `seed` and the epoch alone (where `order`
    is "written": in that of the text), and shifts all borders by a part of a window, so that no token always comes
    first. Held-out documents that are trained on as well are left out where they are to be kept `apart`. Raises
    ValueError where a split is too short.
    """

    def __init__(self, source: Source, *, tokenizer: str, context: int, seed: int, order: str, apart: bool = False):
        if order not in ORDERS:
            raise ValueError(f"order={order} is unknown; one of {', '.join(ORDERS)}")
        if context < 1:
            raise ValueError(f"context={context} must be at least 1")
        folder = tokenised(source, known(tokenizer))
        self.context, self.seed, self.order = context, seed, order
        self.encoding = load_encoding(folder / "tokenizer.json")
        self.vocab_size = self.encoding.n_vocab
        if self.encoding.eot_token != self.vocab_size - 1:
            raise ValueError(
                f"tokenizer={tokenizer}: the end of text is token {self.encoding.eot_token:,} and must be the last, "
                f"{self.vocab_size - 1:,}, where model.mask=document looks for it"
            )
        self.token_bytes = torch.from_numpy(token_lengths(self.encoding))  # (V,)
        self.train_tokens, self.validation_tokens = (mapped(folder / split, self.vocab_size) for split in SPLITS)
        self.where = source.where
        self.refuse_short("training", len(self.train_tokens))
        self.refuse_short("validation", len(self.validation_tokens))
        self.catalogue = Catalogue(folder / "train")
        self.train_contents = contents(folder / "train", self.train_tokens)
        self.validation_contents = contents(folder / "validation", self.validation_tokens)
        ends = np.append(Catalogue(folder / "validation").starts, len(self.validation_tokens))
        self.validation_lengths = np.diff(ends)  # of its documents, in tokens
        copies = told(self.train_contents, self.validation_contents, apart=apart)
        self.remarks = left_out(source.left_out) + copies
        self.windows = max(1, len(self.train_tokens) // context - 1)  # one fewer than fit, where the borders need room
        self.validation_windows = (len(self.validation_tokens) - 1) // context
        self.identity: dict[str, Any] = {
            "name": source.name,
            "digest": source.digest,
            "content": source.content,
            "tokenizer": tokenizer,
            "vocab_size": self.vocab_size,
            "train_tokens": len(self.train_tokens),
            "validation_tokens": len(self.validation_tokens),
            "train_documents": len(self.catalogue.starts),
            "validation_documents": len(self.validation_lengths),
        }
        if apart:
            self.hold_out_without(self.train_contents)

    def refuse_short(self, split: str, length: int) -> None:
        """Raise ValueError where a split has less than one window."""
        if length <= self.context:
            raise ValueError(
                f"the {split} text of {self.where} has {length:,} tokens, fewer than one window of "
                f"context + 1 = {self.context + 1:,}; give more text, hold out another share"
                + (f", or set model.context to {length - 1} or less" if length > 1 else "")
            )

    def hold_out_without(self, trained: NDArray[np.uint64]) -> int:
        """Leave documents of these contents out of the validation text; how many there were."""
        kept = ~among(self.validation_contents, trained)
        if not kept.all():
            self.validation_tokens = self.validation_tokens[np.repeat(kept, self.validation_lengths)]
            self.validation_contents, self.validation_lengths = (
                facts[kept] for facts in (self.validation_contents, self.validation_lengths)
            )
            self.refuse_short("validation", len(self.validation_tokens))
            self.validation_windows = (len(self.validation_tokens) - 1) // self.context
            self.identity |= {
                "validation_tokens": len(self.validation_tokens), "validation_documents": int(kept.sum())
            }  # fmt: skip
        return int((~kept).sum())

    def __call__(self, first: int, count: int) -> TokenBatch:
        """Sequences `first` to `first + count` of the run."""
        return self.sequences(np.arange(first, first + count))

    def sequences(self, numbers: NDArray[np.int64]) -> TokenBatch:
        """Those sequences of the run, in that order."""
        return batch(self.train_tokens, self.starts(numbers), self.context)

    def validation(self, first: int, count: int) -> TokenBatch:
        """Windows `first` to `first + count` of the validation text: always the same, in the order of the text."""
        return batch(self.validation_tokens, np.arange(first, first + count) * self.context, self.context)

    def starts(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in the training tokens those sequences of the run begin, (numbers,)."""
        epochs, positions = np.divmod(numbers, self.windows)
        room = len(self.train_tokens) - self.windows * self.context  # an epoch begins at one of its first `room` tokens
        shifts = drawn(epochs, seed=self.seed, stream="borders") % np.uint64(room)
        if self.order == "shuffled":
            positions = shuffled(positions, epochs, size=self.windows, seed=self.seed)
        return positions * self.context + shifts.astype(np.int64)

    def documents(self, first: int, count: int, stride: int = 1) -> list[dict[str, int]]:
        """Of `count` sequences of the run, every `stride`-th from `first` on, the names of their documents and how many
        tokens each gives."""
        starts = self.starts(first + np.arange(count) * stride).tolist()
        return [self.catalogue.within(start, start + self.context) for start in starts]

    def names(self) -> Iterator[str]:
        """Names of all training documents."""
        return iter(self.catalogue)

    def blame(self, first: int, losses: list[float], stride: int = 1) -> list[dict]:
        """The documents of those sequences by how far the losses of theirs lie above the others' (`blamed`)."""
        return blamed(self.documents(first, len(losses), stride), losses)

    def save_tokenizer(self, path: str | Path) -> None:
        """Write the encoding to one file, all that a sampler needs to turn text to tokens and back."""
        save_encoding(self.encoding, path)

    def __str__(self) -> str:
        facts = self.identity
        return (
            f"{facts['name']}: {facts['train_tokens']:,} training tokens in {facts['train_documents']:,} documents, "
            f"{facts['validation_tokens']:,} validation tokens in {facts['validation_documents']:,}; "
            f"{facts['tokenizer']} tokenizer, {self.vocab_size:,} tokens; "
            f"{self.windows:,} windows of {self.context:,} an epoch"
        )


def left_out(complaints: list[str]) -> list[str]:
    """What is to be said of files that are not read, in at most one sentence."""
    count, more = len(complaints), len(complaints) - NAMED
    named = "; ".join(complaints[:NAMED]) + (f"; and {more:,} more" if more > 0 else "")
    return [f"{count:,} file{'s' if count > 1 else ''} left out: {named}"] * bool(complaints)


def mapped(base: Path, vocab_size: int) -> NDArray[np.unsignedinteger]:
    """Map the token ids of a split into memory, (tokens,)."""
    dtype, path = token_type(vocab_size), Path(f"{base}.tokens")
    return np.asarray(np.memmap(path, dtype=dtype, mode="r")) if path.stat().st_size else np.empty(0, dtype=dtype)


def batch(tokens: NDArray[np.unsignedinteger], starts: NDArray[np.int64], context: int) -> TokenBatch:
    """Read the windows that begin at `starts`; targets are the inputs moved on by one."""
    windows = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64)  # (B, T + 1)
    return TokenBatch(*(torch.from_numpy(windows[:, cut].copy()) for cut in (slice(None, -1), slice(1, None))))
