"""The page of several runs: the question and its answer in words, the curves, and what the answer rests on."""

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy

from gptx.compare.meaning import meaning
from gptx.compare.outcomes import Comparison
from gptx.compare.verdict import Verdict
from gptx.config import paths
from gptx.report import charts, panels
from gptx.report.arms import Arm
from gptx.runs.cells import Cell
from gptx.show import page
from gptx.show.curves import Panel
from gptx.show.table import Table
from gptx.units.phrases import count
from gptx.units.printable import html

LEGEND = (
    "A line is the mean of an arm's seeds, the band behind it reaches from the lowest to the highest of them; of "
    "training, from the lowest to the highest update of any. It goes as far as every seed that has begun, and ends "
    "where one diverges. A branch that a rollback gave up is dashed and ends in a "
    "cross. Click an arm to hide it, twice to see it alone."
)
TOLD = 200  # incidents that are told of a comparison


def of_runs(
    name: str,
    cells: Sequence[Cell],
    arms: Sequence[Arm],
    comparison: Comparison,
    answer: Verdict,
    smooth: int,
    renew: float,
) -> str:
    """The page of a comparison."""
    begun = [cell for cell in cells if cell.config or cell.metrics.columns]
    keys = list(dict.fromkeys((comparison.metric, "validation/loss", "train/loss")))
    keys = [key for key in keys if any(key in cell.metrics.columns for arm in arms for cell in arm.cells)]
    curves = panels.main(arms, comparison.factors, keys, smooth)
    signs = [panels.schedules(arms), *panels.signs(arms, smooth)]
    finals = charts.finals(arms, comparison, lambda cell: cell.result(comparison.metric))
    rows = charts.legend(arms, comparison.factors)
    parts = [
        f'<p class="eyebrow">{html(name)} · {html(standing(cells))}</p>',
        *asked(question(cells)),
        f'<h1 class="answer">{html(answer.headline)}</h1>',
        *([page.warned(answer.warnings)] if answer.warnings else []),
        *reasons(answer, final(finals, comparison) if finals else ""),
        "<h2>Curves of all arms</h2>",
        page.controls(
            page.menu("show", "key", [(key, key.replace("/", " ")) for key in keys]),
            page.axes(arms), page.smoothing(smooth), page.logarithm("main"),
        ),
        legend(rows, arms),
        page.grid(curves, kind="panels main" if len(curves) > 1 else "panels single"),
        f'<p class="note">{LEGEND}</p>',
        *(["<h2>The numbers</h2>", *map(page.table, answer.tables)] if answer.tables else []),
        "<h2>What differs between two arms</h2>",
        differences(arms),
        "<h2>Schedule followed and vital signs</h2>",
        page.grid(signs, len(curves)),
        f"<h2>Incidents</h2>{page.pairs(incidents(cells))}",
        "<h2>Speed, memory and runs</h2>",
        *([page.table(costs(arms))] if needs_costs(comparison, answer) else []),
        page.folded(count(len(begun), "run"), page.table(runs(begun, comparison))),
        f"<h2>Environment</h2>{page.pairs(environment(comparison.environment))}",
    ]  # fmt: skip
    facts = [meaning(cell) for cell in representatives(arms)]
    data = charts.data([*curves, *signs], arms, smooth, keys=keys, legend=rows, facts=facts, finals=finals, renew=renew)
    return page.whole(name, parts, " ".join(dict.fromkeys(str(cell.folder.parent) for cell in cells)), data)


def representatives(arms: Sequence[Arm]) -> list[Cell]:
    """A run of each arm, of the same seed where all have one in common, so that only what arms differ in differs."""
    common = set.intersection(*({cell.seed for cell in arm.cells} for arm in arms))
    return [min(arm.cells, key=lambda cell: (cell.seed not in common, cell.seed)) for arm in arms]


def question(cells: Sequence[Cell]) -> str:
    """The question of the experiment that the runs are of, as its README puts it; "" without one."""
    names = {cell.record.get("choices", {}).get("experiment") for cell in cells if cell.record}
    file = Path(paths.ROOT) / "experiments" / str(next(iter(names), None)) / "README.md"
    if len(names) != 1 or not file.exists():
        return ""
    found = re.search(r"\*\*Question\.?\*\*\s*(.+?)(?:\n\s*\n|\Z)", file.read_text(encoding="utf-8"), re.DOTALL)
    return " ".join(found[1].split()).replace("`", "") if found else ""


def asked(text: str) -> list[str]:
    return [f'<p class="question">{html(text)}</p>'] if text else []


def standing(cells: Sequence[Cell]) -> str:
    """How many runs are in which state."""
    states = [cell.state for cell in cells]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    return f"{len(cells)} runs" + (f", {', '.join(counts)}" if len(counts) > 1 else f", all {states[0]}")


def reasons(answer: Verdict, chart: str) -> list[str]:
    """What the answer rests on: the chart of final results, and beside it the sentences."""
    told = "".join(f"<p>{html(text)}</p>" for text in answer.sentences)
    return [f'<div class="reasons">{chart}<div>{told}</div></div>'] if chart or told else []


def final(finals: dict, comparison: Comparison) -> str:
    """The place of the chart of final results."""
    title = f"Final {comparison.metric.replace('/', ' ')} by {finals['title']}"
    return (
        f"<figure><h3>{html(title)} <small>mean of the seeds; bars from the lowest to the highest</small>"
        f'{page.logarithm("finals")}</h3><div class="plot" data-finals="true"></div></figure>'
    )


def legend(rows: list[dict], arms: Sequence[Arm]) -> str:
    """Switches for arms: what looks alike together, and the levels that are drawn side by side."""
    lines = []
    for row in rows:
        buttons = "".join(switch(entry) for entry in row["entries"])
        lines.append(f'<div class="legend">{html(row["title"])} {buttons}</div>')
    if len(rows) > 1:
        each = "".join(switch({"name": arm.name, "look": arm.look, "arms": [arm.place]}) for arm in arms)
        lines.append(f'<details><summary>single arms</summary><div class="legend">{each}</div></details>')
    return "".join(lines)


def switch(entry: dict) -> str:
    inside = key(entry.get("look")) + html(entry["name"])
    return f'<button class="arm" aria-pressed="true" data-arms="{entry["arms"]}">{inside}</button>'


def key(look: int | None) -> str:
    """A stroke in the colour and dashes of an arm."""
    if look is None:
        return ""
    dashes = ("", "6 3", "2 2", "8 3 2 3", "12 4", "4 2 1 2 1 2")[look % 6]
    return (
        f'<svg width="26" height="8" aria-hidden="true"><line x1="0" y1="4" x2="26" y2="4" '
        f'stroke="var(--curve{look % 8})" stroke-width="2.5" stroke-dasharray="{dashes}"/></svg>'
    )


def differences(arms: Sequence[Arm]) -> str:
    """Two menus, and the table that page.js fills."""
    menus = []
    other = next((arm.place for arm in arms if arm.look != arms[0].look), len(arms) - 1)
    for side, chosen in (("a", 0), ("b", other)):
        options = "".join(page.option(str(arm.place), arm.name, arm.place == chosen) for arm in arms)
        menus.append(f'<select id="diff-{side}" aria-label="arm {side}">{options}</select>')
    return (
        f'<div class="card"><table class="diff"><thead><tr><th></th><th>{menus[0]}</th><th>{menus[1]}</th></tr></thead>'
        '<tbody id="diff"></tbody></table><p id="alike" class="note" hidden>Nothing but the seeds.</p></div>'
    )


def incidents(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """What went wrong on the way, run by run."""
    found = []
    for cell in cells:
        if cell.state not in ("finished", "running", "missing"):
            found.append(
                (cell.name, f"{cell.state}: {cell.record.get('error') or cell.problem or 'no reason recorded'}")
            )
        for event in panels.happened(cell):
            found.append((cell.name, f"update {event['step']:,}, {event.get('event')}: {event.get('text', '')}"))
    if len(found) > TOLD:
        found = [*found[:TOLD], ("...", f"{len(found) - TOLD} more, in events.jsonl of the runs")]
    return found or [("none", "no spike, skip or rollback was recorded, and no run failed")]


def needs_costs(comparison: Comparison, answer: Verdict) -> bool:
    """True where no table of the answer says what the arms cost, and it is not left out."""
    return "speed" not in comparison.without and all(each.title != costs([]).title for each in answer.tables)


def costs(arms: Sequence[Arm]) -> Table:
    """Speed, time and memory of every arm."""
    rows: list[tuple[str, ...]] = []
    for arm in arms:
        speeds = [float(median(made)) for cell in arm.cells if len(made := cell.metrics["train/tokens_per_second"][1])]
        times = [cell.seconds / 60 for cell in arm.cells if cell.seconds]
        peaks = [size / 1e6 for cell in arm.cells if (size := cell.record.get("memory", {}).get("measured"))]
        told = ((speeds, ",.0f"), (times, ".1f"), (peaks, ",.0f"))
        rows.append((arm.name, *(format(median(each), form) if each else "-" for each, form in told)))
    note = "Medians over seeds; times and speeds compare only where each had as much of the machine."
    return Table("Speed and memory", ("arm", "tokens/s", "minutes in updates", "peak memory, MB"), rows, note)


def runs(cells: Sequence[Cell], comparison: Comparison) -> Table:
    """Every run, with its state and numbers."""
    rows: list[tuple[str, ...]] = []
    metric, rising = comparison.metric, comparison.better == "higher"
    extreme, most = ("highest", numpy.max) if rising else ("lowest", numpy.min)
    for cell in cells:
        result, best = cell.result(metric), cell.metrics[metric][1]
        best = best[numpy.isfinite(best)]
        speeds = sorted(cell.metrics["train/tokens_per_second"][1])
        seconds, memory = cell.seconds, cell.record.get("memory", {}).get("measured")
        rows.append((
            cell.name, cell.state, f"{cell.metrics.steps:,}",
            "" if result is None else f"{result:.4f}", f"{most(best):.4f}" if len(best) else "",
            f"{speeds[len(speeds) // 2]:,.0f}" if speeds else "", f"{seconds / 60:.1f}" if seconds else "",
            f"{memory / 1e9:.3f}" if memory else "",
        ))  # fmt: skip
    head = ("run", "state", "updates", metric.replace("/", " "), extreme, "tokens/s", "minutes", "peak memory, GB")
    return Table("", head, rows, names=2)


def environment(found: dict) -> list[tuple[str, str]]:
    """Where and with what the runs were made."""
    told = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in found.items()
    }
    return [(name, text) for name, text in told.items() if text not in ("", "None")]


def picture(arms: Sequence[Arm], comparison: Comparison, smooth: int) -> list[Panel]:
    """The panels of the comparison's picture."""
    key = comparison.metric
    return [*panels.main(arms, comparison.factors, [key], 0), panels.schedules(arms), *panels.signs(arms, smooth)[:1]]
