"""The size of a training: parameters, tokens and FLOPs."""

from dataclasses import dataclass

from gptx.estimate.laws import RULE


@dataclass(frozen=True)
class Effort:
    """The budget of a whole run."""

    parameters: int  # all of them: a tied head once, no padding of the vocabulary
    body: int  # those in neither embeddings nor head (arXiv:2001.08361)
    flops_per_token: int  # forward and backward, with attention if the model counts it (else 6N)
    tokens: int
    steps: int
    tokens_per_step: int  # the largest, if the batch grows
    padding: int = 0  # parameters that only pad the vocabulary

    @property
    def flops(self) -> int:
        return self.flops_per_token * self.tokens

    @property
    def tokens_per_parameter(self) -> float:
        return self.tokens / self.parameters

    @property
    def chinchilla_multiple(self) -> float:
        """Tokens per parameter in units of the rule of 20 (arXiv:2203.15556)."""
        return self.tokens_per_parameter / RULE

    def record(self) -> dict[str, float]:
        """What run.json keeps."""
        names = "flops", "flops_per_token", "tokens", "tokens_per_parameter", "chinchilla_multiple"
        return {name: getattr(self, name) for name in names}


def effort(model, batch, steps: int) -> Effort:
    """The effort of training `model` for `steps` steps of `batch`."""
    total, body = counts(model)
    count = getattr(model, "flops_per_token", None)
    tokens = sum(batch.tokens_at(step) for step in range(1, steps + 1))
    padding = sum(p.numel() for p in model.parameters()) - total
    return Effort(total, body, count() if count else 6 * total, tokens, steps, batch.tokens, padding)


def counts(model) -> tuple[int, int]:
    """Parameters with and without embeddings (and head), without the rows that pad the vocabulary of GPT."""
    from torch.nn import Embedding

    from gptx.ingredients.model.gpt import GPT, parameter_counts

    if isinstance(model, GPT):
        return parameter_counts(model)
    total = sum(p.numel() for p in model.parameters())
    return total, total - sum(m.weight.numel() for m in model.modules() if isinstance(m, Embedding))
