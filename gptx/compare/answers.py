"""The sentences of a verdict."""

from gptx.compare.arms import Arm, Round
from gptx.compare.attribution import Effects, Factorial
from gptx.compare.words import Words, count, joined, named, places, sentence, where

CANNOT = "cannot tell"
SEVERAL = 4  # more places than this are told of as a range


def alone(arm: Arm, words: Words) -> str:
    """What runs that differ in nothing but their seeds came to."""
    if arm.diverged:
        return f"The run diverged in {arm.diverged} of {count(len(arm.results), 'seed')}."
    result = f"{words.amount(words.spread(arm))}"
    if arm.spread is None:
        return f"One run: its {words.metric} is {result}; one seed cannot say how much of that is chance."
    return f"Nothing but the seed differs: the {words.metric} is {result} (mean ± sd of {len(arm.results)} seeds)."


def ranking(around: Round, factor: str, words: Words) -> str:
    """Which level of `factor` ends best, and how far from the baseline: a clause."""
    ranked, base = around.ranked(words.better), around.baseline
    lost = [f"{named(factor, level)} diverged in {arm.diverged} of {count(len(arm.results), 'seed')}"
            for level, arm in around.arms.items() if arm.diverged]  # fmt: skip
    tail = f"; {joined(lost)}" if lost else ""
    if not ranked:
        return joined(lost) or "no arm has a result"

    def name(level: str) -> str:
        """A level, and where it stands if arms differ in that too."""
        else_ = {
            name: value
            for name, value in around.arms[level].levels.items()
            if name not in around.context | {factor: ""}
        }
        return " ".join(filter(None, [named(factor, level), where(else_)]))

    first = ranked[0]
    value = words.amount(words.number(around.arms[first].mean))
    if len(ranked) == 1:
        return f"only {name(first)} has a {words.metric}: {value}{tail}"
    if len(ranked) == 2 and base in ranked:
        other = next(level for level in ranked if level != base)
        return f"in {words.metric}, {name(other)} is {words.relation(around.differences[other], name(base))}{tail}"
    lead = f"{name(first)} ends with the {'highest' if words.rising else 'lowest'} {words.metric}, {value}"
    if base not in ranked:
        return f"{lead}; the baseline, {named(factor, base)}, has no mean{tail}"
    if first == base:
        return f"{lead}; the next, {name(ranked[1])}, is {words.relation(around.differences[ranked[1]], 'it')}{tail}"
    return f"{lead}; it is {words.relation(around.differences[first], name(base))}{tail}"


def several(rounds: list[Round], factor: str, words: Words) -> str:
    """The answer where each level of the other factors is a question of its own."""
    if len(rounds) <= 3:
        phrases = [
            f"{where(around.context)}{', ' if around.context else ''}{ranking(around, factor, words)}"
            for around in rounds
        ]
        return " ".join(map(sentence, phrases))
    first: dict[str, list[dict[str, str]]] = {}
    for around in rounds:
        for level in around.ranked(words.better)[:1]:
            first.setdefault(level, []).append(around.context)
    told = [f"{named(factor, level)} in {len(first[level])}" for level in sorted(first, key=lambda k: -len(first[k]))]
    way = "highest" if words.rising else "lowest"
    return f"Of {len(rounds)} combinations of the other factors, the {way} {words.metric} is that of {joined(told)}."


def beside(around: Round, factor: str, words: Words) -> str:
    """How far each arm is from the baseline's; empty where that has no mean, or nothing is there beside it."""
    told = [f"{named(factor, level)} {words.change(each)}" for level, each in around.differences.items() if each]
    if not told:
        return ""
    place = where(around.context)
    base = f"beside {named(factor, around.baseline)} ({words.spread(around.arms[around.baseline])})"
    return sentence(f"{place}{', ' if place else ''}{base}: {joined(told)}")


def removal(two: Factorial, words: Words) -> str:
    """What happens if the first of two things is turned, in each context, and which contributed more where."""
    away: list[tuple[float, dict[str, str]]] = []
    alike, lost, single = [], [], False
    for effects in two.effects:
        turned = effects.turned[0]
        if effects.across(0).diverged and not effects.corners[effects.reference].diverged:
            lost.append(effects.context)
        elif turned and (turned.told or turned.low is None):
            away.append((turned.mean, effects.context))
            single |= turned.low is None
        elif turned:
            alike.append(effects.context)
    above, below = [pair for pair in away if pair[0] > 0], [pair for pair in away if pair[0] <= 0]
    extents = [extent(those, way, words) for those, way in ((above, "higher"), (below, "lower")) if those]
    told = [f"ends {joined(extents)}"] if extents else []
    told += [f"diverges {places(lost)}".strip()] if lost else []
    told += [f"cannot be told from what it is else {places(alike)}".strip()] if alike else []
    what = f"{two.turns[0]} the {words.metric} {joined(told)}" if told else f"what {two.names[0]} does cannot be told"
    return sentence(
        f"{what}; {shares(two, two.effects, words)}", "(single seed: what is chance cannot be said)" if single else ""
    )


def extent(those: list[tuple[float, dict[str, str]]], way: str, words: Words) -> str:
    """0.63 nats per character higher at peak rate 0.01 and 0.39 at peak rate 0.003."""
    those = sorted(those, key=lambda pair: -abs(pair[0]))
    sizes = [words.brief(abs(by)) for by, _ in those]
    if len(those) > SEVERAL:
        return f"{sizes[-1]} to {words.amount(sizes[0])} {way} {places([context for _, context in those])}"
    first, *rest = (f"{size}|{where(context)}" for size, (_, context) in zip(sizes, those, strict=True))
    phrases = [
        first.replace("|", f" {words.unit} {way} " if words.unit else f" {way} "),
        *(each.replace("|", " ") for each in rest),
    ]
    return joined(phrase.strip() for phrase in phrases)


def shares(two: Factorial, effects: list[Effects], words: Words) -> str:
    """warmup contributed more than cool-down at peak rate 0.01, cool-down more than warmup at peak rate 0.0003."""
    contexts: dict[str, list[dict[str, str]]] = {}
    for each in effects:
        contexts.setdefault(more(two, each, words), []).append(each.context)
    told = []
    for word, where_ in contexts.items():
        if word in two.names:
            word = f"{word} contributed more than {two.names[1 - two.names.index(word)]}"
        elif word == CANNOT:
            word = f"which of {joined(two.names)} contributed more cannot be told"
        told.append(f"{word} {places(where_)}".strip())
    return joined(told)


def more(two: Factorial, effects: Effects, words: Words) -> str:
    """Which of two things improved the metric more: its name, or why there is no answer."""
    lead = effects.first_over_second
    if any(arm.diverged for arm in effects.corners.values()):
        return "an arm diverged"
    if lead is None:
        return "no seed has all four arms"
    if lead.low is None:
        return "single seed"
    if not lead.told:
        return CANNOT
    winner = int(words.better(lead.mean) > 0)
    helps = [words.better(each.mean) < 0 if each and each.told else None for each in effects.main]
    if helps[1 - winner] is False and not helps[winner]:
        return f"{two.names[1 - winner]} does harm"
    return two.names[winner]


def contributions(two: Factorial, effects: Effects, words: Words) -> str:
    """What turning each of two things does in one context, which contributed more, and what they do together."""
    place, base = where(effects.context), words.spread(effects.corners[effects.reference])
    turned = joined(f"{turn} {words.change(each)}" for turn, each in zip(two.turns, effects.turned, strict=True))
    said = [f"{place}{', ' if place else ''}beside {base}: {turned}", shares(two, [effects.anywhere()], words)]
    if effects.interaction and effects.interaction.told:
        gain = -words.better(effects.interaction.mean)
        more_or_less = "more" if gain > 0 else "less"
        said.append(f"together they gain {words.brief(abs(gain))} {more_or_less} than each alone adds up to")
    return sentence("; ".join(said))
