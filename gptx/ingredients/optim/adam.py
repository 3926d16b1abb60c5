"""PyTorch's Adam and AdamW, with the memory of the second moment also in tokens."""

import torch


def adam(params, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled: bool,
         fused: bool, beta2_half_life_tokens: float | None = None, tokens: int | None = None):  # fmt: skip
    """Adam (arXiv:1412.6980), with its decay outside the adaptive step if `decoupled`: AdamW (arXiv:1711.05101).

    With `beta2_half_life_tokens`, beta2 follows from it and from the `tokens` of a step."""
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    betas = remembered(betas, beta2_half_life_tokens, tokens)
    return kind(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)


def remembered(betas: tuple[float, float], half_life: float | None, tokens: int | None) -> tuple[float, float]:
    """Betas with a beta2 whose memory halves every `half_life` tokens, for steps of `tokens` tokens each.

    >>> remembered((0.9, 0.95), half_life=4096, tokens=2048)
    (0.9, 0.7071067811865476)

    Raises ValueError for a half-life that is not positive, or without `tokens`.
    """
    if half_life is None:
        return betas
    if half_life <= 0 or not tokens:
        raise ValueError(f"optim.beta2_half_life_tokens={half_life}: a number of tokens above 0, and optim."
                         f"tokens={tokens} the tokens of a step (${{batch.tokens}})")  # fmt: skip
    return betas[0], 0.5 ** (tokens / half_life)
