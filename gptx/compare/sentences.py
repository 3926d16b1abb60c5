"""The sentences that a headline rests on. None claims more than the numbers of compare.effects do."""

from collections.abc import Iterator
from statistics import median

from gptx.compare.effects import Effect, Effects, Setting
from gptx.compare.factors import grouped
from gptx.compare.outcomes import contexts
from gptx.compare.trend import Trend, trends
from gptx.compare.words import FEW, Words, change, named, rate_of, tuned, turned, where
from gptx.config.groups import decides
from gptx.units.phrases import capital, count, few, joined

_SETTINGS, _NAMED = 4, 6  # that are named one by one
_WIDE = 2  # times the usual spread over seeds, from which on a setting's own is said
_SHARE = 0.01  # of a result, below which a difference is small where none is significant
_DEARER = 0.1  # share of the base's time or memory from which on a difference is said


def reasons(found: Effects, words: Words, at_time: Effects | None = None) -> Iterator[str]:
    """The sentences that the headline rests on."""
    if found.question.design == "seeds" and len(found.arms[0].results) == 1:
        yield "A single seed cannot say how much of the result is chance."
    yield from _against(found)
    if len(found.settings) <= _SETTINGS and not trends(found):  # of more, the table has it
        yield from _listed(found, words)
    if len(found.settings) == 1:
        yield from _interactions(found, found.settings[0], words)
        yield from _costs(found)
    yield from (_trend(found, one, words) for one in trends(found))
    yield from _wide(found, words)
    if len(contexts(found.arms, *found.question.best_over)) < len(found.arms):
        yield _chosen(found, words)
    yield from _on_fresh_seeds(found, words)
    yield from _at_equal_time(found, at_time, words)


def _against(found: Effects) -> Iterator[str]:
    """What all differences are from, over how many seeds, how they are judged, and what is no comparison."""
    made = [one for one in found.judged if one.kind != "same"]
    judged, sure = sum(one.p is not None for one in made), sum(effect.settled for effect in found.effects)
    told = f", with 95 % intervals{' that hold together' * (judged > 1)}: {sure} of {judged} significant" * bool(judged)
    same = joined(where(setting.context) for setting in found.settings if not setting.compares)
    told += f"; {same} all arms are the same run" * bool(same)
    if found.optima:
        yield from _sure_of_optima(found)
    if made:
        yield f"Differences {_from(found)} over {count(max(one.n for one in made), 'seed')}{told}."


def _sure_of_optima(found: Effects) -> Iterator[str]:
    """Over how many seeds a best level was chosen, and which others may be it."""
    seeds = max(len(one.arm.values) if one.arm else 0 for one in found.optima)
    told = joined(f"{joined(one.unsure)} {where(one.context)}".strip() for one in found.optima if one.unsure)
    if seeds > 1:
        sure = f"not significantly worse than the best: {told}" if told else "all others are significantly worse"
        yield f"Over {count(seeds, 'seed')}, at 95 % in each setting, {sure}."


def _from(found: Effects) -> str:
    setting, asked = found.settings[0], found.question
    if setting.whole and not asked.things[0][0]:
        return f"of having {joined((named(*thing) for thing in asked.things), 'or')} from not having it"
    base = joined(few((named(name, found.baseline[name]) for name in asked.vary), FEW))
    base = "the step before" if asked.design == "cumulative" else f"the base ({base})" if asked.vary[1:] else base
    at = "" if found.settings[1:] else _at_best(tuned(found, setting.base))
    return f"from {base}{', averaged over the others,' * setting.whole or at}"


def _at_best(tuned: str) -> str:
    return f" ({tuned})" * bool(tuned)


def _listed(found: Effects, words: Words) -> Iterator[str]:
    """Every effect by what is known of it: in which direction it is, that it is small, or that neither is known."""
    small, known = _small(found), [pair for pair in found.each if pair[0].compares and not pair[1].interaction]
    kinds = grouped(known, lambda pair: _state(pair[1], small))
    heads = {"lower": "lower", "higher": "higher", "small": "settled as small", "unknown": "not known",
             "open": f"not settled, as a better {rate_of(found)} may lie beyond the grid",
             "same": "the same run as the base"}  # fmt: skip
    for some in (("lower", "higher"), ("open",), ("small", "unknown", "same")):
        told = [f"{heads[kind]}: {_placed(found, kind, kinds[kind], words)}" for kind in some if kind in kinds]
        yield from [f"{capital('; '.join(told))}."] * bool(told)


def _small(found: Effects) -> float:
    """The end nearest to zero of all significant intervals; without one 1 % of the smallest result. A difference whose
    whole interval is nearer to zero is settled as small."""
    sure = [abs(end or 0.0) for one in found.effects if one.settled for end in _ends(one)]
    return min(sure or [_SHARE * abs(arm.mean or 0.0) for arm in found.arms if arm.results])


def _ends(effect: Effect) -> tuple[float | None, ...]:
    return (effect.estimate.low, effect.estimate.high) if effect.estimate else ()


def _state(effect: Effect, small: float) -> str:
    """The kind of an effect; an unsure one is open (a best rate is at its grid's edge), small or unknown."""
    if effect.kind == "unsure" and not effect.bound:
        return "small" if max(abs(end or 0.0) for end in _ends(effect)) < small else "unknown"
    return "open" if effect.bound and not effect.settled else effect.kind


def _placed(found: Effects, kind: str, pairs: list[tuple[Setting, Effect]], words: Words) -> str:
    """The effects of a kind with their intervals, by their settings."""
    places = grouped(pairs, lambda pair: where(pair[0].context))
    told = {place: [_told(found, effect, kind, words) for _, effect in some] for place, some in places.items()}
    return ", ".join(f"{place} {joined(few(some, _NAMED))}".strip() for place, some in told.items())


def _told(found: Effects, effect: Effect, kind: str, words: Words) -> str:
    name, interval = _name(found, effect), "" if kind == "same" else f" {_interval(effect, words)}"
    if effect.estimate and kind in ("small", "unknown"):
        _, *ends = words.ends(effect.estimate)
        within = max((end.lstrip("+-") for end in ends), key=float)
        interval = f" (below {within})" if kind == "small" else f" (anything from {' to '.join(ends)})"
    return f"{name}{interval}".replace(") (", ", ")


def _name(found: Effects, effect: Effect) -> str:
    """What is changed, and at which rate it is at its best; of the levels of one factor, not from what."""
    alone = found.question.design == "levels" and effect.arm
    name = named(*effect.things[0]) if alone else change(effect, found.baseline)
    return name + _at_best(tuned(found, effect.arm))


def _costs(found: Effects) -> Iterator[str]:
    """How much more or less time and memory than the base arms take, where the change may be the cause."""
    told = {_name(found, effect): joined(_dearer(found, effect)) for effect in found.effects}
    if lines := [f"{name} {times}" for name, times in told.items() if times]:
        yield f"Time and memory, in multiples of the base's: {', '.join(few(lines, _NAMED))}."


def _dearer(found: Effects, effect: Effect) -> Iterator[str]:
    imitated = str(found.comparison.environment.get("imitated formats"))
    timed = found.steady and not any(level in imitated for _, level in effect.things)
    caused = any(decides(name, "speed") for name, _ in effect.things)
    for fact, kind in (("seconds", "time"), ("peak_bytes", "memory")):
        if caused and (timed or kind == "memory") and abs(effect.costs.get(fact, 1) - 1) > _DEARER:
            yield f"×{effect.costs[fact]:.2f} {kind}"


def _wide(found: Effects, words: Words) -> Iterator[str]:
    """Why the intervals of a setting are wide: each rests on the spread of its own setting."""
    spreads = {where(each.context): each.deviation for each in found.settings if each.compares}
    most, usual = (of(spreads.values() or [0.0]) for of in (max, median))
    if most > _WIDE * usual:
        wide = f"Intervals are widest {max(spreads, key=lambda place: spreads[place])}, where seeds differ most"
        yield f"{wide}: by {words.short(most)} (sd, pooled over its arms), elsewhere usually by {words.short(usual)}."


def _interactions(found: Effects, setting: Setting, words: Words) -> Iterator[str]:
    if both := [effect for effect in setting.effects if effect.interaction]:
        sure = [f"{change(effect, found.baseline)} {_interval(effect, words)}" for effect in both if effect.settled]
        which = f": {joined(few(sure, FEW))}" if sure else ""
        share = f"{len(sure) or 'None'} of {count(len(both), 'interaction')} {'is' if len(sure) < 2 else 'are'}"
        yield f"{share} significant{which}."
    if setting.lead:
        yield f"Contributed more: {contributed(found, setting)}."


def contributed(found: Effects, setting: Setting) -> str:
    """Which of two things improved the metric more: its name, or why there is no answer."""
    lead, mains, sign = setting.lead, setting.mains, found.comparison.sign
    if lead is None or lead.p is None:
        return "single seed" if lead else "an arm without a mean"
    if setting.depends(max(mains, key=lambda effect: abs(effect.mean))):
        return "each depends on the other"
    gains = {named(*effect.things[0]): -sign * effect.mean * effect.settled for effect in mains}  # 0 for no sure one
    if max(gains.values()) <= 0 > min(gains.values()):
        return f"harm by {joined(filter(gains.get, gains))}"
    ahead = named(*found.question.things[sign * lead.mean > 0])
    return ahead if lead.significant and gains[ahead] > 0 else "not significant"


def _trend(found: Effects, trend: Trend, words: Words) -> str:
    name = f"effect of {turned(trend.things, found.baseline)}"
    if trend.slope is None or trend.slope.p is None:
        return f"The {name} cannot be extrapolated: it has no interval."
    line = f"The {name} changes by {words.change(trend.slope)} per tenfold parameters"
    if trend.bounds:
        return f"{line}, and cannot be extrapolated: at some sizes a better learning rate may lie beyond the grid."
    ahead, last = map(words.change, (trend.predicted, trend.measured))
    wrong = ": the line does not hold, and cannot be extrapolated" * bool(trend.missed and trend.missed.significant)
    return f"{line}; the smaller sizes predict {ahead} at the largest, where {last} is measured{wrong}."


def _chosen(found: Effects, words: Words) -> str:
    """That the best of a grid was chosen by its own results, and how much that flatters it."""
    flattered = max((setting.flattered for setting in found.settings), default=0.0)
    about = f" by about {words.amount(words.short(flattered))}" if flattered > 10.0**-words.finest else ""
    told = f"Each arm's best {rate_of(found)} was chosen on the seeds that are shown"
    cure = "Intervals allow for the choice, and python -m gptx confirm trains the best on fresh seeds"
    return f"{told}, which flatters it{about}. {cure}."


def _on_fresh_seeds(found: Effects, words: Words) -> Iterator[str]:
    if again := [(change(effect, found.baseline), effect.fresh) for effect in found.effects if effect.fresh]:
        told = joined(f"{name} {words.change(estimate)}" for name, estimate in again[:FEW])
        yield f"On {count(max(each.n for _, each in again), 'fresh seed')}, which chose nothing: {told}."


def _at_equal_time(found: Effects, at_time: Effects | None, words: Words) -> Iterator[str]:
    """One line where equal time says something else than equal steps."""
    before = {effect.things: effect.kind for effect in found.effects if len(found.settings) == 1}
    after = [effect for effect in at_time.effects if effect.estimate] if at_time else []
    if apart := [effect for effect in after if effect.kind != before.get(effect.things, effect.kind)]:
        told = joined(f"{turned(one.things, found.baseline)} {words.change(one.estimate)}" for one in apart[:FEW])
        yield f"At equal time instead (read before a longer run's cool-down has ended): {told}."


def _interval(effect: Effect, words: Words) -> str:
    return f"{effect.bound.removeprefix('open')} {words.change(effect.estimate)}".strip()
