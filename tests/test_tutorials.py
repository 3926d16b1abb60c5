"""The numbers of docs/tutorials.md, worked out by the code that it names."""

import math
import re

import pytest
import torch

from gptx.config import paths
from gptx.estimate import laws
from gptx.ingredients.observe.norms import equilibrium
from gptx.ingredients.optim.scratch import AdamW
from gptx.ingredients.schedule import cosine

PAGE = paths.ROOT / "docs" / "tutorials.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="an installed package has no docs")


def point(number: int) -> str:
    """The text of one point, without its line breaks."""
    found = re.search(rf"^{number}\. (.*?)(?=^\d+\. |^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, number
    return " ".join(found[1].split())


def test_all_29_points_are_told_with_a_command_each():
    for number in range(1, 30):
        assert re.search(r"`(python|torchrun|pytest)", point(number)), number


def test_adamw_on_one_number():
    theta = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = AdamW([theta], lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
    places, variances = [], []
    for _ in range(3):
        theta.grad = torch.tensor([0.1])
        optimizer.step()
        places.append(f"{theta.item():.4f}")
        variances.append(f"{optimizer.state[theta]['v'].item():.5f}")
    assert ", ".join(places) in point(1)
    assert ", ".join(variances) in point(1)


@pytest.mark.parametrize(
    ("number", "step", "warmup", "total", "floor"),
    [(2, 50_000, 2000, 100_000, 0), (3, 200, 500, 10_000, 0.1), (3, 200, 250, 10_000, 0.1), (3, 1000, 500, 10_000, 0.1),
     (3, 4175, 500, 10_000, 0.1), (3, 5000, 500, 10_000, 0.1)],
)  # fmt: skip
def test_the_schedules(number, step, warmup, total, floor):
    rate = 3e-4 * cosine(step, warmup=warmup, total=total, floor=floor)
    assert f"{rate:.2e}".replace("e-0", "e-") in point(number)


@pytest.mark.parametrize(
    ("law", "flops"), [(law, c) for law in ("hoffmann_rounded", "besiroglu") for c in (1e17, 1e22)]
)
def test_tokens_a_parameter_by_each_law(law, flops):
    size, tokens = laws.PUBLISHED[law].optimum(flops)
    assert f"{tokens / size:.1f}" in point(4)


def test_budgets():
    assert f"{6 * 175e9 * 300e9:.2e}".replace("e+", "e") in point(6)
    assert int(6 * 175e9 * 300e9 / 1e22) == 31
    assert "31 times" in point(6)
    assert f"{1e12 / 7e9:.0f} (" in point(6)
    assert f"{300e9 / 175e9:.1f} tokens a parameter" in point(6)
    assert f"{7 * 12} GB" in point(25)
    assert f"{7 * 16} GB" in point(25)


@pytest.mark.parametrize("beta2", [0.95, 0.999])
def test_how_far_adam_can_step(beta2):
    """The most over all gradients up to a step (Cauchy-Schwarz), over the steps; and over bursts after a long silence."""
    beta1, steps = 0.9, torch.arange(1, 20_001, dtype=torch.float64)
    shared = beta1**2 / beta2
    most = (1 - beta1) / (1 - beta2) ** 0.5 * ((1 - shared**steps) / (1 - shared)).sqrt()
    most *= (1 - beta2**steps).sqrt() / (1 - beta1**steps)
    burst = (1 - beta1**steps) / (1 - beta2**steps).sqrt()
    assert most[0].item() == pytest.approx(1)
    assert f"{most.max().item():.4g}"[:4] in point(18)
    assert f"{burst.max().item():.2f}" in point(18)


def test_the_worst_gradients_step_as_far_as_the_bound_says():
    theta, beta1, beta2, silence = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)), 0.9, 0.95, 400
    optimizer = torch.optim.AdamW([theta], lr=1.0, betas=(beta1, beta2), eps=0, weight_decay=0)
    for t in range(silence):
        before = theta.item()
        theta.grad = torch.tensor([(beta2 / beta1) ** (t - silence)], dtype=torch.float64)
        optimizer.step()
    assert before - theta.item() == pytest.approx(1.165, abs=1e-3)


@pytest.mark.parametrize(("rate", "told"), [(3e-4, "1.8e-3"), (6e-4, "2.5e-3"), (1.8e-3, "4.4e-3")])
def test_the_ratio_that_adamw_tends_to(rate, told):
    theta = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([theta], lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
    theta.grad = torch.ones(1)
    optimizer.step()
    assert f"{equilibrium(optimizer):.1e}".replace("e-0", "e-") == told
    assert told in point(23)


def test_gradients_under_autocast_are_in_32_bits():
    layer, inside = torch.nn.Linear(4, 4), []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(torch.ones(2, 4))
    out.register_hook(lambda g: inside.append(g.dtype))
    out.sum().backward()
    assert layer.weight.grad.dtype == torch.float32
    assert inside == [torch.bfloat16]


def test_a_step_waits_once_for_the_device_whatever_its_micro_batches(build, monkeypatch):
    trainer, waits = build("batch.micro=1"), []
    assert trainer.accumulation > 1
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__"):
        read = getattr(torch.Tensor, name)
        counted = lambda self, *words, read=read, name=name: (waits.append(name), read(self, *words))[1]  # noqa: E731
        monkeypatch.setattr(torch.Tensor, name, counted)
    trainer.accumulate_gradients()
    assert waits == ["tolist"]


def test_what_is_right():
    text = " ".join(PAGE.read_text().split())
    for told in (f"{256 * 16:,}", f"{32 * 8 * 4 * 1024:,}", f"{math.exp(2):.2f} at 2.0", f"{math.exp(1.6):.2f} at 1.6",
                 f"ln 50257 = {math.log(50257):.3f}", f"{int(torch.finfo(torch.float16).max):,}"):  # fmt: skip
        assert told in text, told
    assert torch.finfo(torch.bfloat16).max == pytest.approx(3.4e38, rel=0.01)
