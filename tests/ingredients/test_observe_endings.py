"""Observers that end a run: at a validation loss named before, and where a rising rate breaks the loss."""

import math
from types import SimpleNamespace

import pytest

from gptx.config.errors import ConfigError
from gptx.ingredients.observe.validation import LrRange, Target, Validation
from gptx.ingredients.schedule import range_test


def watched(observer, before, losses, rates=None):
    """What the observer returns at each validation, and the trainer that it watched."""
    trainer = SimpleNamespace(
        observers={**before, "it": observer}, step=0, cursor=0, ended="", latest={}, finished=False,
        data=SimpleNamespace(context=8),
    )  # fmt: skip
    observer.attach(trainer)
    found = []
    for i, loss in enumerate(losses):
        if trainer.ended:
            break
        trainer.step, trainer.cursor = 10 * (i + 1), 40 * (i + 1)
        trainer.latest = {"validation/loss": loss, "train/loss": loss, "train/lr": rates[i] if rates else 1e-3}
        found.append(observer(trainer))
    return found, trainer


def test_the_target_is_crossed_between_two_validations_along_a_line():
    found, trainer = watched(Target(loss=2.5), {"validation": Validation(every=10)}, [3.0, 2.6, 2.2, 2.0])
    assert found[:2] == [{}, {}]
    assert found[2] == pytest.approx({"target/step": 22.5, "target/tokens": 90 * 8})  # a quarter of the way from 2.6
    assert len(found) == 3
    assert trainer.ended.startswith("target: the validation loss is 2.2000")


def test_a_run_that_never_gets_to_the_target_reports_nothing():
    found, trainer = watched(Target(loss=1.0), {"validation": Validation(every=10)}, [3.0, 2.6, math.nan, 2.0])
    assert not any(found)
    assert not trainer.ended


def test_a_target_that_is_not_reached_is_told_at_the_end(build, caplog):
    trainer = build("observe=[validation,target]", "observe.validation.every=2", "observe.target.loss=1e-3")
    with caplog.at_level("INFO", logger="gptx.ingredients.observe.validation"):
        trainer.fit()
    assert f"target: 0.001 was not reached in {trainer.steps} steps" in caplog.text


def test_the_target_needs_validation_before_it():
    with pytest.raises(ValueError, match=r"observe=\[validation,target\]"):
        watched(Target(loss=1.0), {}, [2.0])
    with pytest.raises(ValueError, match=r"^loss=0: above 0$"):
        Target(loss=0)


def test_a_resumed_target_knows_the_validation_before(build):
    words = ["observe=[validation,target]", "observe.validation.every=2", "observe.target.loss=1e-3"]
    trainer = build(*words)
    trainer.fit()
    state = trainer.state_dict()["observers"]["target"]
    assert state["before"][:2] == (trainer.step, trainer.cursor * trainer.data.context)
    again = Target(loss=1e-3)
    again.load_state_dict(state)
    assert again.before == state["before"]


def test_the_range_test_ends_where_a_quarter_of_the_fall_is_lost():
    losses = [4.0, 3.0, 2.0, 2.4, 2.6, 9.0]  # half a life of nearly nothing: the mean is the loss itself
    rates = [10.0**-i for i in range(6, 0, -1)]
    found, trainer = watched(LrRange(half_life=0.01, rise=0.25), {}, losses, rates)
    assert [row["lr_range/loss"] for row in found] == pytest.approx(losses[:5])
    assert [row.get("lr_range/broken") for row in found] == [None] * 4 + [pytest.approx(1e-2)]  # 2.5 is the bound
    assert "broke at a learning rate of 0.01" in trainer.ended


def test_noise_before_anything_is_learned_is_no_break_and_a_loss_that_only_rises_is_one():
    noise = [4.17, 4.16, 4.18, 4.15, 4.18]
    found, trainer = watched(LrRange(half_life=0.01, rise=0.25), {}, [*noise, 4.24, 4.3])  # 0.1 above the lowest
    assert [("lr_range/broken" in row) for row in found] == [False] * 6 + [True]
    assert trainer.ended


def test_the_smoothed_loss_forgets_half_in_a_half_life():
    found, _ = watched(LrRange(half_life=1, rise=1), {}, [4.0, 2.0, 2.0])
    assert found[1]["lr_range/loss"] == pytest.approx((4 / 2 + 2) / 1.5)
    assert found[2]["lr_range/loss"] == pytest.approx((4 / 4 + 2 / 2 + 2) / 1.75)


def test_a_loss_that_is_not_finite_is_broken():
    found, trainer = watched(LrRange(half_life=5, rise=1), {}, [4.0, 3.0, math.nan], [1.0, 2.0, 3.0])
    assert found[2]["lr_range/broken"] == 3.0
    assert trainer.ended


def test_the_range_test_rises_by_an_equal_factor_from_the_floor_to_the_peak():
    rates = [range_test(step, floor=1e-4, total=5) for step in range(1, 7)]
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1, 1])
    with pytest.raises(ValueError, match=r"schedule\.floor=0"):
        range_test(1, floor=0, total=5)


def test_a_run_that_breaks_is_validated_where_it_ends(build):
    words = ["observe=[lr_range,validation]", "observe.validation.every=100", "observe.lr_range.half_life=0.01",
             "observe.lr_range.rise=0.01", "schedule=range_test", "optim.lr=1e3", "guard=none", "steps=60"]  # fmt: skip
    trainer = build(*words)
    rows = []
    trainer.sinks.append(lambda step, scalars: rows.append(scalars))
    trainer.fit()
    assert trainer.ended
    assert len(rows) < 60
    assert [row for row in rows if "validation/loss" in row] == rows[-1:]


def test_validation_before_the_range_test_is_refused():
    with pytest.raises(ValueError, match=r"observe=\[lr_range,validation\]"):
        watched(LrRange(half_life=1, rise=1), {"validation": Validation(every=10)}, [2.0])


def test_a_resumed_range_test_goes_on_where_it_was():
    losses, rates = [4.0, 3.0, 2.0, 2.1, 2.6, 9.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    whole, _ = watched(LrRange(half_life=1, rise=0.5), {}, losses, rates)
    first = LrRange(half_life=1, rise=0.5)
    before, _ = watched(first, {}, losses[:3], rates)
    again = LrRange(half_life=1, rise=0.5)
    again.load_state_dict(first.state_dict())
    after, _ = watched(again, {}, losses[3:], rates[3:])
    assert before + after == whole
    assert "lr_range/broken" in whole[-1]


@pytest.mark.parametrize("word", ["half_life", "rise"])
def test_an_impossible_setting_is_refused_by_its_key(build, word):
    with pytest.raises(ConfigError, match=rf"^observe\.lr_range\.{word}=0\.0: above 0"):
        build("observe=[lr_range,validation]", f"observe.lr_range.{word}=0")
