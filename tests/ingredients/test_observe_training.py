"""Observing leaves the training as it is, whatever is observed."""

import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from metric_rows import read_rows
from test_parallel import launch

from gptx.config import paths
from gptx.config.errors import ConfigError
from gptx.job.resume import refused

EVERY = ["observe.validation.every=2", "observe.throughput.every=1", "observe.clip_pressure.every=2",
         "observe.gradients.every=1", "observe.updates.every=1", "observe.activations.every=1",
         "observe.parameters.every=1", "observe.next_word.every=2", "observe.samples.every=3", "observe.ema.every=2",
         "observe.second_moment.every=1", "observe.noise_scale.every=1", "observe.parses.every=3",
         "observe.custom.every=1", "observe.parses.length=8", "observe.samples.length=8"]  # fmt: skip
ALL = ["observe=[all,second_moment,noise_scale,parses,custom]", *EVERY]


def gradient(trainer, first, count):
    """Of the mean loss of those sequences, all parameters in one vector."""
    trainer.model.zero_grad()
    trainer.objective(trainer.model, trainer.data(first, count)).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def fitted(build, *words, observed=True):
    trainer = build(*ALL, *words)
    if not observed:
        trainer.observers.clear()
        trainer.unattached.clear()
    trainer.fit()
    return trainer


@pytest.mark.parametrize(
    "words",
    [["batch.micro=4"], ["batch.micro=4", "model.dropout=0.1"], ["batch.micro=2", "precision=fp16"],
     ["batch.micro=4", "memory=recompute", "clip=none"], ["batch.micro=4", "precision=bf16", "guard=skip"]],
    ids=lambda words: " ".join(words),
)  # fmt: skip
def test_all_observers_together_change_no_bit_of_the_weights_nor_of_the_random_state(build, words):
    found = []
    for observed in (False, True):
        trainer = fitted(build, *words, observed=observed)
        assert trainer.step == 6
        assert trainer.model.training
        found.append((torch.cat([p.detach().flatten() for p in trainer.model.parameters()]), torch.get_rng_state()))
    (weights, state), (observed_weights, observed_state) = found
    assert torch.equal(weights, observed_weights)
    assert torch.equal(state, observed_state)


def test_a_resumed_run_reports_what_an_unbroken_one_does(build):
    def reports(trainer):
        found = {}
        clock = ("train/tokens_per_second", "throughput/", "memory/")
        trainer.sinks.append(
            lambda step, scalars: found.update({step: {k: v for k, v in scalars.items() if not k.startswith(clock)}})
        )
        trainer.fit()
        return found

    whole = reports(build(*ALL, "batch.micro=4", folder="whole"))
    first = build(*ALL, "batch.micro=4", folder="cut")
    first.sinks.append(lambda step, scalars: setattr(first, "stopped", "SIGTERM" if step == 3 else ""))
    first.fit()
    second = build(*ALL, "batch.micro=4", folder="cut")
    assert second.checkpoints.restore(second)
    assert reports(second) == {step: row for step, row in whole.items() if step > 3}


def test_an_observer_that_is_restored_is_as_a_new_one_whatever_it_has_seen_since(build):
    def rows(trainer):
        found = []
        clock = ("train/tokens_per_second", "throughput/", "memory/")
        trainer.sinks[:] = [lambda step, scalars: found.append({k: v for k, v in scalars.items() if not k.startswith(clock)})]  # fmt: skip
        trainer.fit()
        return found

    known = {file.stem for file in Path(paths.CONF, "observe").glob("*.yaml")} - {"all"}
    first = ["lr_range", "validation"]  # in this order: the others read the last validation
    words = [f"observe=[{','.join([*first, *sorted(known - {*first})])}]", *EVERY, "observe.clip_pressure.every=5", "batch.micro=4",
             "observe.target.loss=1e-3", "observe.lr_range.rise=1", "steps=7"]  # fmt: skip
    used, states = build(*words, folder="used"), []
    assert used.observers.keys() == known
    used.sinks.append(lambda step, _: states.append(deepcopy(used.state_dict())) if step == 2 else None)
    used.sinks.append(lambda step, _: setattr(used, "stopped", "SIGTERM" if step == 4 else ""))
    used.fit()
    used.accumulate_gradients()  # as before a rollback
    used.model.zero_grad(set_to_none=True)
    fresh = build(*words, folder="fresh")
    for trainer in (used, fresh):
        trainer.load_state_dict(deepcopy(states[0]))
        trainer.stopped = ""
    fresh.attach()
    for name, observer in used.observers.items():
        torch.testing.assert_close(observer.state_dict(), fresh.observers[name].state_dict(), rtol=0, atol=0)
    assert rows(used) == rows(fresh)


def test_an_observer_sees_the_numbers_of_its_own_update(build):
    seen, trainer = [], build("observe=[validation,custom]", "observe.validation.every=1", "observe.custom.every=1")
    trainer.observers["custom"].function = lambda model, encoding: (
        seen.append((trainer.latest.get("train/loss"), trainer.latest.get("validation/loss"))) or {}
    )
    told = []
    trainer.sinks.append(lambda step, scalars: told.append((scalars["train/loss"], scalars["validation/loss"])))
    trainer.fit()
    assert seen == [(None, None), *told]  # the first call is a trial before step 1


def test_observers_attach_once_however_often_fit_is_called(build):
    trainer = build("observe=[validation,ema]")
    trainer.steps = 2
    trainer.fit()
    trainer.steps = 4
    trainer.fit()
    assert trainer.observers["ema"].updates == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["observe=[validation,noise_scale]", "batch.micro=8"],
         "observe=noise_scale .* only one of 8 sequences; set batch.micro=4 or smaller"),
        (["observe=[overfitting,validation]"], "set observe=.validation,overfitting., in that order"),
        (["observe=[validation,second_moment]", "optim=sgd"], "SGD keeps no second moment; .*optim=adamw"),
        (["observe=[validation,second_moment]", "optim=lion"], "Lion keeps no second moment"),
        (["observe=[validation,samples]", "data.tokenizer=chars", "observe.samples.prompt='Ω'"], "character 'Ω'"),
        (["observe=[validation,samples]", "observe.samples.temperature=-1"], "temperature=-1"),
        (["observe=[validation,samples]", "observe.samples.length=0"], "length=0"),
        (["observe=[validation,overfitting]", "observe.overfitting.patience=0"], "patience=0"),
        (["observe=[validation,activations]", "observe.activations.windows=0"], "windows=0"),
        (["observe=[validation,next_word]", "observe.next_word.windows=0"], "windows=0"),
        (["observe=[validation,parses]", "observe.parses.files=0"], "files=0"),
        (["observe=[validation,parses]", "observe.parses.temperature=0"], "temperature=0"),
        (["observe=[validation,noise_scale]", "observe.noise_scale.window=0"], "window=0"),
        (["observe=[validation,second_moment]", "observe.second_moment.until=0"], "until=0"),
        (["observe=[validation,ema]", "observe.ema.half_life=0"], "half_life=0"),
        (["observe=[validation,throughput]", "observe.throughput.every=0"], "every=0"),
        (["observe=[validation,clip_pressure]", "observe.clip_pressure.every=0"], "every=0"),
        (["observe=[validation,custom]", "observe.custom.function._target_=os.getcwd"], "not in an allowed package"),
    ],
)  # fmt: skip
def test_what_an_observer_cannot_work_with_is_one_line(build, words, message):
    with pytest.raises(ConfigError, match=message) as caught, refused():
        build(*words).attach()
    assert "\n" not in str(caught.value)


def test_the_command_tells_it_in_one_line_too(command):
    result = command("train", "observe=[overfitting,validation]")
    assert result.returncode == 1
    assert result.stderr.startswith("config error: observe=overfitting reads the validation loss")
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_two_processes_report_the_numbers_of_one_that_does_the_work_of_both(build, corpus, tmp_path):
    objective = ["objective.label_smoothing=0.2", "objective.chunk=7"]  # whose cross-entropy is shared too
    same = [*ALL, "batch.tokens=256", "precision=fp32", *objective]
    rows = []
    for processes in (1, 2):
        cwd = tmp_path / str(processes)
        cwd.mkdir()
        process = launch(processes, corpus, cwd, *same, "steps=4")
        output = process.communicate(timeout=200)[0]
        assert process.returncode == 0, output
        rows.append(read_rows(cwd / "run/metrics.jsonl"))
    apart = ("train/tokens_per_second", "throughput/", "memory/", "noise_scale/")
    for one, two in zip(*rows, strict=True):
        assert one.keys() == two.keys() >= {"train/cross_entropy"}
        numbers = {key: value for key, value in one.items() if not key.startswith(apart) and isinstance(value, float)}
        assert {key: two[key] for key in numbers} == pytest.approx(numbers, rel=2e-3, abs=2e-6)
    alone, expected = build(*objective), []
    whole = gradient(alone, first=0, count=8).square().sum().item()
    for parts in ([0], [0, 4]):  # one process sees its first micro-batch, two see one each
        norms = [gradient(alone, first=first, count=4).square().sum().item() for first in parts]
        small = sum(norms) / len(norms)
        signal, noise = (256 * whole - 128 * small) / 128, (small - whole) / (1 / 128 - 1 / 256)
        expected.append(noise / signal if signal > 0 else math.inf)
    assert [row[0]["noise_scale/tokens"] for row in rows] == pytest.approx(expected, rel=1e-3)
