"""What the words of a sweep mean: the overrides of each of its jobs."""

import math
from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

from gptx.config.errors import ConfigError

MOST = 100_000  # jobs of a sweep


def jobs(words: Sequence[str]) -> list[list[str]]:
    """The overrides of every job, in order. Raises ConfigError for more than anybody waits for, before making them."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    counts = {word.input_line: options(word.value()) for word in parsed if word.is_sweep_override()}
    if math.prod(counts.values()) > MOST:
        longest = max(counts, key=lambda line: counts[line])
        raise ConfigError(f"{longest}: with it the sweep has more than {MOST:,} jobs")
    return BasicSweeper.split_arguments(parsed, None)[0]


def options(value: object) -> float:
    """How many values a sweep of one key has; 1 where Hydra alone knows it."""
    if isinstance(value, IntervalSweep):
        raise ConfigError("interval(...): a sweep lists its values; python -m gptx study searches between two")
    if isinstance(value, RangeSweep) and None not in (value.start, value.stop):
        first, last, step = value.start, value.stop, value.step
        return max(0.0, (last - first) / step) if step else math.inf  # type: ignore[operator]
    return len(value.list) if isinstance(value, ChoiceSweep) else 1
