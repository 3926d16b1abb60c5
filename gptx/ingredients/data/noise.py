"""Random tokens in memory: data for measurements of speed, where no text is needed."""

import torch

from gptx.ingredients.data.corpus import TokenBatch


class Noise:
    """A corpus of random tokens for training and validation; after its 1,024 rows it begins again."""

    identity: dict = {"name": "noise"}  # noqa: RUF012 - the same for every such corpus
    validation_windows = 1_000_000  # any number: the rows repeat

    def __init__(self, *, vocab_size: int, context: int):
        self.vocab_size, self.context = vocab_size, context
        self.tokens = torch.randint(vocab_size, (1024, context + 1), generator=torch.Generator().manual_seed(0))
        self.token_bytes = torch.ones(vocab_size, dtype=torch.long)  # (V,)

    def __call__(self, first: int, count: int) -> TokenBatch:
        rows = self.tokens[torch.arange(first, first + count) % len(self.tokens)]
        return TokenBatch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())

    validation = __call__
