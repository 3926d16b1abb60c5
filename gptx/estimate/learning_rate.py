"""The learning rate of a recorded config, without training."""

import functools
import inspect
from collections.abc import Callable

from gptx.config import presets
from gptx.config.build import permitted
from gptx.config.errors import ConfigError
from gptx.ingredients.batch import Batch


def schedule_of(config: dict) -> Callable[[int], float] | None:
    """The schedule as a function of the step; None if config and installed code do not tell."""
    node = config.get("schedule") or {}
    try:
        function = permitted(node.get("_target_", ""), "schedule")
        factor = functools.partial(function, **_arguments(node))
        inspect.signature(factor).bind(1)
        factor(1)
    except (ConfigError, TypeError, ValueError):
        return None
    return factor


def learning_rate(config: dict) -> Callable[[int], float] | None:
    """The learning rate as a function of the step; None if config and installed code do not tell."""
    factor, batch, peak = schedule_of(config), batch_of(config), config.get("optim", {}).get("lr")
    if factor is None or batch is None or not isinstance(peak, int | float):
        return None
    every = config.get("parametrization", {}).get("rates", {}).get("all", 1.0)
    return lambda step: peak * every * factor(step) * batch.rate(step)


def batch_of(config: dict) -> Batch | None:
    """The batch of a config, as arithmetic; None if it is of another kind."""
    try:
        batch = Batch(**_arguments(config["batch"]))
        batch.rate(1)
        return batch
    except (KeyError, TypeError, ValueError):
        return None


def _arguments(node: dict) -> dict:
    return {key: value for key, value in node.items() if key not in presets.HIDDEN}
