"""The answer that a comparison gives, in words and tables, with how sure it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from gptx import presets
from gptx.compare import tables
from gptx.compare.answers import alone, beside, contributions, more, ranking, removal
from gptx.compare.arms import Arm, Round, arms, at_best, is_group, numeric, primary, rounds
from gptx.compare.attribution import factorial
from gptx.compare.doubts import doubts
from gptx.compare.outcomes import Comparison
from gptx.compare.tables import Table
from gptx.compare.words import Words, capital, count, joined, named, where

MATRICES = 4  # more than this many are not shown: the table of arms has it all
SENTENCES = 8  # the same of what is said of one level of the other factors each


@dataclass(frozen=True)
class Verdict:
    """The answer in a sentence, what it rests on and warnings in further ones, and the tables behind them."""

    baseline: dict[str, str]  # the level of each factor that the others are compared with
    headline: str
    sentences: list[str]
    warnings: list[str]
    tables: list[Table]


def verdict(comparison: Comparison, baseline: str = "") -> Verdict:
    """The answer of a comparison. `baseline` names levels as factor=level, comma separated, or a level alone.

    Where it does not say, the option of conf/train.yaml is it, else the first level. Raises ValueError for a level
    that is none.
    """
    base = {name: usual(name, levels) for name, levels in comparison.factors.items()}
    base |= comparison.baseline | chosen(comparison.factors, baseline)
    found = arms(comparison)
    words = Words(comparison, found)
    warnings = list(doubts(comparison, found, words))
    if not any(arm.results for arm in found):
        return Verdict(base, f"No run has a {words.metric} to compare yet.", [], warnings, [])
    if not base:
        cost = tables.cost(comparison, found, "")
        return Verdict(base, alone(found[0], words), [], warnings, [cost] if cost else [])
    factor = primary(comparison.factors)
    each = rounds(found, factor, base)
    two = factorial(comparison, found, base)
    others = [name for name in base if name != factor]
    tuned = all(not is_group(name) and numeric(comparison.factors[name]) for name in others) and bool(others)
    best = at_best(found, factor, base, words.better) if tuned else None
    if two:
        headline = removal(two, words)
        sentences = [contributions(two, effects, words) for effects in two.effects[:SENTENCES]]
    else:
        headline = capital(ranking(best, factor, words)) + "." if best else several(each, factor, words)
        sentences = [beside(around, factor, words) for around in each if len(around.ranked(words.better)) > 1
                     and around.baseline in around.ranked(words.better)]  # fmt: skip
        sentences = sentences if 1 < len(each) <= SENTENCES else []
    if two and best:
        sentences.append(f"With each {factor} at its best: {ranking(best, factor, words)}.")
    shown: list[Table | None] = []
    if two:
        shown.append(tables.attribution(two, [more(two, effects, words) for effects in two.effects], words))
    shown += matrices(comparison, found, factor, others, words)
    shown.append(tables.best(best, factor, others, words) if best else None)
    shown.append(tables.of_arms(found, each, words, factor))
    shown.append(tables.cost(comparison, found, factor))
    return Verdict(base, headline, sentences, warnings, [table for table in shown if table])


def several(each: list[Round], factor: str, words: Words) -> str:
    """The answer where each level of the other factors is a question of its own."""
    if len(each) <= 3:
        told = (
            ranking(around, factor, words, f"{where(around.context)}, " if around.context else "") for around in each
        )
        return " ".join(f"{capital(text)}." for text in told)
    first: dict[str, list[Round]] = {}
    for around in each:
        for level in around.ranked(words.better)[:1]:
            first.setdefault(level, []).append(around)
    ranked = sorted(first, key=lambda level: -len(first[level]))
    way = "highest" if words.rising else "lowest"
    told = [f"{named(factor, level)} ends {way} in {len(first[level])}" for level in ranked]
    return f"Of {len(each)} combinations of the other factors, {joined(told)}."


def matrices(comparison: Comparison, found: list[Arm], factor: str, others: list[str], words: Words) -> Iterator[Table]:
    """The metric by the first factor and another, numbers before groups, for each combination of the rest."""
    if not others:
        return
    other = next((name for name in others if not is_group(name)), others[0])
    rest = {name: comparison.factors[name] for name in others if name != other}
    contexts = [dict(zip(rest, levels, strict=True)) for levels in product(*rest.values())]
    if len(contexts) <= MATRICES:
        for context in contexts:
            if any(context.items() <= arm.levels.items() for arm in found):
                yield tables.matrix(found, factor, other, context, words)


def usual(name: str, levels: list[str]) -> str:
    """The level that the recipe takes unless told otherwise, if it is among them, else the first."""
    option = presets.spelled(presets.defaults().get(name))
    return option if option in levels else levels[0]


def chosen(factors: dict[str, list[str]], text: str) -> dict[str, str]:
    """The levels that `text` names. Raises ValueError for a level or factor that is none, or for an unclear one."""
    if not text:
        return {}
    found: dict[str, str] = {}
    known = (
        "; ".join(f"{name}={'|'.join(levels)}" for name, levels in factors.items()) or "nothing but the seed differs"
    )
    whole = [text] if any(text in levels for levels in factors.values()) else text.split(",")
    for word in whole:
        name, equals, level = word.strip().rpartition("=")
        names = [name] if equals else [each for each in factors if level_of(level, factors[each])]
        places = [(each, same) for each in names if (same := level_of(level, factors.get(each, [])))]
        if len(places) != 1:
            raise ValueError(
                f"baseline={word}: {'levels of several factors' if places else 'no such level'}; there are {known}"
            )
        found |= places
    return found


def level_of(text: str, levels: list[str]) -> str | None:
    """The level that is meant by `text`: the same word, or the same number."""
    if text in levels:
        return text
    return next((level for level in levels if numeric([text, level]) and float(text) == float(level)), None)
