"""The templates of headlines and sentences. None claims more than its estimates do where they are judged together."""

from collections.abc import Iterable, Iterator

from gptx.compare.effects import Effects, Factorial, Round, Square
from gptx.compare.estimates import Estimate, holm
from gptx.compare.factors import is_group
from gptx.compare.outcomes import Arm, grouped
from gptx.compare.words import FEW, NAMES, Words, named, places, where
from gptx.units.phrases import count, joined, sentence

NOT, SINGLE, DEPENDS = "not significant", "single seed", "each depends on the other"  # which contributed more
_CLAUSES = {NOT: "neither contributed significantly more", SINGLE: "a single seed cannot say which contributed more"}
_Change = tuple[dict[str, str], Estimate]  # context, and what a change does there


def answer(found: Effects, words: Words) -> list[str]:
    """The headline, and the sentences that it rests on."""
    if not found.factor:
        return _alone(found.arms[0], words)
    two, tuned = found.factorial, f"with each {said(found.factor)} at its best {joined(map(said, found.others))},"
    ranking = _ranking(found.best, found.factor, words, tuned) if found.best else []
    if two and any(two.judged):
        told = [*_crossed(two, words), _shares(two, words), *ranking]
    elif len(found.rounds) == 1:
        told = _ranking(found.rounds[0], found.factor, words)
    elif found.best and (len(found.comparison.factors[found.factor]) > 2 or not found.compared):
        told = ranking
    else:
        told = [*_levels(found, words), *ranking]
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
    names = {level: _arm(arm, factor, around) for level, arm in around.arms.items()}
    mean = {level: words.amount(words.number(around.arms[level].mean)) for level in around.ranking}
    base, metric = names.get(around.baseline, named(factor, around.baseline)), words.metric
    if not mean:
        return []
    if len(mean) == 1:
        ((level, value),) = mean.items()
        return [sentence(lead, f"only {names[level]} has a {metric} to compare: {value}")]
    if around.same:
        return [sentence(lead, f"every {said(factor)} has the same {metric} as {base} in each common seed")]
    if around.undecided:
        far = max(around.known, key=lambda level: abs(around.known[level].mean))
        largest = f"the largest difference is that of {names[far]} ({words.interval(around.known[far])})"
        none = f"no {said(factor)} differs significantly from {named(factor, around.baseline)} in {metric}"
        return [sentence(lead, none), f"The {metric} with {base} is {mean[around.baseline]}; {largest}."]
    first, second = around.ranking[:2]
    value = "in common seeds is" if around.unequal else f"is {mean[first]}"
    best = f"the {words.best} {metric} {value} with {names[first]}"
    if around.baseline not in mean:
        return [sentence(lead, f"{best}; the baseline, {named(factor, around.baseline)}, has no mean")]
    nearest, following = first, ","
    if first == around.baseline:
        nearest, following = second, f"; the next, with {names[second]}, is"
    told = sentence(lead, f"{best}{following} {words.relation(around.known[nearest], f'with {base}')}")
    return [told, *_significant(around, names)]


def _arm(arm: Arm, factor: str, around: Round) -> str:
    """An arm by its level of `factor`, and by its levels of those factors that are not in the context."""
    rest = {k: level for k, level in arm.levels.items() if k != factor and k not in around.context}
    return f"{named(factor, arm.levels[factor])} {where(rest)}".strip()


def _significant(around: Round, names: dict[str, str]) -> Iterator[str]:
    """Which arms are significantly higher and lower than the baseline's, where there are several."""
    for way, sign in (("higher", 1), ("lower", -1)):
        others = [names[level] for level, each in around.known.items() if each.significant and each.mean * sign > 0]
        arms = joined(others) if len(others) <= FEW else f"{len(others)} arms"
        if others and len(around.known) > 1:
            yield f"Significantly {way} than with {names[around.baseline]}: {arms}."


def _levels(found: Effects, words: Words) -> list[str]:
    """What each level does in each context, instead of the baseline's level."""
    base, heads, rest = found.baseline[found.factor], dict[str, str](), list[str]()
    levels = [level for level in found.comparison.factors[found.factor] if level != base]
    for level in levels:
        changes = [(around.context, around.known[level]) for around in found.rounds if level in around.known]
        heads[named(found.factor, level)], more = _turned(_turn(found, level), changes, words)
        rest += more
    told = {name: sentence(head) for name, head in heads.items() if head}
    lead = [] if len(levels) == 1 or len(told) == 1 else [_summary(found, list(told), words)]
    return [*lead, *told.values(), *rest]


def _summary(found: Effects, differing: list[str], words: Words) -> str:
    """Which levels differ from the baseline's in any context, of several."""
    base = f"from {named(found.factor, found.baseline[found.factor])} in {words.metric}"
    if not differing:
        return sentence(f"no {said(found.factor)} differs significantly {base}")
    sure = "significantly" if any(each and each.p is not None for each in found.judged) else "in single seeds"
    return sentence(f"{joined(differing)} differ {sure} {base}, in some settings")


def _turn(found: Effects, level: str) -> str:
    """How taking a level instead of the baseline's is said: by the one trait in which they differ, if there is one."""
    other, traits = found.baseline[found.factor], found.comparison.traits.get(found.factor, {})
    changed = [name for name, there in traits.get(level, {}).items() if there != traits[other][name]]
    if len(changed) == 1:
        return f"{'with' if traits[level][changed[0]] else 'without'} {changed[0]}"
    short = named(found.factor, other) if is_group(found.factor) else other or "not set"
    return f"with {named(found.factor, level)} instead of {short}"


def _turned(turn: str, changes: list[_Change], words: Words) -> tuple[str, list[str]]:
    """What happens to the metric in each context if one thing is turned, as by "without warmup": a clause on the
    differences that may be stated, "" for none, and sentences on the other contexts."""
    if not changes:
        return "", [sentence(f"{turn}, no two finished runs can be compared")]
    single = all(each.p is None for _, each in changes)
    kinds = grouped(changes, lambda change: "single" if change[1].p is None and not single else change[1].kind)
    heads = [f"{_extent(kinds[way], words)} {way}{_there(kinds[way])}" for way in ("higher", "lower") if way in kinds]
    rest = [f"{turn}, {_unclear(kind, kinds[kind], words)}" for kind in ("unsure", "same", "single") if kind in kinds]
    sure = " (single seed, no interval)" * single
    return f"{turn}, the {words.metric} ends {joined(heads)}{sure}" * bool(heads), list(map(sentence, rest))


def _unclear(kind: str, changes: list[_Change], words: Words) -> str:
    """What is said of contexts without a difference that may be stated."""
    if kind == "single":
        return f"a single seed{_there(changes)} gives no interval"
    if kind == "same":
        return f"the {words.metric} is the same{_there(changes)}"
    after = "after correction, " if any(each.significant_alone for _, each in changes) else ""
    seeds = joined(dict.fromkeys(str(each.n) for _, each in changes), "or")
    return f"the {words.metric} is not significantly different{_there(changes)} ({after}{seeds} seeds)"


def _there(changes: list[_Change]) -> str:
    return f" {places(context for context, _ in changes)}".rstrip()


def _extent(changes: list[_Change], words: Words) -> str:
    """0.21 to 0.50 nats per byte."""
    sizes = sorted(abs(each.mean) for _, each in changes)
    ends = dict.fromkeys(f"{size:,.{words.digits(size)}f}" for size in (sizes[0], sizes[-1]))
    return words.amount(" to ".join(ends))


def _crossed(two: Factorial, words: Words) -> list[str]:
    """What turning the first of two things does: averaged over the other, or where the average is no answer, that it
    depends on the other."""
    first, second = map(thing, two.things)
    turn = f"{'without' if two.removes else 'with'} {first}"
    averaged: list[_Change] = []
    depends: list[str] = []
    for square in two.squares:
        main = two.turned(square, "first")
        if main and square.depends:
            depends += _dependent(two, square, turn, words)
        elif main:
            averaged.append((square.context, main))
    head, rest = "", list[str]()
    if averaged:
        head, rest = _turned(f"{turn}, averaged over runs with and without {second}", averaged, words)
    return [*([sentence(head)] if head else []), *depends, *rest]


def _dependent(two: Factorial, square: Square, turn: str, words: Words) -> list[str]:
    """What turning the first of two things does without and with the other, in a context where that differs."""
    second, here = thing(two.things[1]), where(square.context)
    alone, both = (words.change(two.turned(square, name)) for name in ("first alone", "first with second"))
    factor = said(two.things[1][0]) or second
    return [
        sentence(f"how much the {words.metric} changes {turn} depends on {factor}", here),
        sentence(f"the change {turn} is {alone} without {second} and {both} with {second}", here),
    ]


def _shares(two: Factorial, words: Words) -> str:
    """Of warmup and cool-down, warmup contributed more at learning rate 0.01, and cool-down at learning rate 0.0003."""
    squares = grouped(two.squares, lambda square: more(two, square))
    names, told = list(map(thing, two.things)), list[str]()
    for word in sorted(squares, key=lambda word: (word not in names, word == NOT)):
        verb = " contributed more" if word in names and not told else ""
        told.append(f"{_CLAUSES.get(word, word)}{verb} {places(square.context for square in squares[word])}".strip())
    return sentence(f"of {joined(names)}, {joined(told)}")


def more(two: Factorial, square: Square) -> str:
    """Which of two things improved the metric more: its name, or why there is no answer."""
    lead, gains, names = square.differences["lead"], square.gains(two.sign), list(map(thing, two.things))
    if square.lost:
        return f"{joined(map(joined, square.lost))} diverged"
    if lead is None or lead.p is None:
        return SINGLE if lead else "no common seed"
    if square.depends:
        return DEPENDS
    if gains == [-1, -1]:
        return f"{joined(names)} do harm"
    if sum(gains) == -1:
        return f"{names[gains.index(-1)]} does harm"
    ahead = int(two.sign * lead.mean > 0)
    return names[ahead] if lead.significant and gains[ahead] == 1 else NOT


def thing(of: tuple[str, str]) -> str:
    """A trait such as warmup, or a level of a factor."""
    return named(*of) if of[0] else of[1]


def said(factor: str) -> str:
    """The name of a factor in a sentence."""
    return NAMES.get(factor, factor)
