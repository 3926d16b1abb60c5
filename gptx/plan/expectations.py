"""The loss that laws of scaling foresee for a run, where they speak of its kind of tokens."""

import math

from gptx.estimate.effort import Effort
from gptx.estimate.laws import RULE, Law
from gptx.plan.split import by_rule
from gptx.units.amounts import amount, power

SUBWORDS = 16_000  # entries of a vocabulary from which tokens are like those of the published laws, which had 32,000
LARGEST_VOCABULARY = 10**7  # that is planned for; the largest known have some 10^6 entries


def lines(laws: list[Law], spent: Effort, vocab_size: int) -> list[str]:
    """Loss after the run by each law, and what would be best for as many operations; or why the laws cannot say."""
    fitting = [law for law in laws if speaks(law, vocab_size)]
    if not fitting:
        whose = f"{laws[0].name} is" if len(laws) == 1 else "the published laws are"
        own = f", of a vocabulary of {laws[0].vocab:,}" if laws[0].vocab else ""
        return [
            f"not foreseen: {whose} of {laws[0].units}{own}, which a vocabulary of {vocab_size:,} does not give; "
            "experiment=scaling fits one to runs of yours, law=FILE then takes it"
        ]
    flops = 6 * spent.parameters * spent.tokens
    found = [f"{fitting[0].units}, and the best size for as many operations (6ND = {power(flops)})"]
    for law in fitting:
        loss = law.loss(spent.parameters, spent.tokens)
        if loss >= math.log(vocab_size):
            found.append(f"{law.name:17}      -   {loss:.3g} would be worse than to guess, {math.log(vocab_size):.3f}: "
                         "so short a run is none that it speaks of")  # fmt: skip
            continue
        band = law.interval(lambda drawn: drawn.loss(spent.parameters, spent.tokens))
        spread = f" ({band[0]:.3f} to {band[1]:.3f})" if band else ""
        size, tokens = law.optimum(flops)
        found.append(f"{law.name:17}{loss:7.3f}{spread}   {best(size, tokens)} reach {law.loss(size, tokens):.3f}")
        found += [f"{law.name}: {warning}" for warning in law.warnings]
    found += extrapolated(fitting, flops)
    rule = by_rule(flops=flops)
    found.append(f"{f'rule of {RULE:g}':17}{'':7}   {best(rule.parameters, rule.tokens)}")
    return found if vocab_size >= SUBWORDS else found[:-1]


def extrapolated(laws: list[Law], flops: float) -> list[str]:
    """That a budget lies outside of those of the runs that laws were fitted to; nothing where it does not."""
    found: dict[tuple[float, float], list[str]] = {}
    for law in laws:
        if law.operations and not law.operations[0] <= flops <= law.operations[1]:
            found.setdefault(law.operations, []).append(law.name)
    return [
        f"extrapolated: {', '.join(names)} rest{'s' * (len(names) == 1)} on runs of {power(least)} to {power(most)} "
        "operations each"
        for (least, most), names in found.items()
    ]


def speaks(law: Law, vocab_size: int) -> bool:
    """True if the nats of a law are those of tokens of such a vocabulary: its own, or for a published law subwords."""
    return vocab_size == law.vocab if law.vocab else vocab_size >= SUBWORDS


def best(size: float, tokens: float) -> str:
    """A size and its tokens."""
    return f"{amount(size):>6} parameters, {amount(tokens):>6} tokens ({tokens / size:4.1f} each)"
