"""The names that older run folders have for what gptx builds now, in one table."""

from typing import Any

from gptx.config.groups import GROUPS

_JOINED = {  # modules of observers
    "target": "validation", "overfitting": "validation", "lr_range": "validation", "endings": "validation",
    "ema": "validation", "gradients": "norms", "updates": "norms", "parameters": "norms", "clip_pressure": "norms",
    "second_moment": "norms", "samples": "downstream",
}  # fmt: skip
_MOVED = {  # the first that fits counts
    **{f"gptx.{room}observe.{old}.": f"gptx.ingredients.observe.{new}."
       for old, new in _JOINED.items() for room in ("", "ingredients.")},
    **{f"gptx.{room}optim.lion.": "gptx.ingredients.optim.scratch." for room in ("", "ingredients.")},
    **{f"gptx.{group}.": f"gptx.ingredients.{group}." for group in GROUPS},  # up to version 0.1.0
}  # fmt: skip


def current(value: Any) -> Any:
    """A record, config or recipe as it was read, with every `_target_` under the name that it has today."""
    if isinstance(value, list):
        return [current(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _name(each) if str(key).endswith("_target_") else current(each) for key, each in value.items()}


def _name(target: Any) -> Any:
    old = next((old for old in _MOVED if isinstance(target, str) and target.startswith(old)), None)
    return f"{_MOVED[old]}{target.removeprefix(old)}" if old else target
