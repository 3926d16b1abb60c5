"""The templates of headlines and sentences. None claims more than its estimates do where they are judged together."""

from collections.abc import Iterable

from gptx.compare.effects import Arm, Effects, Factorial, Round, Square
from gptx.compare.estimates import Estimate, holm
from gptx.compare.factors import is_group
from gptx.compare.words import FEW, NAMES, Words, named, places, where
from gptx.units.phrases import count, joined, sentence

NOT, SINGLE, DEPENDS = "not significant", "single seed", "each depends on the other"  # which contributed more
CLAUSES = {NOT: "neither contributed significantly more", SINGLE: "a single seed cannot say which contributed more"}
Change = tuple[dict[str, str], Estimate]  # context, and what a change does there


def answer(found: Effects, words: Words) -> list[str]:
    """The headline, and the sentences that it rests on."""
    if not found.factor:
        return _alone(found.arms[0], words)
    best, two, base = found.best, found.factorial, found.baseline[found.factor]
    levels = [level for level in found.comparison.factors[found.factor] if level != base]
    tuned = f"with each {said(found.factor)} at its best {joined(map(said, found.others))},"
    ranking = _ranking(best, found.factor, words, tuned) if best else []
    if two and any(two.judged):
        told = [*_crossed(two, words), _shares(two, words), *ranking]
    elif len(found.rounds) == 1:
        told = _ranking(found.rounds[0], found.factor, words)
    elif best and not (len(levels) == 1 and any(any(each.differences.values()) for each in found.rounds)):
        told = ranking
    else:
        told = [*_levels(found, levels, words), *ranking]
    told = told or [f"No two arms have a {words.metric} to compare."]
    return [*told, *filter(None, [comparisons(found.judged)])]


def comparisons(made: Iterable[Estimate | None]) -> str:
    """12 comparisons: 5 significant at 95 %, 2 after Holm correction. "" for fewer than two."""
    judged = [each for each in made if each and each.p is not None]
    if len(judged) < 2:
        return ""
    limit, alone = holm(judged), sum(each.significant_alone for each in judged)
    kept = sum(each.p <= limit for each in judged)  # type: ignore[operator]
    return f"{len(judged)} comparisons: {alone} significant at 95 %, {kept} after Holm correction."


def _alone(arm: Arm, words: Words) -> list[str]:
    """What runs came to that differ in nothing but their seeds."""
    if arm.diverged:
        return [f"The run diverged in {arm.diverged} of {count(len(arm.results), 'seed')}."]
    result, runs = words.amount(words.spread(arm)), arm.states.count("finished")
    if arm.spread is not None:
        return [f"Only the seed differs: the {words.metric} is {result} (mean ± sd of {len(arm.results)} seeds)."]
    whose = f"{runs} runs of one seed end with a mean" if runs > 1 else "One run ends with a"
    return [f"{whose} {words.metric} of {result}.", "A single seed cannot say how much of the result is chance."]


def _ranking(around: Round, factor: str, words: Words, lead: str = "") -> list[str]:
    """Which level of `factor` ends best, and how far from the baseline; nothing where no arm has a mean."""
    ranked, base, metric = around.ranking, around.baseline, words.metric
    known = {level: each for level, each in around.differences.items() if each}

    def name(level: str) -> str:
        """Its level of `factor`, and of those factors that are not in the context."""
        rest = {k: v for k, v in around.arms[level].levels.items() if k != factor and k not in around.context}
        return f"{named(factor, level)} {where(rest)}".strip()

    if not ranked:
        return []
    mean = {level: words.amount(words.number(around.arms[level].mean)) for level in ranked}
    if len(ranked) == 1:
        return [sentence(lead, f"only {name(ranked[0])} has a {metric} to compare: {mean[ranked[0]]}")]
    if known and not any(each.mean or each.low for each in known.values()):
        return [sentence(lead, f"every {said(factor)} has the same {metric} as {name(base)} in each common seed")]
    if known and all(each.p is not None and not each.significant for each in known.values()):
        far = max(known, key=lambda level: abs(known[level].mean))
        return [
            sentence(lead, f"no {said(factor)} differs significantly from {named(factor, base)} in {metric}"),
            f"The {metric} with {name(base)} is {mean[base]}; the largest difference is that of {name(far)} "
            f"({words.interval(known[far])}).",
        ]
    unequal = len({frozenset(around.arms[level].results) for level in ranked}) > 1  # so that means do not compare
    shared = unequal and any(each.paired for each in known.values())
    value = "in common seeds is" if shared else f"is {mean[ranked[0]]}"
    best = f"the {words.best} {metric} {value} with {name(ranked[0])}"
    if base not in ranked:
        return [sentence(lead, f"{best}; the baseline, {named(factor, base)}, has no mean")]
    nearest = ranked[ranked[0] == base]
    following = f"; the next, with {name(nearest)}, is" if ranked[0] == base else ","
    told = [sentence(lead, f"{best}{following} {words.relation(known[nearest], f'with {name(base)}')}")]
    for way, sign in (("higher", 1), ("lower", -1)):
        others = [name(level) for level, each in known.items() if each.significant and each.mean * sign > 0]
        if others and others != [name(nearest)]:
            arms = joined(others) if len(others) <= FEW else f"{len(others)} arms"
            told.append(f"Significantly {way} than with {name(base)}: {arms}.")
    return told


def _levels(found: Effects, levels: list[str], words: Words) -> list[str]:
    """What each level does in each context, instead of the baseline's level."""
    base, metric = named(found.factor, found.baseline[found.factor]), words.metric
    heads: dict[str, str] = {}
    rest: list[str] = []
    for level in levels:
        changes = [(around.context, each) for around in found.rounds if (each := around.differences.get(level))]
        head, more = _turned(_turn(found, level), changes, words)
        heads |= {named(found.factor, level): sentence(head)} if head else {}
        rest += more
    if len(levels) == 1 or len(heads) == 1:
        return [*heads.values(), *rest]
    if not heads:
        return [sentence(f"no {said(found.factor)} differs significantly from {base} in {metric}"), *rest]
    sure = "in single seeds" if all("single seed" in head for head in heads.values()) else "significantly"
    return [
        sentence(f"{joined(heads)} differ {sure} from {base} in {metric}, in some settings"),
        *heads.values(),
        *rest,
    ]


def _turn(found: Effects, level: str) -> str:
    """How taking a level instead of the baseline's is said: by the one trait in which they differ, if there is one."""
    other, traits = found.baseline[found.factor], found.comparison.traits.get(found.factor, {})
    changed = [name for name, there in traits.get(level, {}).items() if there != traits[other][name]]
    if len(changed) == 1:
        return f"{'with' if traits[level][changed[0]] else 'without'} {changed[0]}"
    short = named(found.factor, other) if is_group(found.factor) else other or "not set"
    return f"with {named(found.factor, level)} instead of {short}"


def _turned(turn: str, changes: list[Change], words: Words) -> tuple[str, list[str]]:
    """What happens to the metric in each context if one thing is turned, as by "without warmup": a clause on the
    differences that may be stated, "" for none, and sentences on the other contexts."""
    single = all(each.p is None for _, each in changes)
    kinds: dict[str, list[Change]] = {}
    for context, each in changes:
        way = "higher" if each.mean > 0 else "lower"
        kind = way if each.stated else "same" if each.same or each.p is None else "alike"
        kinds.setdefault(kind if single or each.p is not None else "lone", []).append((context, each))
    there = {kind: f" {places(context for context, _ in those)}".rstrip() for kind, those in kinds.items()}
    heads = []
    for way in (way for way in ("higher", "lower") if way in kinds):
        sizes = sorted(abs(each.mean) for _, each in kinds[way])
        ends = dict.fromkeys(f"{size:,.{words.digits(size)}f}" for size in (sizes[0], sizes[-1]))
        heads.append(f"{words.amount(' to '.join(ends))} {way}{there[way]}")
    head = f"{turn}, the {words.metric} ends {joined(heads)}" if heads else ""
    told = [] if changes else [f"{turn}, no two finished runs can be compared"]
    if unsure := [each for _, each in kinds.get("alike", [])]:
        after = "after correction, " if any(each.significant_alone for each in unsure) else ""
        seeds = joined(dict.fromkeys(str(each.n) for each in unsure), "or")
        told.append(f"{turn}, the {words.metric} is not significantly different{there['alike']} ({after}{seeds} seeds)")
    told += [f"{turn}, the {words.metric} is the same{there['same']}"] if "same" in kinds else []
    told += [f"{turn}, a single seed{there['lone']} gives no interval"] if "lone" in kinds else []
    return head + " (single seed, no interval)" * bool(heads and single), list(map(sentence, told))


def _crossed(two: Factorial, words: Words) -> list[str]:
    """What turning the first of two things does: averaged over the other, or where the average is no answer, that it
    depends on the other."""
    first, second = map(thing, two.things)
    turn = f"{'without' if two.removes else 'with'} {first}"
    known = [(square, main) for square in two.squares if (main := two.turned(square, "first"))]
    averaged = [(square.context, main) for square, main in known if not square.depends]
    head, rest = "", list[str]()
    if averaged:
        head, rest = _turned(f"{turn}, averaged over runs with and without {second}", averaged, words)
    told = [sentence(head)] if head else []
    for square in (square for square, _ in known if square.depends):
        here, names = where(square.context), ("first alone", "first with second")
        alone, both = (words.change(two.turned(square, name)) for name in names)
        told.append(
            sentence(f"how much the {words.metric} changes {turn} depends on {said(two.things[1][0]) or second}", here)
        )
        told.append(sentence(f"the change {turn} is {alone} without {second} and {both} with {second}", here))
    return [*told, *rest]


def _shares(two: Factorial, words: Words) -> str:
    """Of warmup and cool-down, warmup contributed more at learning rate 0.01, and cool-down at learning rate 0.0003."""
    contexts: dict[str, list[dict[str, str]]] = {}
    for square in two.squares:
        contexts.setdefault(more(two, square), []).append(square.context)
    names, told = list(map(thing, two.things)), list[str]()
    for word in sorted(contexts, key=lambda word: (word not in names, word == NOT)):
        verb = " contributed more" if word in names and not told else ""
        told.append(f"{CLAUSES.get(word, word)}{verb} {places(contexts[word])}".strip())
    return sentence(f"of {joined(names)}, {joined(told)}")


def more(two: Factorial, square: Square) -> str:
    """Which of two things improved the metric more: its name, or why there is no answer."""
    names, sign = list(map(thing, two.things)), two.sign
    lead, main = square.differences["lead"], [square.differences[name] for name in ("first", "second")]
    lost = [joined(arm.levels[name] for name in arm.levels if name not in square.context)
            for arm in square.arms.values() if arm.diverged]  # fmt: skip
    if lost or lead is None:
        return f"{joined(lost)} diverged" if lost else "no common seed"
    if lead.p is None or square.depends:
        return SINGLE if lead.p is None else DEPENDS
    gains = [sign * each.mean < 0 if each and each.significant else None for each in main]
    harmful = [name for name, gain in zip(names, gains, strict=True) if gain is False]
    if harmful and True not in gains:
        return f"{joined(harmful)} {'does' if len(harmful) == 1 else 'do'} harm"
    ahead = int(sign * lead.mean > 0)
    return names[ahead] if lead.significant and gains[ahead] else NOT


def thing(of: tuple[str, str]) -> str:
    """A trait such as warmup, or a level of a factor."""
    return named(*of) if of[0] else of[1]


def said(factor: str) -> str:
    """The name of a factor in a sentence."""
    return NAMES.get(factor, factor)
