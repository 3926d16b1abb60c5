"""What is said of a recipe before it runs: learning rates, parameter groups, memory."""

import json
import os
import re
import subprocess
import sys
from unittest import mock

import pytest
import torch

from gptx import __main__
from gptx.estimate import memory
from gptx.estimate.memory import predict_memory, prediction
from gptx.plan.schedule import oddities


def main(words: list[str]) -> None:
    """Run python -m gptx plan with these words."""
    with mock.patch.object(sys, "argv", ["gptx", "plan", *words]):
        __main__.main()


SHAKESPEARE = ["optim.lr=3e-4", "schedule.floor=0"]


@pytest.fixture
def plan(capsys):
    """plan("schedule", "steps=10"): what the command prints."""

    def run(*words: str) -> str:
        main(list(words))
        return capsys.readouterr().out

    return run


def rates(text: str) -> dict[int, list[float]]:
    """Update -> the rates of its line."""
    lines = re.findall(r"^ *([\d,]+)((?: +\d\.\d+e[+-]\d+)+)$", text, re.MULTILINE)
    return {int(step.replace(",", "")): [float(word) for word in words.split()] for step, words in lines}


def test_the_first_tutorials_schedule_has_its_corrected_rates(plan):
    shown = rates(
        plan("schedule", "steps=100000", "schedule.warmup=2000", *SHAKESPEARE, "at=1000,2000,50000,51000,100000")
    )
    assert {step: found[0] for step, found in shown.items()} == pytest.approx(
        {1_000: 1.5e-4, 2_000: 3e-4, 50_000: 1.548e-4, 51_000: 1.5e-4, 100_000: 0.0}, rel=1e-3
    )


def test_the_second_tutorials_schedule_has_its_corrected_rates(plan):
    shown = rates(plan("schedule", "steps=10000", "schedule.warmup=500", "optim.lr=3e-4", "at=200,500,1000,50%,9999"))
    assert {step: f"{found[0]:.2e}" for step, found in shown.items()} == {
        200: "1.20e-04", 500: "3.00e-04", 1_000: "2.98e-04", 5_000: "1.76e-04", 9_999: "3.00e-05"
    }  # fmt: skip


def test_lists_are_expanded_as_in_a_sweep_and_drawn_on_one_figure(plan, tmp_path):
    file = tmp_path / "new/warmups.png"
    text = plan("schedule", "steps=100000", "schedule.warmup=500,2000,5000", *SHAKESPEARE, "at=500,1000", f"out={file}")
    # while it rises, the rate is 3e-4 x update / warmup
    assert rates(text)[500] == pytest.approx([3e-4, 7.5e-5, 3e-5], rel=1e-3)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_share_is_of_each_arm_and_an_arm_has_no_rate_after_its_end(plan):
    text = plan("schedule", "steps=100,1000", "schedule.warmup=10", "at=10%,500")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()[0].isdigit()}
    assert set(rows) == {"10", "100", "500"}
    assert rows["10"] == ["3.000e-03", "3.000e-03"]
    assert rows["100"][0] == "3.000e-04"
    assert rows["500"][0] == "-"


def test_every_tenth_of_the_run_is_shown_unless_told_otherwise(plan):
    assert list(rates(plan("schedule", "steps=200"))) == [1, *range(20, 201, 20)]


@pytest.mark.parametrize(("curve", "said"), [
    (lambda step: 1.0, "never decays"),
    (lambda step: min(1, step / 30) * (1 - max(0, step - 30) / 170 * 0.9), "rises for 30 steps, 15% of the run"),
    (lambda step: max(0.1, 1 - step / 100), "reaches its end, 0.1, at step 90, 55% of the run too early"),
    (lambda step: max(0.0, 1 - step / 150), "is 0 in 51 steps, which change nothing"),
    (lambda step: step / 200, "still rises in the last step"),
    (lambda step: 0.0, "the learning rate is 0 in every step"),
])  # fmt: skip
def test_what_looks_odd_about_a_curve_is_said(curve, said):
    assert any(said in line for line in oddities(curve, 200)), list(oddities(curve, 200))


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "linear", "inverse_sqrt", "cosine_no_warmup"])
def test_the_presets_do_not_look_odd(plan, schedule):
    assert "nothing looks odd" in plan("schedule", f"schedule={schedule}")


def test_decay_needs_no_data_when_the_vocabulary_is_given(plan):
    text = plan("decay", "model=gpt2_124m", "data=text", "data.path=nowhere", "vocab=50257", "batch.tokens=1024")
    counts = [int(number.replace(",", "")) for number in re.findall(r"^\w+: ([\d,]+) in", text, re.MULTILINE)]
    # GPT-2 small, with its 50,257 tokens padded to a multiple of 64, less 47 x 768 rows of padding
    assert sum(counts) - 47 * 768 == 124_439_808


def test_seven_billion_parameters_need_112_gb_of_which_84_are_weights_and_moments(composed):
    """7e9 parameters x 16 bytes in fp32 AdamW: 4 each for weight, gradient, and two moments; here near 7B, exactly."""
    cfg = composed(
        "model.width=4096", "model.depth=34", "model.heads=32", "model.context=32", "batch.tokens=32", "batch.micro=1"
    )
    found = predict_memory(cfg, vocab_size=32_000)
    n = 34 * (12 * 4096**2 + 13 * 4096) + 32_000 * 4096 + 32 * 4096 + 2 * 4096
    assert found.parameters == n
    assert 6.9e9 < n < 7.1e9
    assert (found.weights, found.gradients) == (4 * n, 4 * n)
    assert found.state == {"exp_avg": 4 * n, "exp_avg_sq": 4 * n}
    assert found.weights + found.gradients + found.moments == 16 * n
    assert found.peak >= 16 * n


@pytest.mark.parametrize(
    ("optim", "moments"), [("adamw", 2), ("adamw_scratch", 2), ("adam_l2", 2), ("lion", 1), ("sgd", 1)]
)
def test_moments_are_those_that_the_optimizer_really_keeps(composed, build, optim, moments):
    trainer = build(f"optim={optim}")
    trainer.steps = 1
    trainer.fit()
    real = sum(
        t.numel() * 4 for s in trainer.optimizer.state.values() for t in s.values() if torch.is_tensor(t) and t.ndim
    )
    found = predict_memory(composed(f"optim={optim}"), trainer.data.vocab_size)
    assert found.moments == real == moments * found.weights


def test_activations_are_the_tensors_that_autograd_saves(composed, build):
    trainer = build("model.dropout=0.1")
    saved, known = {}, {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = (storage, storage.nbytes())
        return tensor

    batch = trainer.data(0, trainer.micro_batch)
    known |= {batch.inputs.untyped_storage().data_ptr(), batch.targets.untyped_storage().data_ptr()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = trainer.objective(trainer.network, batch)
    real = sum(size for _, size in saved.values())
    assert loss.isfinite()
    assert predict_memory(composed("model.dropout=0.1"), trainer.data.vocab_size).activations == pytest.approx(
        real, rel=0.02
    )


def test_activations_follow_micro_batch_precision_and_recompute(composed):
    def kept(*words):
        return predict_memory(composed("model.depth=6", *words), 257).activations

    plain = kept()
    assert kept("batch.micro=8") == pytest.approx(2 * plain, rel=0.05)
    assert kept("memory=recompute") < 0.6 * plain
    assert kept("precision=bf16") < 0.8 * plain


def test_a_prediction_leaves_the_random_streams_alone(composed, build):
    build()
    before = torch.get_rng_state()
    predict_memory(composed("model.dropout=0.5"), 257)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_compute_without_values_is_said_and_stops_no_run(composed, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("needs values\nand more")

    monkeypatch.setattr(memory, "Trainer", refuse)
    assert prediction(composed(), 257) == "the memory cannot be predicted: needs values"


def test_a_run_prints_the_predicted_memory_and_the_measured_and_logs_its_budget(command, tmp_path):
    result = command("train")
    record = json.loads(next(tmp_path.glob("runs/*/*/run.json")).read_text())
    spent, size = record["budget"], record["parameters"]["total"]
    assert spent["tokens"] == 6 * 256
    assert spent["tokens_per_parameter"] == 20 * spent["chinchilla_multiple"] == 1536 / size
    attention = 12 * 2 * 32 * 32  # 12 L d T
    assert 6 * size * 0.9 < spent["flops_per_token"] - attention < 6 * size * 1.2  # without vectors, with padding
    details = next(tmp_path.glob("runs/*/*/train.log")).read_text()
    told = re.search(r"budget     ([\d.]+e\d) FLOPs", details)
    assert told, details
    assert float(told[1]) == pytest.approx(1536 * spent["flops_per_token"], rel=5e-3)
    assert re.search(r"memory     [\d.]+ [kM]B at the peak: weights [\d.]+ [kM]B, gradients", details), details
    assert re.search(r"predicted [\d.]+ MB, measured [\d.]+ MB \([\d.]+ MB with", details), details
    assert "warning: steps=6: warmup and cool-down are a handful of steps each" in result.stdout
    needed = re.search(r"needs      ([\d.]+ MB) of memory", result.stdout)
    assert needed, result.stdout
    assert re.search(rf"peak memory [\d.]+ MB \(predicted {needed[1]}\)", result.stdout), result.stdout


def test_validation_is_counted_where_its_logits_are_the_most(composed):
    """4,096 tokens at a time by 20,032 logits in fp32, and as much again for their logarithms of probabilities."""
    cfg = composed("model.depth=1", "observe.validation.windows=256")
    found = predict_memory(cfg, 20_000)
    logits = 4096 * 20_032 * 4
    assert found.peak == found.validation > 4 * found.step
    assert 2 * logits < found.validation - found.weights - found.moments < 3.1 * logits  # and those of the pass before
    cfg.observe = None
    assert predict_memory(cfg, 20_000).validation == 0


def test_a_save_beside_training_copies_weights_and_moments_and_the_last_one_nothing(composed):
    found = predict_memory(composed("checkpoints.every=2"), 257)
    assert found.copy == pytest.approx(found.weights + found.moments, abs=10_000)  # and the random states
    assert predict_memory(composed("checkpoints.every=6"), 257).copy == 0


SHAPES = {
    "nano": [],
    "10.8M parameters": ["model=gpt_10m"],
    "10.8M parameters, recompute": ["model=gpt_10m", "memory=recompute"],
    "one layer, 32,768 tokens in the vocabulary": ["model.depth=1", "model.vocab_multiple=32768"],
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_the_predicted_memory_is_within_a_tenth_of_the_measured(tmp_path, corpus, shape):
    words = [f"data.path={corpus}", "data=text", "log=[console]", "precision=fp32", "device=cpu", "threads=1",
             "observe.validation.windows=8", "steps=3", "checkpoints.every=1"]  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-m", "gptx.train", *words, *SHAPES[shape]],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found = re.search(r"peak memory ([\d.]+ .B) \(predicted ([\d.]+ .B)\)", result.stdout)
    assert found, result.stdout + result.stderr
    measured, predicted = (float(text.split()[0]) * (1000 if text.endswith("GB") else 1) for text in found.groups())
    assert predicted == pytest.approx(measured, rel=0.1), found[0]


@pytest.mark.parametrize(("words", "message"), [
    (["shedule"], "error: shedule: nothing to plan of that name; did you mean 'schedule'"),
    (["schedule", "schedule.warmup=500,2000"], "error: schedule.warmup=2000: schedule: warmup=2000 steps is longer than the run, 1000"),
    (["schedule", "at=5000"], "error: at=5000: the run has the steps 1 to 1000"),
    (["schedule", "at=soon"], "error: at: 'soon' is not a length"),
    (["schedule", "out=curve.gif"], "error: out=curve.gif: the name must end in .png or .svg"),
    (["schedule", "schedule.wrmup=3"], "error: schedule.wrmup: no such key; did you mean 'schedule.warmup'"),
    (["schedule", "out=/proc/curve.png"], "error: .*/proc/curve.png"),
    (["memory", "vocab=many"], "error: vocab=many: a number above 0, such as 50257"),
    (["memory", "device=cuda", "vocab=257"], "error: .*device=cuda is not there"),
    (["memory", "vocab=257", "vocab=300"], "error: vocab: is given twice"),
    (["memory", "batch.tokens=500", "vocab=257"], "error: batch.tokens=500 is not a multiple"),
])  # fmt: skip
def test_a_mistake_is_one_line(words, message):
    if "device=cuda" in words and torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(SystemExit, match=message) as error:
        main(words)
    assert "\n" not in str(error.value)
