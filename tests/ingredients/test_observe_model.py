"""Observers of the model itself and of what it writes, each against a second computation."""

import ast
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gptx.config.errors import ConfigError
from gptx.ingredients.model import generate
from gptx.ingredients.observe import activations, downstream
from gptx.ingredients.observe.validation import Overfitting, Validation
from gptx.job.resume import refused


def report(build, name, *words):
    """An observer's report on a model that has made no update, and the trainer."""
    trainer = build(f"observe=[validation,{name}]", *words)
    trainer.attach()
    return trainer.observers[name](trainer), trainer


def seen(trainer, windows=4):
    """Input and output of each block over the first validation windows."""
    found = []
    with torch.no_grad(), trainer.evaluation():
        x = trainer.model.token(trainer.data.validation(0, windows).inputs) + trainer.model.position.weight
        for block in trainer.model.blocks:
            found.append((x, block(x)))
            x = found[-1][1]
    return found


@pytest.mark.parametrize("memory", ["store", "recompute"])
def test_activations_have_the_moments_of_what_a_block_puts_out(build, memory):
    found, trainer = report(build, "activations", f"memory={memory}", "model.dropout=0.5")
    for number, (_, output) in enumerate(seen(trainer)):
        x = output.double().numpy().ravel()
        name = f"activations/blocks.{number}"
        assert found[f"{name}/mean"] == pytest.approx(x.mean(), abs=1e-7)
        assert found[f"{name}/rms"] == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-5)
        assert found[f"{name}/kurtosis"] == pytest.approx(np.mean((x - x.mean()) ** 4) / x.var() ** 2, rel=1e-5)
    assert trainer.model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in trainer.model.modules())


def test_units_that_never_fire_are_dead(build):
    trainer = build("observe=[validation,activations]")
    with torch.no_grad():
        trainer.model.blocks[1].mlp.up.weight[:32] = 0
        trainer.model.blocks[1].mlp.up.bias[:32] = torch.tensor([0.0, -20.0]).repeat(16)  # zero, and GELU's flat tail
    trainer.attach()
    found = trainer.observers["activations"](trainer)
    assert found["activations/blocks.1/dead"] == 32 / 128
    assert found["activations/blocks.0/dead"] == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])  # by the fused kernel, and by products and a softmax
def test_the_largest_attention_logit_is_that_of_queries_and_keys(build, precision):
    found, trainer = report(build, "activations", f"precision={precision}")
    for number, (x, _) in enumerate(seen(trainer)):
        block = trainer.model.blocks[number]
        B, T, C = x.shape
        heads = block.attention.qkv(block.norm1(x)).detach().double().numpy().reshape(B, T, 3, 2, C // 2)
        largest = max(
            float(heads[b, i, 0, h] @ heads[b, j, 1, h]) / math.sqrt(C // 2)
            for b in range(B) for h in range(2) for i in range(T) for j in range(i + 1)
        )  # fmt: skip
        assert found[f"attention/blocks.{number}/logit_max"] == pytest.approx(
            largest, rel=1e-5 if precision == "fp32" else 0.03
        )


@pytest.mark.parametrize("mask", ["none", "causal", "boolean", "added"])
def test_the_largest_logit_is_what_the_softmax_of_pytorchs_reference_gets(mask):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 6, 8, generator=generator) for heads in (4, 2, 2))  # grouped heads
    allowed = torch.rand(2, 1, 6, 6, generator=generator) > 0.4
    allowed |= torch.eye(6, dtype=torch.bool)
    biases = torch.randn(4, 6, 6, generator=generator)
    given = {
        "none": {},
        "causal": {"is_causal": True},
        "boolean": {"attn_mask": allowed},
        "added": {"attn_mask": biases},
    }
    scores = torch.einsum("bhid,bhjd->bhij", q, k.repeat_interleave(2, dim=1)) * 0.3
    barred = {
        "none": torch.zeros(6, 6, dtype=torch.bool),
        "causal": torch.ones(6, 6).triu(1).bool(),
        "boolean": ~allowed,
    }
    expected = scores + biases if mask == "added" else scores.masked_fill(barred[mask], -math.inf)
    found = {}
    logits = activations.AttentionLogits(found)
    with logits:
        F.scaled_dot_product_attention(q, q, q)  # outside of a block
        logits.within("blocks.0")
        output = F.scaled_dot_product_attention(q, k, v, scale=0.3, enable_gqa=True, **given[mask])
        logits.within("")
    assert found["attention/blocks.0/logit_max"].item() == pytest.approx(expected.max().item(), rel=1e-5)
    assert torch.allclose(output, expected.softmax(-1) @ v.repeat_interleave(2, dim=1), atol=1e-5)


def test_a_model_without_blocks_shows_no_activations(build):
    trainer = build("observe=[validation,activations]")
    trainer.model.blocks = None
    with pytest.raises(ConfigError, match="observe=activations: GPT has no `blocks`"), refused():
        trainer.attach()


def test_a_sample_continues_the_prompt_with_random_numbers_of_its_own(build):
    found, trainer = report(
        build, "samples", "observe.samples.prompt=if", "observe.samples.length=12", "observe.samples.seed=7"
    )
    tokens = list(generate.generate(trainer.model, [105, 102], length=12, temperature=0.8,
                                    generator=torch.Generator().manual_seed(7)))  # fmt: skip
    torch.manual_seed(999)
    assert found == {"sample/text": "if" + bytes(t for t in tokens if t < 256).decode(errors="replace")}
    assert trainer.observers["samples"](trainer) == found


class Recital(torch.nn.Module):
    """Knows the validation text by heart but for the places that were marked."""

    def __init__(self, trainer, wrong):
        super().__init__()
        self.answers = {}
        for window in range(trainer.data.validation_windows):
            batch = trainer.data.validation(window, 1)
            self.answers[tuple(batch.inputs[0].tolist())] = (batch.targets[0] + wrong(batch.targets[0])) % 257

    def forward(self, inputs):
        return F.one_hot(torch.stack([self.answers[tuple(row)] for row in inputs.tolist()]), 257).float()


def test_next_word_accuracy_counts_words_that_are_right_in_every_letter(build):
    trainer = build("observe=[validation,next_word]", "observe.next_word.windows=8")
    trainer.model = Recital(trainer, wrong=lambda targets: (targets == ord("g")).long())  # no g is ever right
    right = total = 0
    for targets in trainer.data.validation(0, 8).targets.tolist():
        text = bytes(targets).decode()
        whole = text.split() if text[0].isspace() else text.split()[1:]
        whole = whole if text[-1].isspace() else whole[:-1]
        total, right = total + len(whole), right + sum("g" not in word for word in whole)
    assert 0 < right < total
    assert trainer.observers["next_word"](trainer) == {"downstream/next_word_accuracy": pytest.approx(right / total)}
    trainer.model = Recital(trainer, wrong=lambda targets: 0)
    assert trainer.observers["next_word"](trainer) == {"downstream/next_word_accuracy": 1.0}


def test_a_token_that_holds_the_end_of_one_word_and_the_beginning_of_the_next_counts_for_both():
    assert downstream.words_hit([b" a", b"b c", b"d "], [True, False, True]) == (0, 2)
    assert downstream.words_hit([b" a", b"b c", b"d "], [True, True, False]) == (1, 2)
    assert downstream.words_hit([b"cut", b"off"], [True, True]) == (0, 0)


class Typist(torch.nn.Module):
    """Writes its text letter by letter, whatever it is asked."""

    context = 10_000

    def __init__(self, text, start):
        super().__init__()
        self.tokens, self.start = [*text.encode(), 256], start  # and the end of text

    def forward(self, sequence):
        at = sequence.shape[1] - self.start
        logits = F.one_hot(torch.tensor(self.tokens[min(at, len(self.tokens) - 1)]), 257) * 1e4
        return logits.expand(*sequence.shape, 257).float()


@pytest.mark.parametrize(
    ("text", "length", "share"),
    [
        ("import os\nx = 1\n", 100, 1.0),
        ("import os\nx = (\n", 100, 0.0),
        ("import os\nx = (1 +\n  2", 20, 1.0),  # cut off by the length: its last statement does not count
        ("import os\nx = 3)\ny = 4", 22, 0.0),
        ("# a comment\n", 100, 0.0),  # no statement
        ("", 100, 0.0),
        (Path(ast.__file__).read_text()[:3000], 3000, None),
    ],
)
def test_a_file_parses_if_python_says_so(build, text, length, share):
    trainer = build("observe=[validation,parses]", f"observe.parses.length={length}", "observe.parses.files=2")
    trainer.attach()
    trainer.model = Typist(text, len(trainer.observers["parses"].start))
    if share is None:
        ast.parse(downstream.finished(text))
        share = 1.0
    assert trainer.observers["parses"](trainer) == {"downstream/parses": share}


def test_a_users_function_sees_the_judged_model_and_may_draw_random_numbers(build, tmp_path, monkeypatch):
    (tmp_path / "myeval.py").write_text(
        "import random, numpy, torch\n"
        "def evaluate(model, encoding, *, text):\n"
        "    random.random(), numpy.random.rand(), torch.rand(1)\n"
        "    return {'mine/training': model.training, 'mine/tokens': torch.tensor(len(encoding.encode(text))), 'mine/text': text}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    trainer = build("observe=[validation,custom]", "observe.custom.function._target_=myeval.evaluate",
                    "+observe.custom.function.text=abc", "allow_targets=[myeval.]")  # fmt: skip
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert trainer.observers["custom"](trainer) == {"mine/training": 0.0, "mine/tokens": 3.0, "mine/text": "abc"}
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())


@pytest.mark.parametrize("wrong", [3.0, None, {"mine/x": [1, 2]}, {1: 2.0}, {"mine/x": torch.zeros(2)}], ids=repr)
def test_a_users_function_that_returns_something_else_fails_before_the_first_step(build, wrong):
    trainer = build("observe=[validation,custom]")
    trainer.observers["custom"].function = lambda model, encoding: wrong
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"^observe=custom: .* must return a dict of numbers or text, not ") as error:
        trainer.fit()
    assert (trainer.step, "\n" in str(error.value)) == (0, False)
    assert torch.equal(before, torch.get_rng_state())
    assert trainer.model.training


def test_ema_is_the_sum_of_all_weights_with_shares_that_halve(build):
    trainer = build("observe=[validation,ema]", "observe.ema.half_life=2", "observe.ema.every=6", "schedule=constant")
    history = []
    trainer.sinks.append(
        lambda step, scalars: history.append([p.detach().double().clone() for p in trainer.model.parameters()])
    )
    trainer.fit()
    shares = [0.5 ** ((6 - t) / 2) for t in range(1, 7)]
    ema = trainer.observers["ema"]
    for number, average in enumerate(ema.weights):
        expected = sum(s * weights[number] for s, weights in zip(shares, history, strict=True)) / sum(shares)
        assert torch.allclose(average.double(), expected, rtol=1e-5, atol=1e-7)
    judged = Validation(every=1, windows=256)(trainer, [w.clone() for w in ema.weights])
    assert trainer.latest["ema/loss"] == judged["validation/loss"] != trainer.latest["validation/loss"]
    assert trainer.latest["ema/bits_per_byte"] == judged["validation/bits_per_byte"]


@pytest.mark.slow
def test_averaged_weights_are_sampled_from_a_run_that_has_them(command):
    assert command("train", "observe=[validation,ema]", "hydra.run.dir=with").returncode == 0
    assert command("train", "hydra.run.dir=without").returncode == 0
    texts = [command("sample", "with", f"weights={w}", "length=60", "temperature=1") for w in ("judged", "ema")]
    assert [text.returncode for text in texts] == [0, 0]
    assert texts[0].stdout != texts[1].stdout
    refused = command("sample", "without", "weights=ema")
    assert refused.returncode == 1
    assert (
        refused.stderr
        == "error: weights=ema: without keeps no averaged weights; it would with observe=[validation,ema]\n"
    )
    assert "weights=best is unknown; one of judged, ema" in command("sample", "with", "weights=best").stderr


def watched(observer, rows, every=2):
    """What the observer reports on a scripted run of (training, validation) losses, validated every other update."""
    validation, found = Validation(every=every, windows=1), []
    trainer = SimpleNamespace(
        observers={"validation": validation, "overfitting": observer}, step=0, ended="", latest={}
    )
    observer.attach(trainer)
    for step, (train, held_out) in enumerate(rows, start=1):
        trainer.step, trainer.finished = step, step == len(rows)
        trainer.latest = {"train/loss": train} | ({"validation/loss": held_out} if step % every == 0 else {})
        found.append(observer(trainer))
        if trainer.ended:
            break
    return found, trainer


MEMORISING = [(4.0 - 0.1 * i, 3.0 + 0.1 * abs(i - 3)) for i in range(12)]  # held out is best at the 4th update


def test_the_gap_is_validation_less_the_mean_training_loss_since_the_last():
    found, _ = watched(Overfitting(patience=9, stop=False), MEMORISING)
    assert [bool(row) for row in found] == [False, True] * 6
    assert found[3]["overfitting/gap"] == pytest.approx(3.0 - (3.8 + 3.7) / 2)


def test_a_run_that_diverged_does_not_memorise_and_its_best_validation_stays_the_best():
    losses = [*MEMORISING[:4], *[(math.nan, math.nan)] * 4, *[(math.inf, 9.0)] * 2, (2.0, 3.2), (2.0, 3.3)]
    observer = Overfitting(patience=1, stop=False)
    found, _ = watched(observer, losses)
    assert [step for step, row in enumerate(found, start=1) if "overfitting/alarm" in row] == [12]
    assert observer.best["step"] == 4


def test_the_gap_is_between_two_cross_entropies_also_where_the_objective_adds_something(build):
    trainer = build("observe=[validation,overfitting]", "observe.validation.every=3", "objective.label_smoothing=0.3")
    rows = []
    trainer.sinks.append(lambda step, scalars: rows.append(scalars))
    trainer.fit()
    for end in (3, 6):
        entropies = [row["train/cross_entropy"] for row in rows[end - 3 : end]]
        gap = rows[end - 1]["validation/loss"] - sum(entropies) / 3
        assert rows[end - 1]["overfitting/gap"] == pytest.approx(gap)
        assert sum(entropies) / 3 < sum(row["train/loss"] for row in rows[end - 3 : end]) / 3 - 0.01


def test_the_alarm_comes_after_so_many_validations_without_a_better_one():
    found, trainer = watched(Overfitting(patience=2, stop=False), MEMORISING)
    assert [step for step, row in enumerate(found, start=1) if "overfitting/alarm" in row] == [8, 10, 12]
    assert (
        "no validation was better for 2 in a row; best 3.0000 after step 4, now 3.4000" in found[7]["overfitting/alarm"]
    )
    assert trainer.ended == ""


def test_a_training_loss_that_rises_too_is_no_overfitting():
    found, _ = watched(Overfitting(patience=2, stop=True), [(held_out, held_out) for _, held_out in MEMORISING])
    assert not any("overfitting/alarm" in row for row in found)


def test_early_stopping_ends_the_run_at_the_alarm_also_after_a_resume():
    whole, trainer = watched(Overfitting(patience=3, stop=True), MEMORISING)
    assert (len(whole), trainer.ended.startswith("overfitting: ")) == (10, True)
    first = Overfitting(patience=3, stop=True)
    watched(first, [*MEMORISING[:4]])
    second = Overfitting(patience=3, stop=True)
    second.load_state_dict(first.state_dict())
    rest, trainer = watched(second, MEMORISING[4:])
    assert rest == whole[4:]
    assert trainer.ended


def test_a_run_that_an_alarm_ended_is_finished(build):
    trainer = build("observe=[validation,overfitting]", "observe.validation.every=1", "observe.overfitting.stop=true",
                    "observe.overfitting.patience=1")  # fmt: skip

    class Rising(Validation):
        def __call__(self, trainer, weights=None):
            return {"validation/loss": float(trainer.step)}

    trainer.observers["validation"].__class__ = Rising
    trainer.fit()
    assert (trainer.step, trainer.finished) == (2, True)
    assert "validation" in trainer.ended


@pytest.mark.slow
def test_which_way_a_users_metric_goes_is_in_the_record_of_the_run(command, tmp_path):
    (tmp_path / "myeval.py").write_text("def evaluate(model, encoding):\n    return {'mine/accuracy': 0.5}\n")
    words = (
        "observe=[validation,custom]",
        "observe.custom.function._target_=myeval.evaluate",
        "allow_targets=[myeval.]",
    )
    way = "observe.custom.better={mine/accuracy: higher}"
    done = command("train", *words, way, "name=own")  # in a folder that has myeval
    assert done.returncode == 0, done.stderr
    record = json.loads(next(tmp_path.glob("runs/own/*/run.json")).read_text())
    assert record["better"] == {"mine/accuracy": "higher"}
