"""Does a rate tuned on a narrow model serve a wide one?"""

import math
import re

from omegaconf import DictConfig, open_dict

from gptx.config.errors import ConfigError
from gptx.job.build import trainer_of

PARAMETRIZATIONS = "standard", "mup"


def coordinates(arms: dict, *, widths: str = "64,128,256,512,1024", updates: str = "4") -> list[str]:
    """How far a few updates move hidden states and logits at each width, in both parametrizations.

    The coordinate check of arXiv:2203.03466, appendix D.1. Numbers are means of |change| over the tokens of four
    validation windows; the slope is that of log |change| over log width: 0 stays, 1 grows in proportion. Where it
    stays, a rate carries over; where it grows, the rate must shrink with the width.
    """
    sizes = [int(word) for word in widths.split(",") if word.strip().isdigit()]
    if len(sizes) != len(widths.split(",")) or len(set(sizes)) < 2 or min(sizes) < 1:
        raise ConfigError(f"widths={widths}: at least two different widths, such as 64,128,256")
    if not re.fullmatch(r"0*[1-9]\d{0,3}", updates, re.ASCII):
        raise ConfigError(f"updates={updates:.80}: a number of updates, from 1 to 9,999")
    lines = []
    for name, cfg in arms.items():
        lines += [f"{name}:"] * bool(name)
        lines.append(f"{'mean |change|':30}" + "".join(f"{size:>10,}" for size in sizes) + "     slope")
        for parametrization in PARAMETRIZATIONS:
            found = [moved(at_width(cfg, parametrization, size, sizes[0]), int(updates)) for size in sizes]
            for what in found[0]:
                values = [row[what] for row in found]
                numbers = "".join(f"{value:10.2e}" for value in values)
                lines.append(f"{parametrization:14}{what:16}{numbers}{slope(sizes, values):10.2f}")
    return lines


def at_width(cfg: DictConfig, parametrization: str, width: int, base: int) -> DictConfig:
    """The recipe at another width; the same in everything else, and at the peak rate from the first update."""
    composed = cfg.copy()
    rates = {"rates": cfg.parametrization.rates, "_partial_": True}
    with open_dict(composed):
        composed.model.width = width
        composed.schedule = {"_target_": "gptx.ingredients.schedule.constant", "_partial_": True}
        composed.parametrization = {"_target_": f"gptx.ingredients.parametrization.{parametrization}", **rates}
        if parametrization == "mup":
            composed.parametrization.base_width = base
            composed.parametrization.base_head_size = base // cfg.model.heads
        composed.log = composed.observe = None
    return composed


def moved(cfg: DictConfig, updates: int) -> dict[str, float]:
    """Mean |change| of the last block's hidden states and of the logits over that many updates."""
    trainer = trainer_of(cfg)
    inputs = trainer.data.validation(0, min(4, trainer.data.validation_windows)).inputs.to(trainer.parallel.device)
    before = seen(trainer, inputs)
    for _ in range(updates):
        trainer.set_learning_rate()
        trainer.accumulate_gradients()
        trainer.update("accept")
    after = seen(trainer, inputs)
    return {what: (after[what] - before[what]).abs().mean().item() for what in before}


def seen(trainer, inputs) -> dict:
    """What the blocks hand to the last norm, and the logits."""
    import torch

    kept: dict = {}
    handle = trainer.model.blocks[-1].register_forward_hook(lambda module, args, out: kept.update(hidden_states=out))
    with torch.no_grad(), trainer.evaluation(), trainer.precision.autocast(inputs.device):
        kept["logits"] = trainer.model(inputs)
    handle.remove()
    return kept


def slope(sizes: list[int], values: list[float]) -> float:
    """Least-squares slope of log value over log size.

    >>> round(slope([1, 2, 4], [3.0, 6.0, 12.0]), 6)
    1.0
    """
    x, y = ([math.log(v) for v in side] for side in (sizes, values))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
