"""Which parameters are decayed: from a model to parameter groups by kind, decayed as the optimizer says or by 0."""

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
    embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    # An untied head, which gives the logits, is a kind of its own, so that "matrices" are hidden ones.
    head = {*dict(model.named_children()).get("head", nn.Module()).parameters()}
    found: dict[str, list[Tensor]] = {"matrices": [], "embeddings": [], "head": [], "vectors": []}
    for p in filter(lambda p: p.requires_grad, model.parameters()):
        kind = "embeddings" if p in embeddings else "vectors" if p.ndim < 2 else "head" if p in head else "matrices"
        found[kind].append(p)
    undecayed = {kind: {"weight_decay": 0.0} for kind in spared}
    return [{"name": kind, "params": params} | undecayed.get(kind, {}) for kind, params in found.items() if params]
