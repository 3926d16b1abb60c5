"""How rates, initial weights and outputs depend on the model's width, and on the kind of a parameter.

A parametrization is called once with the model and its parameter groups, may change the initial weights, and returns
the factor by which each group's rate differs from the optimizer's. `rates` gives factors by the name of a group
(matrices, embeddings, head, vectors), and `all` one for every group.
"""

import torch
from torch import nn

KINDS = ("all", "matrices", "embeddings", "head", "vectors")


def standard(model: nn.Module, groups: list[dict], *, rates: dict[str, float]) -> list[float]:
    """The model as it initialises itself; every group at the optimizer's rate, times its own factor."""
    refuse(rates, groups)
    return [rates.get("all", 1.0) * rates.get(group.get("name", ""), 1.0) for group in groups]


@torch.no_grad()
def mup(
    model: nn.Module, groups: list[dict], *, base_width: int, base_head_size: int, rates: dict[str, float]
) -> list[float]:
    """Maximal update parametrization for Adam-like optimizers (arXiv:2203.03466, table 8): with m = width / base_width

    - hidden matrices start 1/sqrt(m) as wide and learn at 1/m of the rate,
    - attention divides by D instead of sqrt(D), equal at the base's heads of `base_head_size` dimensions,
    - logits are multiplied by 1/m; embeddings, the head and vectors are as at the base width.

    At the base width it is the standard parametrization. Weight decay acts as rate x decay and so falls with the rate
    of hidden matrices. Raises ValueError for a model without `width` and blocks, or groups without `matrices`.
    """
    if base_width < 1:
        raise ValueError(f"parametrization.base_width={base_width}: at least 1, the width at which the rate was tuned")
    if base_head_size < 1:
        raise ValueError(
            f"parametrization.base_head_size={base_head_size}: at least 1, dimensions of a head at the base"
        )
    if not (hasattr(model, "width") and hasattr(model, "output_scale") and hasattr(model, "blocks")):
        raise ValueError(f"parametrization=mup: {type(model).__name__} has no width to transfer over; use standard")
    if not any(group.get("name") == "matrices" for group in groups):
        raise ValueError("parametrization=mup: no parameter group is named `matrices`; decay=matrices names them")
    wider: float = model.width / base_width  # type: ignore[operator, assignment]
    for group in groups:
        if group.get("name") == "matrices":
            for parameter in group["params"]:
                parameter.mul_(wider**-0.5)
    for block in model.blocks:  # type: ignore[union-attr]
        block.attention.scale = base_head_size**0.5 / (model.width / block.attention.heads)
    model.output_scale = 1 / wider  # type: ignore[assignment]
    shares = [1 / wider if group.get("name") == "matrices" else 1.0 for group in groups]
    return [share * factor for share, factor in zip(shares, standard(model, groups, rates=rates), strict=True)]


def refuse(rates: dict[str, float], groups: list[dict]) -> None:
    """Raises ValueError for a factor that is negative or that no group takes."""
    named = {group.get("name", "") for group in groups}
    for kind, factor in rates.items():
        if kind not in (*KINDS, *named):
            raise ValueError(f"parametrization.rates.{kind}: no such group of parameters; {', '.join(KINDS)}")
        if factor < 0:
            raise ValueError(f"parametrization.rates.{kind}={factor}: a factor of the rate, 0 (frozen) or more")
