"""How FLOPs are split between parameters and tokens: by the rule of thumb, by a law, by others, and for serving."""

import math
from dataclasses import dataclass, replace

from gptx.estimate.laws import RULE, Law
from gptx.units.amounts import amount


@dataclass(frozen=True)
class Split:
    """A training of `parameters` on `tokens`; `source` tells of it, `law` found it; `loss` is measured or predicted."""

    name: str
    parameters: float
    tokens: float
    source: str = ""
    law: Law | None = None
    loss: float = math.nan

    @property
    def flops(self) -> float:
        return 6 * self.parameters * self.tokens

    @property
    def ratio(self) -> float:
        return self.tokens / self.parameters

    def __str__(self) -> str:
        return f"{amount(self.parameters)} parameters on {amount(self.tokens)} tokens"

    @property
    def cells(self) -> tuple[str, str, str]:
        return amount(self.parameters), amount(self.tokens), amount(self.ratio)

    def by(self, law: Law) -> "Split":
        """The same with the loss that a law predicts."""
        return replace(self, loss=law.loss(self.parameters, self.tokens))


MODELS = (
    Split("llm.c GPT-2 124M", 124.4e6, 19_560 * 524_288, "github.com/karpathy/llm.c, on FineWeb"),
    Split("nanoGPT GPT-2 124M", 124.4e6, 600_000 * 491_520, "github.com/karpathy/nanoGPT, on OpenWebText"),
    Split("GPT-3 125M", 125e6, 300e9, "arXiv:2005.14165"),
    Split("GPT-3 1.3B", 1.3e9, 300e9, "arXiv:2005.14165"),
    Split("GPT-3 6.7B", 6.7e9, 300e9, "arXiv:2005.14165"),
    Split("GPT-3 175B", 175e9, 300e9, "arXiv:2005.14165"),
    Split("Gopher 280B", 280e9, 300e9, "arXiv:2112.11446"),
    Split("Chinchilla 70B", 70e9, 1.4e12, "arXiv:2203.15556"),
    Split("PaLM 540B", 540e9, 780e9, "arXiv:2204.02311"),
    Split("TinyLlama 1.1B", 1.1e9, 3e12, "arXiv:2401.02385"),
    Split("Llama 1 7B", 6.7e9, 1.0e12, "arXiv:2302.13971"),
    Split("Llama 1 65B", 65.2e9, 1.4e12, "arXiv:2302.13971"),
    Split("Llama 2 70B", 70e9, 2.0e12, "arXiv:2307.09288"),
    Split("Llama 3 8B", 8.0e9, 15e12, "arXiv:2407.21783"),
    Split("Llama 3 405B", 405e9, 15.6e12, "arXiv:2407.21783"),
)


def by_rule(*, flops: float = 0.0, parameters: float | None = None, tokens: float | None = None) -> Split:
    """RULE tokens per parameter, for the one quantity that is given."""
    if parameters is None:
        parameters = math.sqrt(flops / 6 / RULE) if tokens is None else tokens / RULE
    return Split(f"{RULE:g} tokens per parameter", parameters, RULE * parameters)


def by_law(law: Law, *, flops: float = 0.0, parameters: float | None = None, tokens: float | None = None) -> Split:
    """The best split of this many FLOPs, or of the budget for which this many parameters or tokens are best."""
    if tokens is not None:
        flops = 6 * (tokens * law.parameters(6)) ** (1 / law.exponents[1])
    elif parameters is not None:
        flops = law.flops_for(parameters)
    return Split(law.name, *law.optimum(flops), law=law)


def agrees_at(law: Law) -> float | None:
    """FLOPs of the budget at which a law asks for RULE tokens per parameter; None if that is nowhere near."""
    growth = law.exponents[1] - law.exponents[0]
    logarithm = math.log(RULE * law.parameters(6) ** 2) / growth if growth else math.inf
    return 6 * math.exp(logarithm) if 0 < logarithm < 100 else None


def above_the_best(split: Split, judge: Law) -> float:
    """Nats that the best split of the same FLOPs would gain by the law `judge`."""
    return max(0.0, split.by(judge).loss - judge.lowest(split.flops))


def cheapest(law: Law, loss: float, served: float) -> Split:
    """Of all sizes that reach a loss, the one whose training and serving take the fewest FLOPs together, where a token
    costs 6 N to train on and 2 N to serve (arXiv:2401.00448)."""

    def total(log_size: float) -> float:
        size = math.exp(log_size)
        return 6 * size * (law.tokens_to(size, loss) or math.inf) + 2 * size * served

    low = math.log(law.A / (loss - law.E)) / law.alpha  # the size that needs infinitely many tokens
    high = low + 20
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if total(a) < total(b) else (a, high)
    size = math.exp(high)
    return Split("training and serving", size, law.tokens_to(size, loss) or math.inf, law=law)
