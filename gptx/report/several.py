"""The report of several runs: the question and its answer in words, the curves, and what the answer rests on."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from statistics import median_high

import numpy
import yaml

from gptx.compare import words
from gptx.compare.figure import figure
from gptx.compare.meaning import apart, meaning
from gptx.compare.outcomes import grouped
from gptx.config import paths
from gptx.report import panels, readme
from gptx.report.arms import ArmRuns, Report, across
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run
from gptx.show import page
from gptx.show.table import Table, section
from gptx.units.phrases import count, joined
from gptx.units.printable import html, md

_LEGEND = (
    "A line is the mean of an arm's seeds, in a band from the lowest to the highest (of training: of single steps). It "
    "ends where a seed diverges, goes far beyond the other arms or is not as far yet. A dashed branch with a cross "
    "was discarded by a rollback. Click an arm to hide it, twice to see it alone."
)
_BUDGET, _FEWEST, _MOST = 24_000, 120, 600  # points of all arms in a panel together, and of one curve
_INCIDENTS = 200  # that are listed
_SENTENCES, _WARNINGS, _LONG = 3, 2, 160  # that the first screen has room for; letters of a headline in large type


def report_summary(report: Report) -> str:
    """The comparison in Markdown: the answer, its tables, and the picture next to it."""
    picture, kept = (report.name, "report.png"), f"{report.standing}; the whole report is report.html"
    told = readme.body(report.answer, picture, report.comparison.environment, kept)
    return f"# {md(report.name)}\n\n**Question.** {md(_asked(report))}\n\n{told}\n"


def report_page(report: Report, renew: float = 0) -> str:
    """The page of the comparison, which loads again after `renew` seconds unless that is 0."""
    figures: list[dict] = []
    comparison, answer, folded = report.comparison, report.answer, page.folded
    known = set().union(*(cell.metrics.columns for arm in report.arms for cell in arm.cells))
    keys = [key for key in dict.fromkeys((comparison.metric, "validation/loss", "train/loss")) if key in known]
    curves, signals = _panels(report, keys, figures)
    found = answer.numbers if comparison.drawable else None
    picture = page.embedded(lambda file: figure(found, file), answer.headline) if found else ""
    parts = [
        f'<p class="note">{html(report.name)} · {html(report.standing)}</p>',
        f'<p class="question">{html(_asked(report))}</p>',
        f'<h1 class="answer {"long" * (len(answer.headline) > _LONG)}">{html(answer.headline)}</h1>',
        f'<div class="first">{picture}<div class="sure">{_how_sure(report)}</div></div>',
        folded("Curves of all arms", curves, shown=True),
        folded("The numbers", "".join(map(section, answer.tables)), ", ".join(each.title for each in answer.tables)),
        folded("What differs between the arms", section(_differences(report.arms))),
        folded("Command and recipe", *_recipe(report)),
        folded("Text that the arms write", "".join(map(_sample, report.arms))),
        folded("Learning rate and other signals", signals),
        folded("Incidents", page.pairs(some := _incidents(report.cells)), len(some) or "none"),
        folded("Speed, memory and runs", section(_listing(report)), report.standing),
        folded("Environment", page.pairs(comparison.environment.items()), comparison.environment.get("hardware", "")),
    ]  # fmt: skip
    source = " ".join(dict.fromkeys(str(cell.folder.parent) for cell in report.cells))
    return page.whole_page(report.name, parts, source, report.data(figures, renew, key=next(iter(keys), "")))


def _panels(report: Report, keys: list[str], figures: list[dict]) -> tuple[str, str]:
    """The curves of all arms with what they can be switched by, and the other signals, as HTML."""
    points = max(_FEWEST, min(_MOST, _BUDGET // len(report.arms)))
    shown = panels.arm_panels(report, keys, report.smooth), panels.signal_panels(report.arms, report.smooth)
    curves, signals = ([page.add_panel(figures, panel, points) for panel in some if not panel.empty] for some in shown)
    metrics = page.menu("show", "key", [(key, key.replace("/", " ")) for key in keys])
    switches = page.controls(report.axes, report.smooth, metrics, page.log_switch("main")) + "".join(_switches(report))
    drawn = f'{switches}<div class="{"panels" if len(curves) > 1 else "single"}">{"".join(curves)}</div>'
    return f'{drawn}<p class="note">{_LEGEND}</p>', f'<div class="panels">{"".join(signals)}</div>'


def _asked(report: Report) -> str:
    """The question of the experiment that the runs are of, as its README puts it; else of what their factors do."""
    names = {cell.record.get("choices", {}).get("experiment") for cell in report.cells if cell.record}
    file = Path(paths.ROOT, "experiments", *map(str, names), "README.md")
    asked = readme.question(file.read_text(encoding="utf-8")) if len(names) == 1 and file.exists() else ""
    factors = joined(f"the {words.said(name)}" for name in report.comparison.factors) or "the seed alone"
    return asked.replace("`", "") or f"How does {report.comparison.metric.replace('/', ' ')} depend on {factors}?"


def _how_sure(report: Report) -> str:
    """The first sentences and warnings, and the others folded."""
    said, warnings = [f"<p>{html(text)}</p>" for text in report.answer.sentences], report.answer.warnings
    first = "".join([*said[:1], page.warned(warnings[:_WARNINGS]), *said[1:_SENTENCES]])
    rest = "".join([*said[_SENTENCES:], page.warned(warnings[_WARNINGS:])])
    return f"{first}<details><summary>{rest.count('<p>')} more</summary>{rest}</details>" if rest else first


def _recipe(report: Report) -> tuple[str, str]:
    """The commands that made the runs, and the config of a run of the baseline; and the commands as text."""
    commands = dict.fromkeys(filter(None, (cell.noted.get("command") for cell in report.cells)))
    base = next((arm for arm in report.arms if arm.levels == report.answer.baseline), report.arms[0])
    config = yaml.safe_dump(base.cells[0].config, sort_keys=False, allow_unicode=True)
    told = page.verbatim("Made by", "", "\n".join(commands)) if commands else ""
    return told + page.verbatim(base.named(), f"config.yaml of {base.cells[0].name}", config), "; ".join(commands)


def _sample(arm: ArmRuns) -> str:
    """The last text that a run of the arm wrote while it was trained; else the command that has one written."""
    for cell in sorted(arm.cells, key=lambda cell: cell.state != "finished"):
        for key, (step, text) in cell.metrics.texts.items():
            if key.startswith("sample/"):
                return page.verbatim(arm.named(), f"seed {cell.seed}, after step {step:,}", text)
    return page.verbatim(arm.named(), "not recorded", f"python -m gptx sample {shlex.quote(str(arm.cells[0].folder))}")


def _switches(report: Report) -> Iterator[str]:
    """Rows of HTML that hide arms: those that look alike, the levels that are drawn side by side, and single arms."""
    arms, side = report.arms, across(report.comparison.factors, len(report.arms))
    yield _row("", [(alike[0].named(side), look, alike) for look, alike in grouped(arms, lambda arm: arm.look).items()])
    if side:
        beside = grouped(arms, lambda arm: arm.levels[side])
        yield _row(words.NAMES.get(side, side), [(x, None, beside.get(x, [])) for x in report.comparison.factors[side]])
        yield f"<details><summary>single arms</summary>{_row('', [(x.named(), x.look, [x]) for x in arms])}</details>"


def _row(name: str, buttons: Sequence[tuple[str, int | None, list[ArmRuns]]]) -> str:
    inside = [f'<button class="arm" aria-pressed="true" data-arms="{[arm.place for arm in arms]}">'
              f"{page.stroke(look) if look is not None else ''}{html(text)}</button>"
              for text, look, arms in buttons]  # fmt: skip
    return f'<div class="legend">{html(name)} {"".join(inside)}</div>'


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
    return found


def _listing(report: Report) -> Table:
    """Every run that has begun, with its state, and the last and best value of the metric as text."""
    metric, better, rows = report.comparison.metric, report.comparison.better, []
    best, extreme = ("highest", max) if better == "higher" else ("lowest", min)
    for cell in filter(lambda cell: cell.config or cell.metrics.columns, report.cells):
        values, speeds = (cell.metrics[key][1] for key in (metric, "train/tokens_per_second"))
        memory = cell.record.get("memory", {}).get("measured")
        numbers = ((".4f", cell.result(metric)), (".4f", extreme(values[numpy.isfinite(values)], default=None)),
                   (",.0f", median_high(speeds) if len(speeds) else None),
                   (".1f", cell.seconds and cell.seconds / 60), (".3f", memory and memory / 1e9))  # fmt: skip
        told = ("" if value is None else format(value, form) for form, value in numbers)
        rows.append((cell.name, cell.state, f"{cell.metrics.steps:,}", *told))
    head = "run", "state", "steps", metric.replace("/", " "), best, "tokens/s", "minutes", "peak memory, GB"
    return Table(count(len(rows), "run"), head, rows, names=2)
