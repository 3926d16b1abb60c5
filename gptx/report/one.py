"""The report of one run: the numbers first, then the signals, a sample, the recipe and the machine."""

from collections.abc import Iterator
from datetime import datetime

import numpy

from gptx.compare import outcomes
from gptx.config import presets
from gptx.config.keys import flat
from gptx.config.presets import spelled
from gptx.report import panels
from gptx.report.arms import Report
from gptx.runs import provenance
from gptx.runs.cells import Cell
from gptx.show import page
from gptx.show.plots import Panel, smoothed
from gptx.show.table import Table, markdown
from gptx.units import amounts
from gptx.units.amounts import spell
from gptx.units.printable import html, md


def title(report: Report) -> str:
    """The run's name and folder."""
    folder = report.cells[0].folder.resolve()
    return f"{report.cells[0].config.get('name', folder.parent.name)} / {folder.name}"


def shown(report: Report) -> list[Panel]:
    """The panels of the run, on its page and in its picture."""
    return panels.of_run(report.cells[0], report.smooth)


def summary(report: Report) -> str:
    """The run in Markdown: its numbers, and the picture next to it."""
    numbers = Table("Numbers", ("", "value"), [(name, value) for value, name in headline(report)])
    head = f"# {md(title(report))}\n\n{md(sentence(report.cells[0]))}, {report.cells[0].state}."
    return "\n\n".join([head, markdown(numbers), "![signals](report.png)"]) + "\n"


def webpage(report: Report, renew: float = 0) -> str:
    """The page of the run, which loads again after `renew` seconds unless that is 0."""
    figures: list[dict] = []
    (cell,), name = report.cells, title(report)
    plots = (page.add_panel(figures, panel, 600, legend=True) for panel in shown(report))
    tiles = (
        f'<div class="tile"><b>{html(value)}</b><span>{html(what)}</span></div>' for value, what in headline(report)
    )
    texts = (
        f'<h2>{html(key)} <small>after step {step:,}</small></h2><div class="card"><pre>{html(text)}</pre></div>'
        for key, (step, text) in cell.metrics.texts.items()
    )
    parts = [
        f'<h1>{html(name)} <span class="state {html(cell.state)}">{html(cell.state)}</span></h1>',
        f'<p class="note">{html(sentence(cell))}</p>',
        page.warned(trouble(cell)),
        f'<div class="tiles">{"".join(tiles)}</div>',
        "<h2>Signals</h2>",
        page.controls(report.axes, report.smooth),
        f'<div class="panels">{"".join(plots)}</div>',
        *texts,
        "<h2>Recipe</h2>",
        '<p class="note">Marked: not as in <code>conf/</code>, whose value is in brackets.</p>',
        f'<div class="card"><table>{"".join(recipe(cell))}</table></div>',
        f'<div class="columns"><div><h2>Environment</h2>{page.pairs(environment(cell.record))}</div>',
        f"<div><h2>Checkpoints and events</h2>{page.pairs(events(cell))}</div></div>",
    ]
    return page.whole(name, parts, str(cell.folder), report.data(figures, renew))


def trouble(cell: Cell) -> Iterator[str]:
    """Why the run is not as it should be, and what of it cannot be read."""
    if cell.state not in ("finished", "running"):
        yield f"The run is {cell.state}" + (f": {cell.record['error']}" if cell.record.get("error") else ".")
    yield from outcomes.problems([cell])


def sentence(cell: Cell) -> str:
    """What the run is, in a line."""
    record, config = cell.record, cell.config
    choices, total = record.get("choices", {}), record.get("parameters", {}).get("total")
    return ", ".join([
        f"{choices.get('model', 'a model')} of {spell(float(total))} parameters" if total else "a model",
        f"on {record.get('data', {}).get('name', choices.get('data', '?'))}",
        f"{cell.metrics.steps:,} of {config.get('steps', '?')} steps of "
        f"{record.get('batch', {}).get('tokens', 0):,} tokens",
        f"seed {config.get('seed', '?')}",
    ])  # fmt: skip


def headline(report: Report) -> Iterator[tuple[str, str]]:
    """The numbers to see first, each with what it is."""
    recorded, record = report.cells[0].metrics, report.cells[0].record
    steps, losses = recorded["validation/loss"]
    of = "" if not len(steps) or steps[-1] == recorded.steps else f", after step {int(steps[-1]):,}"
    if len(losses):
        yield f"{losses[-1]:.4f}", f"validation loss, nats per token{of}"
        if numpy.isfinite(losses).any() and losses[-1] != (best := numpy.nanmin(losses)):
            yield f"{best:.4f}", f"best, after step {int(steps[numpy.nanargmin(losses)]):,}"
    for key, name, digits in (("perplexity", "validation perplexity", 2), ("bits_per_byte", "bits per byte", 4)):
        if (value := recorded.last(f"validation/{key}")) is not None:
            yield f"{value:.{digits}f}", name + of
    loss, speed = recorded["train/loss"][1], recorded["train/tokens_per_second"][1]
    if len(loss):
        yield f"{smoothed(loss, report.smooth)[-1]:.4f}", f"training loss, mean of {min(report.smooth, len(loss))}"
    if tokens := recorded.last("train/tokens"):
        total = record.get("parameters", {}).get("total")
        yield spell(float(tokens)), f"tokens, {tokens / total:.1f} per parameter" if total else "tokens"
    if len(speed):
        yield spell(float(f"{numpy.median(speed):.3g}")), "tokens per second, median"
    if record.get("started") and record.get("ended"):
        first, last = (datetime.fromisoformat(record[name]) for name in ("started", "ended"))
        yield amounts.clock((last - first).total_seconds()), "from the last start to the end"


def recipe(cell: Cell) -> Iterator[str]:
    """Rows of HTML: ingredient, option and values. What is not as in conf/ stands out, with the value of the preset."""
    choices, config = cell.record.get("choices", {}), cell.config
    changed = presets.departures(config, choices)

    def value(name: str, key: str, given) -> str:
        if given != (usual := changed.get(key, given)):
            return f'<span class="changed">{html(name)} {html(spelled(given))} ({html(spelled(usual))})</span>'
        return f"<span>{html(name)} <b>{html(spelled(given))}</b></span>"

    for group, usual in presets.defaults().items():
        several = isinstance(usual, list)
        expected = ", ".join(usual) if several else str(usual)
        chosen = (", ".join(config.get(group) or {}) or "none") if several else choices.get(group, "?")
        option = html(chosen)
        if chosen != expected:
            option = f'<span class="changed">{option}</span> <span class="note">instead of {html(expected)}</span>'
        changed = {key: each for key, each in flat({group: config.get(group)}).items() if key != group}
        values = (value(key.removeprefix(f"{group}."), key, each) for key, each in changed.items()
                  if not key.endswith(presets.HIDDEN))  # fmt: skip
        yield f'<tr><th>{html(group)}</th><td>{option}</td><td class="values">{" ".join(values)}</td></tr>'
    roots = [key for key in ("steps", "seed", "device", "threads", "deterministic") if key in config]
    values = (value(key, key, config[key]) for key in roots)
    yield f'<tr><th>run</th><td></td><td class="values">{" ".join(values)}</td></tr>'


def environment(record: dict) -> list[tuple[str, str]]:
    """Machine, versions, commit, and the sources beside gptx's own rooms, which the commit names."""
    place, batch, data, git, memory = (record.get(key, {}) for key in ("hardware", "batch", "data", "git", "memory"))
    own = [each for each in provenance.facts(record).items() if not each[0].startswith("code of gptx.")]
    pairs = [
        ("device", f"{place.get('device', '?')}, {place.get('name', '?')}, {place.get('threads', '?')} thread(s)"),
        ("batch", " x ".join(f"{batch[key]} {key}" for key in batch if key != "tokens")),
        ("peak memory", ", ".join(f"{name} {amounts.memory(size)}" for name, size in memory.items() if size)),
        ("data", f"{data.get('train_tokens', 0):,} training tokens, {data.get('tokenizer', '?')} tokenizer"),
        ("commit", git.get("sha", "unknown")[:12] + (" and uncommitted changes" if git.get("dirty") else "")),
        *((name, text) for name, text in own if text != "nothing"),
        ("started", record.get("started", "")),
        ("typed", " ".join(record.get("overrides", [])) or "no overrides"),
        *record.get("versions", {}).items(),
    ]
    return [(name, text) for name, text in pairs if text]


def events(cell: Cell) -> list[tuple[str, str]]:
    """What happened on the way, and the checkpoints that are left."""
    told = [(f"step {row['step']:,}", f"{row.get('event')}: {row.get('text')}") for row in panels.happened(cell)]
    kept = sorted(path.name for path in (cell.folder / "checkpoints").glob("step_*[0-9]"))
    return [*told, ("checkpoints", ", ".join(kept) or "none")]
