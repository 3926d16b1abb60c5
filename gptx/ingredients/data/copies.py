"""Documents of equal text: how many there are, and which are held out although they are trained on."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gptx.files import in_one_step
from gptx.ingredients.data.sources import CHUNK


def contents(base: Path, tokens: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
    """A number for the tokens of each document of a split, equal for equal ones; computed once and kept beside them."""
    starts, kept = np.load(f"{base}.starts.npy", mmap_mode="r"), Path(f"{base}.contents.npy")
    with suppress(OSError, ValueError, EOFError):
        if len(numbers := np.load(kept)) == len(starts):
            return numbers
    lengths = np.diff(starts, append=len(tokens)) * tokens.itemsize
    with open(f"{base}.tokens", "rb") as stream:  # read, not mapped, so that memory stays flat
        numbers = np.fromiter((number(stream, length) for length in lengths), np.uint64, len(starts))
    with suppress(OSError):  # a cache that cannot be written is computed again
        in_one_step(kept, lambda part: np.save(part, numbers))
    return numbers


def number(stream: BinaryIO, length: int) -> int:
    """A number for the next `length` bytes."""
    digest = hashlib.blake2b(digest_size=8)
    for start in range(0, length, CHUNK):
        digest.update(stream.read(min(CHUNK, length - start)))
    return int.from_bytes(digest.digest(), "little")


def among(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `some` are among `others`, several times faster than np.isin for millions."""
    ordered = np.sort(others)
    return np.searchsorted(ordered, some, "left") < np.searchsorted(ordered, some, "right")


def told(train: NDArray[np.uint64], held: NDArray[np.uint64], *, apart: bool) -> list[str]:
    """What is to be said of equal documents, in sentences; `apart`: those on both sides are left out of the held-out
    text."""
    count = len(train) + len(held)
    trained = int(among(held, train).sum())
    copies = int((np.diff(np.sort(np.concatenate([train, held]))) == 0).sum())
    lines = [f"{copies:,} of {count:,} documents are copies of others"] * bool(copies)
    if trained and apart:
        lines[-1] += f"; {trained:,} of {len(held):,} held-out ones left out, since they are trained on as well"
    elif trained:
        lines.append(f"warning: {trained:,} of {len(held):,} held-out documents are trained on as well")
    return lines
