"""How FLOPs are split between parameters and tokens: by the rule of thumb, by a law, and with the cost of serving."""

import math
from dataclasses import dataclass

from gptx.estimate.laws import RULE, Law

GIVEN, BY_RULE = "as given", f"{RULE:g} tokens per parameter"


@dataclass(frozen=True)
class Split:
    """Parameters and tokens, and by whom; `law` is None for the rule and for what was given."""

    by: str
    parameters: float
    tokens: float
    law: Law | None = None

    @property
    def flops(self) -> float:
        return 6 * self.parameters * self.tokens

    @property
    def ratio(self) -> float:
        """Tokens per parameter."""
        return self.tokens / self.parameters


def by_rule(*, flops: float | None = None, parameters: float | None = None, tokens: float | None = None) -> Split:
    """RULE tokens per parameter, for the one quantity that is given."""
    if parameters is None:
        parameters = math.sqrt(flops / 6 / RULE) if flops else (tokens or 0) / RULE
    return Split(BY_RULE, parameters, RULE * parameters)


def by_law(
    law: Law, *, flops: float | None = None, parameters: float | None = None, tokens: float | None = None
) -> Split:
    """The best split of so many FLOPs, or of the budget for which so many parameters or tokens are best."""
    if tokens is not None:
        flops = 6 * (tokens * law.parameters(6)) ** (1 / law.exponents[1])
    elif parameters is not None:
        flops = law.flops_for(parameters)
    return Split(law.name, *law.optimum(flops or 0), law)


def agreement(law: Law, ratio: float = RULE) -> float | None:
    """FLOPs of the budget at which a law asks for `ratio` tokens per parameter; None if that is nowhere near."""
    growth = law.exponents[1] - law.exponents[0]
    logarithm = math.log(ratio * law.parameters(6) ** 2) / growth if growth else math.inf
    return 6 * math.exp(logarithm) if 0 < logarithm < 100 else None


def above_the_best(split: Split, judge: Law) -> float:
    """Nats that the best split of the same FLOPs would gain by the law `judge`."""
    return max(0.0, judge.loss(split.parameters, split.tokens) - judge.lowest(split.flops))


def cheapest(law: Law, loss: float, served: float) -> Split:
    """Of all sizes that reach a loss, the one whose training and serving take the fewest FLOPs together.

    A token costs 6 N to train on and 2 N to serve (arXiv:2401.00448). With nothing served it is the best split.
    """

    def total(log_size: float) -> float:
        size = math.exp(log_size)
        tokens = law.tokens_to(size, loss)
        return math.inf if tokens is None else 6 * size * tokens + 2 * size * served

    low = math.log(law.A / (loss - law.E)) / law.alpha  # the size that needs infinitely many tokens
    high = low + 20
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if total(a) < total(b) else (a, high)
    size = math.exp(high)
    return Split("training and serving", size, law.tokens_to(size, loss) or math.inf, law)
