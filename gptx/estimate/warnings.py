"""What is doubtful about a budget, before it is spent: a sentence each, with the key and the number."""

import math
from collections.abc import Iterator

from gptx.estimate.effort import Effort
from gptx.estimate.laws import Law
from gptx.units.amounts import amount

FEWEST = 100  # updates: with fewer, warmup and cool-down are a handful of steps each
READINGS = 4  # up to so many, repeated text is worth almost as much as new (arXiv:2305.16264)
FITTED = 85e6, 1.2e9  # parameters of the models that the critical batch was fitted to
FAR = 4.0  # times more or less than what is usual


def critical_batch(tokens: float) -> float:
    """Tokens of the update beyond which larger ones no longer save as many updates, in a run of so many tokens.

    22.91 D^0.47 sequences of 512, D in millions of tokens, is where 20 % more is spent than in small updates; fitted to
    85M-1.2B parameters on C4, whose size hardly matters (arXiv:2410.21676).

    >>> round(critical_batch(2.5e9), -3)
    464000.0
    """
    return 512 * 22.91 * (tokens / 1e6) ** 0.47


def doubts(effort: Effort, *, warmup: object = None, train_tokens: int | None = None) -> Iterator[str]:
    """What is doubtful about the length, the batch and the warmup of a run on a text of `train_tokens`.

    A `warmup` that is no number of updates is left alone: a schedule of the user's may mean something else by it.
    """
    batch, critical = effort.tokens_per_update, critical_batch(effort.tokens)
    if batch > critical:
        far = "" if FITTED[0] <= effort.parameters <= FITTED[1] else ", an extrapolation from 85M-1.2B parameters"
        yield (
            f"batch.tokens={batch:,} is {batch / critical:.1f} times the critical batch of a run of so many tokens, "
            f"about {critical:,.0f} (arXiv:2410.21676{far}): smaller updates learn more from each token"
        )
    if effort.updates < FEWEST:
        yield (
            f"steps={effort.updates}: fewer than {FEWEST} updates; as many of the same tokens would be of "
            f"{effort.tokens // FEWEST:,} each"
        )
    if isinstance(warmup, int) and warmup > math.ceil(0.05 * effort.updates) and effort.updates > 20:
        share = 100 * warmup / effort.updates
        yield f"schedule.warmup={warmup:,} is {share:.3g}% of steps={effort.updates:,}; 1-5 % is usual"
    if train_tokens and effort.tokens > READINGS * train_tokens:
        yield (
            f"steps={effort.updates:,} reads the text of {train_tokens:,} tokens {effort.tokens / train_tokens:.1f} "
            f"times{repeated(effort.tokens / train_tokens)}"
        )


def repeated(readings: float) -> str:
    """What to think of text that is read so many times."""
    if readings <= READINGS:
        return ""
    return f"; beyond {READINGS} times, repeated text is worth less and less (arXiv:2305.16264)"


def proportion(effort: Effort, judge: Law) -> Iterator[str]:
    """What is doubtful about tokens a parameter, by a law that speaks of such tokens."""
    size, tokens = judge.optimum(6 * effort.parameters * effort.tokens)
    found, best = effort.tokens_per_parameter, tokens / size
    if best / FAR <= found <= FAR * best:
        return
    side, other = ("below", "smaller") if found < best else ("above", "larger")
    yield (
        f"steps={effort.updates:,} gives {amount(found)} tokens a parameter, far {side} the {amount(best)} that are "
        f"best for as many operations by {judge.name}: a {other} model reaches a lower loss with them"
        + ", and costs more to serve"
        * (other == "larger")
    )


def packing(context: int, document: float) -> Iterator[str]:
    """What is doubtful about sequences in which documents of so many tokens, in the mean, see each other."""
    if context > FAR * document:
        yield (
            f"model.context={context:,} holds {context / document:.0f} documents of {document:,.0f} tokens on average; "
            "most have nothing to do with each other; model.mask=document keeps them apart"
        )


def imitation(name: str) -> Iterator[str]:
    """What is doubtful about a number format that the processor only imitates; nothing of one that it has."""
    if name:
        yield (
            f"precision: this processor only imitates {name}, many times slower than fp32 (bf16 was 11 times slower on "
            "one with AVX2 alone, fp16 15 times on one without AVX-512 FP16); precision=fp32 is faster here"
        )
