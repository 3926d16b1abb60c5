"""Numbers beyond the loss that need no download."""

import ast
import re
import warnings

import numpy
import torch
from torch import Tensor

from gptx.ingredients.data.text import beginning, decode
from gptx.ingredients.model.generate import refuse
from gptx.ingredients.observe.observer import Observer
from gptx.ingredients.observe.validation import shares
from gptx.units.lengths import Length

FILES = 1000  # of Parses
FORWARD_TOKENS = 4096  # per forward pass


class NextWord(Observer):
    """Share of the words in the first validation `windows` that the model would have written itself.

    A word is a longest run of bytes that are no ASCII white space, between two that are; it counts as written if each
    token that holds a part of it is the model's likeliest one, given the true text before. Words that a window cuts
    do not count. Comparable between tokenizers.
    """

    def __init__(self, *, every: Length, windows: int):
        super().__init__(every=every)
        if windows < 1:
            raise ValueError(f"windows={windows} must be at least 1")
        self.windows = windows

    @torch.no_grad()
    def __call__(self, trainer) -> dict[str, float]:
        device = trainer.parallel.device
        rows = max(1, FORWARD_TOKENS // trainer.data.context)
        windows, counts = min(self.windows, trainer.data.validation_windows), torch.zeros(2, device=device)
        with trainer.evaluation(), trainer.precision.autocast(device):
            for first, count, counted in shares(windows, rows, trainer.parallel):
                batch = trainer.data.validation(first, count)
                guesses = trainer.model(batch.inputs.to(device)).argmax(-1).cpu()
                for targets, hits in zip(batch.targets.tolist(), (guesses == batch.targets).tolist(), strict=True):
                    counts += counted * torch.tensor(words(pieces(trainer.data.encoding, targets), hits), device=device)
        right, total = trainer.parallel.sum(counts).tolist()
        return {"downstream/next_word_accuracy": right / total} if total else {}


def pieces(encoding, tokens: list[int]) -> list[bytes]:
    """The bytes of each token; an end of text is white space."""
    return [b"\n" if t == encoding.eot_token else encoding.decode_single_token_bytes(t) for t in tokens]


def words(tokens: list[bytes], hits: list[bool]) -> tuple[int, int]:
    """How many whole words have hits only, and how many there are.

    >>> words([b" re", b"turn", b" x", b" +"], [True, False, True, True])
    (1, 2)
    """
    text = b"".join(tokens)
    owner = numpy.repeat(numpy.arange(len(tokens)), [len(token) for token in tokens])  # of each byte
    whole = [m for m in re.finditer(rb"\S+", text) if m.start() > 0 and m.end() < len(text)]
    return sum(all(hits[owner[m.start()] : owner[m.end() - 1] + 1]) for m in whole), len(whole)


class Parses(Observer):
    """Share of `files` written by the model that Python's own parser accepts; for data that is Python.

    A file begins as a document does and is drawn at `temperature`, always with the same random numbers. It ends at an
    end of text; one that reached `length` tokens without is cut before its last top-level line. A file without a
    statement is not accepted.
    """

    def __init__(self, *, every: Length, files: int, length: int, temperature: float, seed: int):
        super().__init__(every=every)
        refuse(temperature, None, None, [0], length)
        if not 1 <= files <= FILES:
            raise ValueError(f"files={files} must be at least 1, and at most {FILES:,}, since they are written at once")
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be above 0: all files would be the same")
        self.files, self.length, self.temperature, self.seed = files, length, temperature, seed

    def attach(self, trainer) -> None:
        self.start = beginning(trainer.data.encoding, "", documents=trainer.data.identity["train_documents"])

    def __call__(self, trainer) -> dict[str, float]:
        encoding, accepted = trainer.data.encoding, 0
        with trainer.evaluation(), trainer.precision.autocast(trainer.parallel.device):
            drawn = self.draw(trainer.model, trainer.parallel.device)
        for tokens in drawn.tolist():
            text = "".join(decode(encoding, tokens))
            accepted += parses(text if encoding.eot_token in tokens else finished(text))
        return {"downstream/parses": accepted / self.files}

    @torch.no_grad()
    def draw(self, model, device: torch.device) -> Tensor:
        """Tokens of all files at once, (files, length)."""
        generator = torch.Generator().manual_seed(self.seed)
        sequence = torch.tensor([self.start] * self.files, device=device)
        for _ in range(self.length):
            logits = model(sequence[:, -model.context :])[:, -1].float().cpu()
            logits = logits.nan_to_num(posinf=0.0)  # a model that has diverged writes nonsense, and nothing stops
            token = torch.multinomial((logits / self.temperature).softmax(-1), 1, generator=generator)
            sequence = torch.cat([sequence, token.to(device)], dim=1)
        return sequence[:, len(self.start) :]


def finished(text: str) -> str:
    r"""The text before its last line that belongs to no block, which may be half a statement.

    >>> finished("import os\nif x:\n    y\nprint(")
    'import os\nif x:\n    y\n'
    """
    lines = text.splitlines(keepends=True)
    last = max((i for i, line in enumerate(lines) if line[0] not in " \t\r\n\f)]}"), default=0)
    return "".join(lines[:last])


def parses(text: str) -> bool:
    """True if the text is Python with at least one statement."""
    with warnings.catch_warnings(action="ignore"):  # of escapes that Python will refuse one day
        try:
            return bool(ast.parse(text).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
