"""Intervals over few seeds hold what they promise, and what is missing or diverged follows the stated rule."""

import math

import numpy
import pytest

from gptx.compare import estimates
from gptx.compare.estimates import CONTRASTS, Estimate, difference, estimate, holm, quantile

SWEEPS = 2000
EFFECTS = {(0, 0): 0.0, (1, 0): -0.40, (0, 1): -0.10, (1, 1): -0.45}  # of a cell, beside neither


def sweeps(seeds: int, effects: dict) -> dict[tuple, numpy.ndarray]:
    """Losses by cell, (SWEEPS, seeds): each seed is lucky or not in all cells alike, and each run a little by itself."""
    draw = numpy.random.default_rng(seeds)
    luck = draw.normal(2.0, 0.05, (SWEEPS, seeds))
    return {cell: luck + effect + draw.normal(0, 0.01, (SWEEPS, seeds)) for cell, effect in effects.items()}


def interval(samples: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Mean and half the width of the 95 % interval over the last axis."""
    n = samples.shape[-1]
    return samples.mean(-1), quantile(n - 1) * samples.std(-1, ddof=1) / math.sqrt(n)


def weighed(cells: dict, weights: dict):
    return sum(weight * cells[cell] for cell, weight in weights.items())


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("weights", [
    {(1, 0): 1.0, (0, 0): -1.0}, *CONTRASTS.values(),
], ids=["difference", *CONTRASTS])  # fmt: skip
def test_an_interval_covers_the_truth_in_95_of_100_sweeps_and_no_effect_is_seldom_called_one(seeds, weights):
    mean, half = interval(weighed(sweeps(seeds, EFFECTS), weights))
    truth = weighed(EFFECTS, weights)
    assert 0.93 <= (abs(mean - truth) <= half).mean() <= 0.97
    nothing, around = interval(weighed(sweeps(seeds, dict.fromkeys(EFFECTS, 0.0)), weights))
    assert (abs(nothing) > around).mean() <= 0.07


def test_pairing_by_seed_takes_out_the_luck_that_runs_of_a_seed_share():
    cells = sweeps(3, EFFECTS)
    _, half = interval(cells[1, 0] - cells[0, 0])
    assert half.mean() < 0.3 * interval(cells[1, 0])[1].mean()


def test_what_a_table_shows_is_that_interval():
    cells = sweeps(3, EFFECTS)
    for sweep in range(20):
        by_seed = {cell: dict(enumerate(losses[sweep])) for cell, losses in cells.items()}
        mean, half = interval(cells[1, 1][sweep] - cells[0, 0][sweep])
        found = difference(by_seed[1, 1], by_seed[0, 0])
        assert (found.mean, found.low, found.high, found.n) == pytest.approx((mean, mean - half, mean + half, 3))


def test_the_interval_and_the_p_value_of_a_worked_example():
    """Student's own ten patients: the sleep gained by one drug over the other (Biometrika 6, 1908)."""
    found = estimate([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert found.mean == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.7001, 2.4599), abs=1e-4)
    assert found.p == pytest.approx(0.00283, abs=1e-5)


def test_one_seed_gives_a_difference_without_an_interval():
    found = difference({0: 2.5}, {0: 2.0, 1: 2.1})
    assert found == Estimate(0.5, 1)
    assert not found.significant_alone


def test_a_seed_that_is_missing_in_one_arm_is_left_out_and_n_says_so():
    whole = difference({0: 2.5, 1: 2.7}, {0: 2.0, 1: 2.1})
    assert difference({0: 2.5, 1: 2.7}, {0: 2.0, 1: 2.1, 2: 9.0}) == whole
    assert difference({0: 2.5, 1: 2.7}, {1: 2.1, 0: 2.0, 3: 9.0}) == whole
    assert whole.n == 2


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_an_arm_with_a_run_that_diverged_has_no_difference(lost):
    assert difference({0: 2.5, 1: lost}, {0: 2.0, 1: 2.1}) is None
    assert difference({0: 2.5, 1: 2.4}, {0: 2.0, 1: lost}) is None
    cells = {cell: {0: 2.0, 1: 2.1} for cell in EFFECTS} | {(0, 1): {0: lost, 1: 2.1}}
    assert estimates.contrast(cells, CONTRASTS["first"]) is None
    assert estimates.diverged({0: lost, 1: 2.1}) == 1


def test_arms_without_a_seed_in_common_are_compared_as_unpaired_and_those_without_a_result_not_at_all():
    """Welch's t, as scipy has it."""
    from scipy.stats import ttest_ind

    a, b = [2.5, 2.7, 2.9, 3.0], [2.0, 2.2, 2.1]
    found = difference(dict(enumerate(a)), dict(enumerate(b, 4)))
    expected = ttest_ind(a, b, equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, low, high))
    assert not found.paired
    assert difference({0: 2.5}, {1: 2.0}) == Estimate(0.5, 1, paired=False)
    assert difference({}, {0: 2.0}) is None


@pytest.mark.parametrize(("shift", "told", "p"), [(0.0, False, 1.0), (0.25, True, 0.0)])
def test_runs_that_differ_by_the_same_in_each_seed_leave_no_doubt(shift, told, p):
    found = difference({0: 2.0 + shift, 1: 3.0 + shift}, {0: 2.0, 1: 3.0})
    assert (found.low, found.high, found.significant_alone, found.p, found.kind == "same") == (
        shift,
        shift,
        told,
        p,
        not shift,
    )


def test_judged_together_twenty_differences_of_nothing_seldom_show_one():
    draw = numpy.random.default_rng(1)
    families = [[estimate(draw.normal(0, 0.01, 3)) for _ in range(20)] for _ in range(150)]
    alone, all_together = ([any(each.significant_alone for each in family) for family in families], [holm(family) >= 0 for family in families])  # fmt: skip
    assert numpy.mean(alone) > 0.4
    assert numpy.mean(all_together) <= 0.10


def test_holm_keeps_what_stands_against_the_number_that_is_left():
    assert holm([Estimate(1, 3, 0.5, 1.5, p) for p in (0.03, 0.001, 0.02)]) == 0.03  # 0.001*3, 0.02*2, 0.03*1
    assert holm([Estimate(1, 3, 0.5, 1.5, p) for p in (0.03, 0.001, 0.03)]) == 0.001
    assert holm([Estimate(1, 1)]) < 0
