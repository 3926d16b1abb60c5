"""Attention: which tokens see each other, where they stand, and the weighted mean."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5  # of RMSNorm as of LayerNorm: Llama 2's and 3's
_BASE = 10_000.0  # of RoPE's wavelengths, which grow from 2 pi tokens to nearly 2 pi times this (arXiv:2104.09864)


class Attention(nn.Module):
    """Causal self-attention, (B, T, C) to (B, T, C). Fewer `kv_heads` than `heads` are each shared by a group of heads
    (arXiv:2305.13245). `qk_norm` gives queries and keys an RMSNorm over each head before they are rotated, which bounds
    the scores (arXiv:2302.05442; as in Qwen 3)."""

    def __init__(self, width: int, *, heads: int, kv_heads: int, bias: bool, dropout: float, qk_norm: bool):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.scale: float | None = None  # of the scores; None is 1/sqrt(D)
        size = width // heads
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * size, bias=bias)
        self.norm_q, self.norm_k = (_HeadNorm(size, eps=EPS) if qk_norm else nn.Identity() for _ in range(2))
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
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, dropout_p=dropout, enable_gqa=shared
    )


def attend_by_products(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
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
    """Turns each pair of dimensions i and i + D/2 of (B, H, T, D) in its plane, so that a product of two depends on
    their distance alone: RoPE (arXiv:2104.09864), with the pairs as in transformers' Llama."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def within_documents(starts: Tensor, *, blocks: bool):
    """Mask by which each token sees the present and the past of its own document only; `starts` (B, T) is where in
    the sequence that begins. A boolean (B, 1, T, T), or FlexAttention's, which skips the blocks that see nothing."""
    B, T = starts.shape
    if blocks:
        from torch.nn.attention.flex_attention import create_block_mask

        def seen(b, h, i, j):
            return (i >= j) & (starts[b, i] == starts[b, j])

        return create_block_mask(seen, B, None, T, T, device=starts.device)
    past = torch.ones(T, T, dtype=torch.bool, device=starts.device).tril()
    return ((starts[:, :, None] == starts[:, None, :]) & past)[:, None]


@cache
def compiled_flex(function: Callable) -> Callable:
    return torch.compile(function, dynamic=False)
