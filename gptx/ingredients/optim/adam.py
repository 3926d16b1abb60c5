"""PyTorch's Adam and AdamW, with the memory of the second moment also in tokens."""

import torch


def adam(params, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float, decoupled: bool,
         fused: bool, beta2_half_life_tokens: float | None = None, tokens: int | None = None):  # fmt: skip
    """Adam (arXiv:1412.6980), with its decay outside the adaptive step if `decoupled`: AdamW (arXiv:1711.05101). With
    `beta2_half_life_tokens` beta2 is 0.5 ** (tokens / half-life). Raises ValueError unless both are positive."""
    if (half_life := beta2_half_life_tokens) is not None:
        if half_life <= 0 or not tokens:
            raise ValueError(f"optim.beta2_half_life_tokens={half_life}, optim.tokens={tokens}: two numbers above 0")
        betas = betas[0], 0.5 ** (tokens / half_life)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    return kind(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)
