"""The templates of headlines and sentences. None claims more than its estimates do where they are judged together."""

from collections.abc import Iterable, Iterator
from itertools import chain, compress, starmap

from gptx.compare.effects import Effects, Round, Square
from gptx.compare.estimates import Estimate, holm
from gptx.compare.factors import grouped
from gptx.compare.outcomes import Arm
from gptx.compare.words import FEW, Words, named, places, said, where
from gptx.units.phrases import count, joined, sentence

# Kinds of estimates whose direction is not said.
_UNCLEAR = {"unsure": "is not significantly different", "same": "is the same", "single": "has no interval"}
_Change = tuple[dict[str, str], Estimate]  # context, and what a change does there


def answer(found: Effects, words: Words) -> list[str]:
    """The headline, and the sentences that it rests on."""
    if not found.factor:
        return _alone(found.arms[0], words)
    lead = f"with each {said(found.factor)} at its best {joined(map(said, found.others))},"
    ranking = _ranking(found.best, found.factor, words, lead) if found.best else []
    first = found.told[0]
    if isinstance(first, Square):
        groups = grouped(found.squares, more).items()
        shares = (f"{word} {places(each.context for each in group)}".strip() for word, group in groups)
        told = [*_crossed(found.squares, words), f"Contributed more: {'; '.join(shares)}.", *ranking]
    elif first is found.best:
        told = ranking
    elif len(found.rounds) == 1:
        told = _ranking(first, found.factor, words)
    else:
        told = [*_levels(found, words), *ranking]
    told = told or [f"No two arms have a {words.metric} to compare."]
    return [*told, *filter(None, [comparisons(found.judged)])]


def comparisons(made: Iterable[Estimate]) -> str:
    """12 comparisons: 5 significant at 95 %, 2 after Holm correction. "" for fewer than two."""
    judged = [each for each in made if each.p is not None]
    if len(judged) < 2:
        return ""
    limit, alone = holm(judged), sum(each.significant_alone for each in judged)
    kept = sum(each.p <= limit for each in judged)  # type: ignore[operator]
    return f"{len(judged)} comparisons: {alone} significant at 95 %, {kept} after Holm correction."


def _alone(arm: Arm, words: Words) -> list[str]:
    seeds = count(len(arm.results), "seed")
    if arm.diverged:
        return [f"The run diverged in {arm.diverged} of {seeds}."]
    told = f"The {words.metric} is {words.amount(words.spread(arm))}"
    if arm.spread is not None:
        return [f"{told} (mean ± sd of {seeds})."]
    single = "A single seed cannot say how much of the result is chance."
    return [f"{told} (mean of {count(arm.states.count('finished'), 'run')}, {seeds}).", single]


def _ranking(around: Round, factor: str, words: Words, lead: str = "") -> list[str]:
    short, metric = named(factor, around.baseline), words.metric
    names = {around.baseline: short} | {level: _arm(arm, factor, around) for level, arm in around.arms.items()}
    values = {level: words.amount(words.number(around.arms[level].mean)) for level in around.ranking}
    to = {level: words.relation(each, f"with {names[around.baseline]}") for level, each in around.differences.items()}
    if len(values) < 2:
        return [sentence(lead, f"only {names[x]} has a {metric} to compare: {value}") for x, value in values.items()]
    if around.kinds == {"same"}:
        every = f"every {said(factor)} has the same {metric} as {names[around.baseline]} in each common seed"
        return [sentence(lead, every)]
    if around.kinds and around.kinds <= {"same", "unsure"}:
        far = max(around.differences, key=lambda level: abs(around.differences[level].mean))
        none = f"no {said(factor)} differs significantly from {short} in {metric}"
        return [sentence(lead, none), f"The largest difference is that of {names[far]}: {values[far]}, {to[far]}."]
    first, second = around.ranking[:2]
    value = "in common seeds is" if around.unequal else f"is {values[first]}"
    best = f"the {words.best} {metric} {value} with {names[first]}"
    if around.baseline not in values:
        told = f"; the baseline, {short}, has no mean"
    else:
        told = f"; the next, with {names[second]}, is {to[second]}" if first == around.baseline else f", {to[first]}"
    return [sentence(lead, best + told), *_significant(around, names)]


def _arm(arm: Arm, factor: str, around: Round) -> str:
    rest = {k: level for k, level in arm.levels.items() if k != factor and k not in around.context}
    return f"{named(factor, arm.levels[factor])} {where(rest)}".strip()


def _significant(around: Round, names: dict[str, str]) -> Iterator[str]:
    sure = [level for level, each in around.differences.items() if each.significant and len(around.differences) > 1]
    for way, levels in sorted(grouped(sure, lambda level: around.differences[level].kind).items()):
        arms = joined(names[level] for level in levels) if len(levels) <= FEW else f"{len(levels)} arms"
        yield f"Significantly {way} than with {names[around.baseline]}: {arms}."


def _levels(found: Effects, words: Words) -> list[str]:
    factor, base, told = found.factor, found.baseline[found.factor], {}
    for level in (level for level in found.comparison.factors[factor] if level != base):
        changes = [(each.context, each.differences[level]) for each in found.rounds if level in each.differences]
        turn = f"with {named(factor, level)} instead of {named(factor, base)}"
        told[named(factor, level)] = _turned(turn, changes, words)
    heads = {name: head for name, (head, _) in told.items() if head}
    lead = [] if 1 in (len(told), len(heads)) else [_summary(found, list(heads), words)]
    return [*lead, *heads.values(), *chain.from_iterable(rest for _, rest in told.values())]


def _summary(found: Effects, differing: list[str], words: Words) -> str:
    who = f"{joined(differing)} differ" if differing else f"no {said(found.factor)} differs"
    sure = "significantly" if any(each.p is not None for each in found.judged) else "in single seeds"
    base = f"from {named(found.factor, found.baseline[found.factor])} in {words.metric}"
    return sentence(f"{who} {sure} {base}{', in some settings' * bool(differing)}")


def _turned(turn: str, changes: list[_Change], words: Words) -> tuple[str, list[str]]:
    """What happens to the metric if one thing is turned: "" or a sentence of what may be stated, and the rest."""
    if not changes:
        return "", [sentence(f"{turn}, no two finished runs can be compared")]
    single = all(each.p is None for _, each in changes)
    kinds = grouped(changes, lambda change: "single" if change[1].p is None and not single else change[1].kind)
    ways = [_clause(way, kinds.pop(way), words) for way in ("higher", "lower") if way in kinds]
    head = f"{turn}, the {words.metric} {joined(ways)}{' (single seed, no interval)' * single}"
    rest = [sentence(f"{turn}, the {words.metric} {_clause(*kind, words)}") for kind in kinds.items()]
    return sentence(head) if ways else "", rest


def _clause(kind: str, changes: list[_Change], words: Words) -> str:
    """Ends 0.21 to 0.50 nats per byte higher at learning rate 0.01."""
    there = places(context for context, _ in changes)
    if kind in _UNCLEAR:
        after = "after correction, " * any(each.significant_alone for _, each in changes)
        seeds = joined(dict.fromkeys(count(each.n, "seed") for _, each in changes), "or")
        return " ".join(filter(None, (_UNCLEAR[kind], there, f"({after}{seeds})")))
    sizes = sorted(abs(each.mean) for _, each in changes)
    ends = dict.fromkeys(f"{size:,.{words.digits(size)}f}" for size in (sizes[0], sizes[-1]))
    return f"ends {words.amount(' to '.join(ends))} {kind} {there}".rstrip()


def _crossed(squares: list[Square], words: Words) -> list[str]:
    (first, second), averaged, depends = starmap(named, squares[0].things), list[_Change](), list[str]()
    for square in squares:
        if square.differences and square.depends:
            alone, both = (words.change(square.differences[name]) for name in ("first alone", "first with second"))
            effect = f"the effect of {first} on the {words.metric} depends on {second}"
            depends.append(sentence(where(square.context), f"{effect}: {alone} without it, {both} with it"))
        elif square.differences:
            averaged.append((square.context, square.differences["first"]))
    if not averaged:
        return depends
    head, rest = _turned(f"with {first}, averaged over runs with and without {second}", averaged, words)
    return [*filter(None, [head]), *depends, *rest]


def more(square: Square) -> str:
    """Which of two things improved the metric more: its name, or why there is no answer."""
    lead, gains, names = square.differences.get("lead"), square.gains, list(starmap(named, square.things))
    if lost := sum(arm.diverged > 0 for arm in square.arms.values()):
        return f"{count(lost, 'arm')} diverged"
    if lead is None or lead.p is None:
        return "single seed" if lead else "no common seed"
    if square.depends:
        return "each depends on the other"
    if max(gains) <= 0 > min(gains):
        return f"harm by {joined(compress(names, gains))}"
    ahead = int(square.sign * lead.mean > 0)
    return names[ahead] if lead.significant and gains[ahead] > 0 else "not significant"
