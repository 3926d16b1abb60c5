"""A decoder-only Transformer: GPT-2 (Radford et al., 2019), and what its successors changed, each by a word."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Le
from torch import Tensor, nn
from torch.nn import functional as F

from gptx.ingredients.model.attention import EPS, Attention, rotations, within_documents
from gptx.units.options import Count, Positive, Probability, ranged

_Head = Callable[[Tensor], Tensor]  # hidden states (..., C) to logits (..., V)
_Depth = Annotated[Count, Le(10_000)]  # 1,000 take seconds to build and are the deepest known (arXiv:2203.00555)


class MLP(nn.Module):
    """Wider, bent, and back: down(bend(up(x))), inside 4 times the width. `gated` it is down(bend(gate(x)) up(x)) and
    8/3 for as many parameters (arXiv:2002.05202), rounded up to a multiple of 64, a shape that GPUs multiply faster."""

    def __init__(
        self, width: int, *, bias: bool, dropout: float, bend: Callable[[Tensor], Tensor], gated: bool = False
    ):
        super().__init__()
        hidden = -(-8 * width // (3 * 64)) * 64 if gated else 4 * width
        self.gate = nn.Linear(width, hidden, bias=bias) if gated else None
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.dropout, self.bend = nn.Dropout(dropout), bend

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.bend(self.up(x)) if self.gate is None else self.bend(self.gate(x)) * self.up(x)
        return self.dropout(self.down(hidden))


def relu2(x: Tensor) -> Tensor:
    """max(x, 0)^2 (arXiv:2109.08668)."""
    return F.relu(x).square()


_NORMS: dict[str, Callable[..., nn.Module]] = {
    "layernorm": lambda width, bias: nn.LayerNorm(width, bias=bias),
    "rmsnorm": lambda width, bias: nn.RMSNorm(width, eps=EPS),  # arXiv:1910.07467; has no bias
}
_MLPS: dict[str, Callable[..., nn.Module]] = {
    "gelu": partial(MLP, bend=partial(F.gelu, approximate="tanh")),  # GPT-2's
    "relu2": partial(MLP, bend=relu2), "swiglu": partial(MLP, bend=F.silu, gated=True),
}  # fmt: skip
# Standard deviation of what adds to the residual stream, by depth: less, so that depth does not widen the stream
# (GPT-2), or nothing, so that every block begins as the identity (modded-nanogpt).
_INITS: dict[str, Callable[[int], float]] = {
    "gpt2": lambda depth: 0.02 / (2 * depth) ** 0.5,
    "zero_out": lambda depth: 0.0,
}


class GPT(nn.Module):
    """Tokens (B, T) to logits (B, T, vocab_size): pre-norm blocks; the head is the embedding unless `tied` is false.
    `softcap` bounds the logits by cap tanh(logits / cap) (arXiv:2408.00118). With `mask` document a token attends
    within its own document alone, and positions count from its start: the end of text, last token of the vocabulary,
    from which a sampler begins. Embedding and head have `vocab_size` rounded up to `vocab_multiple` rows, a shape that
    GPUs multiply faster; further rows are and stay zero. Raises ValueError for sizes that do not divide, and beyond
    `context`."""

    @ranged("model")
    def __init__(self, *, vocab_size: int, context: Count, width: Count, depth: _Depth, heads: int,
                 kv_heads: int | None = None, positions: Literal["learned", "rope"] = "learned",
                 norm: Literal["layernorm", "rmsnorm"] = "layernorm", mlp: Literal["gelu", "relu2", "swiglu"] = "gelu",
                 qk_norm: bool = False, softcap: Positive | None = None, tied: bool = True,
                 init: Literal["gpt2", "zero_out"] = "gpt2", mask: Literal["cross", "document"] = "cross",
                 bias: bool = True, dropout: Probability = 0.0, vocab_multiple: Count = 64):  # fmt: skip
        super().__init__()
        _refuse_uneven("heads", heads, "width", width)
        kv_heads = heads if kv_heads is None else kv_heads
        _refuse_uneven("kv_heads", kv_heads, "heads", heads)
        if positions == "rope" and width // heads % 2:
            raise ValueError(f"model.positions=rope turns pairs; {width}/{heads} = {width // heads} dimensions are odd")

        self.vocab_size, self.context, self.width, self.mask = vocab_size, context, width, mask
        self.head_size, self.softcap = width // heads, softcap
        self.output_scale = 1.0  # multiplies the logits before the soft-cap
        rows = -(-vocab_size // vocab_multiple) * vocab_multiple
        self.token = nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)
        self.position: nn.Embedding | None = nn.Embedding(context, width) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout)
        options: dict[str, Any] = {"bias": bias, "dropout": dropout}
        attention = partial(Attention, width, heads=heads, kv_heads=kv_heads, qk_norm=qk_norm, **options)
        self.blocks = nn.ModuleList(
            _Block(_NORMS[norm](width, bias), attention(), _NORMS[norm](width, bias), _MLPS[mlp](width, **options))
            for _ in range(depth)
        )
        self.norm = _NORMS[norm](width, bias)
        self.head: nn.Linear | None = None if tied else nn.Linear(width, rows, bias=False)
        self.initialize(residual=_INITS[init](depth))

    @torch.no_grad()
    def initialize(self, residual: float) -> None:
        """Draw N(0, 0.02), and with a standard deviation of `residual` what adds to the residual stream."""
        nn.init.normal_(self.token.weight[: self.vocab_size], std=0.02)
        if self.position is not None:
            nn.init.normal_(self.position.weight, std=0.02)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=residual if name.endswith(("out.weight", "down.weight")) else 0.02)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)
            nn.init.normal_(self.head.weight[: self.vocab_size], std=0.02)

    def forward(self, tokens: Tensor, then: Callable[[Tensor, _Head], Tensor] | None = None) -> Tensor:
        """Logits; or, to hold only some at a time, what `then` makes of the hidden states (B, T, C) and the head."""
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(f"model.context={self.context}: the model has no position for {length} tokens")
        positions, mask = self.places(tokens)
        x = self.token(tokens)  # (B, T, C)
        rotation = rotations(positions, self.head_size) if self.position is None else None
        x = self.dropout(x if self.position is None else x + self.position(positions))
        for block in self.blocks:
            x = block(x, rotation, mask)
        x = self.norm(x)
        return self.logits(x) if then is None else then(x, self.logits)

    def places(self, tokens: Tensor):
        """Where every token stands, (T,) or (B, T), and the mask of attention, None where it is causal alone."""
        index = torch.arange(tokens.shape[1], device=tokens.device)
        if self.mask == "cross":
            return index, None
        starts = torch.where(tokens == self.vocab_size - 1, index, 0).cummax(dim=1).values  # (B, T)
        # FlexAttention has no dropout and no tiny heads, and compiles again for every length that a sampler asks for
        blocks = tokens.is_cuda and self.training and self.dropout.p == 0 and self.head_size >= 16
        return index - starts, within_documents(starts, blocks=blocks)

    def logits(self, hidden: Tensor) -> Tensor:
        head = self.token if self.head is None else self.head
        logits = F.linear(hidden * self.output_scale, head.weight)[..., : self.vocab_size]
        if self.softcap is None:
            return logits
        if logits.dtype in (torch.float16, torch.bfloat16):  # too coarse near the cap, where the likeliest tokens are
            logits = logits.float()
        return self.softcap * torch.tanh(logits / self.softcap)

    def flops_per_token(self) -> int:
        """FLOPs of forward and backward pass: 6 for each weight of a matrix, the head once, and attention's 12 L d T,
        whose whole T x T square counts (nanoGPT's convention; arXiv:2204.02311, appendix B)."""
        matrices = sum(p.numel() for p in self.blocks.parameters() if p.ndim == 2) + self.token.weight.numel()
        return 6 * matrices + 12 * len(self.blocks) * self.width * self.context


class _Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, norm1: nn.Module, attention: nn.Module, norm2: nn.Module, mlp: nn.Module):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = norm1, attention, norm2, mlp

    def forward(self, x: Tensor, rotation: Tensor | None = None, mask=None) -> Tensor:
        x = x + self.attention(self.norm1(x), rotation, mask)
        return x + self.mlp(self.norm2(x))


def parameter_counts(model: GPT) -> tuple[int, int]:
    """All parameters (a tied head once, no padding), and those in neither embeddings nor head (arXiv:2001.08361)."""
    body = sum(p.numel() for module in (model.blocks, model.norm) for p in module.parameters())
    rows = model.vocab_size * (1 if model.head is None else 2) + (0 if model.position is None else model.context)
    return body + rows * model.width, body


def _refuse_uneven(part: str, count: int, whole: str, size: int) -> None:
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    if count not in divisors:
        near = [n for n in divisors if n < count][-1:] + [n for n in divisors if n > count][:1]
        nearest = " or ".join(map(str, near))
        raise ValueError(f"model.{part}={count} does not divide model.{whole}={size}; the nearest that do: {nearest}")
