"""The report of several runs: the question and its answer in words, the curves, and what the answer rests on."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import median_high

import numpy

from gptx.compare import words
from gptx.compare.factors import axis
from gptx.compare.meaning import apart, meaning
from gptx.compare.outcomes import arms as results_of
from gptx.config import paths
from gptx.report import panels, readme
from gptx.report.arms import ArmRuns, Report, across
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run
from gptx.show import page
from gptx.show.plots import Curve, Panel
from gptx.show.table import Table, markdown, section
from gptx.units.phrases import count
from gptx.units.printable import html, md, plotly

_LEGEND = (
    "A line is the mean of an arm's seeds, in a band from the lowest to the highest of them; of training, from the "
    "lowest to the highest step of any. It goes as far as every seed that has begun, and ends where one diverges. A "
    "branch that a rollback discarded is dashed and ends in a cross. Click an arm to hide it, twice to see it alone."
)
_BUDGET, _FEWEST, _MOST = 24_000, 120, 600  # points of all arms in a panel together, and of one curve
_INCIDENTS = 200  # that are listed


def report_title(report: Report) -> str:
    return f"{report.name}: {report.standing}"


def report_panels(report: Report) -> list[Panel]:
    """The panels of the comparison's picture."""
    signals = panels.signal_panels(report.arms, report.smooth)
    return [*panels.arm_panels(report, [report.comparison.metric], 0), *list(signals)[:2]]


def report_summary(report: Report) -> str:
    """The comparison in Markdown: the answer, its tables, and the picture next to it."""
    name, answer, question = md(report.name), report.answer, _asked(report.cells)
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


def report_page(report: Report, renew: float = 0) -> str:
    """The page of the comparison, which loads again after `renew` seconds unless that is 0."""
    figures: list[dict] = []
    comparison, answer = report.comparison, report.answer
    known = set().union(*(cell.metrics.columns for arm in report.arms for cell in arm.cells))
    keys = [key for key in dict.fromkeys((comparison.metric, "validation/loss", "train/loss")) if key in known]
    points = max(_FEWEST, min(_MOST, _BUDGET // len(report.arms)))
    curves = [page.add_panel(figures, panel, points) for panel in panels.arm_panels(report, keys, report.smooth)]
    signals = [page.add_panel(figures, panel, points) for panel in panels.signal_panels(report.arms, report.smooth)]
    chart, told = finals(report, figures), "".join(map("<p>{}</p>".format, map(html, answer.sentences)))
    metrics = page.menu("show", "key", [(key, key.replace("/", " ")) for key in keys])
    parts = [
        f'<p class="note">{html(report.name)} · {html(report.standing)}</p>',
        f'<p class="question">{html(_asked(report.cells))}</p>',
        f'<h1 class="answer">{html(answer.headline)}</h1>',
        page.warned(answer.warnings),
        f'<div class="reasons">{chart}<div>{told}</div></div>',
        "<h2>Curves of all arms</h2>",
        page.controls(report.axes, report.smooth, metrics, page.log_switch("main")),
        *_switches(report),
        f'<div class="{"panels" if len(curves) > 1 else "single"}">{"".join(curves)}</div>',
        f'<p class="note">{_LEGEND}</p>',
        *["<h2>The numbers</h2>"] * bool(answer.tables), *map(section, answer.tables),
        "<h2>What differs between the arms</h2>",
        section(_differences(report.arms)),
        "<h2>Learning rate and other signals</h2>",
        f'<div class="panels">{"".join(signals)}</div>',
        f"<h2>Incidents</h2>{page.pairs(_incidents(report.cells))}",
        "<h2>Speed, memory and runs</h2>",
        section(_listing(report)),
        f"<h2>Environment</h2>{page.pairs(comparison.environment.items())}",
    ]  # fmt: skip
    source = " ".join(dict.fromkeys(str(cell.folder.parent) for cell in report.cells))
    return page.whole_page(report.name, parts, source, report.data(figures, renew, key=next(iter(keys), "")))


def _asked(cells: Sequence[Run]) -> str:
    """The question of the experiment that the runs are of, as its README puts it; "" without one."""
    names = {cell.record.get("choices", {}).get("experiment") for cell in cells if cell.record}
    file = Path(paths.ROOT) / "experiments" / str(next(iter(names), None)) / "README.md"
    if len(names) != 1 or not file.exists():
        return ""
    return readme.question(file.read_text(encoding="utf-8")).replace("`", "")


def finals(report: Report, figures: list[dict]) -> str:
    """Draw the final results over the factor that is a number: means of the seeds, in a band from the lowest to the
    highest. Returns the HTML of the figure's place; "" without such a factor or a result."""
    factor, metric = axis(report.comparison.factors), report.comparison.metric.replace("/", " ")
    lines = _results(report, factor, metric) if factor else {}
    levels = sorted({level for line in lines.values() for level, *_ in line})
    if not levels:
        return ""
    name, curves = words.NAMES.get(factor, factor), []
    for look, (line_name, line) in enumerate(lines.items()):
        x, y, low, high, places, texts = zip(*line, strict=True) if line else [()] * 6
        curves.append(Curve(line_name, x, y, "dots", look, low=low, high=high, arms=places, texts=texts))
    kind = "log" if levels[0] > 0 and levels[-1] > 8 * levels[0] else "linear"
    along = {"title": {"text": plotly(name)}, "rangemode": "normal", "type": kind}
    if len(levels) <= 10:
        along |= {"tickvals": levels, "ticktext": list(map("{:g}".format, levels))}
    panel = Panel(f"Final {metric} by {name}", "mean of the seeds, from the lowest to the highest", tuple(curves))
    return page.add_panel(figures, panel, len(levels), legend=len(curves) > 1, xaxis=along)


def _results(report: Report, factor: str, metric: str) -> dict[str, list[tuple]]:
    """Lines by name: level, mean, lowest and highest result, place and text of each arm in which no seed diverged."""
    results = {tuple(each.levels.values()): each for each in results_of(report.comparison)}
    lines: dict[str, list[tuple]] = {}
    for arm in report.arms:
        line = lines.setdefault(arm.named(factor) if len(arm.levels) > 1 else metric, [])
        found = results.get(tuple(arm.levels.values()))
        if found and found.mean is not None:
            values = found.results
            told = f"{arm.named()}: {found.mean:.6g}, mean of {', '.join(map('{:.6g}'.format, values))}"
            line.append((float(arm.levels[factor]), found.mean, min(values), max(values), arm.place, told))
    return lines


def _switches(report: Report) -> Iterator[str]:
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


def _differences(arms: Sequence[ArmRuns]) -> Table:
    """The facts in which arms differ, of runs of the same seed where all have one in common."""
    common = set.intersection(*({cell.seed for cell in arm.cells} for arm in arms))
    facts = [meaning(min(arm.cells, key=lambda cell: (cell.seed not in common, cell.seed))) for arm in arms]
    columns = {name: apart([each.get(name, "-") for each in facts]) for name in dict.fromkeys(chain(*facts))}
    columns = {name: texts for name, texts in columns.items() if len(set(texts)) > 1}
    rows = list(zip((arm.named() for arm in arms), *columns.values(), strict=True))
    return Table("", ("arm", *columns), rows, "" if columns else "Nothing but the seeds.", len(columns) + 1)


def _incidents(cells: Sequence[Run]) -> list[tuple[str, str]]:
    """What went wrong on the way, run by run."""
    found = []
    for cell in cells:
        if cell.state not in ("finished", "running", "missing"):
            reason = cell.record.get("error") or cell.problem or "no reason recorded"
            found.append((cell.name, f"{cell.state}: {reason}"))
        for event in RunFolder(cell.folder).events:
            found.append((cell.name, f"step {event['step']:,}, {event.get('event')}: {event.get('text', '')}"))
    if len(found) > _INCIDENTS:
        found = [*found[:_INCIDENTS], ("...", f"{len(found) - _INCIDENTS} more, in events.jsonl of the runs")]
    return found or [("none", "no spike, skip or rollback was recorded, and no run failed")]


def _listing(report: Report) -> Table:
    """Every run that has begun, with its state and numbers."""
    metric, rising = report.comparison.metric, report.comparison.better == "higher"
    begun = [cell for cell in report.cells if cell.config or cell.metrics.columns]
    rows = [(cell.name, cell.state, f"{cell.metrics.steps:,}", *_numbers(cell, metric, rising)) for cell in begun]
    head = ("run", "state", "steps", metric.replace("/", " "), "highest" if rising else "lowest", "tokens/s",
            "minutes", "peak memory, GB")  # fmt: skip
    return Table(count(len(rows), "run"), head, rows, names=2)


def _numbers(cell: Run, metric: str, rising: bool) -> Iterator[str]:
    """Last and best value of the metric, speed, minutes and memory of a run, as text."""
    values, speeds = cell.metrics[metric][1], cell.metrics["train/tokens_per_second"][1]
    values, memory = values[numpy.isfinite(values)], cell.record.get("memory", {}).get("measured")
    numbers = {
        ".4f": (cell.result(metric), (values.max() if rising else values.min()) if len(values) else None),
        ",.0f": (median_high(speeds) if len(speeds) else None,),
        ".1f": (cell.seconds / 60 if cell.seconds else None,),
        ".3f": (memory / 1e9 if memory else None,),
    }
    for form, found in numbers.items():
        yield from ("" if value is None else format(value, form) for value in found)
