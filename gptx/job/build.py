"""The Trainer of a checked config, the same on every process."""

from typing import TYPE_CHECKING, Any

from gptx.config.build import ingredients
from gptx.config.errors import ConfigError, refusal
from gptx.config.keys import differences, flat
from gptx.config.recorded import recorded

if TYPE_CHECKING:
    from gptx.trainer import Trainer


def trainer_of(cfg: Any) -> "Trainer":
    """The Trainer of a checked config. Raises ConfigError if an ingredient refuses its values, or the ranks differ."""
    from gptx.trainer import Trainer

    arguments = ingredients(cfg)
    agree(cfg, arguments["parallel"], arguments["data"])
    try:
        return Trainer(**arguments)
    except (ValueError, TypeError) as error:  # what a partial was given is judged when it is called
        if isinstance(error, TypeError) and "argument" not in str(error):
            raise
        raise refusal("", error) from error


def agree(cfg: Any, parallel: Any, data: Any) -> None:
    """Raise ConfigError, in every process, if not all of them composed the same config and found the same data."""
    first, *others = parallel.gather(flat({**recorded(cfg), "data found": data.identity}))
    for number, other in enumerate(others, start=1):
        if found := differences(first, other):
            line = f"{'; '.join(found[:3])}: the first is rank 0's, the second rank {number}'s"
            raise ConfigError(f"{line}; every process needs the same command, environment and files")
