"""Memory of a recipe, before it runs."""

from gptx.estimate.footprint import Footprint
from gptx.estimate.memory import predict_memory, vocabulary_of
from gptx.plan.arms import print_arms
from gptx.show.table import Table, terminal


def plan_memory(*overrides: str, vocab: str = "") -> None:
    """Predict the bytes of weights, gradients, moments and activations, and the peak of a step.

      python -m gptx plan memory model=gpt2_124m vocab=50257
      python -m gptx plan memory model=gpt2_124m memory=store,recompute vocab=50257

    Two steps and a validation pass run on tensors without data, so that every allocation is counted.

    Options:
    vocab: size of the vocabulary; by default the data's
    """
    print_arms(overrides, lambda cfg: footprint_table(predict_memory(cfg, vocabulary_of(cfg, vocab))))


def footprint_table(found: Footprint) -> list[str]:
    """A footprint as lines of a table."""
    rows = [
        (
            "weights",
            found.weights,
            f"{found.parameters:,} parameters, {found.weights / found.parameters:.3g} bytes each",
        ),
        ("gradients", found.gradients, ""),
        ("moments", found.moments, ", ".join(found.state) or "none"),
        ("weights, gradients, moments", found.weights + found.gradients + found.moments, ""),
        ("activations", found.activations, "kept for the backward pass of a micro-batch"),
        ("peak of a step", found.step, "eager, with temporaries"),
        ("peak of a validation pass", found.validation, "with weights and moments" if found.validation else "none"),
        ("copy of the state", found.copy, "in main memory, for saves" if found.copy else "none: saved at the end"),
    ]
    cells = [(name, note, f"{size:,}", f"{size / 1e9:.3f}") for name, size, note in rows]
    return terminal(Table("", ("part", "", "bytes", "GB"), cells, names=2))
