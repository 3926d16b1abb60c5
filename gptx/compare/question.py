"""What a comparison asks: what is varied, best over what, per what, against which base; stated or seen in its arms."""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import product
from math import prod

import numpy

from gptx.compare.factors import baseline_of, is_rate, primary
from gptx.compare.outcomes import AT, Comparison, at_levels
from gptx.config.keys import FACTORS, stated

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
    """The question of a comparison; `baseline` as for baseline_of(). ValueError for a factor or level of no run."""
    factors, asked = comparison.factors, _asked(comparison)
    vary = asked.get("vary") or _varied(comparison, asked.get("per", ()))
    base = _base(comparison, vary, baseline or ",".join(asked.get("baseline", ())))
    if not factors:
        return Question("seeds", base=base)
    taken = {*vary, *asked.get("per", ())}
    best = asked.get("best_over", tuple(name for name in factors if is_rate(name) and name not in taken))
    return _designed(comparison, vary, best, tuple(name for name in factors if name not in (*vary, *best)), base)


def _base(comparison: Comparison, vary: tuple[str, ...], baseline: str) -> dict[str, str]:
    """The base as it is stated; where it is not, of several varied factors the arm in the centre."""
    factors = comparison.factors
    kept = {name: level for name, level in comparison.baseline.items() if level in factors.get(name, ())}
    centre = {} if baseline or kept or len(vary) < 2 else _centre(comparison, vary)
    return baseline_of(factors, kept, baseline) | centre


def _asked(comparison: Comparison) -> dict[str, tuple[str, ...]]:
    """What the experiment states, without factors that these runs do not have."""
    found = stated(comparison.question)
    if not {*found.get("at", ())} <= {*AT, "memory"}:
        raise ValueError(f"question.at={','.join(found['at'])}: one of {', '.join(AT)}, memory")
    there = {key: tuple(filter(comparison.factors.__contains__, found[key])) for key in FACTORS if key in found}
    return found | {key: names for key, names in there.items() if names or not found[key]}


def _varied(comparison: Comparison, per: Collection[str]) -> tuple[str, ...]:
    """The factors that are asked about: all but learning rates and crossed ones, unless their levels are a full grid
    of more than two levels, of which one is asked about and the others are settings."""
    factors, crossed = comparison.factors, comparison.crossed * bool(comparison.design)
    aside = {*per, *crossed, *filter(is_rate, factors)}
    rest = {name: levels for name, levels in factors.items() if name not in aside}
    if len(rest) < 2:
        left = {name: levels for name, levels in factors.items() if name not in per} or factors
        return (*rest, *filter(None, [primary(left)]))[:1]
    two = len(rest) <= _MANY and {*map(len, rest.values())} == {2}
    there = {*map(at_levels(rest), comparison.outcomes)}
    return tuple(rest) if two or len(there) < prod(map(len, rest.values())) else (primary(rest),)


def _centre(comparison: Comparison, vary: tuple[str, ...]) -> dict[str, str]:
    """The levels from which most arms differ in one factor, the first of equals; no arms' levels where none do."""
    there: list[tuple[str, ...]] = list(dict.fromkeys(map(at_levels(vary), comparison.outcomes)))
    usual = tuple(map(baseline_of(comparison.factors, {}, "").get, vary))

    def near(one: tuple[str, ...]) -> tuple[int, int]:
        return sum(sum(map(str.__ne__, one, other)) == 1 for other in there), sum(map(str.__eq__, one, usual))

    return dict(zip(vary, sorted(there, key=near, reverse=True)[0], strict=True))


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
    if count < 2 or {len(factors[name]) for name in vary} != {2}:
        return (), {}
    turned = [factors[name][base[name] == factors[name][0]] for name in vary]
    there = dict.fromkeys(map(at_levels(vary), comparison.outcomes))
    corners = {levels: tuple(map(int, map(str.__eq__, levels, turned))) for levels in there}
    signs = numpy.array([*corners.values()]) * 2 - 1
    balanced = not signs.sum(0).any() and not numpy.triu(signs.T @ signs, 1).any()
    whole = len(corners) in (2**count, 2 ** max(3, count - 1))
    return (tuple(zip(vary, turned, strict=True)), corners) if balanced and whole else ((), {})
