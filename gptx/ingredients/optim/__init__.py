"""Optimizers that PyTorch does not have, or that are worth reading. `Optimizer` says what gptx reads of one."""

from collections.abc import Callable
from typing import Any

import torch


class Optimizer(torch.optim.Optimizer):
    """What an optimizer may offer beyond PyTorch's own class; these are the defaults, also for one that is no child.
    Parameter groups have a `name` (matrices, embeddings, head, vectors). Of Adam's state observers read the moments
    `exp_avg` and `exp_avg_sq` and the count `step`, or `m`, `v` and `t`; of its groups `betas`, `eps`, `lr` and
    `weight_decay`. Without these they refuse the run, or leave a curve out."""

    judged: Callable | None = None  # judged(parameters): the weights to validate, sample and ship, if others than these
    rate_falls = True  # False: a schedule that lets the learning rate fall is refused
    whole_matrices = False  # True: a step needs all rows of a matrix, which parallel=fsdp splits


def trait(optimizer: type, name: str) -> Any:
    """What a class of optimizers says in one of the attributes of `Optimizer`; of PyTorch's own it is known here."""
    known = name == "whole_matrices" and optimizer in (torch.optim.Muon, torch.optim.Adafactor)
    return known or getattr(optimizer, name, getattr(Optimizer, name))
