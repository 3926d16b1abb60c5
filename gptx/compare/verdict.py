"""The answer of a comparison in words and tables, with how sure it is, and warnings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from gptx.compare import tables
from gptx.compare.effects import Effects, effects
from gptx.compare.factors import grouped
from gptx.compare.outcomes import Arm, Comparison, Outcome
from gptx.compare.sentences import answer
from gptx.compare.words import Words, named, said
from gptx.compare.words import words as words_for
from gptx.show.table import Table
from gptx.units.phrases import count, joined

_LISTED = 6  # of a kind are named at most
_TEXTS = {  # what makes results those of another text, where the runs differ in it
    "validation windows": "were validated on {} windows of the held-out text",
    "held-out tokens": "hold out {} tokens of the same text (earlier versions also held out copies of training text)",
    "tokenizer": "have losses per different tokens (tokenizers {}; metric=validation/bits_per_byte can be compared)",
    "data": "read different data (digests {})",
}
_TOLD = (*_TEXTS, "date", "uncommitted changes", "imitated formats")  # facts that other warnings tell, or none


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
    made = (make(found, words) for name, make in tables.TABLES.items() if name not in comparison.without)
    return Verdict(found.baseline, headline, sentences, warnings, list(chain.from_iterable(made)))


def _qualified(found: Effects, words: Words) -> list[str]:
    """Headline and sentences with what divergence, another text or other differences between the arms make of them."""
    comparison, (headline, *sentences) = found.comparison, answer(found, words)
    if any(_different_texts(comparison.environment, words)):
        return ["These results cannot be compared: the runs are not of the same text.", headline, *sentences]
    lost, early = [arm for arm in found.arms if arm.diverged], len(_ended_early(comparison))
    ended = sum(outcome.value is not None for outcome in comparison.outcomes)
    diverged = f"{sum(arm.diverged for arm in lost)} of {count(ended, 'ended run')} diverged"
    names = joined(dict.fromkeys(named(found.factor, arm.levels[found.factor]) for arm in lost if found.factor))
    but = [f"{diverged} ({names})"] * bool(names)
    but += ["the arms differ in more than that"] * bool(comparison.confounded)
    but += [f"{count(early, 'run')} ended early"] * bool(early)
    headline = f"{headline.removesuffix('.')}; but {joined(but)}." if but else headline
    return [headline, *sentences, *[f"{diverged}."] * (not lost and ended > 1)]


def _warnings(found: Effects, words: Words) -> Iterator[str]:
    """One sentence each, the gravest first."""
    comparison = found.comparison
    yield from _different_texts(comparison.environment, words)
    if comparison.confounded:
        what, differing = joined(map(said, comparison.factors)) or "their seeds", "; ".join(comparison.confounded)
        yield f"The arms differ in more than {what}: {differing}. This may be the cause of a difference."
    for before, phrases, after in (*_of_runs(comparison), *_of_arms(found)):
        if phrases:
            yield f"{before}{_listed(phrases)}{after}"
    if len(found.arms) > 1 and max(len(arm.results) for arm in found.arms) == 1:
        yield "One seed an arm: differences have no interval, and nothing says how much of them is chance."
    yield from unlike(comparison.environment)
    yield from comparison.problems


def _different_texts(environment: dict, words: Words) -> Iterator[str]:
    """That losses are not of the same text, or not per the same token."""
    validation, per_token = words.metric.startswith("validation"), words.unit.startswith("nats per")
    matters = {"validation windows": validation, "held-out tokens": validation, "tokenizer": per_token}
    for key, told in _TEXTS.items():
        if isinstance(differing := environment.get(key), list) and matters.get(key, True):
            texts = joined((f"{each:,}" if isinstance(each, int) else each for each in differing), "or")
            yield f"The runs {told.format(texts)}: their results cannot be compared."


def _of_runs(comparison: Comparison) -> Iterator[tuple[str, list[str], str]]:
    """Runs that are left out or count otherwise, each with what is said before and after them."""
    unended = grouped((run for run in comparison.outcomes if run.value is None), lambda run: run.state)
    bare, whole = unended.pop("finished", []), len(comparison.outcomes) + len(comparison.missing)
    states = {state: len(runs) for state, runs in unended.items()} | {"not begun": len(comparison.missing)}
    yield f"Of {count(whole, 'run')}, left out: ", [f"{n} {state}" for state, n in states.items() if n], "."
    yield f"Finished without {comparison.metric} at the end, and left out: ", list(map(_run, bare)), "."
    early = [f"{_run(each)}, at step {each.ended_at}" for each in _ended_early(comparison)]
    yield "Runs that ended early, and thus have fewer steps: ", early, "."
    twice = [run for run, same in grouped(comparison.outcomes, _run).items() if len(same) > 1]
    yield "Several runs of the same arm and seed, which count as one, with their mean: ", twice, "."


def _ended_early(comparison: Comparison) -> list[Outcome]:
    """Runs that ended for good before their last step, which is the point of target/step."""
    runs = [] if comparison.metric.startswith("target/") else comparison.outcomes
    return [run for run in runs if run.ended_at is not None and run.value is not None]


def _of_arms(found: Effects) -> Iterator[tuple[str, list[str], str]]:
    """Arms that diverged, lack seeds or are the best at an edge, each with what is said before and after them."""
    names = [(_name(arm), arm) for arm in found.arms if arm.results]
    lost = [f"{name} diverged in {x.diverged} of {count(len(x.results), 'seed')}" for name, x in names if x.diverged]
    yield "", lost, ": such an arm has no mean and cannot win."
    seeds = set().union(*(arm.values for _, arm in names))
    gone = {name: sorted(seeds - arm.values.keys()) for name, arm in names}
    lack = [f"{name} lacks {joined(map('seed {}'.format, some))}" for name, some in gone.items() if some]
    yield "", lack, ": arms are compared in the seeds that both have, or as unpaired (Welch's t) if they share none."
    for rate, arms in found.edges.items():
        best = f"The best {said(rate)} is at the edge of its grid, and a better one may lie beyond: "
        yield best, list(map(_name, arms)), "."


def unlike(environment: dict) -> Iterator[str]:
    """What runs were made with or on, where that is not the same for all."""
    differing = [f"{key} {joined(map(str, values), 'or')}" for key, values in environment.items()
                 if isinstance(values, list) and key not in _TOLD]  # fmt: skip
    if differing:
        yield f"The runs were not made alike: {_listed(differing)}."
    if formats := environment.get("imitated formats"):
        names = joined(formats if isinstance(formats, list) else [formats])
        yield f"The processor only imitates {names}, many times slower than fp32: times in {names} cannot be compared."
    if environment.get("uncommitted changes") not in (None, False):
        yield "Some runs were made with uncommitted changes, which no commit names."


def _listed(phrases: Iterable[str]) -> str:
    told = list(phrases)
    return "; ".join([*told[:_LISTED], *[f"{len(told) - _LISTED} more"] * (len(told) > _LISTED)])


def _run(run: Outcome) -> str:
    return f"{_name(run)}, seed {run.seed}"


def _name(one: Arm | Outcome) -> str:
    return ", ".join(named(*level) for level in one.levels.items()) or "The run"
