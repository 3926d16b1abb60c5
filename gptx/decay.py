"""Which parameters are decayed: functions from a model to parameter groups.

A group without a `weight_decay` of its own takes the optimizer's.
"""

from collections.abc import Callable

from torch import Tensor, nn


def matrices(model: nn.Module) -> list[dict]:
    """Decays what is multiplied (two dimensions or more, embeddings included); spares gains and biases."""
    return split(model, lambda p, embedding: p.ndim >= 2)


def no_embeddings(model: nn.Module) -> list[dict]:
    """Decays matrices, but not the rows of embeddings, nor a head that is tied to them."""
    return split(model, lambda p, embedding: p.ndim >= 2 and not embedding)


def everything(model: nn.Module) -> list[dict]:
    """Decays every parameter: the comparison arm."""
    return split(model, lambda p, embedding: True)


def split(model: nn.Module, decayed: Callable[[Tensor, bool], bool]) -> list[dict]:
    """Groups the trainable parameters into decayed and spared, each once; a group with nothing in it is left out."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    trainable = [p for p in model.parameters() if p.requires_grad]
    chosen = [decayed(p, id(p) in embeddings) for p in trainable]
    groups: list[dict] = [
        {"name": "decayed", "params": [p for p, yes in zip(trainable, chosen, strict=True) if yes]},
        {
            "name": "spared",
            "params": [p for p, yes in zip(trainable, chosen, strict=True) if not yes],
            "weight_decay": 0.0,
        },
    ]
    return [group for group in groups if group["params"]]
