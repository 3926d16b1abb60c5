"""How learning rates, initial weights and outputs depend on the model's width, and on the kind of a parameter.

A parametrization is called once with the model and its parameter groups, may change the initial weights, and returns
each group's factor of the optimizer's learning rate. `rates` has factors by the name of a group, and `all` for every.
"""

import torch
from torch import nn

from gptx.units.options import Count, ranged

_KINDS = ("all", "matrices", "embeddings", "head", "vectors")


def standard(model: nn.Module, groups: list[dict], *, rates: dict[str, float]) -> list[float]:
    """The model as it initialises itself, each group at its factor. Raises ValueError for one below 0 or no group."""
    names = [group.get("name", "") for group in groups]
    for kind, factor in rates.items():
        if kind not in (*_KINDS, *names):
            raise ValueError(f"parametrization.rates.{kind}: no such group of parameters; {', '.join(_KINDS)}")
        if factor < 0:
            raise ValueError(f"parametrization.rates.{kind}={factor}: a factor of the learning rate, 0 or more")
    return [rates.get("all", 1.0) * rates.get(name, 1.0) for name in names]


@torch.no_grad()
@ranged("parametrization")
def mup(model: nn.Module, groups: list[dict], *, base_width: Count, base_head_size: Count, rates: dict[str, float]):
    """Maximal update parametrization for Adam-like optimizers (arXiv:2203.03466, table 8): with m = width / base_width
    hidden matrices start 1/sqrt(m) as wide and learn (and decay) at 1/m of the learning rate, attention divides by D
    instead of sqrt(D), equal at heads of `base_head_size`, and logits are multiplied by 1/m; all else is as at the base
    width. Raises ValueError for a model without `width` and blocks, or groups without `matrices`."""
    if not all(hasattr(model, name) for name in ("width", "output_scale", "blocks")):
        raise ValueError(f"parametrization=mup: {type(model).__name__} has no width to transfer over; use standard")
    hidden = [group for group in groups if group.get("name") == "matrices"]
    if not hidden:
        raise ValueError("parametrization=mup: no parameter group is named `matrices`; decay=matrices names them")
    wider: float = model.width / base_width  # type: ignore[operator, assignment]
    for group in hidden:
        torch._foreach_mul_(group["params"], wider**-0.5)
    for block in model.blocks:  # type: ignore[union-attr]
        block.attention.scale = base_head_size**0.5 / (model.width / block.attention.heads)
    model.output_scale = 1 / wider  # type: ignore[assignment]
    factors = standard(model, groups, rates=rates)
    return [1 / wider * f if g.get("name") == "matrices" else f for g, f in zip(groups, factors, strict=True)]
