"""The benchmark's arithmetic, and that the command runs; how fast anything is, is no test."""

import dataclasses
import json

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gptx.bench import steps
from gptx.ingredients import objective
from gptx.ingredients.data.corpus import RandomTokens
from gptx.ingredients.model.gpt import GPT

TINY = steps.Workload(depth=2, width=16, heads=2, context=8, batch=2, vocab_size=65)


def test_flops_of_a_step_are_those_that_pytorch_counts():
    shape = dataclasses.replace(TINY, vocab_size=64)  # no padding to multiply
    model = GPT(**{key: value for key, value in dataclasses.asdict(shape).items() if key != "batch"})
    batch = RandomTokens(vocab_size=64, context=8)(0, 2)
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):  # attention as products, to be counted
        objective.next_token(model, batch).backward()
    assert counter.get_total_flops() == shape.flops


def test_flops_of_the_large_shape_are_palms():
    weights = (
        124_439_808 - 1024 * 768 - 12 * (13 * 768) - 2 * 768
    )  # no positions, biases, gains: nothing multiplies by them
    assert steps.WORKLOADS["large"].flops == 1024 * (6 * weights + 12 * 12 * 12 * 64 * 1024)


def test_the_limit_is_the_best_time_and_counts_a_multiply_add_as_two(monkeypatch):
    monkeypatch.setattr(steps, "in_turns", lambda works, repeats: {name: [2.0, 0.5, 1.0] for name in works})
    assert steps.product_flops(torch.float32, size=100) == 2 * 100**3 / 0.5


def test_a_ratio_compares_the_two_sides_of_a_turn():
    plain, own = (4.0, 8.0, 3.0), (2.0, 2.0, 1.0)
    one = steps.row(TINY, plain, plain, [1000.0 * TINY.flops] * 3)
    other = steps.row(TINY, plain, own, [500.0 * TINY.flops] * 3)
    assert (one["ratio"], one["tokens_per_second"], one["share_of_limit"]) == (1.0, 4.0, 1 / 4000)
    assert (other["ratio"], other["lowest"], other["highest"]) == (3.0, 2.0, 4.0)
    assert (other["tokens_per_second"], other["share_of_limit"]) == (8.0, 1 / 1000)


def test_noise_gives_the_next_token_as_target():
    batch = RandomTokens(vocab_size=65, context=8)(1023, 3)  # beyond the last row it begins again
    assert batch.inputs.shape == batch.targets.shape == (3, 8)
    assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])


def test_a_step_waits_for_the_device_once():
    assert steps.waits(TINY) == 1


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_its_numbers(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(steps, "WORKLOADS", {"tiny": TINY})
    file = tmp_path / "bench.json"
    steps.bench_steps(shape="tiny", setting="fp32", repeats=2, seconds=0.01, threads=1, file=str(file))
    printed, numbers = capsys.readouterr().out, json.loads(file.read_text())
    assert "gptx fp32" in printed
    assert "transformers fp32" in printed
    assert numbers["threads"] == 1
    assert numbers["loop"]["waits"] == 1
    assert numbers["results"]["tiny"]["fp32"]["ratio"] > 0
    assert numbers["results"]["tiny"]["fp32"]["peak_bytes"] > 50e6
    assert numbers["results"]["tiny"]["fp32"]["first_update"] > 0


@pytest.mark.parametrize("word", ["shape=huge", "shapes=small"])
def test_a_wrong_word_is_one_line(command, word):
    result = command("bench", word)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
