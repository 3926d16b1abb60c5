"""Number formats: what is held and what is rounded."""

from pathlib import Path
from unittest import mock

import pytest
import torch

from gptx.compare.collect import environment
from gptx.compare.verdict import unlike
from gptx.ingredients import precision
from gptx.job import summary
from gptx.plan.machines import hardware_of
from gptx.plan.recipe import planned
from gptx.runs.run import Run


def test_stochastic_rounding_is_right_in_the_mean_and_takes_a_neighbour():
    value = torch.full((200_000,), 1 + 2**-10)  # an eighth of the way from 1 to the next bf16, 1 + 2^-7
    rounded = precision.stochastically_rounded(value, torch.Generator().manual_seed(0)).float()
    assert set(rounded.tolist()) == {1.0, 1 + 2**-7}
    assert rounded.double().mean().item() == pytest.approx(1 + 2**-10, abs=5 * 2**-7 * (0.109 / 200_000) ** 0.5)


def test_stochastic_rounding_keeps_what_bf16_holds_and_what_is_not_finite():
    held = torch.tensor([0.0, -0.0, 1.0, -2.5, float("inf"), -float("inf"), float("nan"), 2.0**-126])
    for seed in range(20):
        rounded = precision.stochastically_rounded(held, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(rounded.float(), held, rtol=0, atol=0, equal_nan=True)


def test_negative_values_are_rounded_as_their_positive_ones():
    value = torch.linspace(0.1, 3, 1000)
    up, down = (precision.stochastically_rounded(v, torch.Generator().manual_seed(1)) for v in (value, -value))
    assert torch.equal(up, -down)


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_pure_bf16_holds_weights_and_gradients_in_bf16_and_moments_in_fp32(build, rounding):
    trainer = build("precision=bf16_pure", f"precision.rounding={rounding}")
    seen = []
    trainer.optimizer.register_step_pre_hook(lambda *_: seen.extend(p.grad.dtype for p in trainer.model.parameters()))
    trainer.fit()
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in trainer.model.parameters()} == {torch.bfloat16}
    moments = [v for state in trainer.optimizer.state.values() for v in state.values() if v.ndim]
    assert moments
    assert {v.dtype for v in moments} == {torch.float32}
    held = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    assert sum(p.numel() for p in held) == 0  # no fp32 copy outlives an update


def test_nearest_rounding_loses_small_updates_that_stochastic_rounding_keeps_in_the_mean():
    def moved(rounding):
        p = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        optimizer = precision.stepping_in_fp32(
            lambda groups: torch.optim.SGD(groups, lr=1e-4), [{"params": [p]}], rounding
        )
        for _ in range(100):
            p.grad = torch.ones_like(p)
            optimizer.step()
        return 1 - p.detach().double().mean().item()

    assert moved("nearest") == 0
    assert moved("stochastic") == pytest.approx(100 * 1e-4, rel=0.1)


def test_a_pure_bf16_update_is_the_fp32_update_rounded():
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(6, 5).bfloat16())
    expected = torch.nn.Parameter(p.detach().float())
    ours = precision.stepping_in_fp32(lambda groups: torch.optim.AdamW(groups, lr=0.01), [{"params": [p]}], "nearest")
    theirs = torch.optim.AdamW([expected], lr=0.01)
    for _ in range(4):
        p.grad = torch.randn(6, 5).bfloat16()
        expected.grad = p.grad.float()
        ours.step()
        theirs.step()
        expected.data = expected.data.bfloat16().float()
        torch.testing.assert_close(p.float(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("optim", ["adamw", "muon", "lion"])
def test_a_pure_bf16_run_resumes_bit_for_bit(build, optim):
    words = ["precision=bf16_pure", f"optim={optim}", "checkpoints.every=3"]
    whole, first, second = build(*words), build(*words, folder="two"), build(*words, folder="two")
    whole.fit()
    first.steps = 3
    first.fit()
    second.checkpoints.restore(second)
    second.fit()
    assert second.latest["train/loss"] == whole.latest["train/loss"]
    for p, q in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(p, q)


def test_fp8_without_torchao_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchao.float8", None)
    with pytest.raises(ValueError, match=r"precision=fp8 needs the package torchao: pip install 'gptx\[fp8\]'"):
        precision.Precision(compute="fp8").convert(torch.nn.Linear(16, 16))


def test_fp8_replaces_the_linear_layers_whose_sizes_fit():
    pytest.importorskip("torchao", reason="the extra fp8 is not installed")
    model = torch.nn.Sequential(torch.nn.Linear(32, 16), torch.nn.Linear(16, 5))
    weight = model[0].weight
    converted = precision.Precision(compute="fp8").convert(model)
    assert [type(layer).__name__ for layer in converted] == ["Float8Linear", "Linear"]
    assert torch.equal(converted[0].weight, weight)


def test_the_gradient_norm_of_pure_bf16_is_fp32s():
    from gptx.ingredients import clip

    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(300, 7, dtype=torch.bfloat16)) for _ in range(5)]
    for p in parameters:
        p.grad = torch.randn(300, 7).bfloat16()
    exact = torch.cat([p.grad.double().flatten() for p in parameters]).norm().item()
    assert clip.none(parameters).item() == pytest.approx(exact, rel=1e-6)
    assert clip.scratch(parameters, max_norm=1e9).item() == pytest.approx(exact, rel=1e-6)
    assert clip.global_norm(parameters, max_norm=1e9).item() == pytest.approx(exact, rel=1e-6)
    clip.global_norm(parameters, max_norm=1.0)
    assert torch.cat([p.grad.double().flatten() for p in parameters]).norm().item() == pytest.approx(1.0, rel=4e-3)


def test_weights_in_bf16_are_refused_with_another_compute_type(build):
    with pytest.raises(Exception, match=r"precision.weights=bf16 computes in bf16 too, not in precision.compute=fp16"):
        build("precision=fp16", "+precision.weights=bf16")


def test_a_step_that_fp16_overflowed_is_not_made_and_no_hook_runs(build):
    trainer = build("precision=fp16")
    calls = []
    trainer.optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    trainer.optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    weights = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.accumulate_gradients()
    next(trainer.model.parameters()).grad[0, 0] = float("inf")
    trainer.scaler._per_optimizer_states.clear()  # as if the overflow had come before unscaling
    trainer.scaler.unscale_(trainer.optimizer)
    trainer.update("accept")
    assert not calls
    assert all(torch.equal(p, w) for p, w in zip(trainer.model.parameters(), weights, strict=True))
    trainer.accumulate_gradients()
    trainer.update("accept")
    assert calls == ["before", "after"]


def test_an_average_of_bf16_weights_moves_by_small_shares(build):
    trainer = build("precision=bf16_pure", "observe=[validation,ema]", "observe.ema.half_life=1000", "steps=3")
    trainer.attach()
    ema = trainer.observers["ema"]
    ema.updates = 10_000  # the share of an update is 7e-4, less than bf16 can add to 1
    before = [w.clone() for w in ema.weights]
    for p in trainer.model.parameters():
        p.data += 0.25
    trainer.accumulate_gradients()
    trainer.optimizer.step()
    moved = torch.cat([(w - b).flatten() for w, b in zip(ema.weights, before, strict=True)])
    assert moved.mean().item() == pytest.approx(0.25 * (1 - 0.5 ** (1 / 1000)), rel=0.1)


@pytest.mark.parametrize("imitated", ["", "fp16"])
def test_a_format_that_the_processor_only_imitates_is_told_at_the_start_in_a_plan_and_of_a_sweep(
    build, composed, monkeypatch, imitated
):
    for module in ("gptx.job.summary", "gptx.plan.recipe"):
        monkeypatch.setattr(f"{module}.imitated", lambda dtype, device: imitated if dtype == torch.float16 else "")
    found = {name: build(f"precision={name}") for name in ("fp16", "fp32")}
    run = mock.Mock(config={"schedule": {}, "device": "cpu"}, choices={}, start=0, folder=Path("x"))
    starts = {name: "\n".join(summary.warnings(trainer, run)) for name, trainer in found.items()}
    plans = {
        name: "\n".join(planned(composed(f"precision={name}"), where=hardware_of(), vocab="257")) for name in found
    }
    for told in (starts, plans):
        assert ("only imitates fp16" in told["fp16"]) == bool(imitated)
        assert "imitates" not in told["fp32"]
    assert "imitates" not in "\n".join(planned(composed("precision=fp16"), where=hardware_of("h100"), vocab="257"))
    records = [{"hardware": summary.run_facts(trainer)["hardware"]} for trainer in found.values()]
    cells = [Run(Path(), "", "finished", record, {}) for record in records]
    said = " ".join(unlike(environment(cells)))
    assert ("only imitates fp16" in said) == bool(imitated)
    assert "not made alike" not in said


def test_what_is_imitated_is_asked_of_the_library_that_multiplies(monkeypatch):
    cpu, asked = (
        torch.device("cpu"),
        mock.Mock(_is_mkldnn_bf16_supported=lambda: True, _is_mkldnn_fp16_supported=lambda: False),
    )
    monkeypatch.setattr(torch.ops, "mkldnn", asked)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    formats = torch.bfloat16, torch.float16, torch.float32
    assert [precision.imitated(dtype, cpu) for dtype in formats] == ["", "fp16", ""]
    assert [precision.imitated(dtype, torch.device("cuda")) for dtype in formats] == ["", "", ""]
