"""Tokens to more tokens."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

LONGEST_SAMPLE = 1_000_000  # tokens of a text, and texts of a command
COLDEST, HOTTEST = 1e-4, 1e4  # beyond which logits over the temperature leave 32 bits, or all tokens are alike


@torch.no_grad()
def generate(model: nn.Module, tokens: list[int], *, length: int, temperature: float = 1.0, top_k: int | None = None,
             top_p: float | None = None, generator: torch.Generator | None = None) -> Iterator[int]:  # fmt: skip
    """Yields `length` tokens that continue `tokens`, each once it is drawn; temperature 0 takes the likeliest. The
    model sees the last `model.context` tokens. Raises ValueError for values that leave nothing to draw from."""
    refuse_sampling(temperature, top_k, top_p, tokens, length)
    device, training = next(model.parameters()).device, model.training
    sequence = torch.tensor([tokens], device=device)  # (1, T)
    model.eval()
    try:
        for _ in range(length):
            sequence = sequence[:, -model.context :]  # type: ignore[operator]
            token = _draw(model(sequence)[0, -1].float().cpu(), temperature, top_k, top_p, generator)
            yield token
            sequence = torch.cat([sequence, torch.tensor([[token]], device=device)], dim=1)
    finally:
        model.train(training)


def _draw(logits: Tensor, temperature: float, top_k: int | None, top_p: float | None, generator) -> int:
    """One token from logits (V,): of the `top_k` likeliest, and of the fewest whose shares reach `top_p`."""
    if logits.isnan().any() or logits.max() == torch.inf:
        raise ValueError("the model's logits are not finite: it has diverged and writes nothing")
    if temperature == 0:
        return int(logits.argmax())
    logits, order = logits.sort(descending=True)
    shares = ((logits[:top_k] - logits[0]) / temperature).softmax(0)
    if top_p is not None:
        shares = shares[shares.cumsum(0) - shares < top_p]  # the likeliest always stays
    return int(order[torch.multinomial(shares, 1, generator=generator)])


def refuse_sampling(temperature: float, top_k: int | None, top_p: float | None, tokens: list[int], length: int) -> None:
    if temperature != 0 and not COLDEST <= temperature <= HOTTEST:
        raise ValueError(f"temperature={temperature} must be 0 (the likeliest token), or from {COLDEST} to {HOTTEST:g}")
    if not 1 <= length <= LONGEST_SAMPLE:
        raise ValueError(f"length={length} must be at least 1 token, and at most {LONGEST_SAMPLE:,}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k} must be at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must be above 0 and at most 1")
    if not tokens:
        raise ValueError("nothing to continue: at least one token is needed")
