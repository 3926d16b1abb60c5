"""The answer of a comparison for programs: report json=true."""

from typing import Any

from gptx.compare.effects import Effect, Setting
from gptx.compare.verdict import Verdict
from gptx.estimate.differences import Estimate


def as_numbers(said: Verdict) -> dict[str, Any]:
    """The answer for programs: plain lists and dicts of numbers and names, a row an effect."""
    found = said.numbers
    if found is None:
        raise ValueError(f"json=true: {said.headline}")
    comparison, asked = found.comparison, found.question
    rows = [_row(setting, effect) for setting, effect in found.each]
    arms = [{"levels": arm.levels, "mean": arm.mean, "sd": arm.spread, "values": arm.values} for arm in found.arms]
    optima = [vars(best) | {"arm": best.arm and best.arm.levels} for best in found.optima]
    return {
        "headline": said.headline, "warnings": said.warnings, "metric": comparison.metric,
        "better": comparison.better or "lower", "at": found.at, "baseline": found.baseline,
        "question": {name: getattr(asked, name) for name in ("design", "vary", "best_over", "per")},
        "effects": rows, "optima": optima, "arms": arms,
    }  # fmt: skip


def _row(setting: Setting, effect: Effect) -> dict[str, Any]:
    return {
        "context": setting.context, "changes": [list(thing) for thing in effect.things], "kind": effect.kind,
        **_numbers(effect.estimate), "bound": effect.bound, "flattered": setting.flattered,
        "levels": effect.arm and effect.arm.levels, "against": effect.against and effect.against.levels,
        "times": dict(effect.costs), "speed_up": effect.speed and vars(effect.speed),
        "fresh": effect.fresh and _numbers(effect.fresh),
    }  # fmt: skip


def _numbers(found: Estimate | None) -> dict[str, Any]:
    names = {"mean": "difference", "low": "low", "high": "high", "p": "p", "n": "seeds", "alone": "alone"}
    return {name: found and getattr(found, key) for key, name in names.items()}
