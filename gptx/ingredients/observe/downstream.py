"""What the model writes, numbers beyond the loss that need no download, and a user's own evaluation."""

import ast
import re
import warnings
from contextlib import suppress
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
    """Text that continues `prompt` by `length` tokens, or to an end of text, drawn with the same `seed` every time."""

    prompt: str

    def attach(self, trainer) -> None:
        self.tokens = trainer.data.prompt(self.prompt)

    def __call__(self, trainer) -> dict[str, str]:
        model, random = trainer.model, torch.Generator().manual_seed(self.seed)
        with trainer.evaluation(), trainer.precision.autocast(trainer.parallel.device):
            drawn = generate(model, self.tokens, length=self.length, temperature=self.temperature, generator=random)
            try:
                return {"sample/text": masked(self.prompt) + trainer.data.decode(drawn)}
            except ValueError as diverged:
                return {"sample/text": f"no sample: {diverged}"}


class NextWord(Observer):
    """Share of the words (runs of bytes between ASCII white space, not cut by a window) in the first validation
    `windows` of which each token is the likeliest, given the true text before. Comparable between tokenizers."""

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
    """Share of `files` written by the model, from the start of a document to its end, that Python's own parser accepts.
    One that reached `length` tokens is cut before its last top-level line; one without a statement does not count."""

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
        accepted, refused = 0, (SyntaxError, ValueError, RecursionError, MemoryError)
        for tokens in sequence[:, len(self.start) :].tolist():
            text = trainer.data.decode(tokens)
            text = text if trainer.data.encoding.eot_token in tokens else finished(text)
            with warnings.catch_warnings(action="ignore"), suppress(*refused):  # escapes that it will refuse one day
                accepted += bool(ast.parse(text).body)
        return {"downstream/parses": accepted / self.files}


def finished(text: str) -> str:
    r"""The text before its last line that belongs to no block, which may be half a statement.

    >>> finished("import os\nif x:\n    y\nprint(")
    'import os\nif x:\n    y\n'
    """
    lines = text.splitlines(keepends=True)
    last = max((i for i, line in enumerate(lines) if line[0] not in " \t\r\n\f)]}"), default=0)
    return "".join(lines[:last])
