"""The order of a run is a permutation per epoch that depends on the seed alone and takes no memory."""

import time

import numpy as np
import pytest

from gptx.ingredients.data.corpus import shuffled

SIZES = [1, 2, 3, 4, 5, 7, 10, 63, 64, 65, 999, 1000, 15_684, 100_003]


def epoch(size: int, *, seed: int = 0, number: int = 0) -> np.ndarray:
    return shuffled(np.arange(size), np.full(size, number), size=size, seed=seed)


@pytest.mark.parametrize("size", SIZES)
def test_an_epoch_visits_every_window_once(size):
    for seed in (0, 1, 1337, -1, 2**70):
        for number in (0, 1, 2):
            assert np.array_equal(np.sort(epoch(size, seed=seed, number=number)), np.arange(size))


def test_epochs_and_seeds_have_different_orders():
    orders = [epoch(1000, seed=seed, number=number) for seed in range(3) for number in range(3)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).sum() < 10  # a random pair of permutations agrees in one place, on average


def test_the_order_looks_random():
    size = 100_003
    order = epoch(size)
    # correlations of independent uniform draws have a standard deviation of 1 / sqrt(size) = 0.003
    assert abs(np.corrcoef(order, np.arange(size))[0, 1]) < 0.015
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.015


def test_every_window_is_equally_likely_to_come_first():
    epochs = np.arange(20_000)
    first = shuffled(np.zeros_like(epochs), epochs, size=12, seed=0)
    expected = len(epochs) / 12
    chi_squared = ((np.bincount(first, minlength=12) - expected) ** 2 / expected).sum()
    assert chi_squared < 31.3  # 11 degrees of freedom, p = 0.001


def test_a_place_does_not_depend_on_what_else_is_asked_for():
    positions, epochs = np.arange(500), np.arange(500) % 7
    together = shuffled(positions, epochs, size=777, seed=5)
    alone = [shuffled(positions[i : i + 1], epochs[i : i + 1], size=777, seed=5)[0] for i in range(500)]
    assert np.array_equal(together, alone)


def test_a_trillion_tokens_need_no_time_and_no_memory():
    size = 10**12
    positions = np.random.default_rng(0).integers(size, size=1000)
    start = time.perf_counter()
    places = shuffled(positions, np.zeros_like(positions), size=size, seed=0)
    assert time.perf_counter() - start < 0.5
    assert places.min() >= 0
    assert places.max() < size
    assert len(np.unique(places)) == len(np.unique(positions))
