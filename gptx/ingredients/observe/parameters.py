"""How large the weights are."""

from gptx.ingredients.observe.gradients import norms
from gptx.ingredients.observe.observer import Observer


class Parameters(Observer):
    """Root mean square of every parameter: unlike a norm it can be compared between shapes."""

    def __call__(self, trainer) -> dict[str, float]:
        names, weights = zip(*trainer.model.named_parameters(), strict=True)
        sizes = norms(list(weights)).tolist()
        return {f"parameters/{n}": s / p.numel() ** 0.5 for n, p, s in zip(names, weights, sizes, strict=True)}
