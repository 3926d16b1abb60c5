"""The tables behind a verdict."""

from collections.abc import Iterator
from math import prod

from gptx.compare.effects import Effects, Round
from gptx.compare.factors import numeric
from gptx.compare.outcomes import grouped
from gptx.compare.sentences import comparisons, more, thing
from gptx.compare.words import Words, label, named, where
from gptx.show.table import Table
from gptx.units.phrases import count, joined

_GRIDS = 4  # at most: of more contexts, the table of arms has it all


def _attribution(found: Effects, words: Words) -> Iterator[Table]:
    """Main effects and interaction in each context, and what contributed more there."""
    if not (two := found.factorial):
        return
    rows: list[tuple[str, ...]] = []
    for square in two.squares:
        shown = [square.differences[name] for name in ("first", "second", "interaction")]
        n = max((each.n for each in shown if each), default=0)
        rows.append((where(square.context) or "here", *map(words.change, shown), str(n), more(two, square)))
    first, second = map(thing, two.things)
    note = (
        f"What {first} and {second} do to the {words.metric}{words.per}, each averaged over the arms without and "
        "with the other, seed by seed, with 95 % intervals, each by itself. Interaction: how much more either does "
        f"with the other than without it. What contributed more is judged after correction. {comparisons(two.judged)}"
    )
    columns = ("", first, second, "interaction", "n", "contributed more")
    yield Table(f"What {first} and {second} contribute", columns, rows, note.strip())


def _grids(found: Effects, words: Words) -> Iterator[Table]:
    """Mean and spread by the levels of the factor that is asked about and of another one, of numbers if there is one,
    in each context of the rest; the best of each column is marked."""
    factors, others = found.comparison.factors, found.others
    across = next(iter([*(name for name in others if numeric(factors[name])), *others]), "")
    rest = [name for name in others if name != across]
    if across and prod(len(factors[name]) for name in rest) <= _GRIDS:
        for columns in grouped(found.rounds, lambda around: tuple(around.context[name] for name in rest)).values():
            yield _grid(found, across, columns, words)


def _grid(found: Effects, across: str, columns: list[Round], words: Words) -> Table:
    context = {name: level for name, level in columns[0].context.items() if name != across}
    rows = []
    for level in found.comparison.factors[found.factor]:
        cells = [_cell(around, level, words) for around in columns]
        rows += [(level or "-", *cells)] * any(cells)
    return Table(
        f"{words.metric.capitalize()} by {found.factor} and {across}{f', {where(context)}' if context else ''}",
        (found.factor, *(named(across, around.context[across]) for around in columns)),
        rows,
        f"Mean ± sd over seeds{words.per}; bold: the {words.best} of its column, in the seeds that arms share.",
    )


def _cell(around: Round, level: str, words: Words) -> str:
    text = words.spread(around.arms[level]) if level in around.arms else ""
    return f"**{text}**" if len(around.ranking) > 1 and around.winner == level else text


def _best(found: Effects, words: Words) -> Iterator[Table]:
    """Each level at its best levels of the other factors, the best first."""
    if not (best := found.best):
        return
    rows = []
    for level in best.ranking:
        arm = best.arms[level]
        compared = "baseline" if level == best.baseline else words.against(best.differences.get(level), arm)
        there = (arm.levels[name] for name in found.others)
        rows.append((named(found.factor, level), *there, words.spread(arm), str(len(arm.results)), compared))
    note = (
        "Chosen on the seeds that are shown, which flatters every row; the correction counts the choice. "
        f"{comparisons(best.differences.values())}"
    )
    columns = (found.factor, *(f"best {label(name)}" for name in found.others), "mean ± sd", "n", _heading(found))
    yield Table(f"Each {found.factor} at its best {joined(map(label, found.others))}", columns, rows, note.strip())


def _arms(found: Effects, words: Words) -> Iterator[Table]:
    """Every arm with mean, spread and n, and its distance from the arm with the baseline's level of the factor."""
    factors = [*found.others, found.factor]
    rows = [(*(arm.levels[name] or "-" for name in factors), *_arm(around, level, words))
            for around in found.rounds for level, arm in around.arms.items()]  # fmt: skip
    same = " at the same level of the other factors" if found.others else ""
    made = comparisons(each for around in found.rounds for each in around.differences.values())
    note = (
        f"{words.metric.capitalize()}{words.per}; n: seeds with a result. Differences are means over pairs of the same "
        f"seed{same}, intervals Student's t, each by itself. {made}"
    )
    if rows:
        columns = (*map(label, factors), "mean", "sd", "n", "runs", _heading(found))
        yield Table("Arms", columns, rows, note.strip(), len(factors))


def _arm(around: Round, level: str, words: Words) -> tuple[str, ...]:
    arm, base = around.arms[level], around.arms.get(around.baseline)
    seeds = count(len(arm.results), "seed")
    mean = f"diverged in {arm.diverged} of {seeds}" if arm.diverged else words.number(arm.mean)
    states = ", ".join(f"{arm.states.count(state)} {state}" for state in dict.fromkeys(arm.states))
    compared = words.against(around.differences.get(level), arm)
    if not base or base.mean is None:
        compared = "baseline diverged" if base and base.diverged else "no baseline"
    return mean, words.number(arm.spread), str(len(arm.results)), states, "baseline" if arm is base else compared


def _costs(found: Effects, words: Words) -> Iterator[Table]:
    """Speed, time and memory, by what may change them."""
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


def _heading(found: Effects) -> str:
    return f"compared with {named(found.factor, found.baseline[found.factor])} (95 % interval)"


# By the names with which a page may leave some out, in their order.
TABLES = {"attribution": _attribution, "levels": _grids, "best": _best, "arms": _arms, "speed": _costs}
