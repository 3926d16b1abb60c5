"""The loop: what an update is made of, and that nothing but the recipe decides it."""

import math

import pytest
import torch


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def gradients(trainer):
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def losses(trainer):
    found = []
    trainer.sinks.append(lambda step, scalars: found.append(scalars["train/loss"]))
    trainer.fit()
    return found


def test_four_micro_batches_of_four_give_the_gradient_of_one_batch_of_sixteen(build):
    found = []
    for micro in (4, 16):
        trainer = build("batch.tokens=512", f"batch.micro={micro}", "clip=none")
        trainer.accumulate_gradients()
        found.append(gradients(trainer))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


def test_accumulation_is_the_mean_of_the_micro_gradients_and_without_the_division_it_would_be_four_times_that(build):
    trainer = build("batch.tokens=512", "batch.micro=4", "clip=none")
    parameters, alone = list(trainer.model.parameters()), []
    for i in range(4):
        loss = trainer.objective(trainer.model, trainer.data(4 * i, 4))
        alone.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    trainer.accumulate_gradients()
    accumulated = torch.cat([p.grad.flatten() for p in parameters])
    torch.testing.assert_close(accumulated, torch.stack(alone).mean(0), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(4 * accumulated, torch.stack(alone).sum(0), rtol=1e-5, atol=1e-7)


def test_the_logged_loss_is_the_mean_over_all_micro_batches(build):
    trainer = build("batch.tokens=512", "batch.micro=4")
    singles = [trainer.objective(trainer.model, trainer.data(first, 4)).item() for first in range(0, 16, 4)]
    loss, _ = trainer.accumulate_gradients()
    assert len(set(singles)) == 4
    assert loss == pytest.approx(sum(singles) / 4, rel=1e-6)


def test_the_logged_norm_is_the_one_before_clipping(build):
    free, clipped = build("clip=none"), build("clip.max_norm=1e-3")
    assert free.accumulate_gradients()[1] == pytest.approx(clipped.accumulate_gradients()[1], rel=1e-6)
    assert gradients(clipped).norm() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    "arm", ["schedule=constant", "optim.lr=1e-2", "clip=none", "precision=bf16", "decay=everything"]
)
def test_arms_with_the_same_seed_share_initial_weights_and_batches(build, arm):
    one, other = build("model.dropout=0.1"), build("model.dropout=0.1", arm)
    assert torch.equal(weights(one), weights(other))
    one.fit()
    other.fit()
    assert one.cursor == other.cursor
    assert torch.equal(one.data(one.cursor, 8).inputs, other.data(other.cursor, 8).inputs)


def test_another_seed_changes_weights_and_batches(build):
    one, other = build("seed=0"), build("seed=1")
    assert not torch.equal(weights(one), weights(other))
    assert not torch.equal(one.data(0, 8).inputs, other.data(0, 8).inputs)


def test_drawing_more_for_dropout_does_not_shift_the_data(build):
    one, other = build("model.dropout=0"), build("model.dropout=0.5")
    one.fit()
    other.fit()
    assert torch.equal(one.data(one.cursor, 4).inputs, other.data(other.cursor, 4).inputs)


def test_recompute_gives_the_same_gradients_as_store(build):
    found = []
    for memory in ("store", "recompute"):
        trainer = build(f"memory={memory}", "model.dropout=0.1", "clip=none")
        trainer.accumulate_gradients()
        found.append(gradients(trainer))
    assert torch.equal(*found)


def test_validation_does_not_depend_on_the_micro_batch(build):
    found = [build("batch.tokens=512", f"batch.micro={m}").observers["validation"] for m in (1, 16)]
    values = []
    for micro, observer in zip((1, 16), found, strict=True):
        trainer = build("batch.tokens=512", f"batch.micro={micro}")
        observer.attach(trainer)
        values.append(observer(trainer))
    assert values[0] == values[1]


def test_validation_is_the_mean_over_the_windows_one_by_one_and_leaves_dropout_on(build):
    trainer = build("model.dropout=0.3")
    observer = trainer.observers["validation"]
    observer.attach(trainer)
    found = observer(trainer)
    assert trainer.model.training
    trainer.model.eval()
    nats, size = [], 0
    for i in range(8):
        batch = trainer.data.validation(i, 1)
        logits = trainer.model(batch.inputs)[0].log_softmax(-1)
        nats += [-logits[t, batch.targets[0, t]].item() for t in range(32)]
        size += len(trainer.data.encoding.decode_bytes([t for t in batch.targets[0].tolist() if t != 256]))
    assert found["validation/loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    assert found["validation/perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-4)
    assert found["validation/bits_per_byte"] == pytest.approx(sum(nats) / math.log(2) / size, rel=1e-5)


def test_validation_draws_nothing_from_the_random_streams(build):
    quiet = losses(build("model.dropout=0.2", "observe.validation.every=6"))
    assert losses(build("model.dropout=0.2", "observe.validation.every=1")) == quiet


def test_a_run_learns(build):
    found = losses(build("steps=150", "optim.lr=1e-2", "model.width=64"))
    assert found[0] == pytest.approx(math.log(257), abs=0.3)  # nearly uniform over the 257 tokens at the start
    assert found[-1] < 2.0


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_keeps_weights_moments_and_gradients_in_fp32(build, precision):
    trainer = build(f"precision={precision}")
    trainer.accumulate_gradients()
    assert {p.grad.dtype for p in trainer.model.parameters()} == {torch.float32}
    trainer.update("accept")
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    moments = [v for state in trainer.optimizer.state.values() for k, v in state.items() if k.startswith("exp_avg")]
    assert moments
    assert {m.dtype for m in moments} == {torch.float32}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_gives_nearly_the_same_gradient(build, precision):
    exact, rounded = build("clip=none"), build("clip=none", f"precision={precision}")
    exact.accumulate_gradients()
    rounded.accumulate_gradients()
    assert torch.cosine_similarity(gradients(exact), gradients(rounded), dim=0) > 0.999


def test_an_fp16_overflow_skips_the_update_and_lowers_the_scale(build):
    trainer = build("precision=fp16")
    before, scale = weights(trainer), trainer.scaler.get_scale()
    real, trainer.objective = trainer.objective, lambda network, batch: trainer_loss(network, batch) * 1e30
    trainer_loss = real
    trainer.accumulate_gradients()
    trainer.update("accept")
    assert torch.equal(weights(trainer), before)
    assert trainer.scaler.get_scale() < scale


def test_guard_skip_keeps_nan_from_the_weights(build):
    trainer = build("guard=skip")
    real = trainer.objective
    trainer.objective = lambda network, batch: real(network, batch) * (math.nan if trainer.step == 3 else 1)
    trainer.fit()
    assert trainer.step == 6
    assert torch.isfinite(weights(trainer)).all()


def test_without_a_guard_nan_does_reach_the_weights(build):
    trainer = build("guard=none")
    real = trainer.objective
    trainer.objective = lambda network, batch: real(network, batch) * (math.nan if trainer.step == 3 else 1)
    trainer.fit()
    assert not torch.isfinite(weights(trainer)).all()


def test_the_loop_waits_for_the_device_once_an_update(build, monkeypatch):
    waits = []
    for name in ("item", "tolist", "__float__", "__bool__", "cpu"):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *a, _real=real, _name=name: waits.append(_name) or _real(self, *a)
        )

    def counted(micro, steps):
        trainer = build(f"steps={steps}", "checkpoints.every=100", f"batch.micro={micro}")
        trainer.observers.clear()
        waits.clear()
        trainer.fit()
        return len(waits)

    assert counted(micro=1, steps=3) == counted(micro=8, steps=3)  # none for a micro-batch
    assert counted(micro=2, steps=9) - counted(micro=2, steps=3) == 6  # one for an update


@pytest.mark.parametrize(
    "words", [["batch.doublings=2", "batch.growth=4"], ["batch=short_first", "batch.lengthening=4"]]
)
def test_a_batch_warmup_reads_every_token_once_and_resumes_exactly(build, words):
    words = [*words, "batch.tokens=256", "checkpoints.every=3", "model.dropout=0.1"]
    seen = []

    def watched(trainer):
        data = trainer.data
        trainer.data = Recorded(data, seen)
        return trainer

    whole = watched(build(*words))
    whole.fit()
    assert seen == list(range(whole.cursor))
    assert whole.latest["train/tokens"] == whole.cursor * 32
    first = build(*words, folder="two")
    first.steps = 3
    first.fit()
    second = build(*words, folder="two")
    second.checkpoints.restore(second)
    second.fit()
    assert second.latest["train/loss"] == whole.latest["train/loss"]
    for p, q in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(p, q)


class Recorded:
    """A corpus that notes which sequences are asked for."""

    def __init__(self, data, seen):
        self.data, self.seen = data, seen

    def __call__(self, first, count):
        self.seen += range(first, first + count)
        return self.data(first, count)

    def __getattr__(self, name):
        return getattr(self.data, name)


def test_short_sequences_come_first_and_hold_the_same_tokens(build):
    trainer = build("batch=short_first", "batch.lengthening=4", "steps=6")
    shapes, objective = [], trainer.objective

    def watched(network, batch):
        shapes.append((tuple(batch.inputs.shape), tuple(batch.targets.shape)))
        return objective(network, batch)

    trainer.objective = watched
    trainer.fit()
    lengths = [inputs[1] for inputs, _ in shapes[::2]]
    assert lengths == [8, 8, 16, 16, 32, 32]
    assert all(inputs == targets and inputs[0] * inputs[1] == 128 for inputs, targets in shapes)


def test_a_micro_batch_that_does_not_fit_in_memory_is_halved_and_the_recipe_is_the_same(build):
    words = ["batch.tokens=512", "batch.micro=16"]
    roomy, tight = build(*words), build(*words)
    objective = tight.objective

    def cramped(network, batch):
        if len(batch.inputs) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return objective(network, batch)

    tight.objective = cramped
    for trainer in (roomy, tight):
        trainer.fit()
    assert (tight.micro_batch, tight.accumulation, tight.cursor) == (4, 4, roomy.cursor)
    assert tight.latest["train/loss"] == pytest.approx(roomy.latest["train/loss"], rel=1e-5)


def test_a_single_sequence_that_does_not_fit_is_told_in_one_line(build):
    trainer = build("batch.micro=2")

    def hopeless(network, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer.objective = hopeless
    with pytest.raises(MemoryError, match=r"1 sequences of 32 tokens do not fit .* memory=recompute"):
        trainer.fit()
