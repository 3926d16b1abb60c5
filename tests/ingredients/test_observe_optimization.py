"""Observers of gradients and updates, each against a second computation."""

import math
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gptx.ingredients.guard import Guard
from gptx.ingredients.observe import noise_scale, norms
from gptx.ingredients.observe.norms import SecondMoment, pressure_verdict
from gptx.ingredients.optim.scratch import AdamW


def recorded(trainer):
    rows = []
    trainer.sinks.append(lambda step, scalars: rows.append(scalars))
    trainer.fit()
    return rows


def gradients(trainer, first=0, count=8):
    """Gradient of the mean loss of those sequences at the weights as they are, by name."""
    loss = trainer.objective(trainer.model, trainer.data(first, count))
    names, parameters = zip(*trainer.model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def square(found):
    return sum(grad.double().square().sum().item() for grad in found.values())


@pytest.mark.parametrize("clip", [["clip.max_norm=1.8"], ["clip=scratch", "clip.max_norm=1.8"], ["clip=none"]], ids=str)
def test_clip_pressure_is_what_the_norms_and_the_bound_say(build, clip):
    trainer = build("observe=[validation,clip_pressure]", "observe.clip_pressure.every=3", "schedule=constant", *clip)
    rows = recorded(trainer)
    norms = [row["train/grad_norm"] for row in rows]
    bound = trainer.clip.keywords.get("max_norm", math.inf)
    for end in (3, 6):
        part = norms[end - 3 : end]
        assert rows[end - 1]["clip/share"] == pytest.approx(sum(norm > bound for norm in part) / 3)
        assert rows[end - 1]["clip/scale"] == pytest.approx(sum(min(1, bound / norm) for norm in part) / 3, rel=1e-5)
    if math.isfinite(bound):
        assert min(norms) < bound < max(norms)  # some are clipped and some are not
    assert sum("clip/share" in row for row in rows) == 2
    clipped = sum(norm > bound for norm in norms)
    assert rows[-1]["clip/verdict"] == pressure_verdict(clipped, 6)
    assert not any("clip/verdict" in row for row in rows[:-1])


def test_the_verdict_leaves_the_warmup_out(build):
    trainer = build("observe=[validation,clip_pressure]", "schedule=warmup", "schedule.warmup=6", "clip.max_norm=1e-3")
    assert recorded(trainer)[-1]["clip/verdict"].startswith("clips most steps: 100% of 1 ")


@pytest.mark.parametrize(
    ("clipped", "seen", "start"),
    [(2, 18_860, "clips rarely: 2 of 18860"), (89, 100, "clips most steps: 89%"), (25, 100, "clips often: 25.0%"),
     (0, 100, "clips nothing"), (0, 0, "no step came after the warmup")],
)  # fmt: skip
def test_the_verdict_on_published_shares(clipped, seen, start):
    assert pressure_verdict(clipped, seen).startswith(start)


@pytest.mark.parametrize(
    "more", [[], ["clip.max_norm=1e-3"], ["precision=fp16"], ["batch.micro=2"], ["clip=none"]], ids=str
)
def test_norms_per_layer_are_those_of_the_whole_batch_before_clipping_and_unscaled(build, more):
    trainer = build("observe=[validation,gradients]", "observe.gradients.every=1", *more)
    trainer.steps = 1
    expected = {}
    for name, grad in gradients(trainer).items():
        layer = ".".join(name.split(".")[:2]) if name.startswith("blocks") else name.split(".")[0]
        expected[layer] = expected.get(layer, 0.0) + grad.square().sum().item()
    (row,) = recorded(trainer)
    found = {key.removeprefix("gradients/"): value for key, value in row.items() if key.startswith("gradients/")}
    rough = 2e-2 if "precision=fp16" in more else 1e-4
    assert found == pytest.approx({layer: total**0.5 for layer, total in expected.items()}, rel=rough)
    assert math.hypot(*found.values()) == pytest.approx(row["train/grad_norm"], rel=1e-5)


def test_every_group_has_its_rate(build):
    trainer = build("observe=[validation,gradients]", "observe.gradients.every=1")
    trainer.peaks = [1.0, 2.0, 3.0]
    row = recorded(trainer)[-1]
    factor = trainer.schedule(6)
    assert [row[f"lr/{name}"] for name in ("matrices", "embeddings", "vectors")] == pytest.approx(
        [factor, 2 * factor, 3 * factor]
    )


def matrices(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.ndim >= 2}


@pytest.mark.parametrize("optim", ["adamw", "adamw_scratch", "adam_l2", "sgd", "lion"])
def test_update_over_weight_is_that_of_the_weights_before_and_after(build, optim):
    trainer = build("observe=[validation,updates]", "observe.updates.every=1", f"optim={optim}")
    weights = [matrices(trainer)]
    trainer.sinks.append(lambda step, scalars: weights.append(matrices(trainer)))
    rows = recorded(trainer)
    for before, after, row in zip(weights, weights[1:], rows, strict=False):
        ratios = {n: ((after[n] - w).square().mean() / w.square().mean()).sqrt().item() for n, w in before.items()}
        assert {name: row[f"updates/{name}"] for name in ratios} == pytest.approx(ratios, rel=1e-5)
        assert row["updates/median"] == pytest.approx(statistics.median(ratios.values()), rel=1e-5)
        assert ("updates/equilibrium" in row) == optim.startswith("adamw")


def test_a_skipped_update_has_no_ratio_and_no_gradient_norms(build, monkeypatch):
    trainer = build("observe=[validation,updates,gradients,clip_pressure]", "observe.updates.every=1",
                    "observe.gradients.every=1", "observe.clip_pressure.every=1", "guard=none")  # fmt: skip
    monkeypatch.setattr(Guard, "__call__", lambda self, step, *_, **__: "skip" if step == 3 else "accept")
    for step, row in enumerate(recorded(trainer), start=1):
        for key in ("updates/median", "gradients/token", "clip/share"):
            assert (key in row) == (step != 3), (step, key)


@pytest.mark.parametrize(("lr", "ratio"), [(3e-4, 1.8e-3), (6e-4, 2.5e-3), (1.8e-3, 4.4e-3)])
def test_the_equilibrium_of_usual_rates(lr, ratio):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=lr, betas=(0.9, 0.95), weight_decay=0.1)
    weight.grad = torch.ones(2)
    optimizer.step()
    assert norms.equilibrium(optimizer) == pytest.approx(ratio, rel=0.02)


def test_schedule_free_has_an_equilibrium_of_its_own_that_is_not_drawn():
    import schedulefree

    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = schedulefree.AdamWScheduleFree([weight], lr=1e-3, weight_decay=0.1)
    optimizer.train()
    weight.grad = torch.ones(2)
    optimizer.step()
    assert norms.equilibrium(optimizer) is None


@pytest.mark.slow
def test_adamw_reaches_its_equilibrium_on_gradients_of_noise():
    weight = torch.nn.Parameter(torch.randn(256, 256, generator=torch.Generator().manual_seed(0)))
    optimizer = torch.optim.AdamW([weight], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    noise, ratios = torch.Generator().manual_seed(1), []
    for step in range(6_000):
        before = weight.detach().clone()
        weight.grad = torch.randn(256, 256, generator=noise)
        optimizer.step()
        if step >= 5_000:
            ratios.append(((weight.detach() - before).norm() / before.norm()).item())
    assert statistics.mean(ratios) == pytest.approx(norms.equilibrium(optimizer), rel=0.1)


def test_parameters_are_told_by_their_root_mean_square(build):
    trainer = build("observe=[validation,parameters]", "observe.parameters.every=6")
    row = recorded(trainer)[-1]
    expected = {
        f"parameters/{n}": np.sqrt(np.mean(p.detach().double().numpy() ** 2))
        for n, p in trainer.model.named_parameters()
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, AdamW])
def test_the_second_moment_follows_adams_equations(kind):
    weight, (beta1, beta2), eps = torch.nn.Parameter(torch.zeros(50)), (0.9, 0.95), 1e-8
    optimizer = kind([weight], lr=1e-3, betas=(beta1, beta2), eps=eps)
    observer = SecondMoment(every=1, until=4)
    trainer = SimpleNamespace(optimizer=optimizer, step=0, steps=100)
    observer.attach(trainer)
    m, v, previous = np.zeros(50), np.zeros(50), None
    noise = np.random.default_rng(0)
    for t in range(1, 7):
        gradient = noise.normal(size=50) * (np.arange(50) > 4)  # some never get one
        weight.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
        trainer.step += 1
        found = observer(trainer)
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
        m_hat, v_hat = (m / (1 - beta1**t))[5:], (v / (1 - beta2**t))[5:]
        step = np.abs(m_hat) / (np.sqrt(v_hat) + eps)
        expected = {"median": np.median(v_hat), "step": np.sqrt(np.mean(step**2)), "largest_step": step.max()}
        if previous is not None:
            expected["change"] = np.median(np.abs(v_hat / previous - 1))
        previous = v_hat
        expected = {f"second_moment/{name}": value for name, value in expected.items()} if t <= 4 else {}
        assert found == pytest.approx(expected, rel=1e-5)
        if t == 1:
            assert found["second_moment/largest_step"] == pytest.approx(1, rel=1e-6)  # whatever the gradients


def test_schedule_free_has_a_second_moment_and_no_first():
    import schedulefree

    weight = torch.nn.Parameter(torch.ones(5))
    optimizer = schedulefree.AdamWScheduleFree([weight], lr=1e-3, betas=(0.9, 0.95))
    optimizer.train()
    trainer, observer, v = SimpleNamespace(optimizer=optimizer, step=0, steps=9), SecondMoment(every=1, until=9), 0.0
    observer.attach(trainer)
    for t in (1, 2, 3):
        weight.grad = torch.arange(5.0) * t
        optimizer.step()
        v = (
            0.95 * v + 0.05 * (2 * t) ** 2
        )  # the coordinate that never had a gradient does not count, and the lower median of 1, 2, 3, 4 is 2
        found = observer(trainer)
        assert found["second_moment/median"] == pytest.approx(v / (1 - 0.95**t))
        assert "second_moment/step" not in found


def test_an_optimizer_that_looks_like_adam_and_is_not_is_refused_at_its_first_update():
    weight = torch.nn.Parameter(torch.ones(5))
    optimizer = torch.optim.Adamax([weight])
    observer = SecondMoment(every=1, until=9)
    observer.attach(SimpleNamespace(optimizer=optimizer, step=0, steps=9))
    weight.grad = torch.ones(5)
    with pytest.raises(ValueError, match="observe=second_moment: Adamax keeps no second moment"):
        optimizer.step()


def test_the_second_moment_is_looked_at_on_a_sample_of_a_large_model(monkeypatch):
    monkeypatch.setattr("gptx.ingredients.observe.norms.SAMPLE", 100)
    weight = torch.nn.Parameter(torch.zeros(1000))
    trainer = SimpleNamespace(optimizer=torch.optim.AdamW([weight]), step=0, steps=9)
    observer = SecondMoment(every=1, until=4)
    observer.attach(trainer)
    weight.grad = torch.arange(1000.0)
    trainer.optimizer.step()
    assert observer(trainer)["second_moment/median"] == pytest.approx(np.median(np.arange(10, 1000, 10) ** 2), rel=0.03)


@pytest.mark.parametrize("more", [[], ["clip.max_norm=1e-3"], ["precision=fp16"]], ids=str)
def test_the_noise_scale_is_that_of_gradients_computed_separately(build, more):
    trainer = build("observe=[validation,noise_scale]", "observe.noise_scale.every=1", "batch.micro=2", *more)
    trainer.steps = 1
    small, whole = square(gradients(trainer, 0, 2)), square(gradients(trainer, 0, 8))
    signal, noise = (256 * whole - 64 * small) / (256 - 64), (small - whole) / (1 / 64 - 1 / 256)
    (row,) = recorded(trainer)
    assert row["noise_scale/tokens"] == pytest.approx(noise / signal, rel=0.1 if more == ["precision=fp16"] else 1e-3)
    assert not {"noise_scale/low", "noise_scale/high"} & row.keys()  # of one measurement


@pytest.mark.parametrize("count", [10, 20, 50])
@pytest.mark.parametrize("strength", [0.03, 0.3, 1.0])  # of the signal: noise scales of 10,000, 100 and 9 batches
def test_the_noise_scale_of_known_gradients_lies_in_its_band_nine_times_of_ten(count, strength):
    signal, deviation, small, total = np.ones(100) * strength, 3.0, 8, 64
    truth, generator, inside = 100 * deviation**2 / (signal @ signal), np.random.default_rng(0), 0
    for _ in range(400):
        first = signal + deviation * generator.normal(size=(count, 100)) / math.sqrt(small)
        others = signal + deviation * generator.normal(size=(count, 100)) / math.sqrt(total - small)
        mean = (small * first + (total - small) * others) / total
        squares = (first**2).sum(1), (mean**2).sum(1)
        middle, low, high = noise_scale.band(np.array(noise_scale.separated(*squares, small, total)).T)
        assert low <= middle <= high
        inside += low <= truth <= high
    print(f"{count} measurements, signal {strength}: {inside / 400:.3f} of the bands hold the noise scale")
    assert 0.86 <= inside / 400 <= 0.94  # 0.90, and 2.7 standard errors of 400 draws


@pytest.mark.parametrize(
    ("signal", "noise", "ends"),
    [(1.0, 2.0, (2.0, 2.0)), (-1.0, 5.0, (math.inf, math.inf)), (0.0, 5.0, (math.inf, math.inf)), (1.0, -2.0, (0.0, 0.0))],
)  # fmt: skip
def test_measurements_that_agree_leave_the_noise_scale_no_width(signal, noise, ends):
    assert noise_scale.band(np.array([[signal, noise]] * 10)) == (ends[0], *ends)


def test_a_gradient_hidden_by_noise_has_an_infinite_scale():
    assert noise_scale.ratio(-0.5, 5.0) == math.inf
    drawn = np.random.default_rng(0).normal([0.0, 5.0], 1.0, size=(20, 2))
    assert noise_scale.band(drawn - [drawn[:, 0].mean() + 0.1, 0.0])[::2] == (math.inf, math.inf)


def test_there_is_a_band_from_ten_measurements_on(build):
    trainer = build("observe=[validation,noise_scale]", "observe.noise_scale.every=1", "steps=11")
    assert [("noise_scale/low" in row) for row in recorded(trainer)] == [False] * 9 + [True] * 2


def test_the_noise_scale_remembers_a_window_of_measurements_over_a_resume(build):
    words = ["observe=[validation,noise_scale]", "observe.noise_scale.every=1", "observe.noise_scale.window=4"]
    trainer = build(*words)
    trainer.fit()
    state = trainer.observers["noise_scale"].state_dict()
    assert len(state["pairs"]) == 4
    again = build(*words).observers["noise_scale"]
    again.load_state_dict(state)
    assert again.state_dict() == state
