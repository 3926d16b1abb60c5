"""Which parameters are decayed: functions from a model to parameter groups, one for each kind of parameter.

A group without a `weight_decay` of its own takes the optimizer's. Matrices in the module that a model calls `head` (it
gives the logits) that are not tied to an embedding are a kind of their own, so that "matrices" are hidden ones.
"""

from torch import Tensor, nn


def matrices(model: nn.Module) -> list[dict]:
    """Decays what is multiplied (two dimensions or more, embeddings and head included); spares gains and biases."""
    return _groups(model, spared=("vectors",))


def no_embeddings(model: nn.Module) -> list[dict]:
    """Decays matrices and an untied head, but not the rows of embeddings, nor a head that is tied to them."""
    return _groups(model, spared=("embeddings", "vectors"))


def everything(model: nn.Module) -> list[dict]:
    """Decays every parameter: the comparison arm."""
    return _groups(model, spared=())


def _groups(model: nn.Module, *, spared: tuple[str, ...]) -> list[dict]:
    """Groups named after the kinds that the model has, each trainable parameter once; no decay for `spared`."""
    embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    head = {*dict(model.named_children()).get("head", nn.Module()).parameters()}
    found: dict[str, list[Tensor]] = {"matrices": [], "embeddings": [], "head": [], "vectors": []}
    for p in filter(lambda p: p.requires_grad, model.parameters()):
        kind = "embeddings" if p in embeddings else "vectors" if p.ndim < 2 else "head" if p in head else "matrices"
        found[kind].append(p)
    undecayed = {kind: {"weight_decay": 0.0} for kind in spared}
    return [{"name": kind, "params": params} | undecayed.get(kind, {}) for kind, params in found.items() if params]
