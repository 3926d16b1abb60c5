"""What speaks against reading a comparison as it stands."""

from collections import Counter
from collections.abc import Iterator

from gptx.compare.arms import Arm
from gptx.compare.outcomes import Comparison
from gptx.compare.words import Words, count, joined, named


def doubts(comparison: Comparison, found: list[Arm], words: Words) -> Iterator[str]:
    """A sentence each, the gravest first."""
    around = comparison.environment
    for fact, noun in (("data", "data"), ("tokenizer", "tokenizers")):
        if isinstance(around.get(fact), list):
            yield f"The runs read different {noun} ({joined(map(str, around[fact]))}): their losses are of different texts and cannot be compared."
    if comparison.confounded:
        yield f"The arms differ in more than {joined(comparison.factors) or 'their seeds'}: {'; '.join(comparison.confounded)}. What made a difference cannot be told apart."
    for arm in found:
        if arm.diverged:
            name = joined(named(*level) for level in arm.levels.items()) or "the run"
            yield f"{name} diverged in {arm.diverged} of {count(len(arm.results), 'seed')}: it has no mean and is counted as no winner."
    without = Counter(outcome.state for outcome in comparison.outcomes if outcome.value is None)
    told = [f"{number} {'without the metric' if state == 'finished' else state}" for state, number in without.items()]
    told += [f"{len(comparison.missing)} not begun"] if comparison.missing else []
    if told:
        whole = len(comparison.outcomes) + len(comparison.missing)
        yield f"Of {count(whole, 'run')}, {joined(told)}: not counted."
    levels = [(tuple(outcome.levels.values()), outcome.seed) for outcome in comparison.outcomes]
    if twice := len(levels) - len(set(levels)):
        yield f"{count(twice, 'run')} of the same arm and seed as another: each such pair counts as its mean."
    yield from unlike(around)
    yield from comparison.problems


def unlike(environment: dict) -> Iterator[str]:
    """What runs were made with or on, where that is not the same for all."""
    aside = ("date", "data", "tokenizer", "uncommitted changes")
    differing = [f"{key} {joined(map(str, values), 'or')}" for key, values in environment.items()
                 if isinstance(values, list) and key not in aside]  # fmt: skip
    if differing:
        yield f"The runs were not made alike: {'; '.join(differing)}."
    if environment.get("uncommitted changes") not in (None, False):
        yield "Runs were made with uncommitted changes, which no commit names."
