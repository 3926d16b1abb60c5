"""Bytes of a composition, before it runs."""

from gptx.estimate.footprint import Footprint
from gptx.estimate.memory import predict
from gptx.plan.decay import vocabulary


def memory(arms: dict, *, vocab: str = "") -> list[str]:
    """Weights, gradients, what the optimizer keeps, activations and peak of every arm, in bytes and GB."""
    lines = []
    for name, cfg in arms.items():
        lines += [f"{name}:"] * bool(name) + table(predict(cfg, vocabulary(cfg, vocab)))
    return lines


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
