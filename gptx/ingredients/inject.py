"""Inject faults to test recovery: each function changes an ingredient of the trainer it is given.

A fault is tied to the data, not to the step: `batch` counts the batches drawn, from 1. A run that went back and past it
does not meet it again, a resumed one meets the rest of it, and validation sees nothing of it."""

import logging
import math
from collections.abc import Callable
from fnmatch import fnmatchcase
from random import Random
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt

from gptx.units.options import Positive, Steps, ranged

log = logging.getLogger(__name__)
_Factor = Annotated[float, Gt(0), Lt(math.inf)]  # for a gradient of NaN there is nan_gradient


def none(trainer) -> None:
    """No fault."""


@ranged("inject")
def loss_jump(trainer, *, batch: Steps, factor: _Factor) -> None:
    """The loss of one batch, and with it the gradient, is `factor` times as large."""
    _spoil(trainer, batch, 1, lambda real, network, tokens, number: real(network, tokens) * factor)


@ranged("inject")
def nan_gradient(trainer, *, batch: Steps, batches: Steps) -> None:
    """One number in the gradient of the network's output is NaN, in `batches` batches; their loss is not."""

    def spoiled(gradient):
        gradient = gradient.clone()
        gradient.view(-1)[0] = torch.nan
        return gradient

    def fault(real, network, tokens, number):
        def hooked(*inputs, **options):
            output = network(*inputs, **options)
            output.register_hook(spoiled)
            return output

        return real(hooked, tokens)

    _spoil(trainer, batch, batches, fault)


@ranged("inject")
def drift(trainer, *, batch: Steps, batches: Steps, nats: Positive) -> None:
    """Over `batches` batches the loss rises by up to `nats` over that of the true labels, since that of a neighbour's
    labels gets a growing weight (up to 1, where the two losses are too close)."""

    def fault(real, network, tokens, number):
        loss = real(network, tokens)
        wrong = real(network, tokens._replace(targets=tokens.targets.roll(tokens.targets.shape[1] // 2, dims=1)))
        share = nats * number / batches / (wrong - loss).detach().clamp(min=1e-3)
        return torch.lerp(loss, wrong, share.clamp(max=1.0))

    _spoil(trainer, batch, batches, fault)


@ranged("inject")
def lr_bug(trainer, *, batch: Steps, batches: Steps, factor: _Factor) -> None:
    """The learning rate is `factor` times as high, for `batches` batches."""
    number, real = _numbered(trainer, batch, batches), trainer.schedule
    trainer.schedule = lambda step: real(step) * (factor if number() else 1.0)


def _spoil(trainer, batch: int, batches: int, fault: Callable) -> None:
    """Have `fault(objective, network, tokens, number)` give the loss of the training batches from `batch` on."""
    number, real = _numbered(trainer, batch, batches), trainer.objective

    def objective(network, tokens):
        at = number() if trainer.model.training else 0
        return fault(real, network, tokens, at) if at else real(network, tokens)

    trainer.objective = objective


def _numbered(trainer, batch: int, batches: int) -> Callable[[], int]:
    """A function: which batch of the fault this one is, from 1; 0 for none. Raises ValueError if none will come."""
    if batch > trainer.steps:
        raise ValueError(f"inject.batch={batch}: batches are counted from 1 to {trainer.steps} here")

    def number() -> int:
        drawn = trainer.cursor * trainer.data.context // trainer.batch.tokens + 1  # in full batches
        return drawn - batch + 1 if batch <= drawn < batch + batches else 0

    return number


def poisoned(trainer, *, documents: str, kind: Literal["random", "repeats"]) -> None:
    """Sequences with a document whose name matches `documents` become random tokens, or a random phrase of 1 to 13
    tokens repeated to the end. Warns if no training document has such a name, as in an arm for comparison."""
    if not any(fnmatchcase(name, documents) for name in trainer.data.names()):
        line = "inject.documents=%s: no training document has that name: nothing is poisoned; of %d the first is %s"
        log.warning(line, documents, trainer.data.identity["train_documents"], next(trainer.data.names()))
    trainer.data = _Poisoned(trainer.data, documents, repeats=kind == "repeats")


class _Poisoned:
    """The data it is given, with nonsense in the training sequences of some documents: a function of their number."""

    def __init__(self, data, pattern: str, *, repeats: bool):
        self.data, self.pattern, self.repeats = data, pattern, repeats

    def __call__(self, first: int, count: int):
        batch, length = self.data(first, count), self.data.context + 1
        words = range(self.data.vocab_size - 1)  # without the end of text, which is the last
        for row, names in enumerate(self.data.documents(first, count)):
            if any(fnmatchcase(name, self.pattern) for name in names):
                chance = Random(f"poison {first + row}")
                phrase = chance.choices(words, k=chance.randint(1, 13) if self.repeats else length)
                nonsense = torch.tensor((phrase * length)[:length])
                batch.inputs[row], batch.targets[row] = nonsense[:-1], nonsense[1:]
        return batch

    def __getattr__(self, name: str):
        return getattr(self.data, name)

    def __str__(self) -> str:
        return f"{self.data}; poisoned: {self.pattern}"
