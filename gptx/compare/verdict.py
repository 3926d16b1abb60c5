"""The answer of a comparison in words and tables, with how sure it is, and warnings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, starmap
from math import prod

from gptx.compare.effects import Effects, Round, effects, winner
from gptx.compare.factors import grouped, numeric
from gptx.compare.outcomes import Arm, Comparison, Outcome
from gptx.compare.sentences import answer, comparisons, more
from gptx.compare.words import Words, label, named, said, where
from gptx.compare.words import words as words_for
from gptx.show.table import Table
from gptx.units.phrases import count, joined

_GRIDS = 4  # at most: of more contexts, the table of arms has it all
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
    """The answer; `baseline` as in effects(). Raises ValueError for a level that no run has, an unknown table."""
    if unknown := [name for name in comparison.without if name not in _TABLES]:
        raise ValueError(f"without={','.join(unknown)}: no such table; there are {', '.join(_TABLES)}")
    found = effects(comparison, baseline)
    words = words_for(found)
    warnings = list(_warnings(found, words))
    if not any(arm.results for arm in found.arms):
        return Verdict(found.baseline, f"No run has a {words.metric} to compare yet.", [], warnings, [])
    headline, *sentences = _qualified(found, words)
    made = (make(found, words) for name, make in _TABLES.items() if name not in comparison.without)
    return Verdict(found.baseline, headline, sentences, warnings, list(chain.from_iterable(made)))


def _qualified(found: Effects, words: Words) -> list[str]:
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


def _attribution(found: Effects, words: Words) -> Iterator[Table]:
    rows = []
    for square in found.squares:
        shown = [square.differences.get(name) for name in ("first", "second", "interaction")]
        n = str(shown[0].n if shown[0] else 0)
        rows.append((where(square.context) or "here", *map(words.change, shown), n, more(square)))
    if not rows:
        return
    things = tuple(starmap(named, found.squares[0].things))
    what = f"{words.metric.capitalize()}{words.per}, averaged over arms without and with the other (95 % intervals)."
    sure = "Interaction: how much more with it. What contributed more is judged after correction."
    note = f"{what} {sure} {comparisons(x for square in found.squares for x in square.judged)}".strip()
    columns = ("", *things, "interaction", "n", "contributed more")
    yield Table(f"What {joined(things)} contribute", columns, rows, note)


def _grids(found: Effects, words: Words) -> Iterator[Table]:
    """Mean and spread by the levels of the factor asked about and of another one, in each context of the rest."""
    factors = found.comparison.factors
    across, *rest = sorted(found.others, key=lambda name: not numeric(factors[name])) or [""]
    if across and prod(len(factors[name]) for name in rest) <= _GRIDS:
        groups = grouped(found.rounds, lambda around: where({name: around.context[name] for name in rest}))
        for here, rounds in groups.items():
            yield _grid(found, across, here, rounds, words)


def _grid(found: Effects, across: str, here: str, rounds: list[Round], words: Words) -> Table:
    columns = [_cells(around, words) for around in rounds]
    levels = [level for level in found.comparison.factors[found.factor] if any(level in cells for cells in columns)]
    title = f"{words.metric.capitalize()} by {found.factor} and {across}{f', {here}' if here else ''}"
    heads = (found.factor, *(named(across, around.context[across]) for around in rounds))
    rows = [(level or "-", *(cells.get(level, "") for cells in columns)) for level in levels]
    note = f"Mean ± sd over seeds{words.per}; bold: the {words.best} of its column, in the seeds that arms share."
    return Table(title, heads, rows, note)


def _cells(around: Round, words: Words) -> dict[str, str]:
    best = winner(around.arms, around.sign) if len(around.ranking) > 1 else None
    told = {level: words.spread(arm) for level, arm in around.arms.items()}
    return {level: f"**{text}**" if level == best else text for level, text in told.items()}


def _best(found: Effects, words: Words) -> Iterator[Table]:
    if best := found.best:
        title = f"Each {found.factor} at its best {joined(map(label, found.others))}"
        note = "Chosen on the seeds that are shown, which flatters every row; the correction counts the choice."
        yield _rows(found, words, title, [best], note)


def _arms(found: Effects, words: Words) -> Iterator[Table]:
    same = " at the same level of the other factors" if found.others else ""
    unit, intervals = f"{words.metric.capitalize()}{words.per}", f"{same}, intervals Student's t, each by itself"
    note = f"{unit}; n: seeds with a result. Differences are means over pairs of the same seed{intervals}."
    if found.rounds:
        yield _rows(found, words, "Arms", found.rounds, note)


def _rows(found: Effects, words: Words, title: str, rounds: list[Round], note: str) -> Table:
    factors, rows = [*found.others, found.factor], []
    for around in rounds:
        for level, arm in around.arms.items():
            n, levels = len(arm.results), (arm.levels[name] or "-" for name in factors)
            states = ", ".join(f"{arm.states.count(state)} {state}" for state in dict.fromkeys(arm.states))
            away = "baseline" if level == around.baseline else words.change(around.differences.get(level), n)
            rows.append((*levels, words.spread(arm), str(n), states, away))
    note = f"{note} {comparisons(chain.from_iterable(around.differences.values() for around in rounds))}".strip()
    heading = f"compared with {named(found.factor, found.baseline[found.factor])} (95 % interval)"
    return Table(title, (*map(label, factors), "mean ± sd", "n", "runs", heading), rows, note, len(factors))


def _costs(found: Effects, words: Words) -> Iterator[Table]:
    names, costs = found.costs
    rows = []
    for key, (speed, seconds, peak) in costs.items():
        numbers = ((speed, ",.0f"), (seconds, ",.1f"), (peak and peak / 1e6, ",.0f"))
        told = (format(number, form) if number else "-" for number, form in numbers)
        rows.append((*([level or "-" for level in key] or ["all"]), *told))
    columns = (*(map(label, names) if names else ["runs"]), "tokens/s", "seconds in steps", "peak memory, MB")
    note = "Medians over finished runs; times and speeds compare only where each had as much of the machine."
    if rows:
        yield Table("Speed and memory", columns, rows, note, max(1, len(names)))


# By the names with which a page may leave some out, in their order.
_TABLES = {"attribution": _attribution, "levels": _grids, "best": _best, "arms": _arms, "speed": _costs}
