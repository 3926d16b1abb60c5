"""Trainings that others published: how many parameters on how many tokens."""

import math
from typing import NamedTuple


class Known(NamedTuple):
    """A training of `parameters` on `tokens`, by its source."""

    name: str
    parameters: float
    tokens: float
    source: str

    @property
    def flops(self) -> float:
        return 6 * self.parameters * self.tokens


MODELS = (
    Known("llm.c GPT-2 124M", 124.4e6, 19_560 * 524_288, "github.com/karpathy/llm.c, on FineWeb"),
    Known("nanoGPT GPT-2 124M", 124.4e6, 600_000 * 491_520, "github.com/karpathy/nanoGPT, on OpenWebText"),
    Known("GPT-3 125M", 125e6, 300e9, "arXiv:2005.14165"),
    Known("GPT-3 1.3B", 1.3e9, 300e9, "arXiv:2005.14165"),
    Known("GPT-3 6.7B", 6.7e9, 300e9, "arXiv:2005.14165"),
    Known("GPT-3 175B", 175e9, 300e9, "arXiv:2005.14165"),
    Known("Gopher 280B", 280e9, 300e9, "arXiv:2112.11446"),
    Known("Chinchilla 70B", 70e9, 1.4e12, "arXiv:2203.15556"),
    Known("PaLM 540B", 540e9, 780e9, "arXiv:2204.02311"),
    Known("TinyLlama 1.1B", 1.1e9, 3e12, "arXiv:2401.02385"),
    Known("Llama 1 7B", 6.7e9, 1.0e12, "arXiv:2302.13971"),
    Known("Llama 1 65B", 65.2e9, 1.4e12, "arXiv:2302.13971"),
    Known("Llama 2 70B", 70e9, 2.0e12, "arXiv:2307.09288"),
    Known("Llama 3 8B", 8.0e9, 15e12, "arXiv:2407.21783"),
    Known("Llama 3 405B", 405e9, 15.6e12, "arXiv:2407.21783"),
)


def nearest(flops: float) -> Known:
    """The one with the most similar number of FLOPs."""
    return min(MODELS, key=lambda model: abs(math.log(model.flops / flops)))
