"""The sentences of a verdict."""

from gptx.compare.arms import Arm, Round
from gptx.compare.attribution import Effects, Factorial
from gptx.compare.statistics import Estimate
from gptx.compare.words import NAMES, Words, count, joined, named, places, sentence, where

CANNOT, SINGLE = "cannot tell", "single seed"  # what is said of which contributed more
CLAUSES = {CANNOT: "which contributed more cannot be told", SINGLE: "which contributed more a single seed cannot tell"}
SEVERAL = 4  # more places than this are told of as a range, or counted
Change = tuple[dict[str, str], Estimate | None, Arm, Arm]  # context, difference, the arm and the one beside it


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
    ranked, base, differences = around.ranked(words.better), around.baseline, around.differences
    lost = [f"{named(factor, level)} diverged in {arm.diverged} of {count(len(arm.results), 'seed')}"
            for level, arm in around.arms.items() if arm.diverged]  # fmt: skip
    tail = f"; {joined(lost)}" if lost else ""
    if not ranked:
        return joined(lost) or "no arm has a result"

    def name(level: str) -> str:
        """A level, and where it stands if arms differ in that too."""
        aside = {factor, *around.context}
        apart = {name: value for name, value in around.arms[level].levels.items() if name not in aside}
        return " ".join(filter(None, [named(factor, level), where(apart)]))

    first = ranked[0]
    value = words.amount(words.number(around.arms[first].mean))
    if len(ranked) == 1:
        return f"only {name(first)} has a {words.metric}: {value}{tail}"
    if len(ranked) == 2 and base in ranked:
        other = next(level for level in ranked if level != base)
        return f"in {words.metric}, {name(other)} is {words.relation(differences[other], name(base))}{tail}"
    judged = {level: each for level, each in differences.items() if each and each.low is not None}
    if base in ranked and judged and len(judged) == len(ranked) - 1 and not any(each.told for each in judged.values()):
        far = max(judged, key=lambda level: abs(judged[level].mean))
        whole = words.amount(words.number(around.arms[base].mean))
        return (f"no {NAMES.get(factor, factor)} can be told from {name(base)} in {words.metric} ({whole}): "
                f"the farthest, {name(far)}, is at {words.change(judged[far])}{tail}")  # fmt: skip
    lead = f"the {words.best} {words.metric} is that of {name(first)}, {value}"
    if base not in ranked:
        return f"{lead}; the baseline, {named(factor, base)}, has no mean{tail}"
    if first == base:
        return f"{lead}; the next, {name(ranked[1])}, is {words.relation(differences[ranked[1]], 'it')}{tail}"
    return f"{lead}; it is {words.relation(differences[first], name(base))}{tail}"


def several(rounds: list[Round], factor: str, words: Words) -> str:
    """The answer where each level of the other factors is a question of its own."""
    first: dict[str, list[dict[str, str]]] = {}
    for around in rounds:
        for level in around.ranked(words.better)[:1]:
            first.setdefault(level, []).append(around.context)
    told = [f"{named(factor, level)} in {len(first[level])}" for level in sorted(first, key=lambda k: -len(first[k]))]
    who = f"the {words.best} {words.metric} is that of {joined(told)}"
    return f"Of {len(rounds)} combinations of the other factors, {who}."


def beside(around: Round, factor: str, words: Words) -> str:
    """How far each arm is from the baseline's; empty where that has no mean, or nothing is there beside it."""
    told = [f"{named(factor, level)} {words.change(each)}" for level, each in around.differences.items() if each]
    if not told:
        return ""
    place = where(around.context)
    base = f"beside {named(factor, around.baseline)} ({words.spread(around.arms[around.baseline])})"
    return sentence(f"{place}{', ' if place else ''}{base}: {joined(told)}")


def turned(turn: str, changes: list[Change], words: Words) -> str:
    """What happens to the metric in each context if one thing is turned, as by "without warmup"."""
    lost = [context for context, _, arm, base in changes if arm.diverged and not base.diverged]
    saved = [context for context, _, arm, base in changes if base.diverged and not arm.diverged]
    known = [(context, change) for context, change, _, _ in changes if change]
    alike = [(context, change.n) for context, change in known if change.low is not None and not change.told]
    single = [context for context, change in known if change.low is None]
    away = [(change.mean, context) for context, change in known if change.low is None or change.told]
    told: list[str] = []
    for way, those in (
        ("higher", [each for each in away if each[0] > 0]),
        ("lower", [each for each in away if each[0] <= 0]),
    ):
        told += [f"{'' if told else 'ends '}{extent(those, way, words, again=bool(told))}"] if those else []
    told += [f"diverges {places(lost, again=bool(told))}".strip()] if lost else []
    told += [f"does not diverge, as it else does, {places(saved, again=bool(told))}".strip(" ,")] if saved else []
    text = f"{turn} the {words.metric} {joined(told)}" if told else ""
    if alike:
        seeds = joined(dict.fromkeys(str(n) for _, n in alike), "or")
        here = places([context for context, _ in alike], again=bool(told))
        text += f"{'; ' if text else f'{turn}, '}{seeds} seeds tell no difference {here}".rstrip()
    chance = f" (single seed {places(single)}: what is chance cannot be said)" if single else ""
    return sentence(f"{text or f'{turn}: no two finished runs of the same seed to compare'}{chance.replace(' :', ':')}")


def extent(those: list[tuple[float, dict[str, str]]], way: str, words: Words, *, again: bool) -> str:
    """0.63 nats per character higher at peak rate 0.01 and 0.39 at 0.003."""
    those = sorted(those, key=lambda pair: -abs(pair[0]))
    sizes, contexts = [words.brief(abs(by)) for by, _ in those], [context for _, context in those]
    if len(those) > SEVERAL:
        return f"{sizes[-1]} to {words.amount(sizes[0])} {way} {places(contexts, again=again)}"
    first = f"{words.amount(sizes[0])} {way} {where(contexts[0], again=again)}".strip()
    return joined([first, *(f"{size} {where(c, again=True)}" for size, c in zip(sizes[1:], contexts[1:], strict=True))])


def shares(two: Factorial, words: Words) -> str:
    """Of warmup and cool-down, warmup contributed more at peak rate 0.01, and cool-down at 0.0003."""
    contexts: dict[str, list[dict[str, str]]] = {}
    for each in two.effects:
        contexts.setdefault(more(two, each, words), []).append(each.context)
    told: list[str] = []
    for word in sorted(contexts, key=lambda word: (word not in two.names, word == CANNOT)):
        verb = " contributed more" if word in two.names and not told else ""
        told.append(f"{CLAUSES.get(word, word)}{verb} {places(contexts[word], again=bool(told))}".strip())
    return sentence(f"of {joined(two.names)}, {joined(told)}")


def more(two: Factorial, effects: Effects, words: Words) -> str:
    """Which of two things improved the metric more: its name, or why there is no answer."""
    lead = effects.first_over_second
    lost = [joined(arm.levels[name] for name in arm.levels if name not in effects.context)
            for arm in effects.corners.values() if arm.diverged]  # fmt: skip
    if lost:
        return f"{joined(lost)} diverged"
    if lead is None:
        return "no common seed"
    if lead.low is None:
        return SINGLE
    gains = [words.better(each.mean) < 0 if each and each.told else None for each in effects.main]
    harmful = [name for name, gain in zip(two.names, gains, strict=True) if gain is False]
    if harmful and True not in gains:
        return f"{joined(harmful)} {'does' if len(harmful) == 1 else 'do'} harm"
    ahead = int(words.better(lead.mean) > 0)
    return two.names[ahead] if lead.told and gains[ahead] else CANNOT


def contributions(two: Factorial, effects: Effects, words: Words) -> str:
    """What turning each of two things does in one context, which contributed more, and what they do together."""
    place, arm = where(effects.context), effects.corners[effects.reference]
    name = joined(named(*level) for level in arm.levels.items() if level[0] not in effects.context)
    base = f"{name} ({words.spread(arm)}), with 95 % intervals"
    changes = joined(f"{turn} {words.change(each)}" for turn, each in zip(two.turns, effects.turned, strict=True))
    said = [f"{place}{', ' if place else ''}beside {base}: {changes}"]
    word = more(two, effects, words)
    said.append(f"{word} contributed more" if word in two.names else CLAUSES.get(word, word))
    if effects.interaction and effects.interaction.told:
        by = effects.interaction.mean
        way = "higher" if by > 0 else "lower"
        said.append(f"with both it ends {words.brief(abs(by))} {way} than what each does alone adds up to")
    return sentence("; ".join(said))
