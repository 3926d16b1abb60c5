"""The tables behind a verdict."""

from collections.abc import Iterator
from itertools import chain, starmap
from math import prod

from gptx.compare.effects import Effects, Round, winner
from gptx.compare.factors import grouped, numeric
from gptx.compare.sentences import comparisons, more
from gptx.compare.words import Words, label, named, where
from gptx.show.table import Table
from gptx.units.phrases import joined

_GRIDS = 4  # at most: of more contexts, the table of arms has it all


def _attribution(found: Effects, words: Words) -> Iterator[Table]:
    """Main effects and interaction in each context, and what contributed more there."""
    rows = []
    for square in found.squares:
        shown = [square.differences.get(name) for name in ("first", "second", "interaction")]
        n = str(shown[0].n if shown[0] else 0)
        rows.append((where(square.context) or "here", *map(words.change, shown), n, more(square)))
    if not rows:
        return
    things = tuple(starmap(named, found.squares[0].things))
    note = (
        f"{words.metric.capitalize()}{words.per}, with 95 % intervals, each by itself: what {joined(things)} do, each "
        "averaged over arms without and with the other, and how much more with it (interaction). What contributed more "
        f"is judged after correction. {comparisons(x for square in found.squares for x in square.judged)}"
    )
    columns = ("", *things, "interaction", "n", "contributed more")
    yield Table(f"What {joined(things)} contribute", columns, rows, note.strip())


def _grids(found: Effects, words: Words) -> Iterator[Table]:
    """Mean and spread by the levels of the factor that is asked about and of another one, of numbers if there is one,
    in each context of the rest; the best of each column is marked."""
    factors = found.comparison.factors
    across, *rest = sorted(found.others, key=lambda name: not numeric(factors[name])) or [""]
    if across and prod(len(factors[name]) for name in rest) <= _GRIDS:
        groups = grouped(found.rounds, lambda around: where({name: around.context[name] for name in rest}))
        for here, rounds in groups.items():
            yield _grid(found, across, here, rounds, words)


def _grid(found: Effects, across: str, here: str, rounds: list[Round], words: Words) -> Table:
    columns = [_cells(around, words) for around in rounds]
    levels = [level for level in found.comparison.factors[found.factor] if any(level in cells for cells in columns)]
    return Table(
        f"{words.metric.capitalize()} by {found.factor} and {across}{f', {here}' if here else ''}",
        (found.factor, *(named(across, around.context[across]) for around in rounds)),
        [(level or "-", *(cells.get(level, "") for cells in columns)) for level in levels],
        f"Mean ± sd over seeds{words.per}; bold: the {words.best} of its column, in the seeds that arms share.",
    )


def _cells(around: Round, words: Words) -> dict[str, str]:
    best = winner(around.arms, around.sign) if len(around.ranking) > 1 else None
    told = {level: words.spread(arm) for level, arm in around.arms.items()}
    return {level: f"**{text}**" if level == best else text for level, text in told.items()}


def _best(found: Effects, words: Words) -> Iterator[Table]:
    """Each level at its best levels of the other factors, the best first."""
    if best := found.best:
        title = f"Each {found.factor} at its best {joined(map(label, found.others))}"
        note = "Chosen on the seeds that are shown, which flatters every row; the correction counts the choice."
        yield _rows(found, words, title, [best], note)


def _arms(found: Effects, words: Words) -> Iterator[Table]:
    """Every arm, and its distance from the arm with the baseline's level of the factor."""
    same = " at the same level of the other factors" if found.others else ""
    note = (
        f"{words.metric.capitalize()}{words.per}; n: seeds with a result. Differences are means over pairs of the same "
        f"seed{same}, intervals Student's t, each by itself."
    )
    if found.rounds:
        yield _rows(found, words, "Arms", found.rounds, note)


def _rows(found: Effects, words: Words, title: str, rounds: list[Round], note: str) -> Table:
    """Arms with mean and spread, n, states of their runs and difference from the baseline."""
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
TABLES = {"attribution": _attribution, "levels": _grids, "best": _best, "arms": _arms, "speed": _costs}
