"""The answer of a comparison in words and tables, with how sure it is, and warnings; and in numbers for programs."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from gptx.compare.effects import Effect, Effects, Setting, effects
from gptx.compare.factors import grouped
from gptx.compare.headline import headline
from gptx.compare.optimum import along
from gptx.compare.outcomes import Arm, Comparison, Outcome, at_levels
from gptx.compare.sentences import reasons
from gptx.compare.tables import TABLES, tables_of
from gptx.compare.words import Words, change, named, rate_of, said, tuned, turned, where
from gptx.compare.words import words as words_for
from gptx.estimate.differences import Estimate
from gptx.show.table import Table
from gptx.units.phrases import count, few, joined

_IMITATED = "imitated formats"
_LISTED = 6  # of a kind are named at most
_TEXTS = {  # what makes results those of another text, where the runs differ in it
    "validation windows": "were validated on {} windows of the held-out text",
    "held-out tokens": "hold out {} tokens of the same text (earlier versions also held out copies of training text)",
    "tokenizer": "have losses per different tokens (tokenizers {}; metric=validation/bits_per_byte can be compared)",
    "data": "read different data (digests {})",
}
_TOLD = (*_TEXTS, "date", "uncommitted changes", _IMITATED)  # facts that other warnings tell, or none


@dataclass(frozen=True)
class Verdict:
    """The answer in a sentence, what it rests on and warnings in further ones, and the tables behind them."""

    baseline: dict[str, str]  # the level of each factor that the others are compared with
    headline: str
    sentences: list[str]
    warnings: list[str]
    tables: list[Table]
    numbers: Effects | None = None  # that all of it is read from


def verdict(comparison: Comparison, baseline: str = "", at: str = "") -> Verdict:
    """The answer; `baseline` and `at` as in effects(). Raises ValueError as that does, and for an unknown table."""
    if unknown := [name for name in comparison.without if name not in TABLES]:
        raise ValueError(f"without={','.join(unknown)}: no such table; there are {', '.join(TABLES)}")
    found = effects(comparison, baseline, at)
    words = words_for(found)
    warnings = list(_warnings(found, words))
    if not any(arm.results for arm in found.arms):
        return Verdict(found.baseline, f"No run has a {words.metric} to compare yet.", [], warnings, [], found)
    sentences = [*_but(found), *reasons(found, words, _at_time(found, baseline))]
    told = [headline(found, words), *sentences]
    if any(_different_texts(comparison.environment, words)):
        told = ["These results cannot be compared: the runs are not of the same text.", *told]
    answer, *told = told
    return Verdict(found.baseline, answer, told, warnings, list(tables_of(found, words)), found)


def _at_time(found: Effects, baseline: str) -> Effects | None:
    """The same comparison at equal time, where times are known and compare."""
    facts = found.comparison.environment
    alike = not any(isinstance(facts.get(name), list) for name in ("hardware", "threads")) and not facts.get(_IMITATED)
    known = not found.at and found.effects and found.steady and "time" in found.comparison.budgets
    return effects(found.comparison, baseline, "time") if known and alike else None


def _but(found: Effects) -> Iterator[str]:
    """What takes away from the headline, in one sentence."""
    comparison, early = found.comparison, len(_ended_early(found.comparison))
    lost = [arm for arm in found.arms if arm.diverged]
    ended = sum(outcome.value is not None for outcome in comparison.outcomes)
    names = joined(dict.fromkeys(_leaves(found, arm) for arm in lost if found.factor))
    diverged = f"{sum(arm.diverged for arm in lost)} of {count(ended, 'ended run')} diverged"
    but = [f"{diverged} ({names})"] * bool(names)
    but += [f"{count(early, 'run')} ended early"] * bool(early)
    but += [f"this is at equal {found.at}"] * bool(found.at)
    if but:
        yield f"But {joined(but)}."


def _leaves(found: Effects, arm: Arm) -> str:
    """An arm by what it changes, where several factors are asked about."""
    vary = found.question.vary
    changed = [name for name in vary if arm.levels[name] != found.baseline[name] or len(vary) == 1]
    return " and ".join(named(name, arm.levels[name]) for name in changed) or "the base"


def _warnings(found: Effects, words: Words) -> Iterator[str]:
    """One sentence each, the gravest first."""
    comparison = found.comparison
    yield from _different_texts(comparison.environment, words)
    if comparison.confounded:
        apart = "; ".join(comparison.confounded)
        yield f"The arms also differ elsewhere, which may be the cause of a difference: {apart}."
    of_answer = chain.from_iterable(kind(found) for kind in (_of_arms, _at_edges, _unfair, _of_effects))
    for before, phrases, after in (*_of_runs(comparison), *of_answer):
        if phrases:
            yield f"{before}{'; '.join(few(phrases, _LISTED))}{after}"
    if len(found.arms) > 1 and max(len(arm.results) for arm in found.arms) == 1:
        yield "One seed an arm: differences have no interval, and nothing says how much of them is chance."
    yield from unlike(comparison.environment)
    yield from comparison.problems


def _different_texts(environment: dict, words: Words) -> Iterator[str]:
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
    names = [(_cell(found, arm), arm) for arm in found.arms if arm.results]
    lost = [f"{name} diverged in {x.diverged} of {count(len(x.results), 'seed')}" for name, x in names if x.diverged]
    yield "", lost, ": such an arm has no mean and cannot win."
    seeds = set().union(*(arm.values for _, arm in names))
    gone = {name: sorted(seeds - arm.values.keys()) for name, arm in names}
    lack = [f"{name} lacks {joined(map('seed {}'.format, some))}" for name, some in gone.items() if some]
    rule = "arms are compared by least squares over arms and seeds, or as unpaired where arms share no seed"
    yield "", lack, f": {rule}."


def _of_effects(found: Effects) -> Iterator[tuple[str, list[str], str]]:
    """Effects whose intervals rest on something else than the others', each with what is said before and after."""
    alone = ": the spread over seeds is not that of the other arms, so it is judged by its own seeds alone."
    yield "", _that(found, lambda estimate: estimate.own), alone
    doubted = _that(found, lambda estimate: estimate.disputed and not estimate.own)
    yield "By their own seeds alone, without correction, these would be judged otherwise: ", doubted, "."
    several = [turned(effect.things, found.baseline) for effect in found.effects if effect.arm and effect.things[1:]]
    yield "These arms leave the base in more than one key, and no key can be named as the cause: ", several, "."
    lacking = found.question.things and not all(setting.whole for setting in found.settings)
    told = "A cell of the factorial has no mean, so that there are no main effects, and arms are compared with the base"
    yield "", [told] * bool(lacking), "."


def _that(found: Effects, holds: Callable[[Estimate], bool]) -> list[str]:
    """The effects of whose estimates something holds, by name and setting."""
    return [f"{change(effect, found.baseline)} {where(setting.context)}".strip() for setting in found.settings
            for effect in setting.effects if effect.estimate and holds(effect.estimate)]  # fmt: skip


def _at_edges(found: Effects) -> Iterator[tuple[str, list[str], str]]:
    """Best learning rates at the edge of their grid, with the command that extends it, before and after."""
    for rate, arms in found.edges.items():
        levels = found.comparison.factors[rate]
        own = ([each.levels[rate] for each in along(arm, found.arms, rate)] for arm in arms)
        wider = [_beyond(grid, arm.levels[rate]) for grid, arm in zip(own, arms, strict=True)]
        made = [each for each in reversed(found.comparison.commands) if "gptx.train" in each]
        widened = {extended(each, rate, levels, wider): len(each) for each in made}
        cure = min(
            widened, key=lambda each: len(each) - widened[each], default=""
        )  # it grows most where it was not swept
        best = f"The best {said(rate)} is at the edge of its grid, and a better one may lie beyond: "
        yield best, [_cell(found, arm) for arm in arms], f".{f' Extend the grid: {cure}' * bool(cure)}"


def _unfair(found: Effects) -> Iterator[tuple[str, list[str], str]]:
    """Who had more to choose from."""
    tried = grouped((arm for arm in found.arms if arm.results), lambda arm: _leaves(found, arm))
    cells = {name: len({at_levels(found.question.best_over)(arm) for arm in some}) for name, some in tried.items()}
    numbers = [f"{joined(some)} at {n}" for n, some in grouped(cells, cells.__getitem__).items()]
    unfair = f"Not all were tried at as many values of the {rate_of(found)}, and more tries find a better best: "
    yield unfair, numbers * (len(numbers) > 1), "."


def _beyond(levels: list[str], end: str) -> str:
    """The next level beyond an end of a grid, by the ratio of the last two."""
    values = sorted(map(float, levels))
    near = values[1] if float(end) == values[0] else values[-2]
    return f"{float(end) ** 2 / near:.3g}" if near > 0 and float(end) > 0 else f"{2 * float(end) - near:.3g}"


def extended(command: str, rate: str, levels: list[str], wider: list[str]) -> str:
    """The command of a sweep with a wider grid of one learning rate: runs that exist are found again."""
    whole = ",".join(sorted({*levels, *wider}, key=float))
    if re.search(r"sweep\.rates=", command) and rate == "parametrization.rates.all":
        return re.sub(r"'?sweep\.rates=\[[^\]]*\]'?", f"'sweep.rates=[{whole}]'", command)
    word = re.compile(rf"(?<!\S){re.escape(rate)}=\S+")
    return word.sub(f"{rate}={whole}", command) if word.search(command) else f"{command} {rate}={whole}"


def unlike(environment: dict) -> Iterator[str]:
    """What runs were made with or on, where that is not the same for all."""
    differing = [f"{key} {joined(map(str, values), 'or')}" for key, values in environment.items()
                 if isinstance(values, list) and key not in _TOLD]  # fmt: skip
    if differing:
        yield f"The runs were not made alike: {'; '.join(few(differing, _LISTED))}."
    if formats := environment.get(_IMITATED):
        names = joined(formats if isinstance(formats, list) else [formats])
        yield f"The processor only imitates {names}, many times slower than fp32: times in {names} cannot be compared."
    if environment.get("uncommitted changes") not in (None, False):
        yield "Some runs were made with uncommitted changes, which no commit names."


def _run(run: Outcome) -> str:
    return f"{_name(run)}, seed {run.seed}"


def _name(one: Arm | Outcome, *aside: str) -> str:
    return ", ".join(named(*level) for level in one.levels.items() if level[0] not in aside) or "The run"


def _cell(found: Effects, arm: Arm) -> str:
    """An arm by its levels, of several learning rates those alone that are not as usual."""
    aside = found.question.best_over[1:] and found.question.best_over
    return ", ".join(filter(None, [_name(arm, *aside), tuned(found, arm) if aside else ""]))


def as_numbers(answer: Verdict) -> dict[str, Any]:
    """The answer for programs: plain lists and dicts of numbers and names, a row an effect."""
    found = answer.numbers
    if found is None:
        raise ValueError(f"json=true: {answer.headline}")
    comparison, asked = found.comparison, found.question
    rows = [_row(setting, effect) for setting, effect in found.each]
    arms = [{"levels": arm.levels, "mean": arm.mean, "sd": arm.spread, "values": arm.values} for arm in found.arms]
    optima = [vars(best) | {"arm": best.arm and best.arm.levels} for best in found.optima]
    return {
        "headline": answer.headline, "warnings": answer.warnings, "metric": comparison.metric,
        "better": comparison.better or "lower", "at": found.at, "baseline": found.baseline,
        "question": {name: getattr(asked, name) for name in ("design", "vary", "best_over", "per")},
        "effects": rows, "optima": optima, "arms": arms,
    }  # fmt: skip


def _row(setting: Setting, effect: Effect) -> dict[str, Any]:
    return {
        "context": setting.context, "changes": [list(thing) for thing in effect.things], "kind": effect.kind,
        **_numbers(effect.estimate), "bound": effect.bound, "flattered": setting.flattered,
        "levels": effect.arm and effect.arm.levels, "against": effect.against and effect.against.levels,
        "times": dict(effect.costs), "speed_up": effect.speed and vars(effect.speed),
        "fresh": effect.fresh and _numbers(effect.fresh),
    }  # fmt: skip


def _numbers(found: Estimate | None) -> dict[str, Any]:
    names = {"mean": "difference", "low": "low", "high": "high", "p": "p", "n": "seeds", "alone": "alone"}
    return {name: found and getattr(found, key) for key, name in names.items()}
