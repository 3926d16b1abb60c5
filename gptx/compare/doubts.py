"""What speaks against reading a comparison as it stands."""

from collections.abc import Iterator
from itertools import combinations

from gptx.compare.arms import Arm, is_rate, winner
from gptx.compare.outcomes import Comparison, Outcome
from gptx.compare.words import NAMES, Words, named
from gptx.units.phrases import count, joined

ASIDE = (
    "date",
    "data",
    "tokenizer",
    "validation windows",
    "held-out tokens",
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
    if early := ended_early(comparison):
        last = [f"{name(each.levels)}, seed {each.seed}, at step {each.ended_at}" for each in early[:LISTED]]
        last += [f"{len(early) - LISTED} more"] if len(early) > LISTED else []
        yield f"Runs that ended early, so that they are not of as many steps: {'; '.join(last)}."
    yield from lacking(found)
    yield from edges(comparison, found, words)
    if found and max(len(arm.results) for arm in found) == 1 and len(found) > 1:
        yield "One seed an arm: differences are shown without an interval, and nothing says how much of them is chance."
    levels = [(tuple(outcome.levels.values()), outcome.seed) for outcome in comparison.outcomes]
    if twice := len(levels) - len(set(levels)):
        yield f"{count(twice, 'run')} of the same arm and seed as another one: they count as one, with their mean."
    yield from unlike(comparison.environment)
    yield from comparison.problems


def different_texts(environment: dict, words: Words) -> Iterator[str]:
    """That losses are not of the same text, or not per the same token."""
    windows = environment.get("validation windows")
    if isinstance(windows, list) and words.metric.startswith("validation"):
        yield (f"The runs were validated on {joined(map(str, windows))} windows of the held-out text, which are not "
               f"alike: their results cannot be compared.")  # fmt: skip
    if (held := environment.get("held-out tokens")) and words.metric.startswith("validation"):
        yield (f"Of the same text, the runs hold out {joined([f'{tokens:,}' for tokens in held], 'or')} tokens, since "
               f"earlier versions kept copies of what they trained on: their results are not of the same held-out "
               f"text and cannot be compared.")  # fmt: skip
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
        yield f"{name(outcome.levels)}, seed {outcome.seed}: finished without {comparison.metric} at its end; left out."
    if len(bare) > LISTED:
        yield f"{len(bare) - LISTED} more runs finished without {comparison.metric} at their end; left out."


def ended_early(comparison: Comparison) -> list[Outcome]:
    """Runs that ended for good before their last step: of `target/step` this is the point."""
    if comparison.metric.startswith("target/"):
        return []
    return [outcome for outcome in comparison.outcomes if outcome.ended_at is not None and outcome.value is not None]


def lacking(found: list[Arm]) -> Iterator[str]:
    """Which arms lack which seeds, and how they are compared then."""
    there = [arm for arm in found if arm.results]
    seeds = sorted({seed for arm in there for seed in arm.seeds})
    lack: dict[tuple[int, ...], list[str]] = {}
    for arm in there:
        if gone := tuple(seed for seed in seeds if seed not in arm.seeds):
            lack.setdefault(gone, []).append(name(arm.levels))
    if not lack:
        return
    told = [
        f"{joined(arms)} lack{'s' * (len(arms) == 1)} seed{'s' * (len(gone) > 1)} {joined(map(str, gone))}"
        for gone, arms in lack.items()
    ]
    if sum(map(len, lack.values())) > LISTED:
        told = [f"{sum(map(len, lack.values()))} of {count(len(there), 'arm')} lack seeds"]
    apart = any(not set(a.seeds) & set(b.seeds) for a, b in combinations(there, 2))
    welch = ", and as unpaired (Welch's t) where they share none" if apart else ""
    yield f"{'; '.join(told)}: arms are compared in the seeds that both have{welch}."


def edges(comparison: Comparison, found: list[Arm], words: Words) -> Iterator[str]:
    """Where the best learning rate is the first or the last that was tried."""
    for rate in filter(is_rate, comparison.factors):
        groups: dict[tuple, list[Arm]] = {}
        for arm in found:
            rest = tuple((name, level) for name, level in arm.levels.items() if not is_rate(name))
            groups.setdefault(rest, []).append(arm)
        told = []
        for rest, here in groups.items():
            tried = [level for level in comparison.factors[rate] if any(arm.levels[rate] == level for arm in here)]
            best = winner(dict(enumerate(here)), words.better)
            level = "" if best is None else here[best].levels[rate]
            beside = {tried[0]: tried[1], tried[-1]: tried[-2]}.get(level) if len(tried) > 1 else None
            if any(arm.results for arm in here if arm.levels[rate] == beside):
                told.append(f"{level}{f' ({name(dict(rest))})' if rest else ''}")
        if told:
            what = joined(told) if len(told) <= LISTED else f"for {len(told)} of {len(groups)} arms"
            yield f"The best {NAMES.get(rate, rate)} is at the edge of its grid, a better one may lie beyond: {what}."


def unlike(environment: dict) -> Iterator[str]:
    """What runs were made with or on, where that is not the same for all."""
    differing = [f"{key} {joined(map(str, values), 'or')}" for key, values in environment.items()
                 if isinstance(values, list) and key not in ASIDE]  # fmt: skip
    if differing:
        more = f"; and {len(differing) - LISTED} more facts" if len(differing) > LISTED else ""
        yield f"The runs were not made alike: {'; '.join(differing[:LISTED])}{more}."
    if formats := environment.get("imitated formats"):
        names = joined(formats if isinstance(formats, list) else [formats])
        yield (f"The processor only imitates {names}, many times slower than fp32: the times of the runs in {names} "
               f"say nothing of a processor that has it, and cannot be compared with those of others.")  # fmt: skip
    if environment.get("uncommitted changes") not in (None, False):
        yield "Runs were made with uncommitted changes, which no commit names."


def name(levels: dict[str, str]) -> str:
    """An arm in words."""
    return ", ".join(named(*level) for level in levels.items()) or "The run"
