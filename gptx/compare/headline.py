"""The headline: one sentence of at most 25 words, by the template of its kind of question. None claims more than the
numbers of compare.effects do, which are judged together."""

from collections.abc import Iterable

from gptx.compare.effects import Effect, Effects, Setting
from gptx.compare.factors import grouped, numeric
from gptx.compare.optimum import Optimum
from gptx.compare.outcomes import Arm
from gptx.compare.trend import Trend, trends
from gptx.compare.words import FEW, Words, named, plain, rate_of, said, turned, where
from gptx.units.phrases import capital, count, few, joined

_MOST = 25  # words


def headline(found: Effects, words: Words) -> str:
    """The answer in one sentence."""
    design, settings = found.question.design, found.settings
    if design == "seeds":
        return _alone(found.arms[0], words)
    if design == "optimum":
        return _optima(found)
    if not found.judged:
        return _incomparable(found, words)
    if moving := trends(found):
        return _moving(found, moving, words)
    if len(settings) > 1:
        return _in_settings(found, words)
    each = _factorial if settings[0].whole else _levels if len(found.question.vary) == 1 else _arms
    return each(found, settings[0], words)


def _incomparable(found: Effects, words: Words) -> str:
    lost = all(setting.base is None or setting.base.mean is None for setting in found.settings)
    if lost and sum(arm.mean is not None for arm in found.arms) > 1:
        base = joined(few((named(name, found.baseline[name]) for name in found.question.vary), FEW))
        return f"The base ({base}) has no mean {words.metric} to compare others with."
    return f"No two arms have a {words.metric} to compare."


def _alone(arm: Arm, words: Words) -> str:
    seeds = count(len(arm.results), "seed")
    if arm.diverged:
        return f"The run diverged in {arm.diverged} of {seeds}."
    spread = "" if arm.spread is None else "mean ± sd of "
    return f"The {words.metric} is {words.amount(words.spread(arm))} ({spread}{seeds})."


def _levels(found: Effects, setting: Setting, words: Words) -> str:
    """Of one factor: the best level, if it is better than the base; else that none is."""
    base, best = plain(found.factor, found.baseline[found.factor]), setting.effects[0]
    if best.settled and (best.kind == words.good or not setting.effects[1:]):
        return _held(f"{_named(best)} ends {_size(best, words)} than {base} in {words.metric}", _each(found))
    return _unsettled(found, setting, base, words) or _no_better(found, setting, base, words)


def _no_better(found: Effects, setting: Setting, base: str, words: Words) -> str:
    if worse := [joined(named(*thing) for thing in effect.things) for effect in setting.effects if effect.settled]:
        none = f"No {said(found.factor)} is significantly better than {base} in {words.metric}"
        told = f"{joined(worse) if len(worse) <= FEW else len(worse)} {'is' if len(worse) == 1 else 'are'}"
        return _held(none, [f", and {told} worse"], _away(setting), _each(found))
    if not setting.compares:
        return f"No {said(found.factor)} differs from {base} in {words.metric}, to the last bit."
    none = "One seed cannot say whether any" if found.single else "No"
    surely = "significantly " * (not found.single)
    return _held(f"{none} {said(found.factor)} differs {surely}from {base} in {words.metric}", _each(found))


def _away(setting: Setting) -> list[str]:
    """Which levels a best learning rate at the edge of its grid leaves open, or how many."""
    some = [
        joined(named(*thing) for thing in each.things) for each in setting.effects if each.bound and not each.settled
    ]
    return [f"; {joined(some)} not settled", f"; {len(some)} not settled"] if some else []


def _unsettled(found: Effects, setting: Setting, base: str, words: Words) -> str:
    """What a difference is a bound of, where a best learning rate is at the edge of its grid; "" if a level is best."""
    some = [effect for effect in setting.effects if effect.bound and not effect.settled]
    if not some or (some[0] is not setting.effects[0] and any(effect.settled for effect in setting.effects)):
        return ""
    rate = rate_of(found)
    if [(effect.bound, effect.significant) for effect in some] != [("at most", True)]:
        whether = f"Whether any {said(found.factor)} is better than {base} is not settled"
        return f"{whether}: a best {rate} is at the edge of its grid."
    told = f"{_named(some[0])} ends {_size(some[0], words)} than {base} in {words.metric}"
    return f"{told}: a best {rate} is at the grid's edge."


def _nothing_settled(found: Effects, words: Words, none: str) -> str:
    """Why nothing is settled: `none` has an effect, or that cannot be said."""
    if found.single:
        changes = count(sum(not effect.interaction for effect in found.effects), "change")
        return f"One seed cannot say whether any of {changes} matters to the {words.metric}."
    if not any(effect.bound for effect in found.effects):
        return none
    return f"Nothing is settled about the {words.metric}: a best {rate_of(found)} is at the edge of its grid."


def _arms(found: Effects, setting: Setting, words: Words) -> str:
    """Of several changes: how many matter, and which one most."""
    settled = [effect for effect in setting.effects if effect.settled]
    changes = count(len(setting.effects), "change")
    if not settled:
        none = f"None of {changes} makes a significant difference to the {words.metric}"
        return _nothing_settled(found, words, _held(none, _each(found)))
    most = max(settled, key=lambda effect: abs(effect.mean))
    name = turned(most.things, found.baseline)
    if len(settled) == 1:
        return _held(f"1 of {changes} matters: {name} {_moved(most, words)}", _each(found))
    return _held(f"{len(settled)} of {changes} matter, {name} most: it {_moved(most, words)}", _each(found))


def _factorial(found: Effects, setting: Setting, words: Words) -> str:
    """Of a factorial: the largest main effect, or that it depends on another thing."""
    settled, mains = [effect for effect in setting.mains if effect.settled], count(len(setting.mains), "main effect")
    if not settled:
        none = _held(f"None of {mains} on the {words.metric} is significant", _each(found))
        return _nothing_settled(found, words, none)
    most = max(settled, key=lambda effect: abs(effect.mean))
    name = turned(most.things, found.baseline)
    if upon := setting.depends(most):
        return _held(f"The effect of {name} on the {words.metric} depends on {named(*upon)}", _each(found))
    shares = f"{len(settled)} of {mains} {'is' if len(settled) == 1 else 'are'} significant"
    return _held(f"{capital(name)} {_moved(most, words)} on average", _each(found), [f"; {shares}"])


def _in_settings(found: Effects, words: Words) -> str:
    """Of a question that is asked in several settings: in how many there is a difference, and the largest."""
    asked = [setting for setting in found.settings if setting.compares] or found.settings
    known = [(setting.context, effect) for setting in asked for effect in setting.effects
             if effect.estimate and len(effect.things) == 1]  # fmt: skip
    told = f"{_subject(found, {effect.things for _, effect in known})} changes the {words.metric}"
    if any(effect.settled for _, effect in known):
        return _in_some(found, capital(told), known, len(asked), words)
    none = f"{capital(told)} significantly in none of {count(len(asked), 'setting')}."
    return f"One seed cannot say whether {told}." if found.single else _nothing_settled(found, words, none)


def _in_some(found: Effects, told: str, known: list[tuple[dict, Effect]], asked: int, words: Words) -> str:
    settled = [pair for pair in known if pair[1].settled]
    context, most = max(settled, key=lambda pair: abs(pair[1].mean))
    does = _does(found, most, "it" if len({effect.things for _, effect in known}) == 1 else _short(most), words)
    if asked == 1:
        return _held(f"{told} {where(context)}", map(": {}".format, does))
    tail = [*map(f"; {where(context)}, {{}}".format, does), f"; {does[-1]} in one of them"]
    return _held(f"{told} in {len({str(place) for place, _ in settled})} of {asked} settings", tail)


def _does(found: Effects, effect: Effect, which: str, words: Words) -> list[str]:
    if not effect.things[0][0]:  # a trait, which does not end anywhere
        return [f"{which} {_moved(effect, words).replace(f'the {words.metric}', 'it')}"]
    than = f" than {plain(found.factor, found.baseline[found.factor])}" * (len(found.question.vary) == 1)
    return [f"{which} ends {_size(effect, words)}{tail}" for tail in (than, "")]


def _subject(found: Effects, changes: set[tuple]) -> str:
    vary = found.question.vary
    if len(changes) == 1:
        return turned(next(iter(changes)), found.baseline)
    return f"the {joined(map(said, vary))}" if len(vary) < FEW else "a change"


def _optima(found: Effects) -> str:
    """Where the best learning rate is, along the last factor of numbers, for each level of the others."""
    across = ["", *filter(lambda name: numeric(found.comparison.factors[name]), found.question.per)][-1]
    best = [one for one in found.optima if one.level]
    lines = grouped(best, lambda one: where({k: v for k, v in one.context.items() if k != across}))
    told = [f"{place}, {{}} {_moves(some, across)}".removeprefix(", ") for place, some in lines.items()]
    line = "; ".join(map(str.format, told, [f"the best {said(found.factor)}", *["it"] * len(told)]))
    if len(line.split()) > _MOST:
        line = f"the best {said(found.factor)} is {_range(best)} in {len(best)} settings"
    single = " (one seed)" * (max((len(one.arm.values) for one in best if one.arm), default=0) == 1)
    return f"{capital(line)}{single}." if told else "No learning rate has a result."


def _range(best: list[Optimum]) -> str:
    ends = sorted((one.level for one in best), key=float)
    return f"between {ends[0]} and {ends[-1]}" if ends[0] != ends[-1] else ends[0]


def _moves(best: list[Optimum], across: str) -> str:
    levels = list(dict.fromkeys(one.level for one in best))
    if across and best[0].level != best[-1].level:
        return f"moves from {best[0].level} to {best[-1].level} as {said(across)} grows"
    return f"is {joined(levels, 'or')}" + f" at every {said(across)}" * bool(across and not levels[1:])


def _moving(found: Effects, moving: list[Trend], words: Words) -> str:
    """Of effects at several model sizes: how many change with the size."""
    known = [(trend, trend.slope) for trend in moving if trend.slope and not trend.bounds]
    settled = [(trend, slope.mean) for trend, slope in known if slope.significant]
    what = count(len(moving), "effect")
    if not settled:
        return f"None of {what} on the {words.metric} changes significantly with the model's size."
    most, slope = max(settled, key=lambda pair: abs(pair[1]))
    way = "grows" if most.at_largest and slope * most.at_largest.mean > 0 else "shrinks"
    told = f"that of {turned(most.things, found.baseline)} {way} by {words.amount(words.short(slope))}"
    return f"{len(settled)} of {what} change{'s' * (len(settled) == 1)} with size: {told} per tenfold parameters."


def _short(effect: Effect) -> str:
    """A level without its factor, where it is a word: linear."""
    return joined(named(*thing) if numeric([thing[1]]) or not thing[0] else thing[1] for thing in effect.things)


def _held(told: str, *tails: Iterable[str]) -> str:
    """A headline with, of each of its tails, the first variant for which there is room."""
    for variants in tails:
        told += next((tail for tail in variants if len(f"{told}{tail}".split()) <= _MOST), "")
    return f"{told}."


def _each(found: Effects) -> list[str]:
    """How a headline says that each arm is at its best learning rate."""
    return [f", each at its best {rate}" for rate in (rate_of(found), "rate") if found.question.best_over]


def _named(effect: Effect) -> str:
    return capital(joined(named(*thing) for thing in effect.things))


def _size(effect: Effect, words: Words) -> str:
    assert effect.estimate is not None
    return f"{effect.bound} {words.size(effect.estimate)}".strip()


def _moved(effect: Effect, words: Words) -> str:
    """lowers the validation loss by 0.20 nats per byte."""
    way, size = "lowers" if effect.mean < 0 else "raises", words.amount(words.short(effect.mean))
    return f"{way} the {words.metric} by {effect.bound} {size}".replace("  ", " ")
