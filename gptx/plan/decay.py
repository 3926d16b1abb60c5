"""Which parameters are decayed."""

import inspect

from gptx.config.build import build, find
from gptx.plan.expectations import LARGEST_VOCABULARY
from gptx.plan.question import whole


def decay(arms: dict, *, vocab: str = "") -> list[str]:
    """Every parameter by name under its group, with shape and count (exercise 12 of the tutorial)."""
    return [line for name, cfg in arms.items() for line in ([f"{name}:"] if name else []) + groups(cfg, vocab)]


def groups(cfg, vocab: str) -> list[str]:
    """The lines of one composition."""
    import torch

    with torch.device("meta"):
        model = build(cfg.model)(vocab_size=vocabulary(cfg, vocab))
    names = {id(p): name for name, p in model.named_parameters()}
    default = cfg.optim.get("weight_decay", library_default(cfg.optim._target_, "weight_decay"))
    lines = []
    for group in build(cfg.decay)(model):
        size = sum(p.numel() for p in group["params"])
        strength = group.get("weight_decay", default)
        lines.append(f"{group['name']}: {size:,} in {len(group['params'])} tensors, weight decay {strength:g}")
        lines += [f"  {names[id(p)]:40} {'x'.join(map(str, p.shape)):>14} {p.numel():>14,}" for p in group["params"]]
    return lines


def vocabulary(cfg, vocab: str) -> int:
    """The size of the vocabulary that was given, or else of the data's. Raises ValueError for no size."""
    if not vocab:
        return build(cfg.data).vocab_size
    return whole("vocab", {"vocab": vocab}, LARGEST_VOCABULARY)


def library_default(target: str, name: str) -> float:
    """The value that a class gives an argument that the config leaves out; 0 if it has no such argument."""
    parameter = inspect.signature(find(target, "optim")).parameters.get(name)
    return 0.0 if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default
