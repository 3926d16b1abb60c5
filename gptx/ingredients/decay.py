"""Which parameters are decayed: functions from a model to parameter groups, one for each kind of parameter.

A group without a `weight_decay` of its own takes the optimizer's. A model calls the module that gives its logits
`head`; matrices in it that are not tied to an embedding are a kind of their own, so that "matrices" are hidden ones.
"""

from torch import Tensor, nn


def matrices(model: nn.Module) -> list[dict]:
    """Decays what is multiplied (two dimensions or more, embeddings and head included); spares gains and biases."""
    return groups(model, decayed={"matrices", "embeddings", "head"})


def no_embeddings(model: nn.Module) -> list[dict]:
    """Decays matrices and an untied head, but not the rows of embeddings, nor a head that is tied to them."""
    return groups(model, decayed={"matrices", "head"})


def everything(model: nn.Module) -> list[dict]:
    """Decays every parameter: the comparison arm."""
    return groups(model, decayed={"matrices", "embeddings", "head", "vectors"})


def groups(model: nn.Module, *, decayed: set[str]) -> list[dict]:
    """Parameter groups named after the kinds that the model has; those not to be decayed have a weight decay of 0."""
    return [
        {"name": kind, "params": params} | ({} if kind in decayed else {"weight_decay": 0.0})
        for kind, params in kinds(model).items()
        if params
    ]


def kinds(model: nn.Module) -> dict[str, list[Tensor]]:
    """Every trainable parameter once: hidden matrices, embeddings (a tied head is one), head, biases and gains."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = {id(p) for name, module in model.named_children() if name == "head" for p in module.parameters()}
    found: dict[str, list[Tensor]] = {"matrices": [], "embeddings": [], "head": [], "vectors": []}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in embeddings:
            kind = "embeddings"
        elif parameter.ndim < 2:
            kind = "vectors"
        else:
            kind = "head" if id(parameter) in head else "matrices"
        found[kind].append(parameter)
    return found
