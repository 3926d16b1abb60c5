"""A decoder-only Transformer: GPT-2 (Radford et al., 2019), and what its successors changed, each by a word."""

from bisect import bisect
from collections.abc import Callable
from functools import cache, partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Le
from torch import Tensor, nn
from torch.nn import functional as F

from gptx.units.options import Count, Positive, Probability, ranged

_EPS = 1e-5  # of RMSNorm as of LayerNorm: Llama 2's and 3's
compiled_flex = cache(partial(torch.compile, dynamic=False))
_BASE = 10_000.0  # of RoPE's wavelengths, which grow from 2 pi tokens to nearly 2 pi times this (arXiv:2104.09864)
_Depth = Annotated[Count, Le(10_000)]  # 1,000 take seconds to build and are the deepest known (arXiv:2203.00555)


class Attention(nn.Module):
    """Causal self-attention, (B, T, C) to (B, T, C). Fewer `kv_heads` than `heads` are shared by groups of heads
    (arXiv:2305.13245). `qk_norm` bounds the scores by an RMSNorm of queries and keys before RoPE (arXiv:2302.05442)."""

    def __init__(self, width: int, *, heads: int, kv_heads: int, bias: bool, dropout: float, qk_norm: bool):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.scale: float | None = None  # of the scores; None is 1/sqrt(D)
        size = width // heads
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * size, bias=bias)
        self.norm_q, self.norm_k = (_HeadNorm(size, eps=_EPS) if qk_norm else nn.Identity() for _ in range(2))
        self.out = nn.Linear(width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Tensor | None = None, mask=None) -> Tensor:
        B, T, C = x.shape
        each = self.qkv(x).view(B, T, -1, C // self.heads).split([self.heads, self.kv_heads, self.kv_heads], dim=2)
        q, k, v = (heads.transpose(1, 2) for heads in each)  # (B, H, T, D), k and v with fewer heads perhaps
        q, k = self.norm_q(q), self.norm_k(k)
        if rotation is not None:
            q, k = rotated(q, rotation), rotated(k, rotation)
        dropout = self.dropout.p if self.training else 0.0
        y = attend(q.type_as(v), k.type_as(v), v, mask=mask, scale=self.scale, dropout=dropout)
        return self.dropout(self.out(y.transpose(1, 2).reshape(B, T, C)))


class _HeadNorm(nn.RMSNorm):
    """RMSNorm in the type of its gain: a mixture of two types has no fused kernel."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.type_as(self.weight))


def attend(q: Tensor, k: Tensor, v: Tensor, *, mask=None, scale: float | None = None, dropout: float = 0.0) -> Tensor:
    """softmax(scale q k^T) v over the present and the past, (B, H, T, D) each, or over what `mask` allows. PyTorch's
    fused kernel is the faster form everywhere but on a CPU in bf16, where forward and backward of two batched products
    take 0.2x its time at T=64, 0.5x at 256 and 512, and more than it from 1024 on."""
    shared = k.shape[1] < q.shape[1]
    if mask is not None and not isinstance(mask, Tensor):
        from torch.nn.attention.flex_attention import flex_attention

        # as a part of a compiled model, or compiled by itself: eagerly it would hold all T x T scores
        run: Any = flex_attention if torch.compiler.is_compiling() else compiled_flex(flex_attention)
        return run(q, k, v, block_mask=mask, scale=scale, enable_gqa=shared)
    if q.dtype == torch.bfloat16 and q.is_cpu and q.shape[-2] < 1024:
        return attend_by_products(q, k, v, mask=mask, scale=scale, dropout=dropout)
    more: Any = {"is_causal": mask is None, "scale": scale, "dropout_p": dropout, "enable_gqa": shared}
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, **more)


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, *, mask=None, scale: float | None = None, dropout: float = 0.0):
    """`attend` written out: it holds all T x T weights."""
    B, H, T, D = q.shape
    k, v = (heads.repeat_interleave(H // heads.shape[1], dim=1) for heads in (k, v))
    barred = torch.full((T, T), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    if mask is not None:
        barred = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -torch.inf).expand(B, H, T, T).flatten(0, 1)
    alpha = D**-0.5 if scale is None else scale
    scores = torch.baddbmm(barred, q.flatten(0, 1), k.flatten(0, 1).mT, alpha=alpha)  # (B*H, T, T)
    weights = F.dropout(scores.softmax(-1), dropout)
    return (weights @ v.flatten(0, 1)).view_as(q)


def rotations(positions: Tensor, size: int) -> Tensor:
    """Cosines and sines that turn a head of `size` dimensions at each position, in fp32: (2, ..., 1, T, D/2)."""
    speeds = _BASE ** -(torch.arange(0, size, 2, dtype=torch.float32, device=positions.device) / size)
    angles = positions[..., None].float() * speeds
    return torch.stack([angles.cos(), angles.sin()]).unsqueeze(-3)  # the same for all heads


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """RoPE (arXiv:2104.09864): turns each pair of dimensions i and i + D/2 of (B, H, T, D) in its plane, as Llama."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def within_documents(starts: Tensor, *, blocks: bool):
    """Mask by which each token sees the present and the past of its own document only; `starts` (B, T) is where in
    the sequence that begins. A boolean (B, 1, T, T), or FlexAttention's, which skips the blocks that see nothing."""
    B, T = starts.shape
    if blocks:
        from torch.nn.attention.flex_attention import create_block_mask

        return create_block_mask(
            lambda b, h, i, j: (i >= j) & (starts[b, i] == starts[b, j]), B, None, T, T, device=starts.device
        )
    past = torch.ones(T, T, dtype=torch.bool, device=starts.device).tril()
    return ((starts[:, :, None] == starts[:, None, :]) & past)[:, None]


class MLP(nn.Module):
    """Wider, bent, and back: down(bend(up(x))), inside 4 times the width. `gated` it is down(bend(gate(x)) up(x)) and
    8/3 for as many parameters (arXiv:2002.05202), rounded up to a multiple of 64, a shape that GPUs multiply faster."""

    def __init__(self, width: int, *, bias: bool, dropout: float, bend: Callable, gated: bool = False):
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
    "rmsnorm": lambda width, bias: nn.RMSNorm(width, eps=_EPS),  # arXiv:1910.07467; has no bias
}
_MLPS: dict[str, Callable[..., nn.Module]] = {
    "gelu": partial(MLP, bend=partial(F.gelu, approximate="tanh")),  # GPT-2's
    "relu2": partial(MLP, bend=relu2), "swiglu": partial(MLP, bend=F.silu, gated=True),
}  # fmt: skip
# Standard deviation of what adds to the residual stream, by depth: less, so that depth does not widen the stream
# (GPT-2), or nothing, so that every block begins as the identity (modded-nanogpt).
_INITS = {"gpt2": lambda depth: 0.02 / (2 * depth) ** 0.5, "zero_out": lambda depth: 0.0}


class GPT(nn.Module):
    """Tokens (B, T) to logits (B, T, vocab_size): pre-norm blocks; the head is the embedding unless `tied` is false.
    `softcap` bounds the logits by cap tanh(logits / cap) (arXiv:2408.00118). With `mask` document a token attends
    within its own document alone, and positions count from its start: the end of text, last token of the vocabulary.
    Embedding and head have `vocab_size` rounded up to `vocab_multiple` rows, a shape that GPUs multiply faster; further
    rows are and stay zero. Raises ValueError for sizes that do not divide, and beyond `context`."""

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

    def forward(self, tokens: Tensor, then: Callable[[Tensor, Callable], Tensor] | None = None) -> Tensor:
        """Logits; or, to hold only some at a time, what `then` makes of the hidden states (B, T, C) and the head."""
        if tokens.shape[1] > self.context:
            raise ValueError(f"model.context={self.context}: the model has no position for {tokens.shape[1]} tokens")
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
        at = bisect(divisors, count)
        nearest = " or ".join(map(str, divisors[max(0, at - 1) : at + 1]))
        raise ValueError(f"model.{part}={count} does not divide model.{whole}={size}; the nearest that do: {nearest}")
