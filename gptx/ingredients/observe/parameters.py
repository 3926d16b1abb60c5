"""How large the weights are."""

from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.gradients import norms


class Parameters(Observer):
    """Root mean square of every parameter, which unlike a norm can be compared between shapes."""

    def __call__(self, trainer) -> dict[str, float]:
        names, weights = zip(*trainer.model.named_parameters(), strict=True)
        sizes = norms(list(weights)).tolist()
        return {f"parameters/{n}": s / p.numel() ** 0.5 for n, p, s in zip(names, weights, sizes, strict=True)}
