"""Which parameters are decayed: functions from a model to parameter groups, one for each kind of parameter.

A group without a `weight_decay` of its own takes the optimizer's.
"""

from torch import Tensor, nn


def matrices(model: nn.Module) -> list[dict]:
    """Decays what is multiplied (two dimensions or more, embeddings included); spares gains and biases."""
    return groups(model, decayed={"matrices", "embeddings"})


def no_embeddings(model: nn.Module) -> list[dict]:
    """Decays matrices, but not the rows of embeddings, nor a head that is tied to them."""
    return groups(model, decayed={"matrices"})


def everything(model: nn.Module) -> list[dict]:
    """Decays every parameter: the comparison arm."""
    return groups(model, decayed={"matrices", "embeddings", "vectors"})


def groups(model: nn.Module, *, decayed: set[str]) -> list[dict]:
    """Parameter groups named after the kinds that the model has; those not to be decayed have a weight decay of 0."""
    return [
        {"name": kind, "params": params} | ({} if kind in decayed else {"weight_decay": 0.0})
        for kind, params in kinds(model).items()
        if params
    ]


def kinds(model: nn.Module) -> dict[str, list[Tensor]]:
    """Every trainable parameter once: matrices, embeddings (a tied head is one), and vectors (biases and gains)."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    found: dict[str, list[Tensor]] = {"matrices": [], "embeddings": [], "vectors": []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            kind = "embeddings" if id(parameter) in embeddings else "matrices" if parameter.ndim >= 2 else "vectors"
            found[kind].append(parameter)
    return found
