"""Faults on purpose, to see what becomes of a run: each function changes an ingredient of the trainer it is given.

A fault is tied to the data (the cursor), not to the step: a run that went back and past it does not meet it again.
"""

from fnmatch import fnmatchcase
from random import Random
from typing import Literal

import torch


def none(trainer) -> None:
    """No fault."""


def poisoned(trainer, *, documents: str, kind: Literal["random", "repeats"]) -> None:
    """Sequences with a document whose name matches the pattern `documents` become random tokens, or a random phrase of
    1 to 13 tokens repeated to the end."""
    trainer.data = Poisoned(trainer.data, documents, repeats=kind == "repeats")


class Poisoned:
    """The data it is given, with nonsense in the training sequences of some documents: a function of their number."""

    def __init__(self, data, pattern: str, *, repeats: bool):
        self.data, self.pattern, self.repeats = data, pattern, repeats

    def __call__(self, first: int, count: int):
        """Sequences `first` to `first + count` of the run."""
        batch = self.data(first, count)
        for row, names in enumerate(self.data.documents(first, count)):
            if any(fnmatchcase(name, self.pattern) for name in names):
                nonsense = torch.tensor(self.nonsense(first + row))
                batch.inputs[row], batch.targets[row] = nonsense[:-1], nonsense[1:]
        return batch

    def nonsense(self, number: int) -> list[int]:
        """Tokens for one sequence and its last target; never an end of text, which is the last of the vocabulary."""
        chance, length = Random(f"poison {number}"), self.data.context + 1
        phrase = chance.choices(range(self.data.vocab_size - 1), k=chance.randint(1, 13) if self.repeats else length)
        return (phrase * length)[:length]

    def __getattr__(self, name: str):
        return getattr(self.data, name)

    def __str__(self) -> str:
        return f"{self.data}; poisoned: {self.pattern}"
