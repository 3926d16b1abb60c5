"""The checked configs that a command's overrides mean."""

import os
from collections.abc import Callable, Iterable, Sequence


def composed_arms(overrides: Sequence[str]) -> dict:
    """The config of every arm, lists expanded as in a sweep, by what sets it apart; "" for a single one. Raises
    ConfigError with one line for what gptx.train would refuse on every machine."""
    from gptx.config.errors import ConfigError
    from gptx.estimate.capacity import examined

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as gptx.train
    if {"--multirun", "-m"} & {*overrides}:
        raise ConfigError("--multirun: a plan takes lists as they are, such as schedule=constant,cosine")
    return examined(list(overrides))


def print_arms(overrides: Sequence[str], lines: Callable[..., Iterable[str]]) -> None:
    """Print the lines of every arm's config below its name."""
    for name, cfg in composed_arms(overrides).items():
        print("\n".join([f"{name}:"] * bool(name) + [*lines(cfg)]), flush=True)
