"""How small a difference seeds can show: against Dunnett's published table, scipy's noncentral t, and simulated sweeps."""

import math

import numpy
import pytest
from scipy.stats import nct, t

from gptx.estimate.power import chance, critical, residual_sd, seeds_needed, smallest_difference

DUNNETT = {  # two-sided 5 % for 1 to 9 comparisons (Dunnett 1964, Biometrics 20, table II)
    5: (2.57, 3.03, 3.29, 3.48, 3.62, 3.73, 3.82, 3.90, 3.97),
    10: (2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24),
    20: (2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95),
}


@pytest.mark.parametrize("degrees", DUNNETT)
def test_the_critical_points_are_those_of_dunnett_s_table(degrees):
    found = [critical(comparisons, degrees) for comparisons in range(1, 10)]
    assert found == pytest.approx(DUNNETT[degrees], abs=0.0051)


@pytest.mark.parametrize("degrees", [1, 2, 7, 100])
def test_one_comparison_is_student_s(degrees):
    assert critical(1, degrees) == pytest.approx(t.ppf(0.975, degrees), rel=1e-4)


@pytest.mark.parametrize(
    ("arms", "seeds", "errors"), [(2, 3, 5.0), (3, 2, 7.0), (6, 3, 3.9), (11, 5, 2.0), (4, 4, 0.0)]
)
def test_the_power_is_that_of_the_noncentral_t(arms, seeds, errors):
    degrees = (arms - 1) * (seeds - 1)
    point = critical(arms - 1, degrees)
    known = nct.sf(point, degrees, errors) + nct.cdf(-point, degrees, errors)
    assert chance(errors, arms, seeds) == pytest.approx(known, abs=1e-4)


def simulated(effect: float, *, arms: int, seeds: int, sd: float, count: int = 4000):
    """t values of the comparisons of each arm with the first, in sweeps of which the last arm has an effect, by an
    analysis of variance with two factors, written out."""
    random = numpy.random.default_rng(20260801)
    values = sd * random.standard_normal((count, arms, seeds)) + 5 * random.standard_normal((count, 1, seeds))
    values[:, -1] += effect
    rest = values - values.mean(1, keepdims=True) - values.mean(2, keepdims=True) + values.mean((1, 2), keepdims=True)
    spread = numpy.sqrt((rest**2).sum((1, 2)) / ((arms - 1) * (seeds - 1)))
    means = values.mean(2)
    return (means[:, 1:] - means[:, :1]) / (spread * math.sqrt(2 / seeds))[:, None]


@pytest.mark.parametrize(("arms", "seeds"), [(2, 3), (3, 2), (6, 3), (11, 5)])
def test_eighty_of_a_hundred_simulated_sweeps_find_the_smallest_difference_and_five_find_what_is_not_there(arms, seeds):
    effect = smallest_difference(0.02, arms, seeds)
    point = critical(arms - 1, (arms - 1) * (seeds - 1))
    found = numpy.abs(simulated(effect, arms=arms, seeds=seeds, sd=0.02)[:, -1]) > point
    assert abs(found.mean() - 0.8) < 0.03
    false = (numpy.abs(simulated(0.0, arms=arms, seeds=seeds, sd=0.02)) > point).any(1)
    assert abs(false.mean() - 0.05) < 0.012


def test_so_many_seeds_are_needed_that_one_less_would_not_do():
    for difference, arms in ((0.01, 2), (0.02, 6), (0.003, 9)):
        seeds = seeds_needed(difference, 0.01, arms)
        assert smallest_difference(0.01, arms, seeds) <= difference < smallest_difference(0.01, arms, seeds - 1)
    assert seeds_needed(1.0, 0.01, 3) == 2
    assert seeds_needed(1e-5, 0.01, 3) is None
    assert smallest_difference(0.01, 3, 1) is None
    assert smallest_difference(0.01, 1, 9) is None


def test_the_spread_is_what_neither_arm_nor_seed_explains():
    random = numpy.random.default_rng(7)
    noise = random.standard_normal((3, 4))
    rest = noise - noise.mean(0) - noise.mean(1, keepdims=True) + noise.mean()
    values = noise + numpy.array([[1.0], [50.0], [-3.0]]) + numpy.array([0.0, 7.0, 2.0, -20.0])
    table = [(arm, seed, float(values[arm, seed])) for arm in range(3) for seed in range(4)]
    known = math.sqrt((rest**2).sum() / (2 * 3))
    assert residual_sd(table) == pytest.approx(known)
    assert residual_sd([*table, (0, 0, values[0, 0])]) == pytest.approx(known)  # the same run twice
    assert residual_sd([*table, (0, 9, 1e6), (3, 0, math.nan)]) == pytest.approx(known)  # alone with its seed; diverged


def test_with_a_seed_missing_the_rest_is_still_paired():
    first, second = [0.1, 0.4, 0.2], [1.3, 1.1]
    table = [("a", i, value) for i, value in enumerate(first)] + [("b", i, value) for i, value in enumerate(second)]
    differences = numpy.subtract(second, first[:2])  # of two arms: half the variance of the paired differences
    assert residual_sd(table) == pytest.approx(differences.std(ddof=1) / math.sqrt(2))


@pytest.mark.parametrize("table", [[], [("a", 0, 1.0)], [("a", 0, 1.0), ("a", 1, 2.0)], [("a", 0, 1.0), ("b", 0, 2.0)]])
def test_one_arm_or_one_seed_has_no_spread(table):
    assert residual_sd(table) is None
