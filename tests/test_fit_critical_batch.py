"""Critical batch sizes from runs whose law is known, and from runs that cannot say one."""

import math

import numpy
import pytest

from gptx.fit.tradeoff import above_fewest, exponent, fit, left_out, lowest

SMIN, EMIN = 300.0, 1.2e6  # so that 4000 tokens an update are critical
BATCHES = [256, 512, 1024, 2048, 4096, 8192, 16384]


def law(batch):
    """Updates by (S / Smin - 1)(E / Emin - 1) = 1 with E = S B, solved as it stands by halving."""
    low, high = max(SMIN, EMIN / batch), SMIN + EMIN / batch + 1
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (middle / SMIN - 1) * (middle * batch / EMIN - 1) < 1 else (low, middle)
    return low


def test_the_fit_finds_the_constants_that_made_the_measurements():
    found = fit(BATCHES, [law(batch) for batch in BATCHES])
    assert found.fewest_updates == pytest.approx(SMIN, rel=1e-3)
    assert found.fewest_tokens == pytest.approx(EMIN, rel=1e-3)
    assert found.critical == pytest.approx(EMIN / SMIN, rel=1e-3)
    assert found.low <= found.critical <= found.high


def test_the_interval_holds_the_truth_in_about_95_of_100_noisy_sweeps():
    rng = numpy.random.default_rng(0)
    true = numpy.array([law(batch) for batch in BATCHES])
    found = [fit(BATCHES, true * numpy.exp(rng.normal(0, 0.1, len(true)))) for _ in range(200)]
    held = sum(each.low <= EMIN / SMIN <= each.high for each in found)
    assert 180 <= held <= 199  # 190 expected, sd 3


def test_an_interval_is_open_where_the_measurements_do_not_bound_it():
    rng = numpy.random.default_rng(1)
    small = [16, 32, 64, 128]  # far below 4000, where the updates only fall in proportion
    noisy = [law(batch) * math.exp(rng.normal(0, 0.05)) for batch in small]
    assert fit(small, noisy).high == math.inf


@pytest.mark.parametrize(
    "updates, told",
    [
        ([EMIN / batch for batch in BATCHES], "add larger ones"),
        ([SMIN] * len(BATCHES), "add smaller ones"),
    ],
)
def test_updates_without_a_bend_have_no_critical_batch_size(updates, told):
    with pytest.raises(ValueError, match=told):
        fit(BATCHES, updates)


def test_three_batch_sizes_are_too_few():
    with pytest.raises(ValueError, match="3 batch sizes reached the target.* at least 4"):
        fit(BATCHES[:3], [law(batch) for batch in BATCHES[:3]])


def test_without_each_size_in_turn_exact_measurements_say_the_same():
    found = left_out(BATCHES, [law(batch) for batch in BATCHES])
    assert found == pytest.approx([EMIN / SMIN] * len(BATCHES), rel=1e-3)
    assert left_out(BATCHES[:4], [law(batch) for batch in BATCHES[:4]]) == []


def test_a_fifth_more_than_the_fewest_tokens_is_read_off_between_two_batch_sizes():
    assert above_fewest([100, 200, 400], [1000, 1000, 1440], 0.2) == pytest.approx(200 * math.sqrt(2))
    assert above_fewest([100, 200, 400], [1500, 1000, 1100], 0.2) is None  # more on the small side does not count


def test_the_best_rate_between_rates_is_where_the_parabola_has_its_lowest_point():
    rates = [1e-3, 2e-3, 4e-3]
    true = 1.7e-3
    assert lowest(rates, [math.exp(math.log(rate / true) ** 2) for rate in rates]) == pytest.approx(true)


def test_exponents_are_recovered_and_the_grid_of_rates_says_how_well_they_can_be():
    power, doubt = exponent(BATCHES, [1e-4 * batch**0.5 for batch in BATCHES], step=2)
    assert power == pytest.approx(0.5)
    rng = numpy.random.default_rng(0)  # the same by rounding many rates to the grid
    powers = [exponent(BATCHES, 2 ** numpy.round(numpy.log2([batch**0.5 for batch in BATCHES]) + rng.uniform()), 2)[0]
              for _ in range(2000)]  # fmt: skip
    shifted = [numpy.polyfit(numpy.log(BATCHES), rng.uniform(-0.5, 0.5, len(BATCHES)) * math.log(2), 1)[0]
               for _ in range(4000)]  # fmt: skip
    assert doubt == pytest.approx(2 * numpy.std(shifted), rel=0.05)
    assert abs(numpy.mean(powers) - 0.5) < doubt
