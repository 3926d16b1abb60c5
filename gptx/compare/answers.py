"""The sentences of a verdict."""

from gptx.compare.arms import Arm, Round
from gptx.compare.attribution import Effects, Factorial
from gptx.compare.words import Words, capital, count, joined, named, where

CANNOT = "cannot tell"
SEVERAL = 4  # more places than this are told of as a range


def alone(arm: Arm, words: Words) -> str:
    """What runs that differ in nothing but their seeds came to."""
    if arm.diverged:
        return f"The run diverged in {arm.diverged} of {count(len(arm.results), 'seed')}."
    if arm.spread is None:
        return f"One run: its {words.metric} is {words.amount(arm.results[0])}; one seed cannot say how much of that is chance."
    text = f"{words.number(arm.mean)} ± {words.number(arm.spread)} {words.unit}".strip()
    return f"Nothing but the seed differs: the {words.metric} is {text} (mean ± sd of {len(arm.results)} seeds)."


def ranking(around: Round, factor: str, words: Words, shown: str = "") -> str:
    """Which level of `factor` ends best and how far from the baseline; `shown` are words for where, such as with gpt_10m."""
    ranked = around.ranked(words.better)
    base = named(factor, around.baseline)
    lost = [
        f"{named(factor, k)} diverged in {a.diverged} of {count(len(a.results), 'seed')}"
        for k, a in around.arms.items()
        if a.diverged
    ]
    tail = f"; {joined(lost)}" if lost else ""
    if not ranked:
        return f"{shown}{joined(lost) or 'no arm has a result'}".strip()
    first = ranked[0]
    arm = around.arms[first]
    place = (
        f" {where({k: v for k, v in arm.levels.items() if k != factor})}"
        if not around.context and len(arm.levels) > 1
        else ""
    )
    ahead = f"{shown}{named(factor, first)} ends {'highest' if words.rising else 'lowest'}, at {words.amount(arm.mean)}{place}"  # type: ignore[arg-type]
    if len(ranked) == 1:
        return f"{shown}only {named(factor, first)} has a result: {words.amount(arm.mean)}{place}{tail}"  # type: ignore[arg-type]
    if around.baseline not in ranked:
        return f"{ahead}; the baseline, {base}, has no result{tail}"
    nearest = ranked[1] if first == around.baseline else first
    difference = words.difference(named(factor, nearest), around.differences[nearest], base)
    if len(around.arms) == 2:
        return f"{shown}{difference}{place}{tail}"
    return f"{ahead}; {'the next, ' if first == around.baseline else ''}{difference}{tail}"


def beside(around: Round, factor: str, words: Words) -> str:
    """How far every arm is from the baseline's."""
    base = around.arms[around.baseline]
    told = [f"{named(factor, k)} {words.change(each)}" for k, each in around.differences.items() if each]
    place = where(around.context)
    return capital(
        f"{place}{', ' if place else ''}beside {named(factor, around.baseline)} ({words.spread(base)}): {joined(told)}."
    )


def removal(two: Factorial, words: Words) -> str:
    """What happens in each context if the first of two things is turned, and which of them contributed more where."""
    higher: list[tuple[float, dict]] = []
    unsure, lost, single = [], [], False
    for effects in two.effects:
        turned = effects.turned[0]
        other = effects.corners[1 - effects.reference[0], effects.reference[1]]
        if other.diverged and not effects.corners[effects.reference].diverged:
            lost.append(effects.context)
        elif turned and (turned.told or turned.low is None):
            higher.append((turned.mean, effects.context))
            single |= turned.low is None
        elif turned:
            unsure.append(effects.context)
    parts = []
    for way in (1, -1):
        those = sorted(((way * by, context) for by, context in higher if way * by > 0), key=lambda pair: -pair[0])
        parts += [extent(those, "higher" if way > 0 else "lower", words)] if those else []
    text = f"ends {joined(parts)}" if parts else ""
    if lost:
        text += f"{', and ' if text else ''}diverges{places(lost)}"
    if unsure:
        text += f"{', and ' if text else ''}cannot be told from the one {opposite(two.turns[0])}{places(unsure)}"
    text = f"{two.turns[0]} the {words.metric} {text}" if text else f"what {two.names[0]} does cannot be told"
    return capital(f"{text}; {shares(two, words)}{' (one seed, which cannot say what is chance)' if single else ''}.")


def opposite(turn: str) -> str:
    """without warmup -> with it."""
    return "with it" if turn.startswith("without") else "without it"


def extent(those: list[tuple[float, dict]], way: str, words: Words) -> str:
    """0.63 nats per character higher at peak rate 0.01 and 0.39 at peak rate 0.003."""
    if len(those) > SEVERAL:
        return f"{words.number(those[-1][0])} to {words.amount(those[0][0])} {way}{places([context for _, context in those])}"
    first, *rest = those
    return joined(
        [
            f"{words.amount(first[0])} {way}{places([first[1]])}",
            *(f"{words.number(by)}{places([context])}" for by, context in rest),
        ]
    )


def shares(two: Factorial, words: Words) -> str:
    """warmup contributed more than cool-down at peak rate 0.01, cool-down more at 0.0003."""
    by_word: dict[str, list[dict]] = {}
    for effects in two.effects:
        by_word.setdefault(more(two, effects, words), []).append(effects.context)
    said = []
    for word, contexts in by_word.items():
        place = places(contexts)
        if word in two.names:
            other = two.names[1 - two.names.index(word)]
            said.append(f"{word} contributed more than {other}{place}")
        elif word == CANNOT:
            said.append(f"which of {joined(two.names)} contributed more cannot be told{place}")
        else:
            said.append(f"{word}{place}")
    return joined(said)


def more(two: Factorial, effects: Effects, words: Words) -> str:
    """Which of two things improved the metric more: its name, or why there is none."""
    lead = effects.first_over_second
    if any(arm.diverged for arm in effects.corners.values()):
        return "an arm diverged"
    if lead is None:
        return "no seed has all four arms"
    if lead.low is None:
        return "single seed"
    if not lead.told:
        return CANNOT
    winner = 0 if words.better(lead.mean) < 0 else 1
    gains = [words.better(each.mean) < 0 if each and each.told else None for each in effects.main]
    if gains[1 - winner] is False and not gains[winner]:
        return f"{two.names[1 - winner]} does harm"
    return two.names[winner]


def contributions(two: Factorial, effects: Effects, words: Words) -> str:
    """What each of two things is worth in one context, and what they do together."""
    turned = joined(f"{turn} {words.change(each)}" for turn, each in zip(two.turns, effects.turned, strict=True))
    reference = effects.corners[effects.reference]
    said = [
        f"beside {words.spread(reference)}, {turned}",
        shares(Factorial(two.names, two.turns, [Effects({}, effects.corners, effects.reference)]), words),
    ]
    if effects.interaction and effects.interaction.told:
        gain = -words.better(effects.interaction.mean)
        said.append(
            f"together they do {words.number(abs(gain))} {'more' if gain > 0 else 'less'} than each alone adds up to"
        )
    place = where(effects.context)
    return capital(f"{place}{', ' if place else ''}{'; '.join(said)}.")


def places(contexts: list[dict[str, str]]) -> str:
    """at peak rate 0.003 and 0.01; empty of no context."""
    contexts = [context for context in contexts if context]
    if not contexts:
        return ""
    if all(len(context) == 1 for context in contexts):
        name = next(iter(contexts[0]))
        first, *rest = contexts
        return f" {joined([where(first), *(context[name] for context in rest)])}"
    return f" {joined(map(where, contexts))}"
