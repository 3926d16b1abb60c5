"""Faults on purpose, to see what becomes of a run: each function changes an ingredient of the trainer it is given.

A fault is tied to the data, not to the step: `batch` counts the batches drawn, from 1, so that a run that went back and
past it does not meet it again, one that resumes meets the rest of it, and every process meets it at once. Validation
sees nothing of it.
"""

import logging
import math
from fnmatch import fnmatchcase
from random import Random
from typing import Literal

import torch

from gptx.units.lengths import Length

log = logging.getLogger(__name__)


def none(trainer) -> None:
    """No fault."""


def loss_jump(trainer, *, batch: Length, factor: float) -> None:
    """The loss of one batch, and with it the gradient, is `factor` times as large."""
    refuse_never(trainer, batch)
    refuse_no_factor(factor)
    real = trainer.objective

    def objective(network, tokens):
        loss = real(network, tokens)
        return loss * factor if trainer.model.training and drawn(trainer) == batch else loss

    trainer.objective = objective


def nan_gradient(trainer, *, batch: Length, batches: Length) -> None:
    """One number in the gradient of the network's output is not a number, in `batches` batches; their loss is."""
    refuse_never(trainer, batch, batches)
    real = trainer.objective

    def spoiled(gradient):
        gradient = gradient.clone()
        gradient.view(-1)[0] = torch.nan
        return gradient

    def objective(network, tokens):
        if not (trainer.model.training and batch <= drawn(trainer) < batch + batches):
            return real(network, tokens)

        def hooked(*inputs, **options):
            output = network(*inputs, **options)
            output.register_hook(spoiled)
            return output

        return real(hooked, tokens)

    trainer.objective = objective


def drift(trainer, *, batch: Length, batches: Length, nats: float) -> None:
    """Labels get worse: over `batches` batches the loss rises by up to `nats` over that of the true labels.

    A growing weight is given to the loss of the neighbour's labels, so that the gradient leads astray too, as much as
    it must for the rise that is due (all of it where the model tells the two apart by less).
    """
    refuse_never(trainer, batch, batches)
    if not nats > 0:
        raise ValueError(f"inject.nats={nats}: above 0, by which the loss rises")
    real = trainer.objective

    def objective(network, tokens):
        loss, past = real(network, tokens), drawn(trainer) - batch + 1
        if not (trainer.model.training and 0 < past <= batches):
            return loss
        wrong = real(network, tokens._replace(targets=tokens.targets.roll(tokens.targets.shape[1] // 2, dims=1)))
        share = nats * past / batches / (wrong - loss).detach().clamp(min=1e-3)
        return torch.lerp(loss, wrong, share.clamp(max=1.0))

    trainer.objective = objective


def lr_bug(trainer, *, batch: Length, batches: Length, factor: float) -> None:
    """The learning rate is `factor` times as high, for `batches` batches."""
    refuse_never(trainer, batch, batches)
    refuse_no_factor(factor)
    real = trainer.schedule

    def schedule(step):
        return real(step) * (factor if batch <= drawn(trainer) < batch + batches else 1.0)

    trainer.schedule = schedule


def refuse_never(trainer, batch: int, batches: int = 1) -> None:
    """Raises ValueError for a fault that would not come."""
    if not 1 <= batch <= trainer.steps:
        raise ValueError(f"inject.batch={batch}: batches are counted from 1 to {trainer.steps} here")
    if batches < 1:
        raise ValueError(f"inject.batches={batches}: at least 1")


def refuse_no_factor(factor: float) -> None:
    """Raises ValueError for what is no size of a fault: none at all, or one that turns the update around."""
    if not 0 < factor < math.inf:
        raise ValueError(
            f"inject.factor={factor:g}: more than 0, such as 10; for a gradient of NaN inject=nan_gradient"
        )


def drawn(trainer) -> int:
    """Which batch is the present one, by the sequences drawn before it, in full batches; from 1."""
    return trainer.cursor * trainer.data.context // trainer.batch.tokens + 1


def poisoned(trainer, *, documents: str, kind: Literal["random", "repeats"]) -> None:
    """Sequences with a document whose name matches the pattern `documents` become random tokens, or a random phrase of
    1 to 13 tokens repeated to the end. Warns if no training document has such a name, as in an arm for comparison."""
    if not any(fnmatchcase(name, documents) for name in trainer.data.names()):
        count, first = trainer.data.identity["train_documents"], next(trainer.data.names())
        warning = (
            "inject.documents=%s: no training document has such a name, so nothing is poisoned; of %d the first is %s"
        )
        log.warning(warning, documents, count, first)
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
