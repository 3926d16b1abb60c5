"""A decoder-only Transformer: GPT-2 (Radford et al., 2019), as small as it can be written."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GPT(nn.Module):
    """Tokens (B, T) to logits (B, T, vocab_size): pre-LN blocks, learned positions, the head tied to the embedding.

    The embedding has `vocab_size` rounded up to `vocab_multiple` rows, a shape that GPUs multiply faster; the rows
    beyond the vocabulary are zero and stay zero. Raises ValueError if `heads` does not divide `width`, or for more
    than `context` tokens.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        context: int,
        width: int,
        depth: int,
        heads: int,
        bias: bool = True,
        dropout: float = 0.0,
        vocab_multiple: int = 64,
    ):
        super().__init__()
        sizes = {"context": context, "width": width, "depth": depth, "vocab_multiple": vocab_multiple}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"model.{name}={size}: at least 1")
        refuse_uneven(width, heads)
        self.vocab_size, self.context = vocab_size, context
        rows = -(-vocab_size // vocab_multiple) * vocab_multiple
        self.token = nn.Embedding.from_pretrained(torch.zeros(rows, width), freeze=False)
        self.position = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, bias, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=bias)
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """Draw N(0, 0.02), and less for what adds to the residual stream, so that depth does not widen it (GPT-2)."""
        nn.init.normal_(self.token.weight[: self.vocab_size], std=0.02)
        nn.init.normal_(self.position.weight, std=0.02)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * len(self.blocks)) ** 0.5 if residual else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(f"model.context={self.context}: the model has no position for {length} tokens")
        x = self.dropout(self.token(tokens) + self.position.weight[:length])  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.token.weight)[..., : self.vocab_size]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, bias: bool, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, bias=bias)
        self.attention = Attention(width, heads, bias, dropout)
        self.norm2 = nn.LayerNorm(width, bias=bias)
        self.mlp = MLP(width, bias, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head causal self-attention."""

    def __init__(self, width: int, heads: int, bias: bool, dropout: float):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        y = attend(q, k, v, dropout=self.dropout.p if self.training else 0.0)
        return self.dropout(self.out(y.transpose(1, 2).reshape(B, T, C)))


class MLP(nn.Module):
    """Four times wider, bent, and back; GELU is GPT-2's, by tanh."""

    def __init__(self, width: int, bias: bool, dropout: float):
        super().__init__()
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.down = nn.Linear(4 * width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(F.gelu(self.up(x), approximate="tanh")))


def attend(q: Tensor, k: Tensor, v: Tensor, *, dropout: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(D)) v over the present and the past, (B, H, T, D) each.

    PyTorch's fused kernel is the faster form everywhere but on a CPU in bf16, where forward and backward of
    two batched products take 0.2x its time at T=64, 0.5x at 256 and 512, and more than it from 1024 on.
    """
    if q.dtype == torch.bfloat16 and q.is_cpu and q.shape[-2] < 1024:
        return attend_by_products(q, k, v, dropout=dropout)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, *, dropout: float = 0.0) -> Tensor:
    """`attend` written out: it holds all T x T weights."""
    T, D = q.shape[-2:]
    future = torch.full((T, T), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    scores = torch.baddbmm(future, q.flatten(0, 1), k.flatten(0, 1).mT, alpha=D**-0.5)  # (B*H, T, T)
    weights = F.dropout(scores.softmax(-1), dropout)
    return (weights @ v.flatten(0, 1)).view_as(q)


def parameter_counts(model: GPT) -> tuple[int, int]:
    """All parameters (the tied head once, no padding), and those in no embedding (the count of arXiv:2001.08361)."""
    body = sum(p.numel() for p in model.parameters()) - model.token.weight.numel() - model.position.weight.numel()
    return body + (model.vocab_size + model.context) * model.position.embedding_dim, body


def refuse_uneven(width: int, heads: int) -> None:
    """Raises ValueError, with the nearest numbers of heads that do, if `heads` does not divide `width`."""
    if heads >= 1 and width % heads == 0:
        return
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    below, above = [n for n in divisors if n < heads][-1:], [n for n in divisors if n > heads][:1]
    nearest = " or ".join(map(str, below + above))
    raise ValueError(f"model.heads={heads} does not divide model.width={width}; the nearest that do: {nearest}")
