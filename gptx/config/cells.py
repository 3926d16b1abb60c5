"""The jobs that the lists of a command line mean, and the place of each in a sweep's design."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from gptx.config.build import build
from gptx.config.compose import composed
from gptx.config.errors import ConfigError
from gptx.config.groups import GROUPS
from gptx.config.keys import key_of, under
from gptx.config.validate import check_group

_MOST = 100_000  # jobs of a sweep
_OF_ALL = "sweep", "question", "dry_run"  # which all runs of a sweep share
_AS_TYPED = {"True": "true", "False": "false"}


def cells(words: Sequence[str], chosen: DictConfig | None = None) -> list[tuple[list[str], Any]]:
    """The overrides of every job, in order, and its place in the sweep's design, if any; `chosen` is the
    config of the words without their lists. Raises ConfigError for lists that are wrong, or that no design takes."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    _refuse_lists(parsed)
    plain = without_lists(words)
    if chosen is None and any(under(key_of(word), ("sweep", "experiment")) for word in plain):
        chosen = composed(plain)
    if chosen is None or (sweep := _design(chosen)) is None:
        return [(line, None) for line in BasicSweeper.split_arguments(parsed, None)[0]]
    try:
        return [*_designed(parsed, sweep, str(chosen.steps))]
    except ValueError as error:
        raise ConfigError(str(error)) from None


def without_lists(words: Sequence[str]) -> list[str]:
    """The words that are no lists of a sweep."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    return [str(word.input_line) for word in parsed if not word.is_sweep_override()]


def listed(words: Sequence[str], config: DictConfig) -> list[str]:
    """The words, after the lists that an experiment's YAML has for other keys."""
    params, named = config.hydra.sweeper.get("params") or {}, {key_of(word) for word in words}
    return [*(f"{name}={values}" for name, values in params.items() if name not in named), *words]


def _design(config: DictConfig) -> Any:
    """The design that a config has; None for the product of lists alone. Raises ConfigError for wrong values of it."""
    check_group(config, GROUPS["sweep"], config.allow_targets)
    sweep = build(config.sweep)
    return sweep if sweep.design or sweep.rates or sweep.lengths else None


def _designed(parsed: list[Override], sweep: Any, steps: str) -> Iterator[tuple[list[str], Any]]:
    """The jobs that a design makes of the lists among some overrides."""
    _refuse_twice(parsed)
    plain = BasicSweeper.split_arguments([word for word in parsed if not word.is_sweep_override()], None)[0][0]
    for cell in sweep.cells({word.get_key_element(): _texts(word) for word in parsed if word.is_sweep_override()}):
        if both := {key_of(word) for word in plain}.intersection(cell.values):
            raise ValueError(f"{min(both)} is set, and sweep.rates lists it too; leave one of them out")
        words = [f"{key}={value}" for key, value in cell.values.items()]
        length = [f"steps={scaled(steps, cell.length)}"] * (cell.length != 1)
        yield [*plain, *words, *length], cell


def _refuse_twice(parsed: list[Override]) -> None:
    keys = [word.get_key_element() for word in parsed]
    for word in parsed:
        if word.is_sweep_override() and keys.count(word.get_key_element()) > 1:
            raise ValueError(f"{word.input_line}: {word.get_key_element()} is there twice; list all its values once")


def scaled(length: str, factor: float) -> str:
    """A length times a factor: half of 10Mtok is 5Mtok."""
    number = re.match(r"[\d.]+(?:e[+-]?\d+)?", length)
    if not number:
        raise ConfigError(f"steps={length}: no length that can be multiplied, as lengths of a sweep need it")
    times = float(number[0]) * factor
    return f"{round(times) if number[0] == length else format(times, '.6g')}{length[number.end() :]}"


def _refuse_lists(parsed: list[Override]) -> None:
    """Refuse more jobs than anybody waits for, before making them; a value twice; a list of sweeps."""
    swept = [word for word in parsed if word.is_sweep_override()]
    counts = {str(word.input_line): _values(word.value()) for word in swept}
    if math.prod(counts.values()) > _MOST:
        longest = max(counts, key=lambda line: counts[line])
        raise ConfigError(f"{longest}: with it the sweep has more than {_MOST:,} jobs")
    for word in swept:
        key, values = word.get_key_element(), _texts(word)
        if under(key, _OF_ALL):
            cure = f"write {key}=[{','.join(values)}]" if "." in key else "choose one"
            raise ConfigError(f"{word.input_line}: of the whole sweep; {cure}")
        if len({*values}) < len(values):
            raise ConfigError(f"{word.input_line}: {max(values, key=values.count)} is there twice")


def _texts(word: Override) -> list[str]:
    return [_AS_TYPED.get(value, value) for value in word.sweep_string_iterator()]


def _values(value: object) -> float:
    """Number of values in a sweep of one key; 1 where Hydra alone knows it."""
    if isinstance(value, IntervalSweep):
        raise ConfigError("interval(...): a sweep lists its values; python -m gptx study searches between two")
    if isinstance(value, RangeSweep) and None not in (value.start, value.stop):
        first, last, step = value.start, value.stop, value.step
        return max(0.0, (last - first) / step) if step else math.inf  # type: ignore[operator]
    return len(value.list) if isinstance(value, ChoiceSweep) else 1
