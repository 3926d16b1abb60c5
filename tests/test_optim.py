"""Optimizers, against PyTorch's own class or against the paper's formula worked out here."""

import pytest
import torch

from gptx.optim.lion import Lion
from gptx.optim.scratch import AdamW


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


@pytest.mark.parametrize("name", ["adamw", "adamw_scratch", "adam_l2", "sgd", "lion"])
def test_every_optimizer_learns_with_its_preset(build, name):
    trainer = build(f"optim={name}", "steps=60", "model.width=64")
    found = []
    trainer.sinks.append(lambda step, scalars: found.append(scalars["train/loss"]))
    trainer.fit()
    assert found[-1] < found[0] - 1.5
