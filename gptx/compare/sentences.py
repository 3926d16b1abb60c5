"""The sentences that a headline rests on. None claims more than the numbers of compare.effects do."""

from collections.abc import Iterator
from statistics import median

from gptx.compare.effects import Effect, Effects, Setting
from gptx.compare.outcomes import contexts
from gptx.compare.trend import Trend, trends
from gptx.compare.words import FEW, Words, change, named, rate_of, tuned, turned, where
from gptx.config.groups import decides
from gptx.units.phrases import capital, count, few, joined

_SETTINGS, _NAMED = 4, 6  # that are told one by one
_WIDE = 2  # times the usual spread over seeds, from which on that of a setting is told
_DEARER = 0.1  # share of the base's time or memory from which on a difference is told


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
    """What all differences are from, over how many seeds, and how they are judged."""
    made = [effect for effect in found.effects if effect.estimate and effect.kind != "same"]
    seeds = count(max((each.estimate.n for each in made if each.estimate), default=0), "seed")
    judged = sum(bool(each.estimate and each.estimate.p is not None) for each in made)
    intervals = "95 % intervals that hold together" if judged > 1 else "a 95 % interval"
    sure = f", with {intervals}: {sum(effect.settled for effect in made)} of {judged} significant"
    if made:
        yield f"{_from(found)} over {seeds}{sure if judged else ''}."


def _from(found: Effects) -> str:
    setting, (vary, design) = found.settings[0], (found.question.vary, found.question.design)
    if setting.whole and not found.question.things[0][0]:
        return f"Differences of having {joined((named(*thing) for thing in found.question.things), 'or')} from not having it"
    base = joined(few((named(name, found.baseline[name]) for name in vary), FEW))
    best = tuned(found, setting.base) if len(found.settings) == 1 and not setting.whole else ""
    name = "the step before" if design == "cumulative" else f"the base ({base})" if vary[1:] else base
    at = f" ({best})" if best else ", averaged over the others," if setting.whole else ""
    return f"Differences from {name}{at}"


def _listed(found: Effects, words: Words) -> Iterator[str]:
    """Every effect by what is known of it: in which direction it is, that it is small, or that neither is known."""
    kinds: dict[str, dict[str, list[str]]] = {}
    for setting, effect in found.each:
        if not effect.interaction and (effect.kind != "same" or setting.compares):
            state = found.state(effect)
            places = kinds.setdefault(state, {})
            told = f"{_name(found, effect)}{_told(effect, state, words)}".replace(") (", ", ")
            places.setdefault(where(setting.context), []).append(told)
    same = [where(setting.context) for setting in found.settings if not setting.compares]
    kinds["none"] = {joined(same): ["all arms"]} if same else {}
    heads = {"lower": "lower", "higher": "higher", "small": "settled as small", "unknown": "not known",
             "open": f"not settled, as a better {rate_of(found)} may lie beyond the grid",
             "same": "the same run as the base", "none": "the same run, which is no comparison"}  # fmt: skip
    for some in (("lower", "higher"), ("open",), ("small", "unknown", "same", "none")):
        lines = [f"{heads[kind]}: {', '.join(_placed(*each) for each in kinds[kind].items())}"
                 for kind in some if kinds.get(kind)]  # fmt: skip
        if lines:
            yield f"{capital('; '.join(lines))}."


def _placed(place: str, arms: list[str]) -> str:
    return f"{place} {joined(few(arms, _NAMED))}".strip()


def _name(found: Effects, effect: Effect) -> str:
    """What is changed, and at which rate it is at its best; of the levels of one factor, not from what."""
    plain = found.question.design == "levels" and effect.arm
    name = joined(named(*thing) for thing in effect.things) if plain else change(effect, found.baseline)
    best = tuned(found, effect.arm)
    return f"{name} ({best})" if best else name


def _told(effect: Effect, state: str, words: Words) -> str:
    if state in ("same", "none") or effect.estimate is None:
        return ""
    _, *ends = words.ends(effect.estimate)
    if state == "small":
        return f" within ±{max((end.lstrip('+-') for end in ends), key=float)}"
    return f" (anything from {' to '.join(ends)})" if state == "unknown" else f" {_interval(effect, words)}"


def _costs(found: Effects) -> Iterator[str]:
    """How much more or less time and memory than the base arms take, where the change may be the cause."""
    imitated, told = str(found.comparison.environment.get("imitated formats")), []
    for effect in found.effects:
        caused = effect.arm and any(decides(name, "speed") for name, _ in effect.things)
        timed = found.steady and not any(level in imitated for _, level in effect.things)
        kinds = ({"seconds": "time"} if timed else {}) | {"peak_bytes": "memory"}
        far = {kind: effect.costs.get(fact, 1.0) for fact, kind in kinds.items()}
        apart = [f"×{times:.2f} {kind}" for kind, times in far.items() if abs(times - 1) > _DEARER and caused]
        told += [f"{_name(found, effect)} {joined(apart)}"] * bool(apart)
    if told:
        yield f"In multiples of the base's: {', '.join(few(told, _NAMED))}."


def _wide(found: Effects, words: Words) -> Iterator[str]:
    """Why the intervals of a setting are wide: each rests on the spread of its own setting."""
    spreads = {where(each.context): each.deviation for each in found.settings if each.compares and each.deviation}
    place = max(spreads, key=lambda name: spreads[name], default="")
    usual = median(spreads.values()) if spreads else 0.0
    if place and spreads[place] > _WIDE * usual:
        wide = f"Intervals are widest {place}, where seeds differ most: a standard deviation of"
        yield f"{wide} {words.short(spreads[place])}, pooled over its arms, against {words.short(usual)} in the median setting."


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
    if trend.predicted is None or not trend.slope.significant:
        return f"{line}, and is not extrapolated."
    held = f"at the largest size, left out of the line, {words.change(trend.predicted)} is predicted"
    return f"{line}; {held} and {words.change(trend.measured)} measured."


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
