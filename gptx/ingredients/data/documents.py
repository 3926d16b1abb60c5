"""Documents of a tokenised text: which ones a sequence consists of, which are equal, which stand out by their loss."""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptx.files import in_one_step
from gptx.ingredients.data.files import CHUNK, hash64

STRIDE = 1024  # names from one mark to the next: marks of ten million names are ten thousand numbers
_ROW = re.compile(r"(?<=.):\d+$")  # of file:number, the name of a row of a table
_NOT_FINITE = 100.0  # nats that a loss of NaN or infinity counts as: more than any model says of any token


class Catalogue:
    """Where the documents of a split begin, and their names, read on demand: there may be ten million."""

    def __init__(self, base: Path):
        self.starts = np.load(f"{base}.starts.npy", mmap_mode="r")  # (documents,)
        self.file = Path(f"{base}.names.jsonl")

    def within(self, start: int, stop: int) -> dict[str, int]:
        """How many of the tokens `start` to `stop` each document gives, in their order."""
        first, last = (np.searchsorted(self.starts, [start, stop - 1], side="right") - 1).tolist()
        borders = [start, *self.starts[first + 1 : last + 1].tolist(), stop]
        lengths = (after - before for before, after in itertools.pairwise(borders))
        return dict(zip(self.names(first, last + 1), lengths, strict=True))

    def __iter__(self) -> Iterator[str]:
        with open(self.file, "rb") as lines:
            yield from map(json.loads, lines)

    def names(self, first: int, stop: int) -> list[str]:
        mark = first // STRIDE
        with open(self.file, "rb") as lines:
            lines.seek(self.marks[mark])
            return [json.loads(line) for line in itertools.islice(lines, first - mark * STRIDE, stop - mark * STRIDE)]

    @cached_property
    def marks(self) -> list[int]:
        """The byte at which each STRIDE-th name begins, found by reading the file once."""
        marks, names, offset = [0], 0, 0
        with open(self.file, "rb") as stream:
            while chunk := stream.read(CHUNK):
                ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == ord("\n"))
                marks += (offset + 1 + ends[(-names - 1) % STRIDE :: STRIDE]).tolist()
                names, offset = names + len(ends), offset + len(chunk)
        return marks


def contents(base: Path, tokens: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
    """A hash of the tokens of each document of a split, (documents,), equal for equal ones; computed once and kept."""
    starts, kept = np.load(f"{base}.starts.npy", mmap_mode="r"), Path(f"{base}.contents.npy")
    with suppress(OSError, ValueError, EOFError):
        if len(hashes := np.load(kept)) == len(starts):
            return hashes
    lengths = np.diff(starts, append=len(tokens)) * tokens.itemsize
    with open(f"{base}.tokens", "rb") as stream:  # read, not mapped, so that memory stays flat
        chunks = ((stream.read(min(CHUNK, length - at)) for at in range(0, length, CHUNK)) for length in lengths)
        hashes = np.fromiter((hash64(document, "little") for document in chunks), np.uint64, len(starts))
    with suppress(OSError):  # a cache that cannot be written is computed again
        in_one_step(kept, lambda part: np.save(part, hashes))
    return hashes


def among(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `some` are among `others`, several times faster than np.isin for millions."""
    ordered = np.sort(others)
    return np.searchsorted(ordered, some, "left") < np.searchsorted(ordered, some, "right")


def blamed(documents: list[dict[str, int]], losses: list[float]) -> list[dict]:
    """What the sequences are made of: name, sequences, their mean loss, by how many nats it is `above` the others', and
    the share of the tokens, in the order of the t-statistic at a common variance, so that a document that shares one
    bad sequence comes after one that has ten. Rows of tables count as their file if there are several."""
    names = {name: _ROW.sub("", name) for sequence in documents for name in sequence}
    several = len({*names.values()}) > 1
    nats = np.nan_to_num(np.array(losses), nan=_NOT_FINITE, posinf=_NOT_FINITE)
    parts = defaultdict[str, dict[int, float]](lambda: defaultdict(float))  # of each document, per sequence, its share
    for number, sequence in enumerate(documents):
        for name, tokens in sequence.items():
            parts[names[name] if several else name][number] += tokens / sum(sequence.values())
    found = []
    for name, shares in parts.items():
        numbers, weights = [*shares], np.array([*shares.values()])
        mine, others = weights.sum(), len(nats) - weights.sum()
        loss = (weights @ nats[numbers]) / mine
        above = loss - (nats.sum() - mine * loss) / others if others > 1e-6 else 0.0
        facts = {"loss": loss, "above": above, "share": mine / len(nats)}
        rounded = {fact: round(float(value), 4) for fact, value in facts.items()}
        found.append((above * (mine * max(others, 0.0)) ** 0.5, {"name": name, "sequences": len(numbers), **rounded}))
    return [facts for _, facts in sorted(found, key=lambda each: -each[0])]
