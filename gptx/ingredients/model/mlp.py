"""What a block does with each token by itself."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Module):
    """Four times wider, bent, and back."""

    def __init__(self, width: int, *, bias: bool, dropout: float, bend: Callable[[Tensor], Tensor]):
        super().__init__()
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.down = nn.Linear(4 * width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(self.bend(self.up(x))))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) up(x)), hidden 8/3 of the width for as many parameters as `MLP` has (arXiv:2002.05202),
    rounded up to a multiple of 64, a shape that GPUs multiply faster."""

    def __init__(self, width: int, *, bias: bool, dropout: float):
        super().__init__()
        hidden = -(-8 * width // (3 * 64)) * 64
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(F.silu(self.gate(x)) * self.up(x)))


def gelu(x: Tensor) -> Tensor:
    """GPT-2's, by tanh."""
    return F.gelu(x, approximate="tanh")


def relu2(x: Tensor) -> Tensor:
    """max(x, 0)^2 (arXiv:2109.08668)."""
    return F.relu(x).square()
