"""What `GPT` says in `parameter_counts` and `flops_per_token`, by arithmetic on the values of conf/model alone."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    parameters: int  # a tied head once, no padding
    body: int  # those in neither embeddings nor head
    flops: int  # a token's forward and backward pass


def size(*, vocab_size: int, context: int, width: int, depth: int, heads: int, kv_heads: int | None = None,
         positions: str = "learned", norm: str = "layernorm", mlp: str = "gelu", qk_norm: bool = False,
         tied: bool = True, bias: bool = True, vocab_multiple: int = 64, **without_weights) -> Size:  # fmt: skip
    """The size of the model of those values; the others of a preset hold no weights and change nothing.

    >>> size(vocab_size=50257, context=1024, width=768, depth=12, heads=12)
    Size(parameters=124439808, body=85056000, flops=854654976)
    """
    shared = (heads + 2 * (heads if kv_heads is None else kv_heads)) * (width // heads)  # queries, keys, values
    hidden = -(-8 * width // (3 * 64)) * 64 if mlp == "swiglu" else 4 * width
    inputs = 2 if mlp == "swiglu" else 1  # the gate too
    matrices = width * (shared + width + (inputs + 1) * hidden)
    biases = (shared + width + inputs * hidden + width) * bias
    normalized = width * (2 if norm == "layernorm" and bias else 1)
    block = matrices + biases + 2 * normalized + 2 * (width // heads) * qk_norm
    body = depth * block + normalized
    rows = vocab_size * (1 if tied else 2) + (context if positions == "learned" else 0)
    padded = -(-vocab_size // vocab_multiple) * vocab_multiple
    flops = 6 * (depth * matrices + padded * width) + 12 * depth * width * context
    return Size(parameters=body + rows * width, body=body, flops=flops)
