"""Number formats: what was found by casting is what their definitions and PyTorch say."""

import pytest
import torch

from gptx.commands import formats
from gptx.commands.formats import FORMATS

BY_NAME = {f.name: f for f in FORMATS}


@pytest.mark.parametrize("name", BY_NAME)
def test_the_limits_are_those_that_rounding_shows(name):
    f = BY_NAME[name]
    for held in (f.largest, f.smallest_normal, f.smallest, 1 + f.epsilon):
        assert f(held) == held
    assert f(1 + f.epsilon / 4) == 1
    assert f(f.smallest / 4) == 0
    assert f(f.smallest_normal * (1 + f.epsilon)) == f.smallest_normal * (1 + f.epsilon)
    assert f(f.smallest_normal / 2 * (1 + f.epsilon)) != f.smallest_normal / 2 * (1 + f.epsilon)
    assert not f(f.largest * 2) > f.largest or f(f.largest * 2) == torch.inf


@pytest.mark.parametrize(
    ("name", "exponent", "fraction"),
    [("fp32", 8, 23), ("tf32", 8, 10), ("bf16", 8, 7), ("fp16", 5, 10), ("fp8 e5m2", 5, 2)],
)
def test_limits_follow_from_the_bits_of_exponent_and_fraction(name, exponent, fraction):
    """IEEE 754: bias 2^(e-1) - 1, all ones in the exponent are inf and nan, all zeros are subnormal."""
    bias, found = 2 ** (exponent - 1) - 1, BY_NAME[name]
    assert found.epsilon == 2.0**-fraction
    assert found.largest == (2 - 2.0**-fraction) * 2.0**bias
    assert found.smallest_normal == 2.0 ** (1 - bias)
    assert found.smallest == 2.0 ** (1 - bias - fraction)


def test_e4m3_gives_up_infinity_for_range():
    assert BY_NAME["fp8 e4m3"].largest == 448  # arXiv:2209.05433: S.1111.110
    assert BY_NAME["fp8 e4m3"].smallest == 2.0**-9


def test_fp16_overflows_and_underflows_where_bf16_does_not():
    assert BY_NAME["fp16"](70_000) == torch.inf
    assert BY_NAME["fp16"](1e-8) == 0
    assert BY_NAME["bf16"](70_000) == pytest.approx(70_000, rel=2**-8)
    assert BY_NAME["bf16"](1e-8) == pytest.approx(1e-8, rel=2**-8)


def test_a_small_update_of_a_weight_of_one_is_lost_in_bf16_and_kept_in_fp32():
    assert BY_NAME["bf16"](1 + 3e-4) == 1.0
    assert BY_NAME["fp32"](1 + 3e-4) != 1.0


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1 + 2**-11, 1.0),
        (1 + 3 * 2**-11, 1 + 2**-9),
        (1 + 2**-11 + 2**-20, 1 + 2**-10),
        (-(1 + 3 * 2**-11), -(1 + 2**-9)),
    ],
)
def test_tf32_rounds_to_the_nearest_and_ties_to_even(value, rounded):
    assert BY_NAME["tf32"](value) == rounded


def test_loss_scaling_saves_the_gradients_that_fp16_would_lose():
    shares = [line.split()[-2:] for line in formats.loss_scaling() if "%" in line]
    zero = [float(share[0].rstrip("%")) for share in shares]
    # below half of 2^-24 = 3e-8, in 10^(N(0, 1) - 7): P(N < -0.526) = 30 %
    assert zero[2] == pytest.approx(29.9, abs=1)
    assert zero[3] < 0.01
    assert zero[0] == zero[1] == 0


def test_the_command_prints_every_format_and_refuses_what_is_no_number(command):
    shown = command("formats")
    assert all(f.name in shown.stdout for f in FORMATS)
    assert "65504" in shown.stdout
    refused = command("formats", "values=1,big")
    assert refused.returncode == 1
    assert refused.stderr.strip() == "error: values: 'big' is not a number; write values=70000,1e-8"
