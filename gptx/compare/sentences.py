"""The headline, one template a kind of question, and the sentences that it rests on. None claims more than the numbers
of compare.effects do, which are judged together."""

from collections.abc import Iterator

from gptx.compare.effects import Effect, Effects, Setting
from gptx.compare.estimates import tally
from gptx.compare.factors import grouped, numeric
from gptx.compare.optimum import Optimum
from gptx.compare.outcomes import Arm, contexts
from gptx.compare.trend import Trend, trends
from gptx.compare.words import FEW, Words, change, named, said, turned, where
from gptx.units.phrases import capital, count, joined, sentence

HEADLINE = 25  # words of a headline at most


def headline(found: Effects, words: Words) -> str:
    """The answer in one sentence."""
    design, settings = found.question.design, found.settings
    if design == "seeds":
        return _alone(found.arms[0], words)
    if design == "optimum":
        return _optima(found)
    if not found.judged:
        return f"No two arms have a {words.metric} to compare."
    if moving := trends(found):
        return _moving(found, moving, words)
    if len(settings) > 1:
        return _in_settings(found, words)
    if design == "levels":
        return _levels(found, settings[0], words)
    things = any(effect.arm is None for effect in settings[0].effects)
    return (_factorial if things else _arms)(found, settings[0], words)


def _alone(arm: Arm, words: Words) -> str:
    seeds = count(len(arm.results), "seed")
    if arm.diverged:
        return f"The run diverged in {arm.diverged} of {seeds}."
    spread = "" if arm.spread is None else "mean ± sd of "
    return f"The {words.metric} is {words.amount(words.spread(arm))} ({spread}{seeds})."


def _levels(found: Effects, setting: Setting, words: Words) -> str:
    """Of one factor: the best level, if it is better than the base; else that none is."""
    base, each = named(found.factor, found.baseline[found.factor]), _each(found)
    best = setting.effects[0]
    if best.settled and best.kind == words.good:
        return f"{_named(best)} ends {_size(best, words)} than {base} in {words.metric}{each}."
    worse = [effect for effect in setting.effects if effect.settled]
    if not worse and (unsettled := [effect for effect in setting.effects if effect.bound]):
        return _unsettled(unsettled, base, found, words)
    if len(setting.effects) == 1 and worse:
        return f"{_named(best)} ends {_size(best, words)} than {base} in {words.metric}{each}."
    if worse:
        return f"No {said(found.factor)} is better than {base} in {words.metric}, and {_listed(worse)} worse{each}."
    if all(effect.kind == "same" for effect in setting.effects):
        return f"Every {said(found.factor)} has the same {words.metric} as {base}, seed by seed."
    single = all(estimate.p is None for estimate in found.judged)
    what = "One seed cannot say whether any" if single else "No"
    return f"{what} {said(found.factor)} differs {'significantly ' * (not single)}from {base} in {words.metric}{each}."


def _unsettled(some: list[Effect], base: str, found: Effects, words: Words) -> str:
    """Of levels whose best learning rate, or that of the base, is at the edge of its grid: what that is a bound of."""
    rate = joined(map(said, found.question.best_over))
    if len(some) > 1 or some[0].bound != "at most":
        names = joined(named(*thing) for effect in some[:FEW] for thing in effect.things)
        return f"Nothing is settled between {base} and {names}: a best {rate} is at the edge of its grid."
    told = f"{_named(some[0])} ends {_size(some[0], words)} than {base} in {words.metric}"
    return f"{told}: a best {rate} is at the grid's edge."


def _arms(found: Effects, setting: Setting, words: Words) -> str:
    """Of several changes: how many matter, and which one most."""
    settled = [effect for effect in setting.effects if effect.settled]
    changes = count(len(setting.effects), "change")
    if not settled:
        return f"None of {changes} makes a significant difference to the {words.metric}{_each(found)}."
    most = max(settled, key=_far)
    name = turned(most.things, found.baseline)
    if len(settled) == 1:
        return f"1 of {changes} matters: {name} {_moved(most, words)}{_each(found)}."
    return f"{len(settled)} of {changes} matter, {name} most: it {_moved(most, words)}{_each(found)}."


def _factorial(found: Effects, setting: Setting, words: Words) -> str:
    """Of a factorial: the largest main effect, or that it depends on another thing."""
    mains = [effect for effect in setting.effects if len(effect.things) == 1]
    settled = [effect for effect in mains if effect.settled]
    if not settled:
        return f"None of {count(len(mains), 'main effect')} on the {words.metric} is significant{_each(found)}."
    most = max(settled, key=_far)
    name = turned(most.things, found.baseline)
    if other := _depends(most, setting):
        return (
            f"The effect of {name} on the {words.metric} depends on {joined(named(*x) for x in other)}{_each(found)}."
        )
    shares = f"{len(settled)} of {count(len(mains), 'main effect')} {'is' if len(settled) == 1 else 'are'} significant"
    return f"{capital(name)} {_moved(most, words)} on average{_each(found)}; {shares}."


def _depends(main: Effect, setting: Setting) -> list[tuple[str, str]] | None:
    """The thing on which another one depends so much that an average over it is no answer."""
    both = [effect for effect in setting.effects if len(effect.things) == 2 and main.things[0] in effect.things]
    strong = [effect for effect in both if effect.settled and _far(effect) > _far(main)]
    return [thing for thing in max(strong, key=_far).things if thing not in main.things] if strong else None


def _in_settings(found: Effects, words: Words) -> str:
    """Of a question that is asked in several settings: in how many there is a difference, and the largest."""
    known = [(setting.context, effect) for setting in found.settings for effect in setting.effects
             if effect.estimate and len(effect.things) == 1]  # fmt: skip
    if all(effect.estimate and effect.estimate.p is None for _, effect in known):
        return f"One seed cannot say whether {_subject(found)} changes the {words.metric}."
    settled = [(context, effect) for context, effect in known if effect.settled]
    changes = list(dict.fromkeys(effect.things for _, effect in known))
    subject = capital(turned(changes[0], found.baseline) if len(changes) == 1 else _subject(found))
    inside = count(len(found.settings), "setting")
    if not settled:
        return f"{subject} changes the {words.metric} significantly in none of {inside}."
    context, most = max(settled, key=lambda pair: _far(pair[1]))
    which = f"{_short(most)} is " if len(changes) > 1 else "it is "
    settings = {str(context) for context, _ in settled}
    told = f"{where(context)}, {which}{_size(most, words)}"
    return f"{subject} changes the {words.metric} in {len(settings)} of {inside}; {told}."


def _subject(found: Effects) -> str:
    vary = found.question.vary
    return f"the {joined(map(said, vary))}" if len(vary) < FEW else "a change"


def _optima(found: Effects) -> str:
    """Where the best learning rate is, along the last factor of numbers, for each level of the others."""
    best = [one for one in found.optima if one.level]
    if not best:
        return "No learning rate has a result."
    across = next((name for name in reversed(found.question.per) if numeric(found.comparison.factors[name])), "")
    lines = grouped(best, lambda one: where({k: v for k, v in one.context.items() if k != across}))
    rate = f"the best {said(found.factor)}"
    told = [sentence(f"{place}{',' * bool(place)}", rate if not i else "it", _moves(some, across)).removesuffix(".")
            for i, (place, some) in enumerate(lines.items())]  # fmt: skip
    return f"{'; '.join([told[0], *(each[0].lower() + each[1:] for each in told[1:])])}."


def _moves(best: list[Optimum], across: str) -> str:
    levels = list(dict.fromkeys(one.level for one in best))
    if len(levels) == 1:
        return f"is {levels[0]} at every {said(across)}" if across else f"is {levels[0]}"
    return (
        f"moves from {best[0].level} to {best[-1].level} as {said(across)} grows"
        if across
        else f"is {joined(levels, 'or')}"
    )


def _moving(found: Effects, moving: list[Trend], words: Words) -> str:
    """Of effects at several model sizes: how many change with the size."""
    settled = [(trend, trend.slope.mean) for trend in moving if trend.slope and trend.slope.significant]
    what = count(len(moving), "effect")
    if not settled:
        return f"None of {what} on the {words.metric} changes significantly with the model's size."
    most, slope = max(settled, key=lambda pair: abs(pair[1]))
    way = "grows" if slope * most.at_largest > 0 else "shrinks"
    told = f"that of {turned(most.things, found.baseline)} {way} by {words.amount(words.short(slope))}"
    return f"{len(settled)} of {what} change{'s' * (len(settled) == 1)} with size: {told} per tenfold parameters."


def reasons(found: Effects, words: Words, at_time: Effects | None = None) -> Iterator[str]:
    """The sentences that the headline rests on."""
    if found.question.design == "seeds":
        if found.arms[0].spread is None and not found.arms[0].diverged:
            yield "A single seed cannot say how much of the result is chance."
        return
    for setting in found.settings:
        yield from _told(found, setting, words)
    yield from (_trend(found, one, words) for one in trends(found))
    made, sure = tally(found.judged)
    if made > 1:
        yield f"{made} comparisons, judged together at 95 %: {sure} significant."
    if found.question.best_over and any(len(arms) > 1 for _, arms in contexts(found.arms, *found.question.best_over)):
        flattered = max((setting.flattered for setting in found.settings), default=0.0)
        about = f" by about {words.amount(words.short(flattered))}" if flattered > 10.0**-words.finest else ""
        rates = joined(map(said, found.question.best_over))
        yield (f"Each arm's best {rates} was chosen on the seeds that are shown, which flatters an arm{about}; "
               "the correction counts the choice, and python -m gptx confirm trains it on fresh seeds.")  # fmt: skip
    yield from _on_fresh_seeds(found, words)
    yield from _at_equal_time(found, at_time, words)


def _told(found: Effects, setting: Setting, words: Words) -> Iterator[str]:
    """What is lower and what is higher in a setting, and what cannot be told apart."""
    place = where(setting.context)
    single = [effect for effect in setting.effects if effect.arm or len(effect.things) == 1]
    for kind in ("lower", "higher"):
        if some := [effect for effect in single if effect.kind == kind]:
            told = [f"{change(effect, found.baseline)} {_interval(effect, words)}" for effect in some]
            yield sentence(place, f"{kind}: {_few(told)}")
    if len(found.settings) == 1 and (unsure := [effect for effect in single if effect.kind in ("unsure", "same")]):
        largest = max(unsure, key=_far)
        far = f"; the largest is {_interval(largest, words)}" if _far(largest) else ""
        yield f"No significant difference: {_few([change(effect, found.baseline) for effect in unsure])}{far}."
    both = [effect for effect in setting.effects if effect not in single]
    if both and len(found.settings) == 1:
        sure = [f"{change(effect, found.baseline)} {_interval(effect, words)}" for effect in both if effect.settled]
        which = f": {_few(sure)}" if sure else ""
        share = f"{len(sure) or 'None'} of {count(len(both), 'interaction')} {'is' if len(sure) < 2 else 'are'}"
        yield f"{share} significant{which}."
    if setting.lead and len(found.settings) == 1:
        yield f"Contributed more: {contributed(found, setting, words.sign)}."


def _few(phrases: list[str]) -> str:
    return joined([*phrases[:FEW], *[f"{len(phrases) - FEW} more"] * (len(phrases) > FEW)])


def contributed(found: Effects, setting: Setting, sign: int) -> str:
    """Which of two things improved the metric more: its name, or why there is no answer."""
    mains = {
        things: next((x for x in setting.effects if x.things == (things,)), None) for things in found.question.things
    }
    if lost := sum(arm.diverged > 0 for arm in setting.arms):
        return f"{count(lost, 'arm')} diverged"
    if setting.lead is None or setting.lead.p is None or None in mains.values():
        return "single seed" if setting.lead else "no common seed"
    if any(effect and _depends(effect, setting) for effect in mains.values()):
        return "each depends on the other"
    names = [named(*things) for things in mains]
    gains = [-sign * effect.mean if effect and effect.settled else 0.0 for effect in mains.values()]
    if max(gains) <= 0 > min(gains):
        return f"harm by {joined(name for name, gain in zip(names, gains, strict=True) if gain)}"
    ahead = int(sign * setting.lead.mean > 0)
    return names[ahead] if setting.lead.significant and gains[ahead] > 0 else "not significant"


def _trend(found: Effects, trend: Trend, words: Words) -> str:
    name = f"effect of {turned(trend.things, found.baseline)}"
    if trend.slope is None or trend.slope.p is None:
        return f"The {name} cannot be extrapolated: it has no interval."
    line = f"The {name} changes by {words.change(trend.slope)} per tenfold parameters"
    if trend.predicted is None or not trend.slope.significant:
        return f"{line}, and is not extrapolated."
    held = f"at the largest size, left out of the line, {words.change(trend.predicted)} is predicted"
    return f"{line}; {held} and {words.change(trend.measured)} measured."


def _on_fresh_seeds(found: Effects, words: Words) -> Iterator[str]:
    again = [(change(effect, found.baseline), effect.fresh) for effect in found.effects if effect.fresh]
    if again:
        told = _few([f"{name} {words.change(estimate)}" for name, estimate in again])
        yield f"On {count(max(each.n for _, each in again), 'fresh seed')}, which chose nothing: {told}."


def _at_equal_time(found: Effects, at_time: Effects | None, words: Words) -> Iterator[str]:
    """One line where equal time says something else than equal steps."""
    then = {str(effect.things): effect for effect in at_time.effects} if at_time and len(at_time.settings) == 1 else {}
    other = [(effect, then[str(effect.things)]) for effect in found.effects if str(effect.things) in then]
    apart = [(a, b) for a, b in other if b.estimate and (a.kind != b.kind) and "none" not in (a.kind, b.kind)]
    told = [f"{turned(b.things, found.baseline)} {words.change(b.estimate)}" for _, b in apart[:FEW]]
    if told:
        yield f"At equal time instead (read before a longer run's cool-down has ended): {joined(told)}."


def _short(effect: Effect) -> str:
    """A level without its factor, where it is a word: linear."""
    return joined(named(*thing) if numeric([thing[1]]) or not thing[0] else thing[1] for thing in effect.things)


def _each(found: Effects) -> str:
    """The end of a headline: , each at its best learning rate."""
    return f", each at its best {joined(map(said, found.question.best_over))}" if found.question.best_over else ""


def _named(effect: Effect) -> str:
    return capital(joined(named(*thing) for thing in effect.things))


def _listed(effects: list[Effect]) -> str:
    names = [joined(named(*thing) for thing in effect.things) for effect in effects]
    told = joined(names) if len(names) <= FEW else f"{len(names)} are"
    return told if len(names) > FEW else f"{told} {'is' if len(names) == 1 else 'are'}"


def _size(effect: Effect, words: Words) -> str:
    assert effect.estimate is not None
    return f"{effect.bound} {words.size(effect.estimate)}".strip()


def _moved(effect: Effect, words: Words) -> str:
    """lowers the validation loss by 0.20 nats per byte."""
    way, size = "lowers" if effect.mean < 0 else "raises", words.amount(words.short(effect.mean))
    return f"{way} the {words.metric} by {effect.bound} {size}".replace("  ", " ")


def _interval(effect: Effect, words: Words) -> str:
    bound = {"at least": "at least ", "at most": "at most ", "open": "grid open, "}.get(effect.bound, "")
    return f"{bound}{words.change(effect.estimate)}" if effect.estimate else "-"


def _far(effect: Effect) -> float:
    return abs(effect.mean)
