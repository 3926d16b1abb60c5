"""The tables behind a verdict."""

from dataclasses import dataclass
from statistics import median

from gptx.compare.arms import Arm, Round
from gptx.compare.attribution import Factorial
from gptx.compare.outcomes import Comparison, Outcome
from gptx.compare.statistics import Estimate, holm
from gptx.compare.words import Words, count, joined, label, named, where

ROWS = 12  # more arms than this are told of by level in the table of speed and memory


@dataclass(frozen=True)
class Table:
    """Cells as text; the first `names` columns name the rows, numbers stand in all others. `**` around a cell marks
    the best."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""
    names: int = 1


def of_arms(found: list[Arm], rounds: list[Round], words: Words, factor: str) -> Table:
    """Every arm with mean, spread and n, and its distance from the arm with the baseline's level of `factor`."""
    factors = [name for name in found[0].levels if name != factor] + [factor]
    distance = {id(arm): (r, level) for r in rounds for level, arm in r.arms.items()}
    changes = {id(r): r.differences for r in rounds}
    rows = []
    for arm in [arm for r in rounds for arm in r.arms.values()]:
        around, level = distance[id(arm)]
        if level == around.baseline:
            beside = "baseline"
        elif (
            around.baseline not in around.arms
            or around.arms[around.baseline].diverged
            or not around.arms[around.baseline].results
        ):
            beside = "no baseline"
        else:
            beside = words.change(changes[id(around)][level])
        mean = (
            f"diverged in {arm.diverged} of {count(len(arm.results), 'seed')}"
            if arm.diverged
            else words.number(arm.mean)
        )
        rows.append(
            (
                *(arm.levels[name] or "-" for name in factors),
                mean,
                words.number(arm.spread),
                str(len(arm.results)),
                states(arm.states),
                beside,
            )
        )
    made = [each for r in rounds for each in changes[id(r)].values()]
    base = named(factor, rounds[0].baseline) if factor else ""
    columns = (*map(label, factors), "mean", "sd", "n", "runs", f"beside {base} (95 % interval)")
    note = f"{words.metric}{f', {words.unit}' if words.unit else ''}; n: seeds with a result. {pairing(len(factors) > 1)} {together(made)}".strip()
    return Table("Arms", columns, rows, note, len(factors))


def matrix(found: list[Arm], factor: str, other: str, context: dict[str, str], words: Words) -> Table:
    """Mean and spread by the levels of two factors, the best of each column marked."""
    here = [arm for arm in found if context.items() <= arm.levels.items()]
    place = {(arm.levels[factor], arm.levels[other]): arm for arm in here}
    levels, columns = (list(dict.fromkeys(arm.levels[name] for arm in here)) for name in (factor, other))
    best = {}
    for column in columns:
        means = {row: place[row, column].mean for row in levels if (row, column) in place}
        ranked = sorted((words.better(mean), row) for row, mean in means.items() if mean is not None)
        best[column] = ranked[0][1] if len(ranked) > 1 else None
    rows = []
    for row in levels:
        cells = [words.spread(place[row, column]) if (row, column) in place else "" for column in columns]
        rows.append(
            (
                row or "-",
                *(f"**{cell}**" if best[column] == row else cell for cell, column in zip(cells, columns, strict=True)),
            )
        )
    title = f"{words.metric} by {factor} and {other}" + (f", {where(context)}" if context else "")
    return Table(
        title,
        (factor, *(named(other, column) for column in columns)),
        rows,
        f"mean ± sd over seeds{f', {words.unit}' if words.unit else ''}; bold: the best of its column",
    )


def best(chosen: Round, factor: str, others: list[str], words: Words) -> Table:
    """Each level at its best levels of the other factors, the best first."""
    changes, rows = chosen.differences, []
    for level in chosen.ranked(words.better):
        arm = chosen.arms[level]
        beside = "baseline" if level == chosen.baseline else words.change(changes.get(level))
        rows.append(
            (
                named(factor, level),
                *(arm.levels[name] for name in others),
                words.spread(arm),
                str(len(arm.results)),
                beside,
            )
        )
    note = f"Chosen on the seeds that are shown, which flatters: fresh seeds would come out a little {'lower' if words.rising else 'higher'}. {together(list(changes.values()))}"
    columns = (
        factor,
        *(f"best {label(name)}" for name in others),
        "mean ± sd",
        "n",
        f"beside {named(factor, chosen.baseline)} (95 % interval)",
    )
    return Table(f"Each {factor} at its best {joined(map(label, others))}", columns, rows, note.strip())


def attribution(found: Factorial, more: list[str], words: Words) -> Table:
    """Main effects and interaction in each context, and what contributed more there."""
    rows, all_of_them = [], []
    for effects, told in zip(found.effects, more, strict=True):
        three = [*effects.main, effects.interaction]
        all_of_them += three
        seeds = max((each.n for each in three if each), default=0)
        rows.append((where(effects.context) or "all", *map(words.change, three), str(seeds), told))
    first, second = found.names
    note = (f"What {first} and {second} each do to the {words.metric}{f' ({words.unit})' if words.unit else ''}, averaged over the arms without and with the "
            f"other; interaction: how much more either does beside the other than without it. Seed by seed, with 95 % "
            f"intervals; what contributed more is judged by the arm with {first} alone beside the arm with {second} alone. {together(all_of_them)}")  # fmt: skip
    return Table(
        f"What {first} and {second} contribute",
        ("", first, second, "interaction", "n", "contributed more"),
        rows,
        note.strip(),
    )


def cost(comparison: Comparison, found: list[Arm], factor: str) -> Table | None:
    """Speed, time and memory, by arm, or by level of `factor` where there are many arms; medians over runs."""
    by_arm = len(found) <= ROWS
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for outcome in comparison.outcomes:
        key = tuple(outcome.levels.values()) if by_arm else (outcome.levels[factor],)
        groups.setdefault(key, []).append(outcome)
    rows = []
    for key, outcomes in groups.items():
        speed, time, peak = (
            [getattr(o, name) for o in outcomes if getattr(o, name) is not None and o.state == "finished"]
            for name in ("tokens_per_second", "seconds", "peak_bytes")
        )
        rows.append((*(level or "-" for level in key),
                     f"{median(speed):,.0f}" if speed else "-", f"{median(time):,.1f}" if time else "-",
                     f"{median(peak) / 1e6:,.0f}" if peak else "-"))  # fmt: skip
    names = (list(comparison.factors) if by_arm else [factor]) if comparison.factors else []
    if not any(cell != "-" for row in rows for cell in row[len(names) :]):
        return None
    columns = (*map(label, names), "tokens/s", "seconds in updates", "peak memory, MB")
    return Table(
        "Speed and memory",
        columns,
        rows,
        "Medians over finished runs; they compare only where the runs had the machine alike.",
        len(names),
    )


def together(made: list[Estimate | None]) -> str:
    """What is to be said of several comparisons in one table."""
    judged = [each for each in made if each and each.low is not None]
    if len(judged) < 2:
        return ""
    told = sum(each.told for each in judged)
    kept = f"; of the {told} that hold no zero, {holm(judged)} would pass as effects if all were judged together (Holm)"
    return f"{len(judged)} intervals, each for itself{kept if told else ''}."


def pairing(context: bool) -> str:
    """How differences are taken."""
    return f"Differences are means over pairs of the same seed{' at the same level of the other factors' if context else ''}, intervals Student's t."


def states(found: tuple[str, ...]) -> str:
    """3 finished, 1 running."""
    return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))
