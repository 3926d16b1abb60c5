"""The order of a run: a permutation per epoch that is computed, never stored."""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6  # four make a pseudo-random permutation (Luby & Rackoff 1988); two more since small texts have short halves
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def shuffled(positions: NDArray[np.int64], epochs: NDArray[np.int64], *, size: int, seed: int) -> NDArray[np.int64]:
    """Map each position in [0, size) to the place that the permutation of its epoch and `seed` gives it: a Feistel
    network over a grid just larger than `size`, with cycle walking (Black & Rogaway 2002, sections 4 and 5)."""
    columns = -(-size // (rows := math.isqrt(size - 1) + 1))
    keys = mixed(drawn(epochs, seed=seed, stream="order") + GOLDEN * np.arange(1, ROUNDS + 1, dtype=np.uint64)[:, None])
    places = feistel(positions.astype(np.uint64), keys, rows=rows, columns=columns)
    while (outside := places >= size).any():  # rows * columns exceeds size by less than one row
        places[outside] = feistel(places[outside], keys[:, outside], rows=rows, columns=columns)
    return places.astype(np.int64)


def feistel(values: NDArray[np.uint64], keys: NDArray[np.uint64], *, rows: int, columns: int) -> NDArray[np.uint64]:
    """Permute [0, rows * columns): each round adds a keyed hash of one coordinate to the other, which can be undone."""
    row, column = np.divmod(values, np.uint64(columns))
    for even, odd in zip(keys[::2], keys[1::2], strict=True):
        row = (row + mixed(column ^ even) % np.uint64(rows)) % np.uint64(rows)
        column = (column + mixed(row ^ odd) % np.uint64(columns)) % np.uint64(columns)
    return row * np.uint64(columns) + column


def drawn(epochs: NDArray[np.int64], *, seed: int, stream: str) -> NDArray[np.uint64]:
    """Draw one 64-bit number per epoch, a pure function of `seed`, the epoch and the name of the stream."""
    start = int.from_bytes(hashlib.blake2b(f"{stream} {seed}".encode(), digest_size=8).digest(), "little")
    return mixed(np.uint64(start) ^ mixed(epochs.astype(np.uint64) + GOLDEN))


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash 64 bits to 64 bits (the finaliser of SplitMix64: Steele, Lea & Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
