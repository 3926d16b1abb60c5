"""Batch arithmetic."""

import pytest

from gptx.ingredients.batch import Batch
from gptx.units.lengths import in_steps


@pytest.mark.parametrize(("micro", "world", "accumulation"), [(4, 1, 8), (32, 1, 1), (8, 2, 2), (1, 4, 8)])
def test_accumulation_makes_up_what_micro_batch_and_processes_leave(micro, world, accumulation):
    assert Batch(tokens=4096, micro=micro).split(128, world) == (micro, accumulation)
    assert micro * 128 * world * accumulation == 4096


def test_the_effective_batch_of_the_tutorial():
    # 32 sequences x 8 processes x 4 accumulation = 1024 sequences = 1,048,576 tokens at context 1024
    assert Batch(tokens=1_048_576, micro=32).split(1024, 8) == (32, 4)


def test_a_batch_that_does_not_divide_is_refused_with_the_arithmetic_and_what_works():
    with pytest.raises(ValueError, match=r"batch.tokens=500 .* 4 x 32 x 1 = 128; the nearest that work: 384 or 512"):
        Batch(tokens=500, micro=4).split(32, 1)


@pytest.mark.parametrize(
    ("tokens", "context", "world", "expected"),
    [(2048, 128, 1, (16, 1)), (2048, 1024, 1, (2, 1)), (491_520, 1024, 1, (16, 30)), (491_520, 1024, 8, (15, 4))],
)
def test_a_micro_batch_left_open_is_the_largest_that_divides_and_fits(tokens, context, world, expected):
    assert Batch(tokens=tokens).split(context, world) == expected
    assert expected[0] * expected[1] * context * world == tokens


def test_a_batch_smaller_than_one_window_is_refused_when_the_micro_batch_is_open():
    with pytest.raises(ValueError, match=r"1 x 1024 x 1 = 1024; the nearest that work: 1024$"):
        Batch(tokens=500).split(1024, 1)


def test_a_negative_batch_is_refused_with_what_works():
    with pytest.raises(ValueError, match=r"batch.tokens=-512 .* the nearest that work: 128$"):
        Batch(tokens=-512, micro=4).split(32, 1)


def test_a_smaller_micro_batch_that_divides_is_proposed():
    with pytest.raises(ValueError, match=r"nearest that work: 1024, or batch.micro=2"):
        Batch(tokens=64, micro=32).split(32, 1)


def test_a_batch_that_grows_doubles_at_even_distances_and_is_full_after_them():
    batch = Batch(tokens=4096, micro=8, doublings=2, growth=10)
    assert [batch.tokens_at(step) for step in range(1, 13)] == [1024] * 5 + [2048] * 5 + [4096] * 2
    for step in range(1, 13):
        for world in (1, 2):
            micro, accumulation = batch.split(128, world, step)
            assert micro * accumulation * 128 * world == batch.tokens_at(step)
            assert micro <= 8


def test_sequences_that_lengthen_double_and_keep_the_tokens_of_an_update():
    batch = Batch(tokens=4096, context_doublings=2, lengthening=10)
    assert [batch.context_at(step, 128) for step in (1, 5, 6, 10, 11, 99)] == [32, 32, 64, 64, 128, 128]
    assert {batch.tokens_at(step) for step in range(1, 20)} == {4096}


@pytest.mark.parametrize(("rule", "factor"), [("unscaled", 1), ("linear", 4), ("sqrt", 2)])
def test_the_rate_follows_the_batch_by_the_chosen_rule(rule, factor):
    assert Batch(tokens=4096, rule=rule, tuned_at=1024).rate(1) == factor


def test_a_growing_batch_takes_the_rate_of_its_present_size():
    batch = Batch(tokens=4096, rule="sqrt", tuned_at=4096, doublings=2, growth=10)
    assert [batch.rate(step) for step in (1, 6, 11)] == pytest.approx([0.5, 2**-0.5, 1.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "sqrt"}, r"batch.rule=sqrt needs batch.tuned_at, the tokens of a step"),
        ({"doublings": 2}, r"batch.doublings=2 over batch.growth=0 steps"),
        ({"doublings": -1, "growth": 5}, r"batch.doublings=-1"),
        ({"context_doublings": 1}, r"batch.context_doublings=1 over batch.lengthening=0 steps"),
    ],
)
def test_a_warmup_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Batch(tokens=4096, **settings)


def test_a_first_batch_smaller_than_a_sequence_and_a_context_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match=r"the first steps would have 64 tokens, not a multiple of .* = 128"):
        Batch(tokens=4096, doublings=6, growth=10).split(128, 1)
    with pytest.raises(ValueError, match=r"model.context=100 cannot be halved so often"):
        Batch(tokens=4000, context_doublings=3, lengthening=10).context_at(1, 100)


@pytest.mark.parametrize("length", [0.02, "2 percent", "abc", -3, True, None, "10M"])
def test_a_length_that_could_mean_two_things_is_refused_with_the_forms(length):
    with pytest.raises(ValueError, match=r"500.*2%.*10Mtok"):
        in_steps(length, steps=100, tokens=10)
