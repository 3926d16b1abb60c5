"""Charts of laws as one HTML page that needs nothing beside itself, with a choice of the law."""

from collections.abc import Callable, Sequence
from pathlib import Path

from gptx.estimate.laws import RULE
from gptx.plan.chart import Chart, Line, Place, beyond, parts, rounds, ruled
from gptx.plan.chart_words import FLOPS, PARAMETERS, column, hover, legible, notes, ratio, reading, signs
from gptx.plan.known import MODELS
from gptx.show import page
from gptx.show.table import Table, section
from gptx.units.amounts import amount, power
from gptx.units.printable import html, plotly

SCRIPT = Path(__file__).with_name("chart.js")


def whole(charts: Sequence[Chart]) -> str:
    """The page of charts, one of which is shown at a time."""
    names, asked = [chart.law.name for chart in charts], charts[0].asked
    title = f"What {power(asked.minimum.flops)} operations buy" if asked else "What operations buy"
    menu = page.menu("law", "law", [(str(place), name) for place, name in enumerate(names)])
    body = [
        f"<h1>{html(title)}</h1>",
        shown(charts, lambda chart: f'<p class="question">{html(reading(chart))}</p>'),
        *([f'<div class="controls">{menu}</div>'] if len(charts) > 1 else []),
        f'<div class="columns tall">{plot("Loss over compute, by size", "flops")}'
        f"{plot('Loss over size, by budget of operations', 'parameters')}</div>",
        shown(charts, lambda chart: "".join(f'<p class="note">{html(note)}</p>' for note in notes(chart))),
        *([f"<h2>The same budget by each law</h2>{section(budgets(charts))}"] if asked else []),
        *(["<h2>Models on the chart</h2>"] if charts[0].known or charts[0].runs else []),
        shown(charts, lambda chart: section(models(chart)) if chart.known or chart.runs else ""),
    ]
    told = {"charts": [drawn(chart) for chart in charts], "axes": {"flops": FLOPS, "parameters": PARAMETERS}}
    return page.whole(title, body, ", ".join(names), told, command="plan", script=SCRIPT)


def shown(charts: Sequence[Chart], part: Callable[[Chart], str]) -> str:
    """A part for each law, of which the page shows that of the chosen one."""
    return "".join(
        f'<div data-law="{place}"{" hidden" * bool(place)}>{part(chart)}</div>' for place, chart in enumerate(charts)
    )


def plot(title: str, across: str) -> str:
    return f'<figure><h3>{html(title)}</h3><div class="plot" data-across="{across}"></div></figure>'


def budgets(charts: Sequence[Chart]) -> Table:
    """What the user's budget is best spent on by each law, and by the rule."""
    columns = [
        "law",
        "parameters",
        "95 % of draws",
        "tokens",
        "tokens a parameter",
        "loss",
        f"loss by the rule of {RULE:g}",
        "of",
    ]
    rows: list[list[str]] = []
    for chart in charts:
        if chart.asked:
            least, spread = chart.asked.minimum, chart.asked.spread
            rule = ruled(chart.law, least.flops)
            size, *rest = spent(least)
            rows.append([chart.law.name, size, " to ".join(map(amount, spread or ())), *rest, f"{least.loss:.3f}",
                         f"{rule.loss:.3f}", chart.law.units])  # fmt: skip
    size, *rest = spent(rule)
    rows.append([f"rule of {RULE:g}", size, "", *rest, "", "", ""])
    told = [i for i in range(len(columns)) if any(row[i] for row in rows)]  # no column of draws where no law has any
    return Table("", tuple(columns[i] for i in told), [tuple(row[i] for i in told) for row in rows])


def models(chart: Chart) -> Table:
    """Models and runs beside what the law expects of them, and what it would have spent their operations on."""
    sources = {model.name: model.source for model in MODELS}
    rows: list[tuple[str, ...]] = []
    for place, measured in [
        *((place, "-") for place in chart.known),
        *((run, f"{run.loss:.3f}") for run in chart.runs),
    ]:
        best = chart.law.optimum(place.flops)
        expected = chart.law.loss(place.parameters, place.tokens)
        rows.append((place.name, *spent(place), power(place.flops), measured, f"{expected:.3f}",
                     f"{amount(best[0])} on {amount(best[1])}", f"{chart.law.loss(*best):.3f}",
                     sources.get(place.name, "")))  # fmt: skip
    columns = ("", "parameters", "tokens", "tokens a parameter", "operations", "loss measured", "expected",
               "best with as many operations", "loss of that", "source")[: None if chart.known else -1]  # fmt: skip
    rows = [row[: len(columns)] for row in rows]
    return Table("", columns, rows, note=f"Expected and best by {chart.law.name}'s law.")


def spent(place: Place) -> tuple[str, str, str]:
    return amount(place.parameters), amount(place.tokens), ratio(place)


def drawn(chart: Chart) -> dict:
    """What chart.js draws of a law."""
    law, asked = chart.law, chart.asked and chart.asked.minimum
    return {
        "title": plotly(f"loss, {law.units}"),
        "ends": {"flops": chart.span, "parameters": chart.breadth, "loss": (chart.floor, chart.ceiling)},
        "ticks": {"flops": ticks(chart.span, power), "parameters": ticks(chart.breadth, amount)},
        "beyond": [part for part in parts(*chart.span, chart.fitted) if beyond(*part, chart.fitted)],
        "sizes": [
            line(found.line)
            | {"name": amount(found.line.places[0].parameters), "topped": found.topped}
            | {"touch": found.touch and dot(found.touch)}
            for found in chart.sizes
        ],
        "budgets": [
            line(found.line)
            | {"name": power(found.minimum.flops), "least": dot(found.minimum), "asked": found.asked}
            | {"spread": found.spread and six(found.spread)}
            for found in chart.budgets
        ],
        "best": [line(part) for part in chart.best],
        "rule": line(chart.rule),
        "known": [dot(place) for place in chart.known],
        "named": [dot(place) | {"side": side} for place, side in legible(chart)],
        "runs": [dot(run, "measured loss") | {"expected": law.loss(*run[:2])} for run in chart.runs],
        "column": [dot(place) | {"rung": rung, "up": up} for place, rung, up in column(chart)],
        "signs": [dot(place) | {"side": side} for place, side in signs(chart)],
        "asked": f"{power(asked.flops)}: {amount(asked.parameters)}<br>on {amount(asked.tokens)} tokens"
        if asked
        else "",
    }  # fmt: skip


def ticks(ends: tuple[float, float], spelled: Callable[[float], str]) -> dict:
    found = rounds(*ends)
    return {"at": found, "said": [spelled(value) for value in found]}


def line(found: Line) -> dict:
    """The places of a line, for both axes, with what is said when they are pointed at."""
    return {
        "flops": six([place.flops for place in found.places]),
        "parameters": six([place.parameters for place in found.places]),
        "loss": six([place.loss for place in found.places]),
        "texts": [hover(place) for place in found.places],
        "beyond": found.beyond,
        "low": six(found.low), "high": six(found.high),
    }  # fmt: skip


def dot(place: Place, what: str = "loss by the law") -> dict:
    """A place with what is said when it is pointed at, and its name."""
    flops, parameters, loss = six([place.flops, place.parameters, place.loss])
    named = {"name": plotly(place.name), "text": hover(place, what)}
    return {"flops": flops, "parameters": parameters, "loss": loss, **named}


def six(values: Sequence[float]) -> list[float]:
    """Numbers to six digits, which is more than a screen shows."""
    return [float(f"{value:.6g}") for value in values]
