"""Optimizers, against PyTorch's own class or against the paper's formula worked out here."""

import copy
import math

import pytest
import schedulefree
import torch

from gptx.config.errors import ConfigError
from gptx.config.rules import examine
from gptx.ingredients.optim.adam import adam
from gptx.ingredients.optim.muon import Muon
from gptx.ingredients.optim.schedule_free import ScheduleFree
from gptx.ingredients.optim.scratch import AdamW, Lion


def trajectory(make, steps=20):
    """A matrix and a vector after some updates with the same gradients, the rate changing as a schedule changes it."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(5, 3)), torch.nn.Parameter(torch.randn(4))]
    optimizer = make([{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}])
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (step + 1) / steps
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in parameters])


def test_adamw_from_scratch_equals_pytorch():
    settings = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    torch.testing.assert_close(
        trajectory(lambda groups: AdamW(groups, **settings)),
        trajectory(lambda groups: torch.optim.AdamW(groups, **settings)),
        rtol=1e-6, atol=1e-7,
    )  # fmt: skip


def test_adam_with_l2_is_not_adamw():
    coupled = trajectory(lambda groups: torch.optim.Adam(groups, lr=0.01, weight_decay=0.1))
    decoupled = trajectory(lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1))
    assert (coupled - decoupled).abs().max() > 1e-3


def test_lion_follows_its_paper():
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(50, dtype=torch.float64))
    expected, momentum = parameter.detach().clone(), torch.zeros(50, dtype=torch.float64)
    optimizer = Lion([parameter], lr=0.01, betas=(0.9, 0.99), weight_decay=0.3)
    for _ in range(10):
        g = torch.randn(50, dtype=torch.float64)
        parameter.grad = g.clone()
        optimizer.step()
        c = 0.9 * momentum + 0.1 * g  # algorithm 2: update, decay, then the momentum
        expected = expected - 0.01 * (c.sign() + 0.3 * expected)
        momentum = 0.99 * momentum + 0.01 * g
    torch.testing.assert_close(parameter.detach(), expected)


def orthogonalised(matrix):
    """Newton-Schulz with Keller Jordan's coefficients, in fp32."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm()
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def test_muon_follows_its_description_for_matrices_and_adamw_for_the_rest():
    torch.manual_seed(0)
    matrix, vector = torch.nn.Parameter(torch.randn(8, 5)), torch.nn.Parameter(torch.randn(4))
    twin = torch.nn.Parameter(vector.detach().clone())
    expected, momentum = matrix.detach().clone(), torch.zeros(8, 5)
    ours = Muon([{"name": "matrices", "params": [matrix]}, {"name": "vectors", "params": [vector], "weight_decay": 0.0}],
                lr=0.01, weight_decay=0.1, momentum=0.95, betas=(0.9, 0.95))  # fmt: skip
    adamw = torch.optim.AdamW([twin], lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(6):
        g, matrix.grad, vector.grad = torch.randn(8, 5), None, torch.randn(4)
        matrix.grad, twin.grad = g.clone(), vector.grad.clone()
        ours.step()
        adamw.step()
        momentum = 0.95 * momentum + 0.05 * g
        nesterov = 0.05 * g + 0.95 * momentum
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * 0.2 * math.sqrt(8) * orthogonalised(nesterov)
    torch.testing.assert_close(vector, twin, rtol=1e-6, atol=1e-7)
    moved = 6 * 0.01 * 0.2 * math.sqrt(8)
    assert (matrix - expected).norm() < 0.05 * moved  # PyTorch iterates in bf16


def test_muon_makes_all_directions_of_a_matrix_move_alike():
    torch.manual_seed(0)
    matrix = torch.nn.Parameter(torch.zeros(16, 16))
    optimizer = Muon([{"name": "matrices", "params": [matrix]}], lr=1.0, weight_decay=0.0)
    matrix.grad = torch.randn(16, 16) @ torch.diag(torch.logspace(0, -2, 16)) @ torch.randn(16, 16)
    spread = torch.linalg.svdvals(matrix.grad)
    optimizer.step()
    moved = torch.linalg.svdvals(matrix.detach()) / (0.2 * 4)
    assert spread[0] / spread[-4] > 20
    assert 0.5 < moved[-4] <= moved[0] < 1.3


def test_muon_with_nothing_to_apply_to_is_refused():
    vector = torch.nn.Parameter(torch.randn(4))
    for groups in ([vector], [{"name": "vectors", "params": [vector]}]):
        with pytest.raises(ValueError, match="optim=muon: no parameter group is named `matrices`"):
            Muon(groups, lr=0.01)


def test_schedule_free_takes_the_steps_of_its_package_and_is_judged_by_the_average():
    def run(make, judge):
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(6, 3))
        optimizer = make([parameter])
        for _ in range(5):
            parameter.grad = torch.randn(6, 3)
            optimizer.step()
        return parameter.detach().clone(), judge(optimizer, parameter)

    def package(params):
        optimizer = schedulefree.AdamWScheduleFree(params, lr=0.1, betas=(0.9, 0.99), weight_decay=0.1)
        optimizer.train()
        return optimizer

    def packages_own(optimizer, parameter):
        optimizer.eval()
        return parameter.detach().clone()

    theirs = run(package, packages_own)
    ours = run(lambda p: ScheduleFree(p, lr=0.1, betas=(0.9, 0.99), weight_decay=0.1), lambda o, p: o.judged([p])[0])
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=0)
    assert (ours[0] - ours[1]).abs().max() > 1e-3


def test_validation_of_schedule_free_uses_the_average_and_does_not_touch_training(build):
    calm, judged = (
        build("optim=schedule_free", "schedule=warmup", "steps=8", f"observe.validation.every={every}")
        for every in (8, 1)
    )
    for trainer in (calm, judged):
        trainer.fit()
    assert calm.latest["train/loss"] == judged.latest["train/loss"]
    for p, q in zip(calm.model.parameters(), judged.model.parameters(), strict=True):
        assert torch.equal(p, q)
    averaged = copy.deepcopy(judged.model)
    for p, x in zip(averaged.parameters(), judged.judged_weights(), strict=True):
        p.data = x
    with judged.evaluation():
        for p, x in zip(judged.model.parameters(), averaged.parameters(), strict=True):
            assert torch.equal(p, x)
    trained = judged.observers["validation"](judged, list(judged.model.parameters()))
    assert trained["validation/loss"] != judged.latest["validation/loss"]


@pytest.mark.parametrize("schedule", ["cosine", "cosine_no_warmup", "linear", "wsd", "inverse_sqrt"])
def test_schedule_free_refuses_a_rate_that_falls(composed, schedule):
    with pytest.raises(ConfigError, match=r"schedule=.*falls.*schedule=warmup or constant"):
        examine(composed("optim=schedule_free", f"schedule={schedule}"), world=1)


@pytest.mark.parametrize("schedule", ["constant", "warmup"])
def test_schedule_free_takes_a_rate_that_stays(composed, build, schedule):
    words = ["optim=schedule_free", f"schedule={schedule}"]
    examine(composed(*words), world=1)
    trainer = build(*words)
    trainer.fit()
    assert trainer.latest["train/lr"] == trainer.peaks[0]


def test_beta2_forgets_half_after_the_same_number_of_tokens_whatever_the_batch(build):
    for tokens in (256, 512):
        trainer = build("optim.beta2_half_life_tokens=4096", f"batch.tokens={tokens}")
        for group in trainer.optimizer.param_groups:
            beta1, beta2 = group["betas"]
            assert beta1 == 0.9
            assert beta2 ** (4096 / tokens) == pytest.approx(0.5)


def test_a_half_life_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"optim\.beta2_half_life_tokens=0.*above 0"):
        adam([], lr=1.0, betas=(0.9, 0.9), eps=1e-8, weight_decay=0, decoupled=True, fused=False,
             beta2_half_life_tokens=0, tokens=4)  # fmt: skip


SCHEDULE = {"schedule_free": ["schedule=warmup"]}


@pytest.mark.parametrize(
    "name", ["adamw", "adamw_scratch", "adam_l2", "sgd", "lion", "muon", "adafactor", "schedule_free"]
)
def test_every_optimizer_learns_with_its_preset(build, name):
    trainer = build(f"optim={name}", "steps=60", "model.width=64", *SCHEDULE.get(name, []))
    found = []
    trainer.sinks.append(lambda step, scalars: found.append(scalars["train/loss"]))
    trainer.fit()
    assert found[-1] < found[0] - 1.5


@pytest.mark.parametrize("name", ["adamw", "muon", "adafactor", "schedule_free", "lion", "adamw_scratch"])
def test_every_optimizer_resumes_bit_for_bit(build, name):
    words = [f"optim={name}", *SCHEDULE.get(name, []), "checkpoints.every=3", "observe.validation.every=2"]
    whole = build(*words)
    whole.fit()
    first = build(*words, folder="two")
    first.steps = 3
    first.fit()
    second = build(*words, folder="two")
    assert second.checkpoints.restore(second)
    second.fit()
    assert second.step == 6
    assert {k: v for k, v in second.latest.items() if "second" not in k} == {
        k: v for k, v in whole.latest.items() if "second" not in k
    }
    for p, q in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(p, q)
