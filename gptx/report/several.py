"""The report of several runs: the question and its answer in words, the curves, and what the answer rests on."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median_high

import numpy

from gptx.compare import words
from gptx.compare.arms import arms as results_of
from gptx.compare.arms import axis
from gptx.compare.meaning import listed, meaning, spelled
from gptx.config import paths
from gptx.report import panels, readme
from gptx.report.arms import ArmRuns, Report, across
from gptx.runs.cells import Cell
from gptx.show import page
from gptx.show.plots import Panel
from gptx.show.table import Table, markdown, section
from gptx.units.phrases import count
from gptx.units.printable import html, md, plotly

LEGEND = (
    "A line is the mean of an arm's seeds, in a band from the lowest to the highest of them; of training, from the "
    "lowest to the highest step of any. It goes as far as every seed that has begun, and ends where one diverges. A "
    "branch that a rollback discarded is dashed and ends in a cross. Click an arm to hide it, twice to see it alone."
)
BUDGET, FEWEST, MOST = 24_000, 120, 600  # points of all arms in a panel together, and of one curve
INCIDENTS = 200  # that are listed


def title(report: Report) -> str:
    return f"{report.name}: {report.standing}"


def shown(report: Report) -> list[Panel]:
    """The panels of the comparison's picture."""
    signals = panels.signals(report.arms, report.smooth)
    return [*panels.main(report, [report.comparison.metric], 0), *list(signals)[:2]]


def summary(report: Report) -> str:
    """The comparison in Markdown: the answer, its tables, and the picture next to it."""
    name, answer, question = md(report.name), report.answer, asked(report.cells)
    parts = [
        f"# {name}",
        f"**Question.** {md(question)}" if question else "",
        f"**Verdict.** {md(answer.headline)}",
        "\n".join(f"- {md(sentence)}" for sentence in answer.sentences),
        "\n>\n".join(f"> Warning: {md(warning)}" for warning in answer.warnings),
        f"![{name}](report.png)",
        *map(markdown, answer.tables),
        f"({report.standing}; {md(readme.made(report.comparison.environment))}; the whole report is report.html)",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def webpage(report: Report, renew: float = 0) -> str:
    """The page of the comparison, which loads again after `renew` seconds unless that is 0."""
    figures: list[dict] = []
    comparison, answer = report.comparison, report.answer
    known = {key for arm in report.arms for cell in arm.cells for key in cell.metrics.columns}
    keys = [key for key in dict.fromkeys((comparison.metric, "validation/loss", "train/loss")) if key in known]
    points = max(FEWEST, min(MOST, BUDGET // max(1, len(report.arms))))
    curves = [page.add_panel(figures, panel, points) for panel in panels.main(report, keys, report.smooth)]
    signals = [page.add_panel(figures, panel, points) for panel in panels.signals(report.arms, report.smooth)]
    chart, told = finals(report, figures), "".join(f"<p>{html(text)}</p>" for text in answer.sentences)
    metrics = page.menu("show", "key", [(key, key.replace("/", " ")) for key in keys])
    environment = ((name, ", ".join(map(str, value)) if isinstance(value, list) else str(value or ""))
                   for name, value in comparison.environment.items())  # fmt: skip
    parts = [
        f'<p class="note">{html(report.name)} · {html(report.standing)}</p>',
        f'<p class="question">{html(asked(report.cells))}</p>',
        f'<h1 class="answer">{html(answer.headline)}</h1>',
        page.warned(answer.warnings),
        f'<div class="reasons">{chart}<div>{told}</div></div>',
        "<h2>Curves of all arms</h2>",
        page.controls(report.axes, report.smooth, metrics, page.logarithm("main")),
        *switches(report),
        f'<div class="{"panels" if len(curves) > 1 else "single"}">{"".join(curves)}</div>',
        f'<p class="note">{LEGEND}</p>',
        *(["<h2>The numbers</h2>", *map(section, answer.tables)] if answer.tables else []),
        "<h2>What differs between the arms</h2>",
        section(differences(report.arms)),
        "<h2>Learning rate and other signals</h2>",
        f'<div class="panels">{"".join(signals)}</div>',
        f"<h2>Incidents</h2>{page.pairs(incidents(report.cells))}",
        "<h2>Speed, memory and runs</h2>",
        section(listing(report)),
        f"<h2>Environment</h2>{page.pairs((name, text) for name, text in environment if text)}",
    ]  # fmt: skip
    source = " ".join(dict.fromkeys(str(cell.folder.parent) for cell in report.cells))
    return page.whole(report.name, parts, source, report.data(figures, renew, key=next(iter(keys), "")))


def asked(cells: Sequence[Cell]) -> str:
    """The question of the experiment that the runs are of, as its README puts it; "" without one."""
    names = {cell.record.get("choices", {}).get("experiment") for cell in cells if cell.record}
    file = Path(paths.ROOT) / "experiments" / str(next(iter(names), None)) / "README.md"
    if len(names) != 1 or not file.exists():
        return ""
    found = re.search(r"\*\*Question\.?\*\*\s*(.+?)(?:\n\s*\n|\Z)", file.read_text(encoding="utf-8"), re.DOTALL)
    return " ".join(found[1].split()).replace("`", "") if found else ""


def finals(report: Report, figures: list[dict]) -> str:
    """Draw the final results over the factor that is a number: means of the seeds, with bars from the lowest to the
    highest. Returns the HTML of the figure's place; "" without such a factor or a result."""
    import plotly.graph_objects as go

    factor, metric = axis(report.comparison.factors), report.comparison.metric.replace("/", " ")
    lines: dict[str, list[tuple]] = {}
    for arm in report.arms if factor else []:
        line = lines.setdefault(arm.named(factor) if len(arm.levels) > 1 else metric, [])
        found = next((each for each in results_of(report.comparison) if each.levels == arm.levels), None)
        if found and found.mean is not None:
            told = (
                f"{len(found.results)} of {len(arm.cells)} runs: {', '.join(f'{each:.6g}' for each in found.results)}"
            )
            above, below = max(found.results) - found.mean, found.mean - min(found.results)
            line.append((float(arm.levels[factor]), found.mean, above, below, arm.place, told))
    levels = sorted({point[0] for line in lines.values() for point in line})
    if not levels:
        return ""
    traces = []
    for look, (name, line) in enumerate(lines.items()):
        x, y, higher, lower, places, texts = map(list, zip(*line, strict=True)) if line else [[]] * 6
        bars = {"type": "data", "symmetric": False, "array": higher, "arrayminus": lower, "thickness": 1.5, "width": 5}
        traces.append(go.Scatter(
            x=x, y=page.rounded(y), error_y=bars, text=texts, name=plotly(name), mode="lines+markers", connectgaps=True,
            hovertemplate="%{x}: %{y}<br>%{text}<extra>%{fullData.name}</extra>", meta={"arms": places},
            **page.marks(look),
        ))  # fmt: skip
    kind = "log" if levels[0] > 0 and levels[-1] > 8 * levels[0] else "linear"
    along = {"title": {"text": plotly(words.NAMES.get(factor, factor))}, "rangemode": "normal", "type": kind}
    ticks = {"tickvals": levels, "ticktext": [f"{level:g}" for level in levels]} if len(levels) <= 10 else {}
    note = "mean of the seeds; bars from the lowest to the highest"
    figure = page.figured(traces, "finals", xaxis=along | ticks)
    return page.add_figure(figures, figure, f"Final {metric} by {words.NAMES.get(factor, factor)}", note)


def switches(report: Report) -> Iterator[str]:
    """Rows of HTML that hide arms: those that look alike, the levels that are drawn side by side, and single arms."""
    arms, side = report.arms, across(report.comparison.factors, len(report.arms))
    looks: dict[int, list[ArmRuns]] = {}
    for arm in arms:
        looks.setdefault(arm.look, []).append(arm)
    yield _row("", [(found[0].named(side), look, found) for look, found in looks.items()])
    if side:
        levels = {
            level: [arm for arm in arms if arm.levels[side] == level] for level in report.comparison.factors[side]
        }
        yield _row(words.NAMES.get(side, side), [(level, None, found) for level, found in levels.items()])
        single = _row("", [(arm.named(), arm.look, [arm]) for arm in arms])
        yield f"<details><summary>single arms</summary>{single}</details>"


def _row(name: str, buttons: list[tuple[str, int | None, list[ArmRuns]]]) -> str:
    inside = "".join(
        f'<button class="arm" aria-pressed="true" data-arms="{[arm.place for arm in arms]}">'
        f"{page.stroke(look) if look is not None else ''}{html(text)}</button>"
        for text, look, arms in buttons
    )
    return f'<div class="legend">{html(name)} {inside}</div>'


def differences(arms: Sequence[ArmRuns]) -> Table:
    """The facts in which arms differ, of runs of the same seed where all have one in common."""
    common = set.intersection(*({cell.seed for cell in arm.cells} for arm in arms))
    facts = [meaning(min(arm.cells, key=lambda cell: (cell.seed not in common, cell.seed))) for arm in arms]
    columns: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for each in facts for name in each):
        if len({each.get(name) for each in facts}) > 1:
            texts = [listed(each.get(name, "")) for each in facts]  # as in adamw (betas 0.9, 0.95; eps 1e-08)
            shared = set.intersection(*(set(values) for _, values in texts))
            apart = ((option, [each for each in values if each not in shared]) for option, values in texts)
            columns[name] = [spelled(*each) or "-" for each in apart]
    rows = list(zip((arm.named() for arm in arms), *columns.values(), strict=True))
    return Table("", ("arm", *columns), rows, "" if columns else "Nothing but the seeds.", len(columns) + 1)


def incidents(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """What went wrong on the way, run by run."""
    found = []
    for cell in cells:
        if cell.state not in ("finished", "running", "missing"):
            reason = cell.record.get("error") or cell.problem or "no reason recorded"
            found.append((cell.name, f"{cell.state}: {reason}"))
        for event in panels.happened(cell):
            found.append((cell.name, f"step {event['step']:,}, {event.get('event')}: {event.get('text', '')}"))
    if len(found) > INCIDENTS:
        found = [*found[:INCIDENTS], ("...", f"{len(found) - INCIDENTS} more, in events.jsonl of the runs")]
    return found or [("none", "no spike, skip or rollback was recorded, and no run failed")]


def listing(report: Report) -> Table:
    """Every run that has begun, with its state and numbers."""
    metric, rising = report.comparison.metric, report.comparison.better == "higher"
    rows: list[tuple[str, ...]] = []
    for cell in report.cells:
        values, speeds = cell.metrics[metric][1], cell.metrics["train/tokens_per_second"][1]
        values, memory = values[numpy.isfinite(values)], cell.record.get("memory", {}).get("measured")
        numbers = (
            (cell.result(metric), ".4f"),
            ((values.max() if rising else values.min()) if len(values) else None, ".4f"),
            (median_high(speeds) if len(speeds) else None, ",.0f"),
            (cell.seconds / 60 if cell.seconds else None, ".1f"),
            (memory / 1e9 if memory else None, ".3f"),
        )
        if cell.config or cell.metrics.columns:
            told = ("" if value is None else format(value, form) for value, form in numbers)
            rows.append((cell.name, cell.state, f"{cell.metrics.steps:,}", *told))
    head = ("run", "state", "steps", metric.replace("/", " "), "highest" if rising else "lowest", "tokens/s",
            "minutes", "peak memory, GB")  # fmt: skip
    return Table(count(len(rows), "run"), head, rows, names=2)
