"""The sentences of a verdict. Each claims no more than its estimates do where they are judged together."""

from collections.abc import Iterable

from gptx.compare.arms import Arm, Round
from gptx.compare.attribution import Effects, Factorial
from gptx.compare.statistics import Estimate
from gptx.compare.words import FEW, NAMES, Words, named, places, where
from gptx.units.phrases import count, joined, sentence

NOT, SINGLE, DEPENDS = "not significant", "single seed", "each depends on the other"  # which contributed more
CLAUSES = {NOT: "neither contributed significantly more", SINGLE: "a single seed cannot say which contributed more"}
SEVERAL = 4  # more contexts than this are told of as a range, or counted
Change = tuple[dict[str, str], Estimate]  # context, and what a level does there compared with the baseline's


def alone(arm: Arm, words: Words) -> str:
    """What runs that differ in nothing but their seeds came to."""
    if arm.diverged:
        return f"The run diverged in {arm.diverged} of {count(len(arm.results), 'seed')}."
    result = f"{words.amount(words.spread(arm))}"
    if arm.spread is None:
        runs = arm.states.count("finished")
        whose = f"{count(runs, 'run')} of one seed: their mean" if runs > 1 else "One run: its"
        return f"{whose} {words.metric} is {result}; one seed cannot say how much of that is chance."
    return f"Nothing but the seed differs: the {words.metric} is {result} (mean ± sd of {len(arm.results)} seeds)."


def called(arm: Arm, factor: str, context: Iterable[str] = ()) -> str:
    """An arm by its level of `factor`, and where it stands in those factors that are not in the `context`."""
    rest = {name: level for name, level in arm.levels.items() if name != factor and name not in context}
    return " ".join(filter(None, [named(factor, arm.levels[factor]), where(rest)]))


def lost(found: list[Arm], factor: str) -> str:
    """Which arms diverged, and in how many seeds: a clause; empty of none."""
    gone: dict[tuple, list[dict[str, str]]] = {}
    for arm in filter(lambda arm: arm.diverged, found):
        context = {name: level for name, level in arm.levels.items() if name != factor}
        gone.setdefault((arm.levels[factor], arm.diverged, len(arm.results)), []).append(context)
    together: dict[tuple, list[str]] = {}
    for (level, *seeds), contexts in gone.items():
        together.setdefault((*seeds, places(contexts)), []).append(named(factor, level))
    if len(together) > SEVERAL:
        return f"{sum(arm.diverged > 0 for arm in found)} of {count(len(found), 'arm')} diverged"
    told = (f"{joined(names)} {place}".strip() + f" diverged in {n} of {count(of, 'seed')}"
            for (n, of, place), names in together.items())  # fmt: skip
    return joined(told)


def ranking(around: Round, factor: str, words: Words) -> str:
    """Which level of `factor` ends best, and how far from the baseline: a clause; empty where no arm has a mean."""
    ranked, base, differences = around.ranked(words.better), around.baseline, around.differences
    if not ranked:
        return ""

    def name(level: str) -> str:
        return called(around.arms[level], factor, around.context)

    first = ranked[0]
    value = words.amount(words.number(around.arms[first].mean))
    if len(ranked) == 1:
        return f"only {name(first)} has a {words.metric} to compare: {value}"
    known = {level: each for level, each in differences.items() if each}
    if len(known) == 1 and base in ranked and len(ranked) == 2:
        ((other, found),) = known.items()
        return f"in {words.metric}, {name(other)} is {words.relation(found, name(base))}"
    if known and not any(each.mean or each.low for each in known.values()):
        return (
            f"every {NAMES.get(factor, factor)} has the same {words.metric} as {name(base)} in each seed that both have"
        )
    if known and all(each.p is not None and not each.significant for each in known.values()):
        far = max(known, key=lambda level: abs(known[level].mean))
        whole = words.amount(words.number(around.arms[base].mean))
        return (f"no {NAMES.get(factor, factor)} differs significantly from {name(base)} in {words.metric} ({whole}): "
                f"the largest difference is that of {name(far)} ({words.interval(known[far])})")  # fmt: skip
    lead = f"the {words.best} {words.metric} is that of {name(first)}"
    unequal = len({frozenset(around.arms[level].seeds) for level in ranked}) > 1  # so that means do not compare
    lead += " in the seeds that arms share" if unequal and any(each.paired for each in known.values()) else f", {value}"
    if base not in ranked:
        return f"{lead}; the baseline, {named(factor, base)}, has no mean"
    nearest, way = (ranked[1], "it") if first == base else (first, name(base))
    lead += f"; the next, {name(nearest)}, is" if first == base else "; it is"
    lead += f" {words.relation(known[nearest], way)}"
    if known[nearest].significant:
        return lead
    for way, sign in (("above", 1), ("below", -1)):
        others = [name(level) for level, each in known.items() if each.significant and each.mean * sign > 0]
        others = others if len(others) <= FEW else [f"{len(others)} arms"]
        lead += f"; significantly {way} {name(base)}: {joined(others)}" if others else ""
    return lead


def several(rounds: list[Round], factor: str, words: Words) -> str:
    """How often each level is better or worse than the baseline's, where each context is a question of its own."""
    told: list[str] = []
    single = all(each.p is None for around in rounds for each in around.estimates if each)
    for level in dict.fromkeys(level for around in rounds for level in around.differences):
        found = [
            each for around in rounds if (each := around.differences.get(level)) and (single or each.p is not None)
        ]
        ways = (("lower", [each for each in found if each.stated and each.mean < 0]),
                ("higher", [each for each in found if each.stated and each.mean > 0]))  # fmt: skip
        said = [f"{way} in {len(those)}" for way, those in ways if those]
        told += [f"{joined(said)} with {named(factor, level)}"] if said else []
    contexts = f"{len(rounds)} combinations of the other factors"
    base = f"compared with {named(factor, rounds[0].baseline)}"
    if not told:
        return sentence(f"in {contexts}, the {words.metric} is nowhere significantly different {base}")
    sure = "" if single else "significantly "
    chance = " (single seeds: what is chance cannot be said)" if single else ""
    return sentence(f"of {contexts}, the {words.metric} is {sure}{joined(told)}, {base}{chance}")


def turned(turn: str, changes: list[Change], words: Words) -> str:
    """What happens to the metric in each context if one thing is turned, as by "without warmup"."""
    lone = [context for context, each in changes if each.p is None]
    single = len(lone) == len(changes)
    changes = [(context, each) for context, each in changes if single or each.p is not None]
    same = [context for context, each in changes if each.same or (each.p is None and not each.mean)]
    alike = [(c, each) for c, each in changes if each.p is not None and not each.significant and not each.same]
    away = [(each.mean, context) for context, each in changes if each.stated]
    many = len(changes) > SEVERAL
    told: list[str] = []
    for way, those in (
        ("higher", [each for each in away if each[0] > 0]),
        ("lower", [each for each in away if each[0] < 0]),
    ):
        told += [f"{'' if told else 'ends '}{extent(those, way, words, many, again=bool(told))}"] if those else []
    told += [f"{'' if told else 'is '}the same {places(same, again=bool(told))}".strip()] if same else []
    text = f"{turn} the {words.metric} {joined(told)}" if told else ""
    if alike:
        seeds = joined(dict.fromkeys(str(each.n) for _, each in alike), "or")
        seeds = f"{'after correction, ' if any(each.told for _, each in alike) else ''}{seeds} seeds"
        here = places([context for context, _ in alike], again=bool(told))
        none = "no significant difference" if text else f"{turn} the {words.metric} is not significantly different"
        text += f"{'; ' if text else ''}{' '.join(filter(None, [none, here]))} ({seeds})"
    if not changes:
        return sentence(f"{turn}: no two finished runs to compare")
    if single:
        return sentence(f"{text} (single seed: what is chance cannot be said)")
    return sentence("; ".join([text, *[f"a single seed {places(lone, again=True)}"] * bool(lone)]))


def extent(those: list[tuple[float, dict[str, str]]], way: str, words: Words, many: bool, *, again: bool) -> str:
    """0.63 nats per character higher at learning rate 0.01 and 0.39 at 0.003."""
    those = sorted(those, key=lambda pair: -abs(pair[0]))
    sizes, contexts = [words.brief(abs(by)) for by, _ in those], [context for _, context in those]
    if many and len(those) > 1:
        ends = f"{sizes[-1]} to {sizes[0]}"
        return f"{ends if again else words.amount(ends)} {way} {places(contexts, again=again)}"
    first = f"{words.amount(sizes[0])} {way} {where(contexts[0], again=again)}".strip()
    return joined([first, *(f"{size} {where(c, again=True)}" for size, c in zip(sizes[1:], contexts[1:], strict=True))])


def crossed(two: Factorial, words: Words) -> str:
    """What turning the first of two things does: averaged over the other, or where that is no answer, that it depends
    on the other."""
    known = [(each, main) for each in two.effects if (main := two.turned(each.estimates[0]))]
    averaged = [(each.context, main) for each, main in known if not each.depends]
    told = [turned(f"{two.turn}, averaged over {two.over},", averaged, words)] if averaged else []
    if depends := [each for each, _ in known if each.depends]:
        here = places([each.context for each in depends])
        how = f"how much the {words.metric} changes {two.turn} depends on {two.other}{f' {here}' if here else ''}"
        sides = [[found for each in depends if (found := two.turned(each.simple(second)))] for second in (0, 1)]
        there = joined(f"{span(each, words)} {side}" for each, side in zip(sides, two.sides, strict=True))
        told.append(sentence(f"{how}: {there}"))
    return " ".join(told)


def span(found: list[Estimate], words: Words) -> str:
    """One difference with its interval, or the smallest and the largest of several."""
    if len(found) == 1:
        return words.change(found[0])
    ends = (min(found, key=lambda each: each.mean), max(found, key=lambda each: each.mean))
    return " to ".join(next(words.ends(each)) for each in ends)


def shares(two: Factorial, words: Words) -> str:
    """Of warmup and cool-down, warmup contributed more at learning rate 0.01, and cool-down at 0.0003."""
    contexts: dict[str, list[dict[str, str]]] = {}
    for each in two.effects:
        contexts.setdefault(more(two, each, words), []).append(each.context)
    told: list[str] = []
    for word in sorted(contexts, key=lambda word: (word not in two.names, word == NOT)):
        verb = " contributed more" if word in two.names and not told else ""
        told.append(f"{CLAUSES.get(word, word)}{verb} {places(contexts[word], again=bool(told))}".strip())
    return sentence(f"of {joined(two.names)}, {joined(told)}")


def more(two: Factorial, effects: Effects, words: Words) -> str:
    """Which of two things improved the metric more: its name, or why there is no answer."""
    *main, _, lead = effects.estimates
    lost = [joined(arm.levels[name] for name in arm.levels if name not in effects.context)
            for arm in effects.corners.values() if arm.diverged]  # fmt: skip
    if lost:
        return f"{joined(lost)} diverged"
    if lead is None:
        return "no common seed"
    if lead.p is None:
        return SINGLE
    if effects.depends:
        return DEPENDS
    gains = [words.better(each.mean) < 0 if each and each.significant else None for each in main]
    harmful = [name for name, gain in zip(two.names, gains, strict=True) if gain is False]
    if harmful and True not in gains:
        return f"{joined(harmful)} {'does' if len(harmful) == 1 else 'do'} harm"
    ahead = int(words.better(lead.mean) > 0)
    return two.names[ahead] if lead.significant and gains[ahead] else NOT
