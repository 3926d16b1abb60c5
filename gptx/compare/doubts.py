"""What speaks against reading a comparison as it stands."""

from collections.abc import Iterator

from gptx.compare.arms import Arm
from gptx.compare.outcomes import Comparison
from gptx.compare.words import Words, count, joined, named

ASIDE = (
    "date",
    "data",
    "tokenizer",
    "validation windows",
    "uncommitted changes",
    "imitated formats",
)  # told of otherwise, or not at all
LISTED = 6  # as many of a kind are named


def doubts(comparison: Comparison, found: list[Arm], words: Words) -> Iterator[str]:
    """A sentence each, the gravest first."""
    yield from different_texts(comparison.environment, words)
    if comparison.confounded:
        what = joined(comparison.factors) or "their seeds"
        yield (f"The arms differ in more than {what}: {'; '.join(comparison.confounded)}. "
               f"Which of it made a difference cannot be told.")  # fmt: skip
    for arm in found:
        if arm.diverged:
            seeds = count(len(arm.results), "seed")
            yield f"{name(arm.levels)} diverged in {arm.diverged} of {seeds}: it has no mean, and cannot win."
    yield from incomplete(comparison)
    if found and max(len(arm.results) for arm in found) == 1 and len(found) > 1:
        yield "One seed an arm: differences are shown without an interval, and nothing says how much of them is chance."
    levels = [(tuple(outcome.levels.values()), outcome.seed) for outcome in comparison.outcomes]
    if twice := len(levels) - len(set(levels)):
        yield f"{count(twice, 'run')} beside another of the same arm and seed: they count as one, with their mean."
    yield from unlike(comparison.environment)
    yield from comparison.problems


def different_texts(environment: dict, words: Words) -> Iterator[str]:
    """That losses are not of the same text, or not per the same token."""
    windows = environment.get("validation windows")
    if isinstance(windows, list) and words.metric.startswith("validation"):
        yield (f"The runs were validated on {joined(map(str, windows))} windows of the held-out text, which are not "
               f"alike: their results cannot be compared.")  # fmt: skip
    if isinstance(environment.get("tokenizer"), list) and words.unit.startswith("nats per"):
        yield (f"The runs have different tokenizers ({joined(environment['tokenizer'])}): their losses are per "
               f"different tokens and cannot be compared; metric=validation/bits_per_byte can.")  # fmt: skip
    if isinstance(environment.get("data"), list):
        yield (f"The runs read different data (digests {joined(environment['data'])}): what they were measured on "
               f"differs, and their results cannot be compared.")  # fmt: skip


def incomplete(comparison: Comparison) -> Iterator[str]:
    """Runs without a result."""
    waiting = [outcome for outcome in comparison.outcomes if outcome.value is None]
    bare = [outcome for outcome in waiting if outcome.state == "finished"]
    states = [outcome.state for outcome in waiting if outcome.state != "finished"]
    told = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    told += [f"{len(comparison.missing)} not begun"] if comparison.missing else []
    if told:
        whole = len(comparison.outcomes) + len(comparison.missing)
        yield f"Of {count(whole, 'run')}, {joined(told)}: left out."
    for outcome in bare[:LISTED]:
        yield f"{name(outcome.levels)}, seed {outcome.seed}: finished without {comparison.metric}; left out."
    if len(bare) > LISTED:
        yield f"{len(bare) - LISTED} more runs finished without {comparison.metric}; left out."


def unlike(environment: dict) -> Iterator[str]:
    """What runs were made with or on, where that is not the same for all."""
    differing = [f"{key} {joined(map(str, values), 'or')}" for key, values in environment.items()
                 if isinstance(values, list) and key not in ASIDE]  # fmt: skip
    if differing:
        yield f"The runs were not made alike: {'; '.join(differing)}."
    if formats := environment.get("imitated formats"):
        names = joined(formats if isinstance(formats, list) else [formats])
        yield (f"The processor only imitates {names}, many times slower than fp32: the times of the runs in {names} "
               f"say nothing of a processor that has it, and cannot be compared with those of others.")  # fmt: skip
    if environment.get("uncommitted changes") not in (None, False):
        yield "Runs were made with uncommitted changes, which no commit names."


def name(levels: dict[str, str]) -> str:
    """An arm in words."""
    return ", ".join(named(*level) for level in levels.items()) or "The run"
