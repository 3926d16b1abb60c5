"""Trouble is found, named and treated: on streams of losses with the statistics of a real, healthy log."""

import copy
import io
import json
import math
import statistics

import numpy as np
import pytest
import torch

from gptx.config import validate
from gptx.config.build import build
from gptx.config.compose import composed
from gptx.ingredients.guard.detector import Detector, Window
from gptx.ingredients.guard.doctor import DRIFTS, FLAT_THEN_NAN, NAN_AT_ONCE, RECOVERS, REPEATS, STAYS
from gptx.ingredients.guard.treatment import Rollback

# Of llm.c's 124M run of 19,560 updates, which nothing disturbed (main.log): the loss, and the norm by bands of updates.
LOSSES = {0: 11.009, 250: 6.171, 500: 5.374, 1000: 4.317, 2000: 3.859, 3000: 3.697, 5000: 3.554, 10000: 3.392,
          15000: 3.300, 19560: 3.272}  # fmt: skip
NORMS = {1: 15.4, 5: 10, 50: 1.6, 300: 0.85, 1200: 0.37, 3000: 0.28, 6000: 0.26, 19560: 0.26}


def healthy(updates=19_560, *, seed=0, sd=0.043):
    """Losses and norms: the log's curve, and noise whose tails are Student's with 4 degrees of freedom."""
    draw, steps = np.random.default_rng(seed), np.log(np.arange(1, updates + 1))
    shifted = np.log(np.exp(steps) + 30)  # as a power law in log-log, which bends at the beginning
    loss = np.exp(np.interp(shifted, np.log(np.array([*LOSSES]) + 30), np.log([*LOSSES.values()])))
    norm = np.exp(np.interp(steps, np.log([*NORMS]), np.log([*NORMS.values()])))
    noise, jitter = draw.standard_t(4, updates) * sd / math.sqrt(2), draw.standard_t(2.5, updates) * 0.05
    return (loss + noise).tolist(), (norm * np.exp(jitter)).tolist()


def flat(updates, *, level=3.3, sd=0.043, seed=0):
    """Losses and norms late in a run."""
    draw = np.random.default_rng(seed)
    losses = level + draw.standard_t(4, updates) * sd / math.sqrt(2)
    return losses.tolist(), (0.3 * np.exp(draw.standard_t(2.5, updates) * 0.05)).tolist()


@pytest.fixture(scope="module")
def guard():
    """guard("skip"): a fresh guard of that option, for a run of 1,000 updates."""
    recipes = {option: composed([f"guard={option}"]) for option in ("none", "watch", "skip", "rollback")}
    for recipe in recipes.values():
        validate.check(recipe)
    return lambda option: build(recipes[option].guard)


def watched(doctor, losses, norms=None, first=1):
    """Verdict on each update, and (update, kind, facts) of what was told."""
    norms, verdicts, told = norms or [0.3] * len(losses), [], []
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), first):
        verdicts.append(doctor(step, loss, norm))
        told += [(step, kind, facts) for kind, facts in doctor.news()]
    return verdicts, told


def incidents(told):
    return [(step, kind) for step, kind, _ in told if kind in ("spike", "diagnosis")]


def verdicts_of(told):
    return [facts["verdict"] for _, _, facts in told if "verdict" in facts]


def test_the_synthetic_log_has_the_tails_of_the_real_one():
    """Beyond 6 and 7 standard deviations of the last 128: 0.08 and 0.026 % of its losses, 0.29 % (6) of its norms."""

    def flagged(values, limit):
        past = np.lib.stride_tricks.sliding_window_view(np.array(values), 128)[:-1]
        return 100 * ((np.array(values[128:]) - past.mean(1)) / past.std(1) > limit).mean()

    logs = [healthy(seed=seed) for seed in range(3)]
    assert 0.03 < statistics.mean(flagged(losses, 6) for losses, _ in logs) < 0.12
    assert 0.01 < statistics.mean(flagged(losses, 7) for losses, _ in logs) < 0.06
    assert 0.15 < statistics.mean(flagged(norms, 6) for _, norms in logs) < 0.45


def test_a_healthy_log_raises_at_most_one_alarm_in_ten_thousand_updates(guard):
    alarms, updates = 0, 0
    for seed in range(3):
        losses, norms = healthy(seed=seed)
        verdicts, told = watched(guard("rollback"), losses, norms)
        alarms, updates = alarms + len(incidents(told)), updates + len(losses)
        assert verdicts.count("skip") < 0.004 * len(losses)
        assert "rollback" not in verdicts
    assert alarms <= updates / 10_000


@pytest.mark.parametrize("sd", [0.02, 0.3])
def test_no_alarm_in_calm_and_in_noisy_runs(guard, sd):
    assert not incidents(watched(guard("watch"), *healthy(3000, seed=5, sd=sd))[1])


@pytest.mark.parametrize(("sd", "within"), [(0.02, 50), (0.043, 60), (0.15, 130), (0.3, 190)])
def test_a_nat_in_two_hundred_updates_is_found_on_the_way(guard, sd, within):
    losses, norms = flat(1200, sd=sd, seed=1)
    losses = [loss + max(0, step - 1000) / 200 for step, loss in enumerate(losses, 1)]
    doctor = guard("rollback")
    verdicts, told = watched(doctor, losses[: 1000 + within], norms[: 1000 + within])
    (step, kind, facts), *_ = told_late = [one for one in told if one[1] != "outlier"]
    assert (kind, facts["verdict"], verdicts[step - 1]) == ("diagnosis", DRIFTS["verdict"], "rollback")
    assert 1000 < step <= 1000 + within
    assert 1000 - 120 < doctor.onset <= 1000 + 12, told_late  # within the first 6 hundredths of a nat, or before


@pytest.mark.parametrize("history", [25, 60, 1000])
def test_ten_times_the_loss_is_found_at_once(guard, history):
    losses, norms = healthy(history + 30, seed=2)
    losses[history] *= 10
    verdicts, told = watched(guard("skip"), losses, norms)
    assert [(step, kind) for step, kind, _ in told if kind != "outlier"] == [
        (history + 1, "spike"),
        (history + 4, "recovered"),
    ]
    assert verdicts_of(told) == [RECOVERS["verdict"]]
    assert verdicts[history] == "skip"


@pytest.mark.parametrize(("apart", "kinds"), [(4, ["outlier", "spike", "recovered"]), (5, ["outlier", "outlier"])])
def test_two_outliers_soon_after_each_other_are_a_spike_and_two_far_apart_are_not(guard, apart, kinds):
    losses, _ = flat(400, sd=0.02, seed=1)
    losses[300], losses[300 + apart] = 3.3 + 0.25, 3.3 + 0.25
    _, told = watched(guard("skip"), losses, [0.3] * 400)
    assert [kind for step, kind, _ in told if 300 < step < 320] == kinds


def test_losses_far_too_low_are_as_unusual(guard):
    losses, norms = flat(400)
    losses[300:302] = [1.9, 1.8]  # long repeats are easy
    verdicts, told = watched(guard("skip"), losses, norms)
    assert (301, "spike") in incidents(told)
    assert verdicts[300:302] == ["skip", "skip"]


def test_a_fall_of_the_loss_is_no_trouble(guard):
    falling = [6 * math.exp(-step / 60) + 2 for step in range(600)]
    losses = [a + b - 3.3 for a, b in zip(falling, flat(600)[0], strict=True)]
    assert not incidents(watched(guard("watch"), losses)[1])


def test_a_loss_that_stays_high_does_not_recover(guard):
    losses, norms = flat(600)
    losses = [loss + 2 * (step >= 300) for step, loss in enumerate(losses)]
    verdicts, told = watched(guard("watch"), losses, norms)
    assert incidents(told) == [(301, "spike"), (401, "diagnosis")]
    assert verdicts_of(told) == [STAYS["verdict"]]
    assert set(verdicts) == {"accept"}


def test_nan_from_the_start(guard):
    verdicts, told = watched(guard("watch"), [math.nan] * 50)
    assert [kind for _, kind in incidents(told)] == ["spike", "diagnosis"]  # told once, not fifty times
    assert verdicts_of(told) == [NAN_AT_ONCE["verdict"]]
    assert set(verdicts) == {"skip"}


@pytest.mark.parametrize("option", ["watch", "skip"])
def test_nan_that_never_ends_is_given_up(guard, option):
    doctor, losses = guard(option), flat(60)[0]
    verdicts, _ = watched(doctor, losses + [math.nan] * 150)
    assert verdicts.index("stop") == 60 + 99
    assert doctor.diagnosis.startswith(STAYS["verdict"])


@pytest.mark.parametrize(("falls", "verdict"), [(0, FLAT_THEN_NAN), (2, STAYS)])
def test_nan_after_a_plateau_and_after_a_fall(guard, falls, verdict):
    losses, norms = flat(500)
    losses = [loss + falls * (1 - step / 500) for step, loss in enumerate(losses)]
    _, told = watched(guard("skip"), losses + [math.nan] * 20, norms + [math.nan] * 20)
    assert verdicts_of(told)[-1:] == [verdict["verdict"]]


def test_the_third_spike_within_a_thousand_updates_is_the_data(guard):
    losses, norms = flat(1000)
    for step in (300, 500, 700):
        losses[step] = 9.0
    _, told = watched(guard("skip"), losses, norms)
    assert verdicts_of(told) == [RECOVERS["verdict"], RECOVERS["verdict"], REPEATS["verdict"]]


def test_events_tell_it_all_in_plain_values(guard):
    losses, norms = flat(400)
    losses[300] = 9.0
    _, told = watched(guard("rollback"), losses, norms)
    assert json.loads(json.dumps([facts for *_, facts in told])) == [facts for *_, facts in told]
    for _, _, facts in told:
        assert facts["text"]
        assert "\n" not in facts["text"]
    spike, recovered = [facts for _, kind, facts in told if kind != "outlier"]
    assert (spike["onset"], spike["detected"], spike["loss"]) == (301, 301, 9.0)
    assert all(recovered[key] in recovered["text"] for key in ("verdict", "cause", "response"))


def test_a_gradient_norm_alone_opens_nothing_but_with_a_loss_it_does(guard):
    losses, norms = flat(400)
    norms[300] = 30.0
    assert not incidents(watched(guard("skip"), losses, norms)[1])
    losses[300] += 0.5  # an outlier that alone would be none but a dropped update
    _, told = watched(guard("skip"), losses, norms)
    assert incidents(told) == [(301, "spike")]
    _, told = watched(guard("skip"), losses)
    assert [kind for step, kind, _ in told if step == 301] == ["outlier"]


def test_overflows_of_the_loss_scale_are_none_of_the_runs_fault_until_they_do_not_end(guard):
    doctor = guard("watch")
    for step in range(1, 60):
        doctor(step, 3.0, 0.3)
    assert {doctor(step, 3.0, math.inf, overflow=True) for step in range(60, 89)} == {"accept"}
    assert not doctor.news()
    assert doctor(89, 3.0, math.inf, overflow=True) == "skip"
    assert [kind for kind, _ in doctor.news()] == ["spike"]


@pytest.mark.parametrize("option", ["watch", "skip", "rollback"])
def test_what_is_not_finite_never_reaches_the_weights(guard, option):
    losses, norms = flat(60)
    losses[40], norms[50] = math.inf, math.nan
    verdicts, _ = watched(guard(option), losses, norms)
    assert [step for step, verdict in enumerate(verdicts) if verdict == "skip"] == [40, 50]
    assert watched(guard("none"), losses, norms)[0] == ["accept"] * 60


def test_rollbacks_are_bounded_leave_out_more_each_time_and_end_with_the_diagnosis(guard):
    doctor, losses, left_out = guard("rollback"), flat(200)[0], []
    step = 0
    for _ in range(1000):
        step += 1
        verdict = doctor(step, losses[step] if step <= 100 else math.nan, 0.3)
        if verdict == "stop":
            break
        if verdict == "rollback":
            assert 0 < 80 < doctor.onset <= 101
            step = 80
            left_out.append(doctor.rolled_back(step))
    assert verdict == "stop"
    assert left_out == [20, 40, 80, 160, 320]
    assert doctor.diagnosis.startswith(REPEATS["verdict"])
    assert "after 5 rollbacks" in doctor.diagnosis


def test_the_rate_is_lowered_held_and_brought_back():
    treatment = Rollback(rollbacks=5, lowered=0.5, cooldown=10, skip=0, memory=100, margin=5, lookback=50)
    assert treatment.rate(7) == 1
    treatment.rolled_back(100, clock=120)
    rates = [treatment.rate(step) for step in range(101, 125)]
    assert rates[:10] == [0.5] * 10
    assert rates[10:20] == pytest.approx([0.55 + 0.05 * i for i in range(10)])
    assert rates[20:] == [1.0] * 4
    treatment.rolled_back(100, clock=130)  # to the same checkpoint
    assert treatment.rate(101) == 0.25
    treatment.rolled_back(90, clock=140)  # to one before
    assert treatment.rate(91) == 0.125
    treatment.rolled_back(300, clock=400)  # long after
    assert treatment.rate(301) == 0.5


def test_how_far_to_go_back():
    treatment = Rollback(rollbacks=5, lowered=0.5, cooldown=10, skip=0, memory=100, margin=5, lookback=50)
    assert treatment.before(onset=200, step=210) == 195
    assert treatment.before(onset=120, step=210) == 161  # the oldest that a checkpoint is kept for
    assert treatment.before(onset=3, step=10) == 1
    treatment.rolled_back(198, clock=210)
    assert treatment.before(onset=200, step=210) == 199  # what it went back to was sound


def troubled():
    """A stream with every kind of trouble."""
    losses, norms = healthy(700, seed=3)
    losses[200], losses[310], norms[400] = 60.0, math.nan, 50.0
    losses[430:433] = [7.0, 7.5, 7.0]
    losses[500:540] = [12.0] * 40
    return losses, norms


@pytest.mark.parametrize("option", ["watch", "skip", "rollback"])
@pytest.mark.parametrize("through", ["torch", "json"])
def test_a_resumed_guard_judges_as_if_nothing_had_happened(guard, option, through):
    def copied(state):
        if through == "json":
            return json.loads(json.dumps(state))
        torch.save(state, file := io.BytesIO())
        file.seek(0)
        return torch.load(file, weights_only=True)

    losses, norms = troubled()
    whole, resumed = guard(option), guard(option)
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), 1):
        if step % 37 == 0 or 500 < step < 525:
            state = copied(resumed.state_dict())
            resumed = guard(option)
            resumed.load_state_dict(state)
        verdict = whole(step, loss, norm)
        assert resumed(step, loss, norm) == verdict
        assert json.dumps(resumed.news()) == json.dumps(whole.news())
        if verdict == "rollback":
            assert resumed.onset == whole.onset
            assert resumed.rolled_back(step - 30) == whole.rolled_back(step - 30)
        assert resumed.rate(step) == whole.rate(step)


def test_after_a_rollback_the_statistics_are_those_from_before(guard):
    losses, norms = healthy(300, seed=4)
    doctor, never = guard("rollback"), guard("rollback")
    watched(doctor, losses, norms)
    doctor.rolled_back(200)
    watched(never, losses[:200], norms[:200])
    assert doctor.detector.state_dict() == never.detector.state_dict()
    assert doctor.detector(9.0, 1.0) == never.detector(9.0, 1.0)
    assert doctor.detector.rise() == never.detector.rise()


def test_what_comes_after_a_rollback_is_not_reckoned_from_what_was_undone(guard):
    losses, norms = flat(300, seed=4)
    doctor = guard("rollback")
    verdicts, _ = watched(doctor, [*losses, *[math.nan] * 10], [*norms, *[0.3] * 10])
    assert verdicts[-1] == "rollback"
    doctor.rolled_back(200)
    _, told = watched(doctor, [math.nan], first=201)
    assert [facts["onset"] for _, kind, facts in told if kind == "spike"] == [201]


def test_quantiles_are_those_of_the_last_values():
    window, values = Window(9), np.random.default_rng(0).normal(size=50).tolist()
    for count, value in enumerate(values, 1):
        window.add(value)
        for share in (0.25, 0.5, 0.75):
            assert window.quantile(share) == pytest.approx(np.quantile(values[max(0, count - 9) : count], share))


def test_the_spread_is_the_standard_deviation_and_outliers_do_not_change_it():
    detector = Detector(window=128, trend=16, smooth=32, memory=1000, history=20, floor=0.01)
    spreads = []
    for step, loss in enumerate(np.random.default_rng(0).normal(3, 0.1, 4000).tolist()):
        detector.learn(step, loss if step % 50 else 50.0, 1.0)
        spreads.append(detector.residuals.spread())
    assert statistics.mean(spreads[1000:]) == pytest.approx(0.1, rel=0.15)  # the trend is not known exactly


def test_the_lowest_smooth_loss_is_that_of_the_records():
    detector = Detector(window=16, trend=4, smooth=5, memory=50, history=5, floor=0.01)
    losses = np.random.default_rng(1).normal(3, 0.1, 300).tolist()
    for step, loss in enumerate(losses):
        detector.learn(step, loss, 1.0)
        medians = [statistics.median(losses[i - 4 : i + 1]) for i in range(max(4, step - 49), step + 1)]
        if medians:
            assert detector.rise() * detector.sigma() == pytest.approx(medians[-1] - min(medians))


@pytest.mark.parametrize("option", ["watch", "skip", "rollback"])
def test_a_guard_that_is_restored_is_as_a_new_one_whatever_it_has_seen_since(guard, option):
    losses, norms = flat(400)
    losses[150], losses[260:290], losses[350] = 9.0, [math.nan] * 30, 9.0
    used, fresh = guard(option), guard(option)
    watched(used, losses[:200], norms[:200])
    state = copy.deepcopy(used.state_dict())
    watched(used, losses[200:], norms[200:], first=201)
    used.rolled_back(250)  # and has news that nobody asked for
    for doctor in (used, fresh):
        doctor.load_state_dict(copy.deepcopy(state))
    assert used.state_dict() == fresh.state_dict() == state
    assert repr(watched(used, losses[200:], norms[200:], first=201)) == repr(
        watched(fresh, losses[200:], norms[200:], first=201)
    )
    assert repr(used.state_dict()) == repr(fresh.state_dict())  # where NaN is as NaN
    assert [used.rate(step) for step in range(200, 500, 50)] == [fresh.rate(step) for step in range(200, 500, 50)]


def test_a_detector_that_is_restored_is_as_a_new_one_whatever_it_has_seen_since():
    values = {"window": 16, "trend": 4, "smooth": 5, "memory": 50, "history": 5, "floor": 0.01}
    used, fresh, (losses, norms) = Detector(**values), Detector(**values), flat(300)
    for step in range(200):
        if step == 120:
            state = used.state_dict()
        used.learn(step, losses[step], norms[step])
    for detector in (used, fresh):
        detector.load_state_dict(state)
    for step in range(120, 300):
        assert used(losses[step], norms[step]) == fresh(losses[step], norms[step])
        assert (used.rise(), used.sigma(), used.level()) == (fresh.rise(), fresh.sigma(), fresh.level())
        used.learn(step, losses[step], norms[step])
        fresh.learn(step, losses[step], norms[step])
    assert used.state_dict() == fresh.state_dict()


@pytest.mark.parametrize(("word", "complaint"), [
    ("guard.outlier=30", "guard.outlier=30.0 and guard.certain=20.0"), ("guard.treatment.lowered=0", "guard.treatment.lowered=0.0"),
    ("guard.treatment.lookback=0", "guard.treatment.lookback=0")])  # fmt: skip
def test_values_that_make_no_sense_are_refused_in_one_line(build, word, complaint):
    with pytest.raises(Exception, match=complaint) as error:
        build("guard=rollback", word)
    assert "\n" not in str(error.value)
