"""Documents of equal text: how many there are, and which are held out although they are trained on."""

import hashlib
import itertools
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptx.files import in_one_step


def contents(base: Path, tokens: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
    """A number for the tokens of each document of a split, equal for equal ones; computed once and kept beside them."""
    starts, kept = np.load(f"{base}.starts.npy", mmap_mode="r"), Path(f"{base}.contents.npy")
    with suppress(OSError, ValueError, EOFError):
        if len(numbers := np.load(kept)) == len(starts):
            return numbers
    borders = itertools.pairwise(itertools.chain(starts, [len(tokens)]))
    digests = (hashlib.blake2b(tokens[start:stop].data, digest_size=8).digest() for start, stop in borders)
    numbers = np.fromiter((int.from_bytes(digest, "little") for digest in digests), np.uint64, len(starts))
    with suppress(OSError):  # a cache that cannot be written is computed again
        in_one_step(kept, lambda part: np.save(part, numbers))
    return numbers


def told(train: NDArray[np.uint64], held: NDArray[np.uint64]) -> list[str]:
    """What is to be said of equal documents, in sentences."""
    count = len(train) + len(held)
    trained, copies = int(np.isin(held, train).sum()), count - len(np.unique(np.concatenate([train, held])))
    lines = [f"{copies:,} of {count:,} documents are copies of others"] * bool(copies)
    if trained:
        lines.append(f"warning: {trained:,} of {len(held):,} held-out documents are trained on as well")
    return lines
