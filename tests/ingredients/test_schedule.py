"""Schedules, against the formula of the tutorials worked out by hand (not against their printed numbers)."""

from itertools import pairwise

import pytest

from gptx.ingredients.schedule import constant, cosine, inverse_sqrt, linear, warmup, wsd


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.0), (1_000, 1.5e-4), (2_000, 3e-4), (50_000, 1.5481e-4), (51_000, 1.5e-4), (100_000, 0.0)],
)
def test_cosine_has_the_rates_of_the_formula(step, rate):
    # peak 3e-4, warmup 2000, total 100000; at 50000: 1.5e-4 * (1 + cos(pi * 48 / 98)) = 1.5481e-4, at 51000 the middle
    assert 3e-4 * cosine(step, warmup=2_000, total=100_000) == pytest.approx(rate, abs=5e-9)


@pytest.mark.parametrize(
    ("step", "rate"), [(200, 1.20e-4), (500, 3e-4), (1_000, 2.98e-4), (5_000, 1.76e-4), (9_999, 3e-5)]
)
def test_cosine_to_a_tenth_has_the_corrected_rates_of_the_second_tutorial(step, rate):
    assert 3e-4 * cosine(step, warmup=500, total=10_000, floor=0.1) == pytest.approx(rate, rel=5e-3)


def test_cosine_is_continuous_where_the_warmup_ends():
    before, at, after = (cosine(step, warmup=500, total=9_000) for step in (499, 500, 501))
    assert at == 1.0
    assert abs(at - before) <= 1 / 500 + 1e-12
    assert abs(after - at) < 1e-6


def test_cosine_stays_at_the_floor_after_the_end():
    assert cosine(100, warmup=10, total=100, floor=0.1) == pytest.approx(0.1)
    assert cosine(500, warmup=10, total=100, floor=0.1) == pytest.approx(0.1)


def test_warmup_rises_linearly_and_stays():
    assert [warmup(step, warmup=4, total=9) for step in (0, 1, 2, 4, 9)] == [0, 0.25, 0.5, 1, 1]


def test_without_warmup_every_schedule_starts_at_the_peak():
    assert constant(1) == warmup(1, warmup=0, total=9) == cosine(0, warmup=0, total=9) == 1.0


@pytest.mark.parametrize(("shape", "middle"), [("linear", 0.55), ("sqrt", 0.1 + 0.9 * (1 - 0.5**0.5))])
def test_wsd_rises_holds_and_falls(shape, middle):
    rates = [wsd(step, warmup=10, decay=20, total=100, shape=shape, floor=0.1) for step in (0, 5, 10, 80, 90, 100, 120)]
    assert rates == pytest.approx([0, 0.5, 1, 1, middle, 0.1, 0.1])


def test_linear_falls_along_a_line_from_the_peak():
    assert [linear(step, warmup=20, total=100) for step in (10, 20, 60, 100)] == pytest.approx([0.5, 1, 0.5, 0])


def test_inverse_sqrt_halves_when_the_steps_quadruple():
    assert [inverse_sqrt(step, warmup=100, total=9_000) for step in (50, 100, 400, 1_600)] == pytest.approx(
        [0.5, 1, 0.5, 0.25]
    )


@pytest.mark.parametrize(("options", "message"), [
    ({"warmup": 60, "decay": 50}, r"warmup \+ decay=110 steps is longer than the run, 100 steps"),
    ({"warmup": 1, "decay": 5, "shape": "cubic"}, "shape=cubic is unknown; linear or sqrt"),
])  # fmt: skip
def test_wsd_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        wsd(1, total=100, **options)


@pytest.mark.parametrize("schedule", [warmup, cosine, linear, inverse_sqrt])
def test_a_warmup_longer_than_the_run_is_refused_with_both_lengths(schedule):
    with pytest.raises(ValueError, match="warmup=300 steps is longer than the run, 200 steps"):
        schedule(1, warmup=300, total=200)


def rates(schedule, total=50, **options):
    return [schedule(step, total=total, **options) for step in range(1, total + 1)]


FALLING = [(cosine, {}), (linear, {}), (wsd, {"decay": 10})]


@pytest.mark.parametrize(("schedule", "options"), [*FALLING, (warmup, {}), (inverse_sqrt, {})])
def test_the_update_warmup_is_the_first_at_the_peak_so_that_a_warmup_of_one_is_none(schedule, options):
    for length in (1, 2, 7, 40):
        found = rates(schedule, warmup=length, **options)
        assert found.index(max(found)) + 1 == length
        assert found[:length] == pytest.approx([(i + 1) / length for i in range(length)])
    assert rates(schedule, warmup=1, **options)[0] == 1.0


@pytest.mark.parametrize(("schedule", "options"), FALLING)
def test_the_last_update_and_no_other_is_made_at_the_floor_which_may_be_zero(schedule, options):
    for floor in (0.0, 0.1, 0.5):
        found = rates(schedule, warmup=3, floor=floor, **options)
        assert found[-1] == pytest.approx(floor, abs=1e-12)
        assert min(found[3:-1]) > floor + 1e-4


@pytest.mark.parametrize(("schedule", "options"), FALLING)
def test_no_schedule_jumps_at_its_end_however_long_its_parts_are(schedule, options):
    for length in (0, 1, 2, 20, 40, 48, 49, 50):
        fall = {"decay": 50 - length} if options else {}
        found = rates(schedule, warmup=length, floor=0.1, **fall)
        slowest = max(50 - length, 1)  # updates of the fall; a cosine is pi / 2 times as steep as a line
        assert all(before - after <= 0.9 * min(1, 1.58 / slowest) for before, after in pairwise(found))
        assert found[-1] == pytest.approx(0.1 if length < 50 else 1.0)  # without a fall it ends at the peak


def test_wsd_without_a_cool_down_holds_the_peak_to_the_end():
    assert rates(wsd, warmup=5, decay=0) == rates(warmup, warmup=5)


def test_no_update_of_a_run_is_made_with_a_rate_of_zero(build):
    trainer = build("steps=10", "schedule.warmup=4")
    rates = []
    for trainer.step in range(10):
        rates.append(trainer.set_learning_rate() / trainer.peaks[0])
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[-1] == pytest.approx(0.1)  # the last update is made at the floor
