"""The report of one run: the numbers first, then the signals, a sample, the recipe and the machine."""

from collections.abc import Iterator
from datetime import datetime

import numpy

from gptx.compare import collect
from gptx.config import presets
from gptx.config.groups import SETTINGS
from gptx.config.keys import flat
from gptx.report import panels
from gptx.report.arms import Report
from gptx.runs import provenance
from gptx.runs.folder import RunFolder
from gptx.runs.metrics import Metrics
from gptx.runs.run import Run
from gptx.show import page
from gptx.show.table import Table, markdown
from gptx.units import amounts
from gptx.units.printable import html, md


def report_summary(report: Report) -> str:
    """The run in Markdown: its numbers, and the picture next to it."""
    numbers = Table("Numbers", ("", "value"), [(name, value) for value, name in _headline(report)])
    head = f"# {md(report.name)}\n\n{md(_sentence(report.cells[0]))}, {report.cells[0].state}."
    return "\n\n".join([head, markdown(numbers), "![signals](report.png)"]) + "\n"


def report_page(report: Report, renew: float = 0) -> str:
    """The page of the run, which loads again after `renew` seconds unless that is 0."""
    figures: list[dict] = []
    (cell,) = report.cells
    state, recorded = html(cell.state), RunFolder(cell.folder).events
    shown = (panel for panel in panels.of_run(cell, report.smooth) if not panel.empty)
    plots = (page.add_panel(figures, panel, 600, legend=True) for panel in shown)
    tiles = (f'<div class="tile"><b>{html(value)}</b><span>{html(of)}</span></div>' for value, of in _headline(report))
    events = [(f"step {row['step']:,}", f"{row.get('event')}: {row.get('text')}") for row in recorded]
    trouble = [f"The run is {cell.state}: {cell.record.get('error') or 'no reason recorded'}"]
    kept = sorted(path.name for path in (cell.folder / "checkpoints").glob("step_*[0-9]"))
    parts = [
        f'<h1>{html(report.name)} <span class="state {state}">{state}</span></h1>',
        f'<p class="note">{html(_sentence(cell))}</p>',
        page.warned([*trouble * (cell.state not in ("finished", "running")), *collect.problems([cell])]),
        f'<div class="tiles">{"".join(tiles)}</div>',
        "<h2>Signals</h2>",
        page.controls(report.axes, report.smooth),
        f'<div class="panels">{"".join(plots)}</div>',
        '<p class="note">What an observer records has a panel too: <code>observe=[validation,updates]</code>.</p>',
        *(page.verbatim(key, f"after step {step:,}", text) for key, (step, text) in cell.metrics.texts.items()),
        "<h2>Recipe</h2>",
        '<p class="note">Marked: not as in <code>conf/</code>, whose value is in brackets.</p>',
        f'<div class="card"><table class="rows">{"".join(_recipe(cell))}</table></div>',
        f'<div class="columns"><div><h2>Environment</h2>{page.pairs(machine_facts(cell.record))}</div>',
        f"<div><h2>Checkpoints and events</h2>{page.pairs([*events, ('checkpoints', kept or 'none')])}</div></div>",
    ]
    return page.whole_page(report.name, parts, str(cell.folder), report.data(figures, renew))


def _sentence(cell: Run) -> str:
    record, steps, seed = cell.record, cell.config.get("steps", "?"), cell.config.get("seed", "?")
    choices, total = record.get("choices", {}), record.get("parameters", {}).get("total")
    size = f"{choices.get('model', 'a model')} of {amounts.spell(float(total))} parameters" if total else "a model"
    text, batch = record.get("data", {}).get("name", choices.get("data", "?")), record.get("batch", {}).get("tokens", 0)
    return f"{size}, on {text}, {cell.metrics.steps:,} of {steps} steps of {batch:,} tokens, seed {seed}"


def _headline(report: Report) -> Iterator[tuple[str, str]]:
    recorded = report.cells[0].metrics
    steps, losses = recorded["validation/loss"]
    of = "" if not len(steps) or steps[-1] == recorded.steps else f", after step {int(steps[-1]):,}"
    if len(losses):
        yield f"{losses[-1]:.4f}", f"validation loss, nats per token{of}"
        if numpy.isfinite(losses).any() and losses[-1] != (best := numpy.nanmin(losses)):
            yield f"{best:.4f}", f"best, after step {int(steps[numpy.nanargmin(losses)]):,}"
    for key, name, digits in (("perplexity", "validation perplexity", 2), ("bits_per_byte", "bits per byte", 4)):
        if (value := recorded.last(f"validation/{key}")) is not None:
            yield f"{value:.{digits}f}", name + of
    yield from _training(recorded, report.cells[0].record, report.smooth)


def _training(recorded: Metrics, record: dict, smooth: int) -> Iterator[tuple[str, str]]:
    loss, speed = recorded["train/loss"][1][-smooth:], recorded["train/tokens_per_second"][1]
    if len(loss):
        mean = loss.mean(where=numpy.isfinite(loss) | ~numpy.isfinite(loss[-1]))
        yield f"{mean:.4f}", f"training loss, mean of {len(loss)}"
    if tokens := recorded.last("train/tokens"):
        total = record.get("parameters", {}).get("total")
        yield amounts.spell(float(tokens)), f"tokens, {tokens / total:.1f} per parameter" if total else "tokens"
    if len(speed):
        yield amounts.spell(float(f"{numpy.median(speed):.3g}")), "tokens per second, median"
    if record.get("started") and record.get("ended"):
        first, last = (datetime.fromisoformat(record[name]) for name in ("started", "ended"))
        yield amounts.clock((last - first).total_seconds()), "from the last start to the end"


def _recipe(cell: Run) -> Iterator[str]:
    """Rows of HTML: ingredient, option and values. What is not as in conf/ stands out, with the value of the preset."""
    choices, config = cell.record.get("choices", {}), cell.config
    changed = presets.departures(config, choices)
    # Without how its sweep was made, which is no ingredient.
    for group, usual in filter(lambda each: each[0] not in SETTINGS, presets.defaults().items()):
        expected, chosen = str(usual), choices.get(group, "?")
        if isinstance(usual, list):
            expected, chosen = ", ".join(usual), ", ".join(config.get(group) or {}) or "none"
        option = html(chosen)
        if chosen != expected:
            option = f'<span class="changed">{option}</span> <span class="note">instead of {html(expected)}</span>'
        values = {key: value for key, value in flat({group: config.get(group)}).items() if key != group}
        yield _row(group, option, values, changed)
    roots = ("steps", "seed", "device", "threads", "deterministic")
    yield _row("run", "", {key: config[key] for key in roots if key in config}, changed)


def _row(name: str, option: str, values: dict, changed: dict) -> str:
    told = []
    for key, given in values.items():
        short, usual = html(key.removeprefix(f"{name}.")), changed.get(key, given)
        value, expected = (html(presets.spelled(each)) for each in (given, usual))
        if given != usual:
            told.append(f'<span class="changed">{short} {value} ({expected})</span>')
        elif not key.endswith(presets.HIDDEN):
            told.append(f"<span>{short} <b>{value}</b></span>")
    return f'<tr><th>{html(name)}</th><td>{option}</td><td class="values">{" ".join(told)}</td></tr>'


def machine_facts(record: dict) -> Iterator[tuple[str, str]]:
    """Machine, versions, commit, and the sources outside gptx's own rooms, which the commit names."""
    place, batch, data, git, memory = (record.get(key, {}) for key in ("hardware", "batch", "data", "git", "memory"))
    yield "device", f"{place.get('device', '?')}, {place.get('name', '?')}, {place.get('threads', '?')} thread(s)"
    yield "batch", " x ".join(f"{batch[key]} {key}" for key in batch if key != "tokens")
    yield "peak memory", ", ".join(f"{name} {amounts.memory(size)}" for name, size in memory.items() if size)
    yield "data", f"{data.get('train_tokens', 0):,} training tokens, {data.get('tokenizer', '?')} tokenizer"
    yield "commit", git.get("sha", "unknown")[:12] + " and uncommitted changes" * bool(git.get("dirty"))
    for name, text in provenance.facts(record).items():
        if text != "nothing" and not name.startswith("code of gptx."):
            yield name, text
    yield "started", record.get("started", "")
    yield "typed", " ".join(record.get("overrides", [])) or "no overrides"
    yield from record.get("versions", {}).items()
