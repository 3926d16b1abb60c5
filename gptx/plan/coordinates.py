"""The coordinate check: does a learning rate tuned on a narrow model serve a wide one?"""

import math
from statistics import linear_regression
from typing import Any

from gptx.config.compose import as_config
from gptx.config.errors import ConfigError
from gptx.job.build import trainer_of
from gptx.plan.parts import print_arms
from gptx.show.table import Table, terminal


def plan_coordinates(*overrides: str, widths: str = "64,128,256,512,1024", updates: int = 4) -> None:
    """Train a few steps at several widths and show how far they move hidden states and logits.

      python -m gptx plan coordinates widths=64,128,256 updates=4

    The standard parametrization is compared with muP, based on the first width (arXiv:2203.03466, appendix D.1).
    Numbers are means of |change| over the tokens of four validation windows. The slope is of log |change| over log
    width: 0 stays, 1 grows in proportion. If it stays, a learning rate carries over; if it grows, the learning rate
    must shrink with the width.

    Options:
    widths: widths of the model, at least two
    updates: number of steps
    """
    sizes = [int(word) for word in widths.split(",") if word.strip().isdigit()]
    if len(sizes) != len(widths.split(",")) or len(set(sizes)) < 2 or min(sizes) < 1:
        raise ConfigError(f"widths={widths}: at least two different widths, such as 64,128,256")
    if not 1 <= updates <= 9999:
        raise ConfigError(f"updates={updates}: a number of steps, from 1 to 9,999")
    print_arms(overrides, lambda cfg: _changes(cfg, sizes, updates))


def _changes(cfg: Any, sizes: list[int], steps: int) -> list[str]:
    rows = []
    for parametrization in ("standard", "mup"):
        found = [_moved(cfg, parametrization, size, sizes[0], steps) for size in sizes]
        for what in found[0]:
            values = [row[what] for row in found]
            slope = linear_regression(list(map(math.log, sizes)), list(map(math.log, values))).slope
            rows.append((parametrization, what, *(f"{value:.2e}" for value in values), f"{slope:.2f}"))
    return terminal(Table("", ("mean |change|", "", *(f"{size:,}" for size in sizes), "slope"), rows, names=2))


def _moved(cfg: Any, parametrization: str, width: int, base: int, steps: int) -> dict[str, float]:
    """Mean |change| of the last block's hidden states and of the logits over that many steps of the recipe at another
    width, and at the peak learning rate from the first step."""
    mup = {"base_width": base, "base_head_size": base // cfg.model.heads} if parametrization == "mup" else {}
    target = f"gptx.ingredients.parametrization.{parametrization}"
    trainer = trainer_of(as_config({
        **cfg, "model": {**cfg.model, "width": width}, "log": None, "observe": None,
        "schedule": {"_target_": "gptx.ingredients.schedule.constant", "_partial_": True},
        "parametrization": {"_target_": target, "_partial_": True, "rates": cfg.parametrization.rates, **mup},
    }))  # fmt: skip
    inputs = trainer.data.validation(0, min(4, trainer.data.validation_windows)).inputs.to(trainer.parallel.device)
    before = _seen(trainer, inputs)
    for _ in range(steps):
        trainer.step_once()
    return {what: (after - before[what]).abs().mean().item() for what, after in _seen(trainer, inputs).items()}


def _seen(trainer, inputs) -> dict:
    """The inputs of the last norm, and the logits."""
    import torch

    kept: dict = {}
    handle = trainer.model.blocks[-1].register_forward_hook(lambda module, args, out: kept.update(hidden_states=out))
    with torch.no_grad(), trainer.evaluation(), trainer.precision.autocast(inputs.device):
        kept["logits"] = trainer.model(inputs)
    handle.remove()
    return kept
