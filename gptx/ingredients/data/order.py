"""The order of a run: a permutation per epoch that is computed, never stored."""

import math

import numpy as np
from numpy.typing import NDArray

from gptx.ingredients.data.files import hash64

_ROUNDS = 6  # four make a pseudo-random permutation (Luby & Rackoff 1988); two more since short texts have small halves
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def shuffled(positions: NDArray[np.int64], epochs: NDArray[np.int64], *, size: int, seed: int) -> NDArray[np.int64]:
    """Map each position in [0, size) to the place that the permutation of its epoch and `seed` gives it: a Feistel
    network over a grid just larger than `size`, with cycle walking (Black & Rogaway 2002, sections 4 and 5)."""
    columns = -(-size // (rows := math.isqrt(size - 1) + 1))
    rounds = _GOLDEN * np.arange(1, _ROUNDS + 1, dtype=np.uint64)[:, None]
    keys = _mixed(random_bits(epochs, seed=seed, stream="order") + rounds)
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


def random_bits(epochs: NDArray[np.int64], *, seed: int, stream: str) -> NDArray[np.uint64]:
    """One 64-bit number per epoch, a function of `seed`, the epoch and the name of the stream alone."""
    start = np.uint64(hash64([f"{stream} {seed}".encode()], "little"))
    return _mixed(start ^ _mixed(epochs.astype(np.uint64) + _GOLDEN))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash 64 bits to 64 bits (the finaliser of SplitMix64: Steele, Lea & Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
