"""The page of one run: the numbers first, then the signals, a sample, the recipe and the machine."""

from datetime import datetime

import numpy

from gptx.compare import outcomes
from gptx.config import presets
from gptx.config.keys import flat
from gptx.config.presets import spelled
from gptx.report import arms, charts, panels
from gptx.runs import provenance
from gptx.runs.cells import Cell
from gptx.show import page
from gptx.show.curves import smoothed
from gptx.units import amounts
from gptx.units.amounts import spell
from gptx.units.printable import html


def of_run(cell: Cell, smooth: int, renew: float = 0) -> str:
    """The page of a run."""
    signals = panels.of_run(cell, smooth)
    alone = arms.Arm({}, [cell])
    parts = [
        page.heading(title(cell), cell.state),
        f'<p class="note">{html(sentence(cell))}</p>',
        *trouble(cell),
        page.tiles(headline(cell, smooth)),
        "<h2>Vital signs</h2>",
        page.controls(page.axes([alone]), page.smoothing(smooth)),
        page.grid(signals),
        *samples(cell),
        "<h2>Recipe</h2>",
        recipe(cell.record, cell.config),
        '<div class="columns">',
        f"<div><h2>Environment</h2>{page.pairs(environment(cell.record))}</div>",
        f"<div><h2>Checkpoints and events</h2>{page.pairs(events(cell))}</div>",
        "</div>",
    ]
    return page.whole(title(cell), parts, str(cell.folder), charts.data(signals, [alone], smooth, renew=renew))


def trouble(cell: Cell) -> list[str]:
    """Why the run is not as it should be, and what of it cannot be read."""
    told = []
    if cell.state not in ("finished", "running"):
        told.append(f"The run is {cell.state}" + (f": {cell.record['error']}" if cell.record.get("error") else "."))
    told += outcomes.problems([cell])
    return [page.warned(told)] if told else []


def title(cell: Cell) -> str:
    """The run's name and folder."""
    folder = cell.folder.resolve()
    return f"{cell.config.get('name', folder.parent.name)} / {folder.name}"


def sentence(cell: Cell) -> str:
    """What the run is, in a line."""
    record, config = cell.record, cell.config
    choices, batch = record.get("choices", {}), record.get("batch", {})
    total = record.get("parameters", {}).get("total")
    return ", ".join(
        [
            f"{choices.get('model', 'a model')} of {spell(float(total))} parameters" if total else "a model",
            f"on {record.get('data', {}).get('name', choices.get('data', '?'))}",
            f"{cell.metrics.steps:,} of {config.get('steps', '?')} updates of {batch.get('tokens', 0):,} tokens",
            f"seed {config.get('seed', '?')}",
        ]
    )


def headline(cell: Cell, smooth: int) -> list[tuple[str, str]]:
    """The numbers to see first, each with what it is."""
    found, recorded, record = [], cell.metrics, cell.record
    steps, losses = recorded["validation/loss"]
    of = "" if not len(steps) or steps[-1] == recorded.steps else f", after update {int(steps[-1]):,}"
    if len(losses):
        found.append((f"{losses[-1]:.4f}", f"validation loss, nats a token{of}"))
        if numpy.isfinite(losses).any() and losses[-1] != (best := numpy.nanmin(losses)):
            found.append((f"{best:.4f}", f"best, after update {int(steps[numpy.nanargmin(losses)]):,}"))
    for key, name, digits in (("perplexity", "validation perplexity", 2), ("bits_per_byte", "bits per byte", 4)):
        if (value := recorded.last(f"validation/{key}")) is not None:
            found.append((f"{value:.{digits}f}", name + of))
    loss, speed = recorded["train/loss"][1], recorded["train/tokens_per_second"][1]
    if len(loss):
        found.append((f"{smoothed(loss, smooth)[-1]:.4f}", f"training loss, mean of {min(smooth, len(loss))}"))
    if tokens := recorded.last("train/tokens"):
        found.append((spell(float(tokens)), f"tokens, {tokens / record['parameters']['total']:.1f} a parameter"
                      if record.get("parameters", {}).get("total") else "tokens"))  # fmt: skip
    if len(speed):
        found.append((spell(float(f"{numpy.median(speed):.3g}")), "tokens per second, median"))
    if record.get("started") and record.get("ended"):
        found.append((duration(record["started"], record["ended"]), "from the last start to the end"))
    return found


def duration(first: str, last: str) -> str:
    """The time between two moments of a record, as 1:02:03."""
    return amounts.clock((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds())


def samples(cell: Cell) -> list[str]:
    """The last text that was recorded under each key that has text."""
    return [
        f'<h2>{html(key)} <small class="note">after update {step:,}</small></h2>'
        f'<div class="card"><pre>{html(text)}</pre></div>'
        for key, (step, text) in cell.metrics.texts.items()
    ]


def recipe(record: dict, config: dict) -> str:
    """Ingredient, option and values; what is not as in conf/ stands out, with the value of the preset."""
    choices = record.get("choices", {})
    changed, lines = presets.departures(config, choices), []
    for group, usual in presets.defaults().items():
        several = isinstance(usual, list)
        expected = ", ".join(usual) if several else str(usual)
        chosen = (", ".join(config.get(group) or {}) or "none") if several else choices.get(group, "?")
        option = html(chosen)
        if chosen != expected:
            option = f'<span class="changed">{option}</span> <span class="note">instead of {html(expected)}</span>'
        values = [
            shown(key.removeprefix(f"{group}."), value, changed.get(key, value))
            for key, value in flat({group: config.get(group)}).items()
            if key != group and not key.endswith(presets.HIDDEN)
        ]
        lines.append(entry(group, option, values))
    roots = [key for key in ("steps", "seed", "device", "threads", "deterministic") if key in config]
    lines.append(entry("run", "", [shown(key, config[key], changed.get(key, config[key])) for key in roots]))
    legend = '<p class="note">Marked: not as in <code>conf/</code>, whose value is in brackets.</p>'
    return f'{legend}<div class="card"><table>{"".join(lines)}</table></div>'


def entry(group: str, option: str, values: list[str]) -> str:
    return f'<tr><th>{html(group)}</th><td>{option}</td><td class="values">{" ".join(values)}</td></tr>'


def shown(name: str, given, usual) -> str:
    """A value of the recipe, marked where it is not the usual one."""
    if given != usual:
        return f'<span class="changed">{html(name)} {html(spelled(given))} ({html(spelled(usual))})</span>'
    return f"<span>{html(name)} <b>{html(spelled(given))}</b></span>"


def environment(record: dict) -> list[tuple[str, str]]:
    """Machine, versions and commit."""
    place, batch, data, git, memory = (record.get(key, {}) for key in ("hardware", "batch", "data", "git", "memory"))
    pairs = [
        ("device", f"{place.get('device', '?')}, {place.get('name', '?')}, {place.get('threads', '?')} thread(s)"),
        ("batch", " x ".join(f"{batch[key]} {key}" for key in batch if key != "tokens")),
        ("peak memory", ", ".join(f"{name} {amounts.memory(size)}" for name, size in memory.items() if size)),
        ("data", f"{data.get('train_tokens', 0):,} training tokens, {data.get('tokenizer', '?')} tokenizer"),
        ("commit", git.get("sha", "unknown")[:12] + (" and uncommitted changes" if git.get("dirty") else "")),
        *own_code(record),
        ("started", record.get("started", "")),
        ("typed", " ".join(record.get("overrides", [])) or "no overrides"),
        *record.get("versions", {}).items(),
    ]
    return [(name, text) for name, text in pairs if text]


def own_code(record: dict) -> list[tuple[str, str]]:
    """Sources and repositories beside gptx's own rooms, which the commit names."""
    facts = provenance.facts(record).items()
    return [(name, text) for name, text in facts if text != "nothing" and not name.startswith("code of gptx.")]


def events(cell: Cell) -> list[tuple[str, str]]:
    """What happened beside the updates, and the checkpoints that are left."""
    happened = [(f"update {row['step']:,}", f"{row.get('event')}: {row.get('text')}") for row in panels.happened(cell)]
    kept = sorted(path.name for path in (cell.folder / "checkpoints").glob("step_*[0-9]"))
    return [*happened, ("checkpoints", ", ".join(kept) or "none")]
