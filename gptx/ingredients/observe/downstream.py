"""What the model writes, and numbers beyond the loss that need no download."""

import ast
import re
import warnings
from typing import Annotated

import numpy
import torch
from annotated_types import Le

from gptx.ingredients.model.generate import generate, refuse_sampling
from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.validation import passes
from gptx.units.options import Count, Positive
from gptx.units.printable import masked


class _Writer(Observer):
    length: int
    temperature: float
    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_sampling(self.temperature, None, None, [0], self.length)


class Samples(_Writer):
    """Text of `length` tokens that continues `prompt`, drawn with the same `seed` every time, so that only the model
    differs from sample to sample. An end of text ends it early."""

    prompt: str

    def attach(self, trainer) -> None:
        self.tokens = trainer.data.prompt(self.prompt)

    def __call__(self, trainer) -> dict[str, str]:
        generator = torch.Generator().manual_seed(self.seed)
        with trainer.evaluation(), trainer.precision.autocast(trainer.parallel.device):
            drawn = generate(
                trainer.model, self.tokens, length=self.length, temperature=self.temperature, generator=generator
            )
            try:
                return {"sample/text": masked(self.prompt) + trainer.data.decode(drawn)}
            except ValueError as diverged:
                return {"sample/text": f"no sample: {diverged}"}


class NextWord(Observer):
    """Share of the words in the first validation `windows` that the model would have written itself: runs of bytes
    between ASCII white space, not cut by a window, of which each token with a part is the model's likeliest one, given
    the true text before. Comparable between tokenizers."""

    windows: Count

    @torch.no_grad()
    def __call__(self, trainer) -> dict[str, float]:
        device, counts = trainer.parallel.device, torch.zeros(2, device=trainer.parallel.device)
        end, bytes_of = trainer.data.encoding.eot_token, trainer.data.encoding.decode_single_token_bytes
        with trainer.evaluation(), trainer.precision.autocast(device):
            for batch, counted in passes(trainer, self.windows):
                right = trainer.model(batch.inputs).argmax(-1) == batch.targets
                for targets, hits in zip(batch.targets.tolist(), right.tolist(), strict=True):
                    pieces = [b"\n" if token == end else bytes_of(token) for token in targets]
                    counts += counted * torch.tensor(words_hit(pieces, hits), device=device)
        right, total = trainer.parallel.sum(counts).tolist()
        return {"downstream/next_word_accuracy": right / total} if total else {}


def words_hit(tokens: list[bytes], hits: list[bool]) -> tuple[int, int]:
    """How many whole words have hits only, and how many there are.

    >>> words_hit([b" re", b"turn", b" x", b" +"], [True, False, True, True])
    (1, 2)
    """
    text = b"".join(tokens)
    owner = numpy.repeat(numpy.arange(len(tokens)), [len(token) for token in tokens])  # of each byte
    whole = [m for m in re.finditer(rb"\S+", text) if m.start() > 0 and m.end() < len(text)]
    return sum(all(hits[owner[m.start()] : owner[m.end() - 1] + 1]) for m in whole), len(whole)


class Parses(_Writer):
    """Share of `files` written by the model that Python's own parser accepts; for data that is Python. A file begins as
    a document does and ends at an end of text; one that reached `length` tokens is cut before its last top-level line.
    Without a statement it does not count."""

    files: Annotated[Count, Le(1000)]  # written at once
    temperature: Positive  # 0 would make all files the same

    def attach(self, trainer) -> None:
        self.start = trainer.data.prompt("")

    @torch.no_grad()
    def __call__(self, trainer) -> dict[str, float]:
        device, generator = trainer.parallel.device, torch.Generator().manual_seed(self.seed)
        sequence = torch.tensor([self.start] * self.files, device=device)
        with trainer.evaluation(), trainer.precision.autocast(device):
            for _ in range(self.length):
                logits = trainer.model(sequence[:, -trainer.model.context :])[:, -1].float().cpu()
                logits = logits.nan_to_num(posinf=0.0)  # a model that has diverged writes nonsense, and nothing stops
                token = torch.multinomial((logits / self.temperature).softmax(-1), 1, generator=generator)
                sequence = torch.cat([sequence, token.to(device)], dim=1)
        accepted = 0
        for tokens in sequence[:, len(self.start) :].tolist():
            text = trainer.data.decode(tokens)
            accepted += _parses(text if trainer.data.encoding.eot_token in tokens else finished(text))
        return {"downstream/parses": accepted / self.files}


def finished(text: str) -> str:
    r"""The text before its last line that belongs to no block, which may be half a statement.

    >>> finished("import os\nif x:\n    y\nprint(")
    'import os\nif x:\n    y\n'
    """
    lines = text.splitlines(keepends=True)
    last = max((i for i, line in enumerate(lines) if line[0] not in " \t\r\n\f)]}"), default=0)
    return "".join(lines[:last])


def _parses(text: str) -> bool:
    with warnings.catch_warnings(action="ignore"):  # of escapes that Python will refuse one day
        try:
            return bool(ast.parse(text).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
