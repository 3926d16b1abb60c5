"""The sentences that a headline rests on. None claims more than the numbers of compare.effects do."""

from collections.abc import Iterator
from operator import attrgetter

from gptx.compare.effects import Effect, Effects, Setting
from gptx.compare.outcomes import contexts
from gptx.compare.trend import Trend, trends
from gptx.compare.words import FEW, Words, change, named, said, turned, where
from gptx.estimate.differences import tally
from gptx.units.phrases import count, few, joined, sentence

_SETTINGS = 4


def reasons(found: Effects, words: Words, at_time: Effects | None = None) -> Iterator[str]:
    """The sentences that the headline rests on."""
    if found.question.design == "seeds" and len(found.arms[0].results) == 1:
        yield "A single seed cannot say how much of the result is chance."
    for setting in found.settings:
        if len(found.settings) <= _SETTINGS and not trends(found):  # of more, the table has it
            yield from _significant(found, setting, words)
        if len(found.settings) == 1:
            yield from _insignificant(found, setting, words)
            yield from _interactions(found, setting, words)
    yield from (_trend(found, one, words) for one in trends(found))
    made, sure = tally(found.judged)
    if made:
        seeds = count(max(map(attrgetter("n"), found.judged)), "seed")
        yield f"{count(made, 'comparison')} over {seeds}{', judged together at 95 %' * (made > 1)}: {sure} significant."
    if len(contexts(found.arms, *found.question.best_over)) < len(found.arms):
        yield _chosen(found, words)
    yield from _on_fresh_seeds(found, words)
    yield from _at_equal_time(found, at_time, words)


def _significant(found: Effects, setting: Setting, words: Words) -> Iterator[str]:
    """What is lower and what is higher in a setting."""
    for kind in ("lower", "higher"):
        if some := [effect for effect in setting.mains if effect.kind == kind]:
            yield sentence(where(setting.context), f"{kind}: {_few(found, some, words)}")


def _insignificant(found: Effects, setting: Setting, words: Words) -> Iterator[str]:
    """What does not differ significantly from the base, and what an edge of a grid leaves open."""
    unsure = [effect for effect in setting.mains if effect.kind in ("unsure", "same")]
    if edge := [effect for effect in unsure if effect.significant]:
        yield f"Not settled, as a better learning rate may lie beyond the grid: {_few(found, edge, words)}."
    if closed := [effect for effect in unsure if not effect.significant]:
        largest = max(closed, key=lambda effect: abs(effect.mean))
        far = f"; the largest is {_interval(largest, words)}" if largest.mean else ""
        yield f"No significant difference: {_few(found, closed)}{far}."


def _interactions(found: Effects, setting: Setting, words: Words) -> Iterator[str]:
    if both := [effect for effect in setting.effects if effect.interaction]:
        sure = [effect for effect in both if effect.settled]
        which = f": {_few(found, sure, words)}" if sure else ""
        share = f"{len(sure) or 'None'} of {count(len(both), 'interaction')} {'is' if len(sure) < 2 else 'are'}"
        yield f"{share} significant{which}."
    if setting.lead:
        yield f"Contributed more: {contributed(found, setting)}."


def _few(found: Effects, effects: list[Effect], words: Words | None = None) -> str:
    """The first of some effects by name, with their intervals if there are words for these; the others are counted."""
    told = [f"{change(effect, found.baseline)} {_interval(effect, words) if words else ''}" for effect in effects]
    return joined(few(map(str.strip, told), FEW))


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
    told = f"Each arm's best {joined(map(said, found.question.best_over))} was chosen on the seeds that are shown"
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
