"""Bytes of a composition, before it runs."""

from gptx.config import validate
from gptx.estimate import footprint
from gptx.estimate.footprint import Footprint
from gptx.plan.decay import vocabulary


def memory(arms: dict, *, vocab: str = "") -> list[str]:
    """Weights, gradients, what the optimizer keeps, activations and peak of every arm, in bytes and GB."""
    lines = []
    for name, cfg in arms.items():
        lines += [f"{name}:"] * bool(name) + table(predict(cfg, vocabulary(cfg, vocab)))
    return lines


def predict(cfg, vocab_size: int) -> Footprint:
    """The footprint of a checked config on its own device, eager, for one process."""
    from gptx.distributed.rank import world_size
    from gptx.ingredients.parallel import OneProcess, find

    place = OneProcess(find(cfg.device))
    place.world_size = world_size()  # its share of the batch
    without = {*validate.SETTINGS, "data", "compile", "parallel", "checkpoints", "observe", "log"}
    ingredients = {str(key): validate.build(cfg[key]) for key in cfg if key not in without}
    observed = {name: validate.build(node) for name, node in (cfg.get("observe") or {}).items() if name == "validation"}
    ingredients |= {"parallel": place, "checkpoints": None, "observe": observed}
    copied = cfg.checkpoints.get("every", cfg.steps) < cfg.steps  # the last save is waited for
    return footprint.predict(ingredients, vocab_size=vocab_size, context=cfg.data.context, copied=copied)


def foreseen(cfg, vocab_size: int) -> Footprint | str:
    """The footprint, or why there is none: a run that cannot be predicted can still be trained."""
    try:
        return predict(cfg, vocab_size)
    except ValueError as error:
        return str(error)


def table(found: Footprint) -> list[str]:
    """A footprint in lines."""
    each = f"{found.parameters:,} parameters, {found.weights / found.parameters:.3g} bytes each"
    rows = [
        ("weights", found.weights, each),
        ("gradients", found.gradients, ""),
        ("moments", found.moments, ", ".join(found.state) or "none"),
        ("weights, gradients, moments", found.weights + found.gradients + found.moments, ""),
        ("activations", found.activations, "kept for the backward pass of a micro-batch"),
        ("peak of an update", found.update, "eager, with what is needed for a moment"),
        ("peak of a validation pass", found.validation, "with weights and moments" if found.validation else "none"),
        (
            "copy of the state",
            found.copy,
            "in the host's memory, for saves" if found.copy else "none: saved at the end",
        ),
    ]
    return [f"  {name:28}{size:>20,} B{size / 1e9:>10.3f} GB  {note}".rstrip() for name, size, note in rows]
