"""What a comparison asks: what is varied, best over what, per what, against which base; stated or seen in its arms."""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import product
from math import prod

import numpy

from gptx.compare.factors import baseline_of, is_rate, primary
from gptx.compare.outcomes import AT, Comparison, at_levels

_KEYS = "vary", "best_over", "per", "baseline", "at"
_MANY = 6  # factors of two levels, of which a factorial is looked for


@dataclass(frozen=True)
class Question:
    """`design`: seeds (nothing else differs), levels (of one factor), arms (each leaves the base by some keys),
    cumulative, factorial (two levels each) or optimum (where the best learning rate is)."""

    design: str
    vary: tuple[str, ...] = ()
    best_over: tuple[str, ...] = ()  # learning rates: each arm at its own best
    per: tuple[str, ...] = ()  # factors at whose levels the question is asked again
    base: dict[str, str] = field(default_factory=dict)  # the level of each factor that others are compared with
    things: tuple[tuple[str, str], ...] = ()  # of a factorial: factor and level, or "" and a trait, that may be there
    corners: dict[tuple[str, ...], tuple[int, ...]] = field(default_factory=dict)  # which are, by levels of `vary`


def question_of(comparison: Comparison, baseline: str = "") -> Question:
    """The question of a comparison; `baseline` as for baseline_of(). Raises ValueError for a factor or level that no
    run has."""
    factors, asked = comparison.factors, _asked(comparison)
    kept = {name: level for name, level in comparison.baseline.items() if level in factors.get(name, ())}
    base = baseline_of(factors, kept, baseline or ",".join(asked.get("baseline", ())))
    if not factors:
        return Question("seeds", base=base)
    vary = asked.get("vary") or _varied(comparison, asked.get("per", ()))
    taken = {*vary, *asked.get("per", ())}
    best = asked.get("best_over", tuple(name for name in factors if is_rate(name) and name not in taken))
    per = tuple(name for name in factors if name not in (*vary, *best))
    if len(vary) > 1 and not (baseline or kept or "baseline" in asked):
        base |= _centre(comparison, vary)
    return _designed(comparison, vary, best, per, base)


def _asked(comparison: Comparison) -> dict[str, tuple[str, ...]]:
    """What the experiment states, without factors that these runs do not have."""
    found = {key: _listed(given) for key, given in comparison.question.items()}
    if unknown := [key for key in found if key not in _KEYS]:
        raise ValueError(f"question.{unknown[0]}: no such key; there are {', '.join(_KEYS)}")
    if not {*found.get("at", ())} <= {*AT, "memory"}:
        raise ValueError(f"question.at={','.join(found['at'])}: one of {', '.join(AT)}, memory")
    for key in ("vary", "best_over", "per"):
        names = found.pop(key, None)
        there = tuple(name for name in names or () if name in comparison.factors)
        found |= {key: there} if there or names == () else {}
    return found


def _listed(given: str | list[str]) -> tuple[str, ...]:
    return tuple(given) if isinstance(given, list) else tuple(filter(None, map(str.strip, given.split(","))))


def _varied(comparison: Comparison, per: Collection[str]) -> tuple[str, ...]:
    """The factors that are asked about: all but learning rates and crossed ones, unless their levels are a full grid
    of more than two levels, of which one is asked about and the others are settings."""
    factors, crossed = comparison.factors, comparison.crossed * bool(comparison.design)
    left = {name: levels for name, levels in factors.items() if name not in per}
    rest = [name for name in left if not is_rate(name) and name not in crossed]
    if len(rest) < 2:
        return tuple(rest) or (primary(left) or primary(factors),)
    several = {name: factors[name] for name in rest}
    two = len(rest) <= _MANY and {*map(len, several.values())} == {2}
    there = {at_levels(rest)(outcome) for outcome in comparison.outcomes}
    return tuple(rest) if two or len(there) < prod(map(len, several.values())) else (primary(several),)


def _centre(comparison: Comparison, vary: tuple[str, ...]) -> dict[str, str]:
    """The levels from which most arms differ in one factor, the first of equals; no arms' levels where none do."""
    there: list[tuple[str, ...]] = list(dict.fromkeys(map(at_levels(vary), comparison.outcomes)))
    usual = baseline_of(comparison.factors, {}, "")

    def near(one: tuple[str, ...]) -> tuple[int, int]:
        alone = sum(_apart(one, other) == 1 for other in there)
        return alone, -_apart(one, tuple(usual[name] for name in vary))

    return dict(zip(vary, sorted(there, key=near, reverse=True)[0], strict=True))


def _apart(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def _designed(comparison, vary, best, per, base) -> Question:
    if len(vary) == 1 and is_rate(vary[0]) and per:
        return Question("optimum", vary, (), per, base)
    for things, corners in (_traits(comparison, vary), _corners(comparison, vary, base)):
        if corners and comparison.design not in ("ablate", "leave_out", "cumulative"):
            return Question("factorial", vary, best, per, base, things, corners)
    design = "levels" if len(vary) == 1 else "cumulative" if comparison.design == "cumulative" else "arms"
    return Question(design, vary, best, per, base)


def _traits(comparison: Comparison, vary: tuple[str, ...]) -> tuple[tuple, dict]:
    """The 2 x 2 of a factor's traits, such as warmup and cool-down of schedules, if its levels are all four."""
    traits = comparison.traits.get(vary[0], {}) if len(vary) == 1 else {}
    corners = {(level,): tuple(map(int, having.values())) for level, having in traits.items()}
    whole = sorted(corners.values()) == sorted(product((0, 1), repeat=2))
    return (tuple(("", name) for name in next(iter(traits.values()))), corners) if whole else ((), {})


def _corners(comparison: Comparison, vary: tuple[str, ...], base: dict[str, str]) -> tuple[tuple, dict]:
    """All combinations of factors with two levels, or half of them in which no factor follows from another one."""
    factors, count = comparison.factors, len(vary)
    if count < 2 or any(len(factors[name]) != 2 for name in vary):
        return (), {}
    turned = [next(level for level in factors[name] if level != base[name]) for name in vary]
    there = {at_levels(vary)(outcome) for outcome in comparison.outcomes}
    corners = {levels: tuple(map(int, map(str.__eq__, levels, turned))) for levels in there}
    signs = numpy.array([*corners.values()]) * 2 - 1
    balanced = not signs.sum(0).any() and not numpy.triu(signs.T @ signs, 1).any()
    whole = len(corners) in (2**count, 2 ** max(3, count - 1))
    return (tuple(zip(vary, turned, strict=True)), corners) if balanced and whole else ((), {})
