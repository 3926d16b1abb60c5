"""The recipes that overrides mean, and what they are made of: parameters, with their weight decay, and memory."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from gptx.config.build import build, find_target
from gptx.config.errors import ConfigError
from gptx.estimate.capacity import examined
from gptx.estimate.memory import Footprint, predict_memory, vocabulary_of
from gptx.show.table import Table, terminal


def composed_arms(overrides: Sequence[str], first: Callable = lambda cfg: None, *, whole: bool = False) -> dict:
    """The checked config of every arm, by what sets it apart ("" for one). Raises ConfigError as gptx.train."""
    if {"--multirun", "-m"} & {*overrides}:
        raise ConfigError("--multirun: a plan takes lists as they are, such as schedule=constant,cosine")
    return examined(list(overrides), first=first, whole=whole)


def print_arms(overrides: Sequence[str], lines: Callable[..., Iterable[str]]) -> None:
    """Print the lines of every arm's config below its name."""
    for name, cfg in composed_arms(overrides).items():
        print("\n".join([f"{name}:"] * bool(name) + [*lines(cfg)]), flush=True)


def plan_decay(*overrides: str, vocab: str = "") -> None:
    """List every parameter under its group, with its shape, count and weight decay.

      python -m gptx plan decay model=gpt2_124m decay=no_embeddings vocab=50257

    Options:
    vocab: size of the vocabulary; by default the data's
    """
    print_arms(overrides, lambda cfg: parameter_groups(cfg, vocab))


def parameter_groups(cfg, vocab: str = "") -> Iterator[str]:
    with torch.device("meta"):
        model = build(cfg.model)(vocab_size=vocabulary_of(cfg, vocab))
    names = {id(p): name for name, p in model.named_parameters()}
    default = cfg.optim.get("weight_decay", library_default(cfg.optim._target_, "weight_decay"))
    for group in build(cfg.decay)(model):
        size, strength = sum(p.numel() for p in group["params"]), group.get("weight_decay", default)
        title = f"{group['name']}: {size:,} in {len(group['params'])} tensors, weight decay {strength:g}"
        rows = [(names[id(p)], "x".join(map(str, p.shape)), f"{p.numel():,}") for p in group["params"]]
        yield from terminal(Table(title, ("", "shape", "parameters"), rows))


def library_default(target: str, name: str) -> float:
    """The default of an argument of a class, for a key that the config leaves out; 0 if there is none."""
    parameter = inspect.signature(find_target(target, "optim")).parameters.get(name)
    return 0.0 if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def plan_memory(*overrides: str, vocab: str = "") -> None:
    """Predict the bytes of weights, gradients, moments and activations, and the peak of a step.

      python -m gptx plan memory model=gpt2_124m vocab=50257
      python -m gptx plan memory model=gpt2_124m memory=store,recompute vocab=50257

    Two steps and a validation pass run on tensors without data, so that every allocation is counted.

    Options:
    vocab: size of the vocabulary; by default the data's
    """
    print_arms(overrides, lambda cfg: footprint_table(predict_memory(cfg, vocabulary_of(cfg, vocab))))


def footprint_table(found: Footprint) -> list[str]:
    each = f"{found.parameters:,} parameters, {found.weights / found.parameters:.3g} bytes each"
    rows = [
        ("weights", each, found.weights),
        ("gradients", "", found.gradients),
        ("moments", ", ".join(found.state) or "none", found.moments),
        ("weights, gradients, moments", "", found.weights + found.gradients + found.moments),
        ("activations", "kept for the backward pass of a micro-batch", found.activations),
        ("peak of a step", "eager, with temporaries", found.step),
        ("peak of a validation pass", "with weights and moments" if found.validation else "none", found.validation),
        ("copy of the state", "in main memory, for saves" if found.copy else "none: saved at the end", found.copy),
    ]
    cells = [(name, note, f"{size:,}", f"{size / 1e9:.3f}") for name, note, size in rows]
    return terminal(Table("", ("part", "", "bytes", "GB"), cells, names=2))
