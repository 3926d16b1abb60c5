"""Batch arithmetic: tokens per step are part of the recipe; the micro-batch and the number of processes are not."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Le

from gptx.units.lengths import Length
from gptx.units.options import Count, check_options

_FORWARD_TOKENS = 16_384  # of one forward pass where the config leaves it open: enough to keep a GPU busy
_Doublings = Annotated[int, Le(40)]  # more would leave no token


@dataclass(frozen=True)
class Batch:
    """`tokens` per step over all processes, read in micro-batches of `micro` sequences per process. `auto` is the
    largest that divides and holds at most 16,384 tokens. `rule` scales the learning rate with tokens / tuned_at. The
    first steps have tokens / 2^doublings and sequences of context / 2^context_doublings, which double at even distances
    over `growth` and `lengthening` steps."""

    tokens: Annotated[int, Le(10**12)]  # more than most texts have
    micro: int | Literal["auto"] = "auto"
    rule: Literal["unscaled", "linear", "sqrt"] = "unscaled"
    tuned_at: Count | None = None
    doublings: _Doublings = 0
    growth: Length = 0  # type: ignore[assignment]
    context_doublings: _Doublings = 0
    lengthening: Length = 0  # type: ignore[assignment]

    def __post_init__(self) -> None:
        check_options(self)
        for name, over in (("doublings", "growth"), ("context_doublings", "lengthening")):
            count, steps = getattr(self, name), getattr(self, over)
            if count < 0 or (count and not steps):
                raise ValueError(f"batch.{name}={count} over batch.{over}={steps} steps: negative, or without steps")
        if self.rule != "unscaled" and not self.tuned_at:
            raise ValueError(f"batch.rule={self.rule} needs batch.tuned_at, the tokens of a step that optim.lr is for")

    def tokens_at(self, step: int) -> int:
        """Tokens of step `step`, counted from 1."""
        return self.tokens >> _to_come(step, self.doublings, self.growth)

    def context_at(self, step: int, context: int) -> int:
        """Tokens of a sequence in step `step`: windows are read whole, and cut. Raises ValueError if none can be."""
        if context % (1 << (times := self.context_doublings)):
            raise ValueError(f"batch.context_doublings={times}: model.context={context} cannot be halved so often")
        return context >> _to_come(step, self.context_doublings, self.lengthening)

    def rate(self, step: int) -> float:
        """Factor of the learning rate in a step: linear is SGD's (arXiv:1706.02677), sqrt Adam's (arXiv:2205.10287)."""
        larger = self.tokens_at(step) / (self.tuned_at or self.tokens)
        return {"unscaled": 1.0, "linear": larger, "sqrt": math.sqrt(larger)}[self.rule]

    def split(self, context: int, world_size: int, step: int | None = None) -> tuple[int, int]:
        """Sequences per micro-batch, and micro-batches per process, of step `step`; without one, of a full step.
        Raises ValueError with the arithmetic, and the nearest sizes that work, where `tokens` does not divide."""
        micro = self.micro
        if micro == "auto":
            rows = max(self.tokens, 0) // max(context * world_size, 1)
            micro = _divisor(rows, max(1, _FORWARD_TOKENS // max(context, 1))) or 1
        for name, size in (("batch.micro", micro), ("model.context", context)):
            if size < 1:
                raise ValueError(f"{name}={size}: at least 1")
        row, divisor = context * world_size, 1 if self.micro == "auto" else micro  # an open one takes whatever divides
        if self.tokens < 1 or self.tokens % (divisor * row):
            raise ValueError(self.indivisible(divisor, context, world_size))
        if self.tokens % (row << self.doublings):
            few = f"batch.doublings={self.doublings}: the first steps would have {self.tokens >> self.doublings} tokens"
            raise ValueError(f"{few}, not a multiple of model.context x processes = {context} x {world_size} = {row}")
        rows = (self.tokens if step is None else self.tokens_at(step)) // row
        micro = math.gcd(micro, rows)
        return micro, rows // micro

    def indivisible(self, micro: int, context: int, world_size: int) -> str:
        rows, rest = divmod(max(self.tokens, 0), context * world_size)
        share = micro * context * world_size
        below, smaller = rows // micro * share, 0 if rest else _divisor(rows, min(micro - 1, _FORWARD_TOKENS))
        nearest = (f"{below} or " if below else "") + f"{below + share}"
        factors = f"batch.micro x model.context x processes = {micro} x {context} x {world_size} = {share}"
        told = f"batch.tokens={self.tokens} is not a multiple of {factors}; the nearest that work: {nearest}"
        return told + (f", or batch.micro={smaller}" if smaller else "")

    def halved(self, micro: int) -> "Batch":
        """The same recipe in smaller micro-batches than `micro`, which has several sequences."""
        return replace(self, micro=_divisor(micro, micro // 2))


def _divisor(number: int, most: int) -> int:
    """The largest divisor that is at most `most`; 0 where none is."""
    return next((m for m in range(min(number, most), 0, -1) if number % m == 0), 0)


def _to_come(step: int, doublings: int, length: int) -> int:
    """How many of `doublings`, at even distances over `length` steps, follow: of 2 over 4 steps 2, 2, 1, 1, 0."""
    return max(0, doublings - doublings * (step - 1) // length) if length else 0
