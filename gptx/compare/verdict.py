"""The answer that a comparison gives, in words and tables, with how sure it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from gptx import presets
from gptx.compare import tables
from gptx.compare.answers import Change, alone, beside, contributions, ranking, several, shares, turned
from gptx.compare.arms import Arm, Round, arms, at_best, is_rate, numeric, primary, rounds
from gptx.compare.attribution import Factorial, factorial, turn
from gptx.compare.doubts import different_texts, doubts
from gptx.compare.outcomes import Comparison
from gptx.compare.tables import Table
from gptx.compare.words import Words, count, sentence
from gptx.compare.words import words as words_for

MATRICES = 4  # more than this many are not shown: the table of arms has it all
SEVERAL = 3  # levels of the first factor, beside one other: of more a headline says which wins how often
TABLES = ("attribution", "levels", "best", "arms", "speed")  # in their order; a page may leave some out
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
    that is none, and for a table to leave out that is none.
    """
    if unknown := [name for name in comparison.without if name not in TABLES]:
        raise ValueError(f"without={','.join(unknown)}: no such table; there are {', '.join(TABLES)}")
    base = {name: usual(name, levels) for name, levels in comparison.factors.items()}
    base |= comparison.baseline | chosen(comparison.factors, baseline)
    found = arms(comparison)
    words = words_for(comparison, found)
    warnings = list(doubts(comparison, found, words))
    if not any(arm.results for arm in found):
        return Verdict(base, f"No run has a {words.metric} to compare yet.", [], warnings, [])
    if not base:
        cost = None if "speed" in comparison.without else tables.cost(comparison, found, "")
        return Verdict(base, alone(found[0], words), [], warnings, [cost] if cost else [])
    factor = primary(comparison.factors)
    others = [name for name in base if name != factor]
    each = rounds(found, factor, base)
    two = factorial(comparison, found, base)
    tuned = bool(others) and all(is_rate(name) for name in others)
    best = at_best(found, factor, base, words.better) if tuned else None
    headline, sentences = answer(comparison, factor, base, each, two, best, words)
    shown: dict[str, list[Table | None]] = {
        "attribution": [tables.attribution(two, words) if two else None],
        "levels": [*matrices(comparison, found, factor, others, words)],
        "best": [tables.best(best, factor, others, words) if best else None],
        "arms": [tables.of_arms(each, factor, words)],
        "speed": [tables.cost(comparison, found, factor)],
    }
    kept = [table for name in TABLES if name not in comparison.without for table in shown[name] if table]
    headline, sentences = qualified(headline, sentences, comparison, found, words)
    return Verdict(base, headline, sentences, warnings, kept)


def answer(
    comparison: Comparison, factor: str, base: dict[str, str], each: list[Round], two: Factorial | None,
    best: Round | None, words: Words,
) -> tuple[str, list[str]]:  # fmt: skip
    """The headline, and the sentences that it rests on."""

    def turning(name: str, level: str, places: list[Round]) -> str:
        """What another level than the baseline's does in each of some places."""
        return turned(turn(comparison, name, level, base[name]), list(changes(places, level)), words)

    rank = [sentence(f"with each {factor} at its best, {ranking(best, factor, words)}")] if best else []
    if two:
        changed = [each.change for each in two.effects]
        if two.factor:  # of which the other one's levels are places like any
            level = next(level for level in comparison.factors[two.factor] if level != base[two.factor])
            changed = list(changes(rounds(arms(comparison), two.factor, base), level))
        sentences = few([contributions(two, effects, words) for effects in two.effects])
        return turned(two.turns[0], changed, words), [shares(two, words), *sentences, *rank]
    if len(each) == 1:
        return sentence(ranking(each[0], factor, words)), []
    sentences = few([beside(around, factor, words) for around in each])
    levels = [level for level in comparison.factors[factor] if level != base[factor]]
    if len(levels) == 1:
        return turning(factor, levels[0], each), [*sentences, *rank]
    if best:
        return sentence(ranking(best, factor, words)), sentences
    if len(levels) < SEVERAL and len(base) == 2:
        return " ".join(turning(factor, level, each) for level in levels), sentences
    return several(each, factor, words), sentences


def qualified(
    headline: str, sentences: list[str], comparison: Comparison, found: list[Arm], words: Words
) -> tuple[str, list[str]]:
    """The same, with what divergence, another text or other differences make of it."""
    if not any(arm.diverged for arm in found):
        ended = sum(len(arm.results) for arm in found)
        sentences = [*sentences, f"None of {count(ended, 'run')} diverged."]
    if next(different_texts(comparison.environment, words), ""):
        apart = "These results cannot be compared: the runs are not of the same text."
        return apart, [headline, *sentences]
    if comparison.confounded:
        headline = f"{headline.removesuffix('.')}; but the arms differ in more than that (see the warning)."
    return headline, sentences


def few(sentences: list[str]) -> list[str]:
    """Those that say something; none where they are too many to be read."""
    found = list(filter(None, sentences))
    return found if len(found) <= SENTENCES else []


def changes(rounds: list[Round], level: str) -> Iterator[Change]:
    """What a level does beside the baseline in each context that has both."""
    for each in rounds:
        if level in each.arms and each.baseline in each.arms:
            yield each.context, each.differences[level], each.arms[level], each.arms[each.baseline]


def matrices(comparison: Comparison, found: list[Arm], factor: str, others: list[str], words: Words) -> Iterator[Table]:
    """The metric by the first factor and another, one of numbers if there is one, for each combination of the rest."""
    if not others:
        return
    other = next((name for name in others if numeric(comparison.factors[name])), others[0])
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
