"""The size of a training: parameters, tokens and FLOPs; and warnings about it, one sentence each, before it is run."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gptx.estimate.laws import RULE, Law
from gptx.units.amounts import amount

_FEWEST = 100  # steps: with fewer, warmup and cool-down are a handful of steps each
_READINGS = 4  # up to this many epochs, repeated text is worth almost as much as new (arXiv:2305.16264)
_FITTED = 85e6, 1.2e9  # parameters of the models that the critical batch was fitted to
_FAR = 4.0  # times more or less than usual


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
        return self.tokens_per_parameter / RULE  # of 20 (arXiv:2203.15556)

    def record(self) -> dict[str, float]:
        names = "flops", "flops_per_token", "tokens", "tokens_per_parameter", "chinchilla_multiple"
        return {name: getattr(self, name) for name in names}


def effort(model, batch, steps: int) -> Effort:
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


def critical_batch_size(tokens: float) -> float:
    """Tokens per step above which larger batches no longer save as many steps, in a run of this many tokens: they cost
    20 % more tokens than small ones; fitted to 85M-1.2B parameters on C4, which hardly matter (arXiv:2410.21676)."""
    return 512 * 22.91 * (tokens / 1e6) ** 0.47


def budget_warnings(effort: Effort, *, warmup: object = None, train_tokens: int | None = None) -> Iterator[str]:
    """Warnings about length, batch and warmup, which may be no number, of a run on a text of `train_tokens`."""
    batch, critical = effort.tokens_per_step, critical_batch_size(effort.tokens)
    if batch > critical:
        far = "" if _FITTED[0] <= effort.parameters <= _FITTED[1] else ", an extrapolation from 85M-1.2B parameters"
        many = f"{batch / critical:.1f} times the critical batch of a run of this many tokens, about {critical:,.0f}"
        yield f"batch.tokens={batch:,} is {many} (arXiv:2410.21676{far}): smaller batches learn more from each token"
    if effort.steps < _FEWEST:
        yield f"steps={effort.steps}: warmup and cool-down are a handful of steps each; make {_FEWEST} steps or more"
    if isinstance(warmup, int) and warmup > math.ceil(0.05 * effort.steps) and effort.steps > 20:
        share = 100 * warmup / effort.steps
        yield f"schedule.warmup={warmup:,} is {share:.3g}% of steps={effort.steps:,}; 1-5 % is usual"
    if train_tokens and effort.tokens > _READINGS * train_tokens:
        epochs = effort.tokens / train_tokens
        yield f"steps={effort.steps:,} reads the text of {train_tokens:,} tokens {epochs:.1f} times{repeated(epochs)}"


def repeated(epochs: float) -> str:
    """The warning about text that is read this many times, after a semicolon; "" if there is none."""
    said = f"; beyond {_READINGS} times, repeated text is worth less and less (arXiv:2305.16264)"
    return said * (epochs > _READINGS)


def proportion(effort: Effort, judge: Law) -> Iterator[str]:
    """A warning about far too few or too many tokens per parameter, by a law of such tokens."""
    size, tokens = judge.optimum(6 * effort.parameters * effort.tokens)
    found, best = effort.tokens_per_parameter, tokens / size
    side, other, price = ("below", "smaller", "") if found < best else ("above", "larger", ", and costs more to serve")
    far = f"{amount(found)} tokens per parameter, far {side} the {amount(best)} that are best for as many FLOPs"
    if not best / _FAR <= found <= _FAR * best:
        better = f"a {other} model reaches a lower loss with them{price}"
        yield f"steps={effort.steps:,} gives {far} by {judge.name}: {better}"


def packing(context: int, document: float) -> Iterator[str]:
    """A warning about sequences that hold many documents of `document` tokens on average."""
    if context > _FAR * document:
        many = f"{context / document:.0f} documents of {document:,.0f} tokens on average"
        yield f"model.context={context:,} holds {many}, mostly unrelated; model.mask=document keeps them apart"


def imitation(name: str) -> Iterator[str]:
    """A warning about the number format `name`, which the processor only emulates; none for ""."""
    if name:
        slow = "bf16 was 11 times slower on one with AVX2 alone, fp16 15 times on one without AVX-512 FP16"
        yield f"precision: this processor only imitates {name} ({slow}); precision=fp32 is faster here"
