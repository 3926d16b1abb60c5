"""How operations are split between parameters and tokens: by the rule of thumb, by a law, and for who will serve it."""

import math
from dataclasses import dataclass

from gptx.estimate.laws import RULE, Law

GIVEN, BY_RULE = "as given", f"{RULE:g} tokens a parameter"


@dataclass(frozen=True)
class Split:
    """Parameters and tokens, and who says so; `law` is None for the rule and for what was given."""

    by: str
    parameters: float
    tokens: float
    law: Law | None = None

    @property
    def flops(self) -> float:
        return 6 * self.parameters * self.tokens

    @property
    def ratio(self) -> float:
        return self.tokens / self.parameters


def by_rule(*, flops: float | None = None, parameters: float | None = None, tokens: float | None = None) -> Split:
    """RULE tokens a parameter, for the one quantity that is given."""
    if parameters is None:
        parameters = math.sqrt(flops / 6 / RULE) if flops else (tokens or 0) / RULE
    return Split(BY_RULE, parameters, RULE * parameters)


def by_law(
    law: Law, *, flops: float | None = None, parameters: float | None = None, tokens: float | None = None
) -> Split:
    """The best split of so many operations, or of the budget for which so many parameters or tokens are best."""
    if tokens is not None:
        flops = 6 * (tokens * law.parameters(6)) ** (1 / law.exponents[1])
    elif parameters is not None:
        flops = law.flops_for(parameters)
    size, length = law.optimum(flops or 0)
    return Split(law.name, size, length, law)


def agreement(law: Law, ratio: float = RULE) -> float | None:
    """Operations of the budget at which a law asks for so many tokens a parameter; None if that is nowhere near."""
    growth = law.exponents[1] - law.exponents[0]
    logarithm = math.log(ratio * law.parameters(6) ** 2) / growth if growth else math.inf
    return 6 * math.exp(logarithm) if 0 < logarithm < 100 else None


def above_the_best(split: Split, judge: Law) -> float:
    """Nats that the best split of the same operations would gain, as the judge has it."""
    return max(0.0, judge.loss(split.parameters, split.tokens) - judge.loss(*judge.optimum(split.flops)))


def cheapest(law: Law, loss: float, served: float) -> Split:
    """Of all sizes that reach a loss, the one whose training and serving take the fewest operations together.

    A token costs 6 N to train on and 2 N to serve (arXiv:2401.00448). With nothing served it is the best split.
    """
    low = math.log(law.A / (loss - law.E)) / law.alpha  # of the size that needs tokens without end
    high = low + 20
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if total(law, loss, served, a) < total(law, loss, served, b) else (a, high)
    size = math.exp(high)
    return Split("training and serving", size, law.tokens_to(size, loss) or math.inf, law)


def total(law: Law, loss: float, served: float, log_size: float) -> float:
    """Operations to train a size to a loss and to serve it."""
    size = math.exp(log_size)
    tokens = law.tokens_to(size, loss)
    return math.inf if tokens is None else 6 * size * tokens + 2 * size * served
