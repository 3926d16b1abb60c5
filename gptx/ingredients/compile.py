"""How the network is executed: transforms of a model."""

import shutil
from typing import Literal

import torch
from torch import nn

_Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]  # torch.compile's


def eager(model: nn.Module) -> nn.Module:
    """Runs operation by operation."""
    return model


def compiled(model: nn.Module, *, mode: _Mode = "default") -> nn.Module:
    """Fuses operations with torch.compile, in the first step. Raises ValueError on the CPU without a C++ compiler."""
    if next(model.parameters()).device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise ValueError("compile=compiled needs g++ or clang++ on the CPU; install one, or compile=eager")
    torch._dynamo.reset()  # else it silently stops compiling at the ninth model of one process
    return torch.compile(model, mode=mode)  # type: ignore[return-value]
