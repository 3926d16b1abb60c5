"""The tables behind an answer, by the names with which a page may leave some out."""

from collections.abc import Iterator
from itertools import starmap
from math import prod

from gptx.compare.effects import Effect, Effects
from gptx.compare.factors import axes, grouped
from gptx.compare.optimum import winner
from gptx.compare.outcomes import Arm, contexts
from gptx.compare.sentences import contributed
from gptx.compare.words import Words, change, label, named, rate_of, said, tuned, where
from gptx.estimate.differences import Estimate
from gptx.show.table import Table
from gptx.units.phrases import joined

_GRIDS = 4  # at most: of more settings, the table of arms has it all


def tables_of(found: Effects, words: Words) -> Iterator[Table]:
    for name, make in TABLES.items():
        if name not in found.comparison.without:
            yield from make(found, words)


def _effects(found: Effects, words: Words) -> Iterator[Table]:
    """Every effect: what is changed, the difference with its interval, what it costs, the best first."""
    if found.optima:
        yield _optima(found, words)
    if found.effects:
        columns = {head: tell for head, tell in _columns(found, words) if any(map(tell, found.effects))}
        several = len(found.settings) > 1
        rows = [(*[where(setting.context)] * several, *(tell(effect) for tell in columns.values()))
                for setting, effect in found.each]  # fmt: skip
        what = {"levels": said(found.factor), "cumulative": "added change"}.get(found.question.design, "change")
        heads = *["setting"] * several, *columns
        yield Table(f"What each {what} does", heads, rows, _note(found, words), 1 + several)
    if any(setting.lead for setting in found.settings):
        yield _leads(found, words)


def _leads(found: Effects, words: Words) -> Table:
    """Of a 2 x 2, which of the two things contributed more."""
    each = ((where(setting.context) or "here", setting) for setting in found.settings)
    told = [(place, words.change(setting.lead), contributed(found, setting)) for place, setting in each]
    heads = "", " less ".join(starmap(named, found.question.things)), "contributed more"
    return Table("What contributed more", heads, told)


def _columns(found: Effects, words: Words) -> Iterator[tuple]:
    """Heads of columns, and what gives the cell of an effect; a column that is empty is left out."""
    base = found.baseline
    after = "the one before" if found.question.design == "cumulative" else "the base"
    averaged = any(setting.whole for setting in found.settings)
    yield "change", lambda effect: change(effect, base)
    head = "difference, averaged over the rest" if averaged else f"difference from {after}"
    yield head, lambda effect: f"{effect.bound}: {words.change(effect.estimate)}".removeprefix(": ")
    yield "its own seeds alone", lambda effect: _alone(effect.estimate, words)
    yield "mean ± sd", lambda effect: words.spread(effect.arm) if effect.arm else ""
    yield f"best {rate_of(found)}", lambda effect: _best(found, effect)
    yield "time", lambda effect: _times(effect, "seconds") if found.steady else ""
    yield "memory", lambda effect: _times(effect, "peak_bytes")
    yield "speed-up in steps", lambda effect: _speed(effect, steady=found.steady)
    yield "on fresh seeds", lambda effect: words.change(effect.fresh) if effect.fresh else ""


def _best(found: Effects, effect: Effect) -> str:
    only = found.question.best_over if effect.arm else ()
    return effect.arm.levels[only[0]] if effect.arm and len(only) == 1 else tuned(found, effect.arm)


def _alone(found: Estimate | None, words: Words) -> str:
    """The interval over its own seeds, where it says something else about zero, or is all that counts."""
    if found is None or found.alone is None or not (found.disputed or found.own):
        return ""
    low, high = (words.number(end, sign="+", decimals=words.digits((found.alone[1] - found.alone[0]) / 2))
                 for end in found.alone)  # fmt: skip
    return f"{low} to {high}"


def _times(effect: Effect, fact: str) -> str:
    times = effect.costs.get(fact)
    return f"×{times:.2f}" if times else ""


def _speed(effect: Effect, *, steady: bool) -> str:
    if (speed := effect.speed) is None:
        return ""
    span = f" ({speed.low:.2f} to {speed.high:.2f})" if speed.low and speed.high else ""
    slower = effect.costs.get("seconds")
    seconds = f", {speed.bound}{speed.times / slower:.2f} in seconds" if slower and steady else ""
    return f"{speed.bound}{speed.times:.2f}{span}{seconds}"


def _note(found: Effects, words: Words) -> str:
    """How the table is read, and against what."""
    unit = f"{words.metric.capitalize()}{words.per}; {words.good} is better."
    base = joined(named(name, found.baseline[name]) for name in found.question.vary)
    against = f" Base: {base}." if found.settings[0].base else ""
    sure = " Intervals hold together at 95 %; the spread over seeds is pooled over the arms"
    against_base = found.question.design in ("levels", "arms") and not found.question.best_over
    dunnett = " (Dunnett)." if against_base and len(found.settings) == 1 else "."
    alone = " Where an arm's own seeds alone say something else about zero, their interval has a column of its own."
    disputed = any(estimate.disputed or estimate.own for estimate in found.judged)
    known = any(estimate.p is not None for estimate in found.judged)
    return f"{unit}{against}{sure + dunnett if known else ''}{alone * disputed}"


def _optima(found: Effects, words: Words) -> Table:
    """The best learning rate of each setting, on the grid and between its levels."""
    rows = [(where(best.context), best.level or "-", words.spread(best.arm) if best.arm else "-",
             f"edge ({best.edge})" if best.edge else "" if best.rate is None else f"{best.rate:.3g}" + (
                 f" ({best.low:.3g} to {best.high:.3g})" if best.low and best.high else ""))
            for best in found.optima]  # fmt: skip
    note = "Between levels: the lowest point of a parabola in the logarithm of the rate through the best three, with "
    note += "the 95 % interval of those of single seeds. The headline uses the best level of the grid."
    heads = ("setting", "best of the grid", "mean ± sd there", "between levels")
    return Table(f"The best {said(found.factor)}", heads, rows, note)


def _grids(found: Effects, words: Words) -> Iterator[Table]:
    """Mean and spread by the two factors of the figure, in each setting of the rest."""
    factors = found.comparison.factors
    across, lines, _ = axes(factors, found.question.vary)
    rest = [name for name in factors if name not in (across, *lines[:1])]
    several = prod(len(factors[name]) for name in rest) > _GRIDS
    if lines and not several and found.question.design in ("levels", "optimum"):
        for context, arms in contexts(found.arms, across, lines[0]):
            yield _grid(found, across, lines[0], where(context), arms, words)


def _grid(found: Effects, across: str, down: str, place: str, arms: list[Arm], words: Words) -> Table:
    columns = grouped(arms, lambda arm: arm.levels[across])
    cells = [_marked(some, down, words, found.comparison.sign) for some in columns.values()]
    there = filter(set[str]().union(*cells).__contains__, found.comparison.factors[down])
    rows = [(level or "-", *(column.get(level, "") for column in cells)) for level in there]
    title = f"{words.metric.capitalize()} by {said(down)} and {said(across)}{f', {place}' if place else ''}"
    note = f"Mean ± sd over seeds{words.per}; bold: the {words.best} of its column, in the seeds that arms share."
    return Table(title, (label(down), *(named(across, level) for level in columns)), rows, note)


def _marked(arms: list[Arm], down: str, words: Words, sign: int) -> dict[str, str]:
    """Mean and spread of arms by their level, the best of several in bold."""
    best = winner({arm.levels[down]: arm for arm in arms}, sign) if len(arms) > 1 else None
    told = {arm.levels[down]: words.spread(arm) for arm in arms}
    return told | ({best: f"**{told[best]}**"} if best is not None else {})


def _arms(found: Effects, words: Words) -> Iterator[Table]:
    """Every arm."""
    factors, rows = [*found.comparison.factors], []
    for arm in found.arms if factors else ():
        states = ", ".join(f"{arm.states.count(state)} {state}" for state in dict.fromkeys(arm.states))
        levels = (arm.levels[name] or "-" for name in factors)
        rows.append((*levels, words.spread(arm), str(len(arm.results)), states))
    if rows:
        note = f"{words.metric.capitalize()}{words.per}; n: seeds with a result."
        yield Table("All arms", (*map(label, factors), "mean ± sd", "n", "runs"), rows, note, len(factors))


def _costs(found: Effects, words: Words) -> Iterator[Table]:
    (names, costs), rows = found.costs, []
    for key, (speed, seconds, peak) in costs.items():
        numbers = ((speed, ",.0f"), (seconds, ",.1f"), (peak and peak / 1e6, ",.0f"))
        told = (format(number, form) if number else "-" for number, form in numbers)
        rows.append((*([level or "-" for level in key] or ["all"]), *told))
    columns = (*(map(label, names) if names else ["runs"]), "tokens/s", "seconds in steps", "peak memory, MB")
    note = "Medians over finished runs; times and speeds compare only where each had as much of the machine."
    note += " Here they did not: seeds of one arm differ by more than a quarter in time." * (not found.steady)
    if rows:
        yield Table("Speed and memory", columns, rows, note, max(1, len(names)))


TABLES = {"effects": _effects, "levels": _grids, "arms": _arms, "speed": _costs}
