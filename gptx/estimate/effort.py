"""What a training amounts to: the size of its model, its tokens, and the operations that they cost."""

from dataclasses import dataclass

from gptx.estimate.laws import RULE


@dataclass(frozen=True)
class Effort:
    """The budget of a run, from its first update to its last."""

    parameters: int  # all of them: a tied head once, no padding
    body: int  # those in neither embeddings nor head (arXiv:2001.08361)
    flops_per_token: int  # of forward and backward pass, with attention's where the model counts its own; else 6N
    tokens: int
    updates: int
    tokens_per_update: int  # of a full one, where the batch grows

    @property
    def flops(self) -> int:
        """Operations of the whole run."""
        return self.flops_per_token * self.tokens

    @property
    def tokens_per_parameter(self) -> float:
        return self.tokens / self.parameters

    @property
    def chinchilla_multiple(self) -> float:
        """Tokens a parameter in units of the rule of 20 (arXiv:2203.15556)."""
        return self.tokens_per_parameter / RULE

    def record(self) -> dict[str, float]:
        """What other commands may read of it in run.json."""
        names = "flops", "flops_per_token", "tokens", "tokens_per_parameter", "chinchilla_multiple"
        return {name: getattr(self, name) for name in names}


def effort(model, batch, steps: int) -> Effort:
    """What it takes to train a model for so many updates of a batch."""
    total, body = counts(model)
    count = getattr(model, "flops_per_token", None)
    return Effort(
        parameters=total,
        body=body,
        flops_per_token=count() if count else 6 * total,
        tokens=sum(batch.tokens_at(step) for step in range(1, steps + 1)),
        updates=steps,
        tokens_per_update=batch.tokens,
    )


def counts(model) -> tuple[int, int]:
    """Parameters, with and without embeddings (and head); of GPT without the rows that pad its vocabulary."""
    from torch.nn import Embedding

    from gptx.ingredients.model.gpt import GPT, parameter_counts

    if isinstance(model, GPT):
        return parameter_counts(model)
    total = sum(p.numel() for p in model.parameters())
    return total, total - sum(m.weight.numel() for m in model.modules() if isinstance(m, Embedding))
