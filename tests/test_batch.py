"""Batch arithmetic."""

import pytest

from gptx.batch import Batch
from gptx.lengths import updates


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


@pytest.mark.parametrize("length", [0.02, "2 percent", "abc", -3, True, None, "10M"])
def test_a_length_that_could_mean_two_things_is_refused_with_the_forms(length):
    with pytest.raises(ValueError, match=r"500.*2%.*10Mtok"):
        updates(length, steps=100, tokens=10)
