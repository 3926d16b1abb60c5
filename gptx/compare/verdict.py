"""The answer that a comparison gives, in words and tables, with how sure it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from gptx.compare import tables
from gptx.compare.answers import Change, alone, crossed, lost, ranking, several, shares, turned
from gptx.compare.arms import Arm, Round, arms, at_best, is_rate, numeric, primary, rounds
from gptx.compare.attribution import Factorial, factorial, turn
from gptx.compare.doubts import different_texts, doubts, ended_early
from gptx.compare.outcomes import Comparison
from gptx.compare.statistics import Estimate, holm
from gptx.compare.words import Words, comparisons
from gptx.compare.words import words as words_for
from gptx.config import presets
from gptx.show.table import Table
from gptx.units.phrases import count, joined, sentence

MATRICES = 4  # more than this many are not shown: the table of arms has it all
SEVERAL = 3  # levels of the first factor, beside one other: of more a headline says which wins how often
TABLES = ("attribution", "levels", "best", "arms", "speed")  # in their order; a page may leave some out


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
        headline, sentences = qualified(alone(found[0], words), [], comparison, found, words)
        return Verdict(base, headline, sentences, warnings, [cost] if cost else [])
    factor = primary(comparison.factors)
    others = [name for name in base if name != factor]
    numbers = judged(comparison, found, base, words)
    headline, sentences = answer(comparison, base, numbers, words)
    headline, sentences = qualified(headline, sentences, comparison, found, words)
    shown: dict[str, list[Table | None]] = {
        "attribution": [tables.attribution(numbers.two, words) if numbers.two else None],
        "levels": [*matrices(comparison, found, factor, others, words)],
        "best": [tables.best(numbers.best, factor, others, words) if numbers.best else None],
        "arms": [tables.of_arms(numbers.rounds, factor, words)],
        "speed": [tables.cost(comparison, found, factor)],
    }
    kept = [table for name in TABLES if name not in comparison.without for table in shown[name] if table]
    return Verdict(base, headline, sentences, warnings, kept)


@dataclass(frozen=True)
class Numbers:
    """What the text reads: arms side by side in each context, the 2 x 2 in them, and each level at its best learning
    rate. `read` are the comparisons that it may claim something of, which are judged together."""

    rounds: list[Round]
    two: Factorial | None
    best: Round | None
    read: list[Estimate | None]


def judged(comparison: Comparison, found: list[Arm], base: dict[str, str], words: Words) -> Numbers:
    """The numbers of a comparison: of those that the text reads, significant are those that Holm's correction keeps."""
    factor = primary(comparison.factors)
    each, two = rounds(found, factor, base), factorial(comparison, found, base)
    tuned = len(base) > 1 and all(is_rate(name) for name in base if name != factor)
    best = at_best(found, factor, base, words.better) if tuned else None
    if two and any(two.estimates):
        sources: list[Round | Factorial] = [two]
    else:
        sources = [] if best and len(comparison.factors[factor]) > 2 else list(each)
    read = [estimate for source in (*sources, *filter(None, [best])) for estimate in source.estimates]
    limit = holm(read)
    return Numbers(
        [around.judged(limit) for around in each], two and two.judged(limit), best and best.judged(limit), read
    )


def answer(comparison: Comparison, base: dict[str, str], numbers: Numbers, words: Words) -> tuple[str, list[str]]:
    """The headline, and the sentences that it rests on."""
    factor, each, two, best = primary(comparison.factors), numbers.rounds, numbers.two, numbers.best

    def turning(level: str) -> str:
        """What another level than the baseline's does in each context."""
        return turned(turn(comparison, factor, level, base[factor]), list(changes(each, level)), words)

    at_its_best = ranking(best, factor, words) if best else ""
    rank = [sentence(f"with each {factor} at its best, {at_its_best}")] if at_its_best else []
    many = [comparisons(numbers.read)]
    if two and any(two.estimates):
        return crossed(two, words), [shares(two, words), *rank, *many]
    if len(each) == 1:
        return sentence(ranking(each[0], factor, words)), many
    levels = [level for level in comparison.factors[factor] if level != base[factor]]
    if len(levels) == 1 and (not best or any(map(any, (around.estimates for around in each)))):
        return turning(levels[0]), [*rank, *many]
    if best:
        return sentence(at_its_best), many
    if len(levels) < SEVERAL and len(base) == 2:
        return " ".join(map(turning, levels)), many
    return several(each, factor, words), many


def qualified(
    headline: str, sentences: list[str], comparison: Comparison, found: list[Arm], words: Words
) -> tuple[str, list[str]]:
    """The same, with what divergence, another text or other differences make of it."""
    ended = [outcome for outcome in comparison.outcomes if outcome.value is not None]
    if gone := comparison.factors and lost(found, primary(comparison.factors)):
        headline = sentence("; ".join(filter(None, [headline.removesuffix("."), gone])))
    elif (whole := len(comparison.outcomes)) > 1 and not any(arm.diverged for arm in found):
        of = "" if len(ended) == whole else f" with a result, of {whole},"
        sentences = [*sentences, f"None of {count(len(ended), 'run')}{of} diverged."]
    if next(different_texts(comparison.environment, words), ""):
        apart = "These results cannot be compared: the runs are not of the same text."
        return apart, [headline, *sentences]
    but = ["the arms differ in more than that"] if comparison.confounded else []
    but += [f"{count(len(early), 'run')} ended early"] if (early := ended_early(comparison)) else []
    if but:
        headline = f"{headline.removesuffix('.')}; but {joined(but)} (see the warnings)."
    return headline, list(filter(None, sentences))


def changes(rounds: list[Round], level: str) -> Iterator[Change]:
    """What a level does compared with the baseline's in each context that has both."""
    for each in rounds:
        if found := each.differences.get(level):
            yield each.context, found


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
