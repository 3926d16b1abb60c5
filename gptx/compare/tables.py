"""The tables behind a verdict."""

from statistics import median

from gptx.compare.answers import more
from gptx.compare.arms import Arm, Round, winner
from gptx.compare.attribution import Factorial
from gptx.compare.outcomes import Comparison, Outcome
from gptx.compare.statistics import Estimate
from gptx.compare.words import Words, comparisons, label, named, where
from gptx.config.groups import decides
from gptx.show.table import Table
from gptx.units.phrases import count, joined

ROWS = 12  # of the table of speed and memory; more are told of by level of the first factor


def attribution(two: Factorial, words: Words) -> Table:
    """Main effects and interaction in each context, and what contributed more there."""
    made: list[Estimate | None] = []
    rows = []
    for effects in two.effects:
        three = effects.estimates[:3]
        made += effects.estimates
        n = max((each.n for each in three if each), default=0)
        place = where(effects.context) or "here"
        rows.append((place, *map(words.change, three), str(n), more(two, effects, words)))
    (first, second), unit = two.names, f" ({words.unit})" if words.unit else ""
    note = (
        f"What {first} and {second} do to the {words.metric}{unit}, each averaged over the arms without and with the "
        f"other, seed by seed, with 95 % intervals, each for itself. Interaction: how much more either does with the "
        f"other than without it. What contributed more is judged after correction. {comparisons(made)}"
    )
    columns = ("", first, second, "interaction", "n", "contributed more")
    return Table(f"What {first} and {second} contribute", columns, rows, note.strip())


def matrix(found: list[Arm], factor: str, other: str, context: dict[str, str], words: Words) -> Table:
    """Mean and spread by the levels of two factors, the best of each column marked."""
    here = {(arm.levels[factor], arm.levels[other]): arm for arm in found if context.items() <= arm.levels.items()}
    levels, columns = (list(dict.fromkeys(key[i] for key in here)) for i in (0, 1))
    cells = {key: words.spread(arm) for key, arm in here.items()}
    for column in columns:
        there = {
            row: here[row, column] for row in levels if (row, column) in here and here[row, column].mean is not None
        }
        if len(there) > 1 and (best := winner(there, words.better)) is not None:
            cells[best, column] = f"**{cells[best, column]}**"
    rows = [(row or "-", *(cells.get((row, column), "") for column in columns)) for row in levels]
    unit = f", {words.unit}" if words.unit else ""
    return Table(
        f"{words.metric.capitalize()} by {factor} and {other}" + (f", {where(context)}" if context else ""),
        (factor, *(named(other, column) for column in columns)),
        rows,
        f"Mean ± sd over seeds{unit}; bold: the {words.best} of its column, in the seeds that arms share.",
    )


def best(chosen: Round, factor: str, others: list[str], words: Words) -> Table:
    """Each level at its best levels of the other factors, the best first."""
    changes, rows = chosen.differences, []
    for level in chosen.ranked(words.better):
        arm = chosen.arms[level]
        beside = "baseline" if level == chosen.baseline else words.against(changes.get(level), arm)
        there = (arm.levels[name] for name in others)
        rows.append((named(factor, level), *there, words.spread(arm), str(len(arm.results)), beside))
    note = (
        "Chosen on the seeds that are shown, which flatters every row; the correction counts the choice. "
        f"{comparisons(changes.values())}"
    )
    columns = (factor, *(f"best {label(name)}" for name in others), "mean ± sd", "n", heading(factor, chosen))
    return Table(f"Each {factor} at its best {joined(map(label, others))}", columns, rows, note.strip())


def of_arms(rounds: list[Round], factor: str, words: Words) -> Table:
    """Every arm with mean, spread and n, and its distance from the arm with the baseline's level of `factor`."""
    factors = [*rounds[0].context, factor]
    made: list[Estimate | None] = []
    rows = []
    for around in rounds:
        changes, base = around.differences, around.arms.get(around.baseline)
        made += changes.values()
        for level, arm in around.arms.items():
            mean = words.number(arm.mean)
            if arm.diverged:
                mean = f"diverged in {arm.diverged} of {count(len(arm.results), 'seed')}"
            beside = words.against(changes.get(level), arm)
            if arm is base:
                beside = "baseline"
            elif not base or base.mean is None:
                beside = "baseline diverged" if base and base.diverged else "no baseline"
            names = (arm.levels[name] or "-" for name in factors)
            rows.append((*names, mean, words.number(arm.spread), str(len(arm.results)), states(arm.states), beside))
    level = " at the same level of the other factors" if len(factors) > 1 else ""
    note = (
        f"{words.metric.capitalize()}{f', {words.unit}' if words.unit else ''}; n: seeds with a result. Differences "
        f"are means over pairs of the same seed{level}, intervals Student's t, each for itself. {comparisons(made)}"
    )
    columns = (*map(label, factors), "mean", "sd", "n", "runs", heading(factor, rounds[0]))
    return Table("Arms", columns, rows, note.strip(), len(factors))


def cost(comparison: Comparison, found: list[Arm], factor: str) -> Table | None:
    """Speed, time and memory, by what may change them, or by `factor` where that is much; None where nothing may, or
    nothing is known."""
    names = [name for name in comparison.factors if decides(name, "speed")]
    if comparison.factors and not names:
        return None
    if len({tuple(arm.levels[name] for name in names) for arm in found}) > ROWS:
        names = [factor]
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in comparison.outcomes:
        key = tuple(outcome.levels[name] or "-" for name in names) or ("all",)
        groups.setdefault(key, []).append(outcome)
    rows = []
    for key, outcomes in groups.items():
        speed = [o.tokens_per_second for o in outcomes if o.state == "finished" and o.tokens_per_second]
        time = [o.seconds for o in outcomes if o.state == "finished" and o.seconds]
        peak = [o.peak_bytes / 1e6 for o in outcomes if o.state == "finished" and o.peak_bytes]
        if speed or time or peak:
            rows.append((*key, middle(speed), middle(time, ".1f"), middle(peak)))
    columns = (*(map(label, names) if names else ["runs"]), "tokens/s", "seconds in updates", "peak memory, MB")
    note = "Medians over finished runs; times and speeds compare only where each had as much of the machine."
    return Table("Speed and memory", columns, rows, note, max(1, len(names))) if rows else None


def middle(values: list[float], form: str = ".0f") -> str:
    """The median as text; a dash of none."""
    return f"{median(values):,{form}}" if values else "-"


def heading(factor: str, around: Round) -> str:
    return f"compared with {named(factor, around.baseline)} (95 % interval)"


def states(found: tuple[str, ...]) -> str:
    """3 finished, 1 running."""
    return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))
