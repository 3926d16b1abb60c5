"""The answer of a comparison in words and tables, with how sure it is, and warnings."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from gptx.compare import tables
from gptx.compare.effects import Effects, effects
from gptx.compare.factors import is_rate
from gptx.compare.outcomes import Arm, Comparison, Outcome, grouped
from gptx.compare.sentences import answer, said
from gptx.compare.words import Words, named
from gptx.compare.words import words as words_for
from gptx.show.table import Table
from gptx.units.phrases import count, joined

_TOLD = ("date", "data", "tokenizer", "validation windows", "held-out tokens", "uncommitted changes",
        "imitated formats")  # facts that other warnings tell, or none  # fmt: skip
_LISTED = 6  # of a kind are named at most


@dataclass(frozen=True)
class Verdict:
    """The answer in a sentence, what it rests on and warnings in further ones, and the tables behind them."""

    baseline: dict[str, str]  # the level of each factor that the others are compared with
    headline: str
    sentences: list[str]
    warnings: list[str]
    tables: list[Table]


def verdict(comparison: Comparison, baseline: str = "") -> Verdict:
    """The answer of a comparison; `baseline` as in effects(). Raises ValueError for a level that no run has, and for a
    table to leave out that does not exist."""
    if unknown := [name for name in comparison.without if name not in tables.TABLES]:
        raise ValueError(f"without={','.join(unknown)}: no such table; there are {', '.join(tables.TABLES)}")
    found = effects(comparison, baseline)
    words = words_for(found)
    warnings = list(_warnings(found, words))
    if not any(arm.results for arm in found.arms):
        return Verdict(found.baseline, f"No run has a {words.metric} to compare yet.", [], warnings, [])
    headline, *sentences = _qualified(found, words)
    shown = [
        table for name, make in tables.TABLES.items() if name not in comparison.without for table in make(found, words)
    ]
    return Verdict(found.baseline, headline, sentences, warnings, shown)


def _qualified(found: Effects, words: Words) -> list[str]:
    """Headline and sentences with what divergence, another text or other differences between the arms make of them."""
    comparison, (headline, *sentences) = found.comparison, answer(found, words)
    diverged, early = _diverged(found), len(_ended_early(comparison))
    if diverged.startswith("None"):
        sentences.append(diverged)
    elif diverged and found.factor:
        headline = f"{headline.removesuffix('.')}; {diverged}"
    if next(_different_texts(comparison.environment, words), ""):
        return ["These results cannot be compared: the runs are not of the same text.", headline, *sentences]
    but = ["the arms differ in more than that"] if comparison.confounded else []
    but += [f"{count(early, 'run')} ended early"] if early else []
    return [f"{headline.removesuffix('.')}; but {joined(but)} (see the warnings)." if but else headline, *sentences]


def _diverged(found: Effects) -> str:
    """How many runs diverged, and of which levels; "" for a single run that did not."""
    lost, whole = [arm for arm in found.arms if arm.diverged], len(found.comparison.outcomes)
    ended = sum(outcome.value is not None for outcome in found.comparison.outcomes)
    if lost:
        names = joined(dict.fromkeys(named(found.factor, arm.levels.get(found.factor, "")) for arm in lost))
        return f"{sum(arm.diverged for arm in lost)} of {count(ended, 'run')} diverged ({names})."
    of = "" if ended == whole else f" with a result, of {whole},"
    return f"None of {count(ended, 'run')}{of} diverged." if whole > 1 else ""


def _warnings(found: Effects, words: Words) -> Iterator[str]:
    """One sentence each, the gravest first."""
    comparison = found.comparison
    yield from _different_texts(comparison.environment, words)
    if comparison.confounded:
        what = joined(map(said, comparison.factors)) or "their seeds"
        yield (f"The arms differ in more than {what}: {'; '.join(comparison.confounded)}. This may be the cause of a "
               "difference.")  # fmt: skip
    yield from _lost(found.arms)
    yield from _incomplete(comparison)
    if early := _ended_early(comparison):
        told = _listed(f"{_name(each.levels)}, seed {each.seed}, at step {each.ended_at}" for each in early)
        yield f"Runs that ended early, and thus have fewer steps: {'; '.join(told)}."
    yield from _lacking(found.arms)
    yield from _edges(found)
    if len(found.arms) > 1 and max(len(arm.results) for arm in found.arms) == 1:
        yield "One seed an arm: differences have no interval, and nothing says how much of them is chance."
    levels = [(tuple(outcome.levels.values()), outcome.seed) for outcome in comparison.outcomes]
    if twice := len(levels) - len(set(levels)):
        yield f"{count(twice, 'run')} of the same arm and seed as another one: they count as one, with their mean."
    yield from unlike(comparison.environment)
    yield from comparison.problems


def _edges(found: Effects) -> Iterator[str]:
    """Where the best learning rate is the first or the last that was tried."""
    for rate, arms in found.edges.items():
        told = []
        for arm in arms:
            rest = {name: level for name, level in arm.levels.items() if not is_rate(name)}
            told.append(f"{arm.levels[rate]} ({_name(rest)})" if rest else arm.levels[rate])
        what = joined(_listed(told))
        yield f"The best {said(rate)} is at the edge of its grid, and a better one may lie beyond: {what}."


def _different_texts(environment: dict, words: Words) -> Iterator[str]:
    """That losses are not of the same text, or not per the same token."""
    validation = words.metric.startswith("validation")
    windows, held = environment.get("validation windows"), environment.get("held-out tokens")
    if isinstance(windows, list) and validation:
        yield (f"The runs were validated on {joined(map(str, windows), 'or')} windows of the held-out text: their "
               "results cannot be compared.")  # fmt: skip
    if held and validation:
        yield (f"The runs hold out {joined([f'{tokens:,}' for tokens in held], 'or')} tokens of the same text, since "
               "earlier versions also held out copies of training text: their results cannot be compared.")  # fmt: skip
    if isinstance(tokenizers := environment.get("tokenizer"), list) and words.unit.startswith("nats per"):
        yield (f"The runs have different tokenizers ({joined(tokenizers)}): their losses are per different tokens and "
               "cannot be compared; metric=validation/bits_per_byte can.")  # fmt: skip
    if isinstance(digests := environment.get("data"), list):
        yield f"The runs read different data (digests {joined(digests)}): their results cannot be compared."


def _lost(arms: list[Arm]) -> Iterator[str]:
    """Arms with a diverged run."""
    for arm in arms:
        if arm.diverged:
            seeds = count(len(arm.results), "seed")
            yield f"{_name(arm.levels)} diverged in {arm.diverged} of {seeds}: it has no mean and cannot win."


def _incomplete(comparison: Comparison) -> Iterator[str]:
    """Runs without a result."""
    waiting = grouped((run for run in comparison.outcomes if run.value is None), lambda run: run.state)
    bare = waiting.pop("finished", [])
    told = [f"{len(runs)} {state}" for state, runs in waiting.items()]
    told += [f"{len(comparison.missing)} not begun"] if comparison.missing else []
    if told:
        whole = len(comparison.outcomes) + len(comparison.missing)
        yield f"Of {count(whole, 'run')}, {joined(told)}: left out."
    for each in _listed(f"{_name(run.levels)}, seed {run.seed}" for run in bare):
        yield f"{each}: finished without {comparison.metric} at its end; left out."


def _listed(told) -> list[str]:
    """At most LISTED phrases, and how many more there are."""
    first, rest = (told := list(told))[:_LISTED], told[_LISTED:]
    return [*first, *([f"{len(rest)} more"] if rest else [])]


def _ended_early(comparison: Comparison) -> list[Outcome]:
    """Runs that ended for good before their last step, which is the point of target/step."""
    runs = [] if comparison.metric.startswith("target/") else comparison.outcomes
    return [run for run in runs if run.ended_at is not None and run.value is not None]


def _lacking(arms: list[Arm]) -> Iterator[str]:
    """Which arms lack which seeds, and how they are compared then."""
    there = [arm for arm in arms if arm.results]
    seeds = set().union(*(arm.seeds for arm in there))
    lack = [(_name(arm.levels), sorted(seeds - arm.seeds)) for arm in there if arm.seeds != seeds]
    told = [f"{name} lacks seed{'s' * (len(gone) > 1)} {joined(map(str, gone))}" for name, gone in lack]
    welch = any(a.seeds.isdisjoint(b.seeds) for a, b in combinations(there, 2))
    unpaired = ", and as unpaired (Welch's t) where they share none" * welch
    if told:
        yield f"{'; '.join(_listed(told))}: arms are compared in the seeds that both have{unpaired}."


def unlike(environment: dict) -> Iterator[str]:
    """What runs were made with or on, where that is not the same for all."""
    differing = [f"{key} {joined(map(str, values), 'or')}" for key, values in environment.items()
                 if isinstance(values, list) and key not in _TOLD]  # fmt: skip
    if differing:
        yield f"The runs were not made alike: {'; '.join(_listed(differing))}."
    if formats := environment.get("imitated formats"):
        names = joined(formats if isinstance(formats, list) else [formats])
        yield (f"The processor only imitates {names}, many times slower than fp32: the times of the runs in {names} "
               "cannot be compared with those of others, nor with a processor that has it.")  # fmt: skip
    if environment.get("uncommitted changes") not in (None, False):
        yield "Some runs were made with uncommitted changes, which no commit names."


def _name(levels: dict[str, str]) -> str:
    return ", ".join(named(*level) for level in levels.items()) or "The run"
