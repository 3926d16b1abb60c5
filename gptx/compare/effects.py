"""The numbers of a comparison, computed once; verdict, tables, figure, pages and programs only read them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from math import prod
from operator import itemgetter
from statistics import median

import numpy

from gptx.compare.factors import grouped
from gptx.compare.optimum import Optimum, best_arm, contenders, edges, flattered, optimum, ranking
from gptx.compare.outcomes import AT, Arm, Comparison, Outcome, arms, at_levels, contexts
from gptx.compare.question import Question, question_of
from gptx.compare.speed import SpeedUp, speed_up
from gptx.config.groups import decides
from gptx.estimate.differences import Estimate, fit_blocks

_FACTS = "tokens_per_second", "seconds", "peak_bytes"  # of an outcome, its costs: seconds in steps, bytes at the peak
_ROWS = 12  # of costs; beyond, one row for each level of the factor that is asked about
_STEADY = 1.25  # times the fastest seed that the slowest one of an arm takes, where nothing else ran on the machine
_ROOM = 1.02  # times the base's memory that still counts as equal


@dataclass(frozen=True)
class Effect:
    """What a change does to the metric: of an arm, or of one or two things of a factorial on average over the rest."""

    things: tuple[tuple[str, str], ...]  # factor and level that are changed, or "" and a trait; two: an interaction
    estimate: Estimate | None  # None where an arm diverged, or has no result
    arm: Arm | None = None
    against: Arm | None = None
    bound: str = ""  # "at least", "at most" or "open": a best learning rate stands at the edge of its grid
    costs: Mapping[str, float] = field(default_factory=dict)  # "seconds", "peak_bytes": times those of `against`
    speed: SpeedUp | None = None
    fresh: Estimate | None = None  # the same on seeds that did not choose the arms

    @property
    def mean(self) -> float:
        return self.estimate.mean if self.estimate else 0.0

    @property
    def interaction(self) -> bool:
        return self.arm is None and len(self.things) > 1

    @property
    def significant(self) -> bool:
        return bool(self.estimate and self.estimate.significant)

    @property
    def settled(self) -> bool:
        """True if it is significant, and a better learning rate beyond the grid could not undo it."""
        return self.significant and self.bound in ("", "at least")

    @property
    def kind(self) -> str:
        """higher, lower, same, unsure, or none without an estimate."""
        if self.estimate is None:
            return "none"
        return "unsure" if self.bound in ("at most", "open") and self.estimate.p is not None else self.estimate.kind


@dataclass(frozen=True)
class Setting:
    """The question at one level of each factor that it is asked per."""

    context: dict[str, str]
    arms: list[Arm]  # each at its best learning rate, the best first
    base: Arm | None
    effects: list[Effect]  # the best first
    flattered: float = 0.0  # by how much the best of a grid looks better than it is, on average over the arms
    lead: Estimate | None = None  # of a 2 x 2: what its first thing does beyond what the second does
    deviation: float = 0.0  # over the seeds, pooled over the arms

    @property
    def mains(self) -> list[Effect]:
        return [effect for effect in self.effects if not effect.interaction]

    @property
    def compares(self) -> bool:
        """False if all its arms are the same run, to the last bit."""
        return any(effect.kind != "same" for effect in self.effects)

    @property
    def whole(self) -> bool:
        """True if the effects are those of a factorial, averaged over the rest, and not of single arms."""
        return any(effect.arm is None for effect in self.effects)

    def depends(self, main: Effect) -> tuple[str, str] | None:
        """The thing on which another one depends so much that an average over it is no answer."""
        both = [effect for effect in self.effects if effect.interaction and main.things[0] in effect.things]
        strong = [effect for effect in both if effect.settled and abs(effect.mean) > abs(main.mean)]
        most = max(strong, key=lambda effect: abs(effect.mean), default=main)
        return next((thing for thing in most.things if thing not in main.things), None)


@dataclass(frozen=True)
class Effects:
    """All numbers of a comparison. All its estimates are judged together."""

    comparison: Comparison
    question: Question
    arms: list[Arm]
    settings: list[Setting]
    optima: list[Optimum]
    at: str = ""  # what is equal, instead of what the runs were asked for

    @property
    def baseline(self) -> dict[str, str]:
        return self.question.base

    @property
    def factor(self) -> str:
        return self.question.vary[0] if self.question.vary else ""

    @cached_property
    def each(self) -> list[tuple[Setting, Effect]]:
        return [(setting, effect) for setting in self.settings for effect in setting.effects]

    @property
    def effects(self) -> list[Effect]:
        return [effect for _, effect in self.each]

    @property
    def single(self) -> bool:
        """True if no estimate has an interval."""
        return all(estimate.p is None for estimate in self.judged)

    @property
    def judged(self) -> list[Estimate]:
        return [effect.estimate for _, effect in self.each if effect.estimate]

    @cached_property
    def steady(self) -> bool:
        """True if times compare: of runs that cost the same, the slowest usually took at most a quarter more than the
        fastest."""
        names = [name for name in self.comparison.factors if decides(name, "speed")]
        known = [x for x in self.comparison.outcomes if x.seconds and x.state == "finished"]
        ratios = [_slowest(runs) for runs in grouped(known, at_levels(names)).values() if runs[1:]]
        return not ratios or median(ratios) <= _STEADY

    @cached_property
    def edges(self) -> dict[str, list[Arm]]:
        """By learning rate, the best arms that stand at the edge of its grid, if the next level inside has a result."""
        rates = self.question.best_over
        at = [(rate, arm) for one in self.settings for arm in one.arms if arm.mean is not None
              for rate in edges(arm, self.arms, rates)]  # fmt: skip
        at += [(self.factor, best.arm) for best in self.optima if best.arm and best.edge]
        return {rate: [arm for _, arm in some] for rate, some in grouped(at, itemgetter(0)).items()}

    @cached_property
    def costs(self) -> tuple[list[str], dict[tuple[str, ...], list[float | None]]]:
        """The factors that may change the costs, and by their levels the medians of _FACTS over finished runs."""
        names = list(filter(lambda name: decides(name, "speed"), self.baseline))
        if len(grouped(self.arms, at_levels(names))) > _ROWS:
            names = list(filter(self.question.vary.__contains__, names))
        runs = grouped(self.comparison.outcomes if names or not self.baseline else [], at_levels(names))
        found = {key: [cost(group, fact) for fact in _FACTS] for key, group in runs.items()}
        return names, {key: facts for key, facts in found.items() if any(facts)}


def _slowest(runs: list[Outcome]) -> float:
    """Its time as a multiple of that of the fastest."""
    seconds = [run.seconds or 0.0 for run in runs]
    return max(seconds) / min(seconds)


def cost(runs: Iterable[Outcome], fact: str) -> float | None:
    known = [value for run in runs if run.state == "finished" and (value := getattr(run, fact))]
    return median(known) if known else None


def effects(comparison: Comparison, baseline: str = "", at: str = "") -> Effects:
    """The numbers of a comparison; `baseline` as for baseline_of(), `at` one of AT or memory: what is equal instead of
    what the runs were asked for. Raises ValueError for a level that no run has, or a budget that is not known."""
    stated = str(comparison.question.get("at", ""))
    at = at or stated * (stated in (*comparison.budgets, "memory"))
    comparison = _at(comparison, at)
    asked, found = question_of(comparison, baseline), arms(comparison)
    if asked.design == "seeds":
        return Effects(comparison, asked, found, [], [], at)
    if asked.design == "optimum":
        best = [optimum(*one, asked.vary[0], comparison.sign) for one in contexts(found, *asked.vary)]
        return Effects(comparison, asked, found, [], best, at)
    plans = [_Plan(comparison, asked, found, at, *one) for one in contexts(found, *asked.vary, *asked.best_over)]
    return Effects(comparison, asked, found, [plan.setting(len(plans)) for plan in plans], [], at)


def _at(comparison: Comparison, at: str) -> Comparison:
    """The comparison by the values that its runs had at a budget that all reached."""
    if at not in ("", "memory", *AT):
        raise ValueError(f"at={at}: one of {', '.join(AT)}, memory")
    if at in AT and at not in comparison.budgets:
        raise ValueError(f"at={at}: not every finished run recorded its {at}")
    by = [replace(each, value=each.at.get(at)) for each in comparison.outcomes] if at in AT else comparison.outcomes
    return replace(comparison, outcomes=by)


class _Plan:
    """One setting before its estimates, which depend on how many are judged in all settings together."""

    def __init__(self, comparison: Comparison, asked: Question, every: list[Arm], at: str, context: dict[str, str],
                 group: list[Arm]):  # fmt: skip
        self.comparison, self.asked, self.every, self.context, self.at = comparison, asked, every, context, at
        self.tried = grouped(group, at_levels(asked.vary))
        self.best = {levels: best_arm(some, comparison.sign) for levels, some in self.tried.items()}
        self.base = tuple(asked.base[name] for name in asked.vary)
        self.corners = {levels: corner for levels, corner in asked.corners.items() if levels in self.best}
        whole = asked.design == "factorial" and all(self.best[x].mean is not None for x in self.corners)
        self.whole = whole and len(self.corners) == len(asked.corners)
        self.contrasts = list(self._of_things() if self.whole else self._of_arms())
        self.fit = fit_blocks({levels: arm.values for levels, arm in self.best.items()})

    @property
    def chances(self) -> int:
        """How many comparisons there are, or could have been: each arm's best was chosen among its learning rates."""
        sizes = {levels: len(contenders(some, self.fit, self.comparison.sign)) for levels, some in self.tried.items()}
        return sum(prod(max(1, sizes.get(levels, 1)) for levels in weights) for _, weights in self.contrasts)

    def _of_arms(self) -> Iterable[tuple[tuple, dict]]:
        """Every other arm less the base; in a cumulative design less the arm that it adds one thing to."""
        order = sorted(self.best, key=lambda levels: sum(x != y for x, y in zip(levels, self.base, strict=True)))
        before = self.base
        for levels in order:
            if levels != self.base and self.base in self.best:
                yield levels, {levels: 1.0, before: -1.0}
                before = levels if self.asked.design == "cumulative" else self.base

    def _of_things(self) -> Iterable[tuple[tuple, dict]]:
        """Main effects, and how much more a thing does with another one than without, where that is another contrast
        than those of other pairs (in half a factorial of four it is not); last the lead of the first of two."""
        signs = {levels: 2 * numpy.array(corner) - 1 for levels, corner in self.corners.items()}
        for i in range(len(self.asked.things)):
            yield (i,), {levels: 2 * float(sign[i]) / len(signs) for levels, sign in signs.items()}
        yield from self._of_pairs(signs)
        if len(self.asked.things) == 2:
            yield (), {levels: float(sign[0] - sign[1]) / 2 for levels, sign in signs.items()}

    def _of_pairs(self, signs: dict) -> Iterable[tuple[tuple, dict]]:
        pairs = {(i, j): {levels: 4 * float(sign[i] * sign[j]) / len(signs) for levels, sign in signs.items()}
                 for i, j in combinations(range(len(self.asked.things)), 2)}  # fmt: skip
        told = {max(line, tuple(-x for x in line)) for line in (tuple(each.values()) for each in pairs.values())}
        return pairs.items() if len(told) == len(pairs) else ()

    def setting(self, times: int) -> Setting:
        """The estimates, judged together with those of other settings: `times` in all."""
        chances = self.chances if self.asked.best_over else 0
        estimates = self.fit.family([weights for _, weights in self.contrasts], chances=chances, times=times)
        rows = zip(self.contrasts, estimates, self._again(times), strict=True)
        found = [self._effect(key, weights, *two) for (key, weights), *two in rows]
        lead = found.pop().estimate if self.whole and not found[-1].things else None
        sign = self.comparison.sign
        if self.asked.design != "cumulative":
            found.sort(key=lambda effect: (effect.interaction, effect.estimate is None, sign * effect.mean))
        far = flattered(self.tried.values(), self.fit, sign) if self.asked.best_over else 0.0
        return Setting(
            self.context, ranking(self.best, sign), self.best.get(self.base), found, far, lead, self.fit.deviation
        )

    def _effect(self, key: tuple, weights: dict, estimate: Estimate | None, fresh: Estimate | None) -> Effect:
        if self.whole:
            things, bound = tuple(self.asked.things[i] for i in key), self._bound(estimate, weights)
            return Effect(things, estimate, bound=bound, fresh=fresh)
        arm, against = (self.best[levels] for levels in weights)
        things = tuple((name, level) for name, level, other in
                       zip(self.asked.vary, key, [*weights][1], strict=True) if level != other)  # fmt: skip
        costs = self._costs(arm, against)
        if self.at == "memory" and costs.get("peak_bytes", 1) > _ROOM:
            estimate = None
        return Effect(things, estimate, arm, against, self._bound(estimate, weights), costs, self._speed(arm), fresh)

    def _bound(self, estimate: Estimate | None, weights: dict[tuple, float]) -> str:
        """What an estimate is a bound of, where the best of some arms is at an edge: a better one beyond could only
        raise the gain (of an arm that is added to it), only lower it, or either."""
        more = {weight > 0 for levels, weight in weights.items()
                if weight and edges(self.best[levels], self.every, self.asked.best_over)}  # fmt: skip
        if not more or not estimate:
            return ""
        gains = -self.comparison.sign * estimate.mean > 0
        return "open" if len(more) > 1 else "at least" if gains in more else "at most"

    def _costs(self, arm: Arm, against: Arm) -> dict[str, float]:
        runs = grouped(self.comparison.outcomes, at_levels(self.comparison.factors))
        pairs = {fact: [cost(runs[tuple(one.levels.values())], fact) for one in (arm, against)] for fact in _FACTS[1:]}
        return {fact: mine / its for fact, (mine, its) in pairs.items() if mine and its}

    def _speed(self, arm: Arm) -> SpeedUp | None:
        lengths, base = self.comparison.lengths, self.best.get(self.base)
        alike = [x for x in (*lengths, *self.comparison.outcomes) if base and x.levels == base.levels]
        steps = {x.steps for x in self.comparison.outcomes if x.levels == arm.levels and x.steps}
        return speed_up(arm.values, alike, steps.pop(), self.comparison.sign) if lengths and len(steps) == 1 else None

    def _again(self, times: int) -> list[Estimate | None]:
        """The contrasts on the seeds that `gptx confirm` trained, with which nothing was chosen."""
        known = [(run.levels, run.seed, run.value) for run in self.comparison.confirmed if run.value is not None]
        fit = fit_blocks({levels: {seed: value for where, seed, value in known if where == arm.levels}
                          for levels, arm in self.best.items()})  # fmt: skip
        return fit.family([weights for _, weights in self.contrasts], times=times)
