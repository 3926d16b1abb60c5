"""The report of several runs: the question and its answer in words, the curves, and what the answer rests on."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import median_high
from typing import Any

import numpy

from gptx.compare import words
from gptx.compare.factors import axis
from gptx.compare.meaning import apart, meaning
from gptx.compare.outcomes import arms as results_of
from gptx.compare.outcomes import grouped
from gptx.config import paths
from gptx.report import panels, readme
from gptx.report.arms import ArmRuns, Report, across
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run
from gptx.show import page
from gptx.show.plots import Curve, Panel
from gptx.show.table import Table, section
from gptx.units.phrases import count
from gptx.units.printable import html, md, plotly

_LEGEND = (
    "A line is the mean of an arm's seeds, in a band from the lowest to the highest (of training: of single steps); it "
    "ends where a seed diverges or is not as far yet. A dashed branch with a cross was discarded by a rollback. Click "
    "an arm to hide it, twice to see it alone."
)
_BUDGET, _FEWEST, _MOST = 24_000, 120, 600  # points of all arms in a panel together, and of one curve
_INCIDENTS = 200  # that are listed


def report_summary(report: Report) -> str:
    """The comparison in Markdown: the answer, its tables, and the picture next to it."""
    asked, kept = _asked(report.cells), f"{report.standing}; the whole report is report.html"
    head = f"# {md(report.name)}" + f"\n\n**Question.** {md(asked)}" * bool(asked)
    told = readme.body(report.answer, (report.name, "report.png"), report.comparison.environment, kept)
    return f"{head}\n\n{told}\n"


def report_page(report: Report, renew: float = 0) -> str:
    """The page of the comparison, which loads again after `renew` seconds unless that is 0."""
    figures: list[dict] = []
    comparison, answer = report.comparison, report.answer
    known = set().union(*(cell.metrics.columns for arm in report.arms for cell in arm.cells))
    keys = [key for key in dict.fromkeys((comparison.metric, "validation/loss", "train/loss")) if key in known]
    points = max(_FEWEST, min(_MOST, _BUDGET // len(report.arms)))
    shown = panels.arm_panels(report, keys, report.smooth), panels.signal_panels(report.arms, report.smooth)
    curves, signals = ([page.add_panel(figures, panel, points) for panel in some] for some in shown)
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
    file = Path(paths.ROOT, "experiments", *map(str, names), "README.md")
    there = len(names) == 1 and file.exists()
    return readme.question(file.read_text(encoding="utf-8")).replace("`", "") if there else ""


def finals(report: Report, figures: list[dict]) -> str:
    """Draw the final results over the numeric factor; the HTML of the figure's place, "" without factor or result."""
    factor, metric = axis(report.comparison.factors), report.comparison.metric.replace("/", " ")
    curves = tuple(_results(report, factor, metric)) if factor else ()
    levels = sorted({level for curve in curves for level in curve.steps})
    if not levels:
        return ""
    name, kind = words.NAMES.get(factor, factor), "log" if 0 < 8 * levels[0] < levels[-1] else "linear"
    along: dict[str, Any] = {"title": {"text": plotly(name)}, "rangemode": "normal", "type": kind}
    if len(levels) <= 10:
        along |= {"tickvals": levels, "ticktext": list(map("{:g}".format, levels))}
    panel = Panel(f"Final {metric} by {name}", "mean of the seeds, from the lowest to the highest", curves)
    return page.add_panel(figures, panel, len(levels), legend=len(curves) > 1, xaxis=along)


def _results(report: Report, factor: str, metric: str) -> Iterator[Curve]:
    results = {tuple(each.levels.values()): each for each in results_of(report.comparison)}
    lines = grouped(report.arms, lambda arm: arm.named(factor) if len(arm.levels) > 1 else metric)
    for look, (name, arms) in enumerate(lines.items()):
        points = [
            (float(arm.levels[factor]), found.mean, min(found.results), max(found.results), arm.place,
             f"{arm.named()}: {found.mean:.6g}, mean of {', '.join(map('{:.6g}'.format, found.results))}")
            for arm in arms if (found := results.get(tuple(arm.levels.values()))) and found.mean is not None
        ]  # fmt: skip
        x, y, low, high, places, texts = zip(*points, strict=True) if points else [()] * 6
        yield Curve(name, x, y, "dots", look, low=low, high=high, arms=places, texts=texts)


def _switches(report: Report) -> Iterator[str]:
    """Rows of HTML that hide arms: those that look alike, the levels that are drawn side by side, and single arms."""
    arms, side = report.arms, across(report.comparison.factors, len(report.arms))
    yield _row("", [(alike[0].named(side), look, alike) for look, alike in grouped(arms, lambda arm: arm.look).items()])
    if side:
        levels = report.comparison.factors[side]
        beside = [(level, None, [arm for arm in arms if arm.levels[side] == level]) for level in levels]
        yield _row(words.NAMES.get(side, side), beside)
        single = _row("", [(arm.named(), arm.look, [arm]) for arm in arms])
        yield f"<details><summary>single arms</summary>{single}</details>"


def _row(name: str, buttons: Sequence[tuple[str, int | None, list[ArmRuns]]]) -> str:
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
    found = []
    for cell in cells:
        reason = cell.record.get("error") or cell.problem or "no reason recorded"
        events = RunFolder(cell.folder).events
        said = [f"{cell.state}: {reason}"] * (cell.state not in ("finished", "running", "missing"))
        said += [f"step {each['step']:,}, {each.get('event')}: {each.get('text', '')}" for each in events]
        found += [(cell.name, text) for text in said]
    if len(found) > _INCIDENTS:
        found = [*found[:_INCIDENTS], ("...", f"{len(found) - _INCIDENTS} more, in events.jsonl of the runs")]
    return found or [("none", "no spike, skip or rollback was recorded, and no run failed")]


def _listing(report: Report) -> Table:
    """Every run that has begun, with its state, and the last and best value of the metric as text."""
    metric, better, rows = report.comparison.metric, report.comparison.better, []
    best, extreme = ("highest", max) if better == "higher" else ("lowest", min)
    for cell in filter(lambda cell: cell.config or cell.metrics.columns, report.cells):
        values, speeds = (cell.metrics[key][1] for key in (metric, "train/tokens_per_second"))
        memory = cell.record.get("memory", {}).get("measured")
        numbers = [
            ("{:.4f}", cell.result(metric)),
            ("{:.4f}", extreme(values[numpy.isfinite(values)], default=None)),
            ("{:,.0f}", median_high(speeds) if len(speeds) else None),
            ("{:.1f}", cell.seconds / 60 if cell.seconds else None),
            ("{:.3f}", memory / 1e9 if memory else None),
        ]
        told = ("" if value is None else form.format(value) for form, value in numbers)
        rows.append((cell.name, cell.state, f"{cell.metrics.steps:,}", *told))
    head = "run", "state", "steps", metric.replace("/", " "), best, "tokens/s", "minutes", "peak memory, GB"
    return Table(count(len(rows), "run"), head, rows, names=2)
