"""A report as one HTML page that needs nothing beside itself: no network, no script, light and dark."""

import math
from collections.abc import Iterable
from datetime import datetime
from html import escape
from pathlib import Path

import numpy

from gptx import metrics, presets, runs
from gptx.compare.cells import Cell
from gptx.log import now
from gptx.presets import spelled
from gptx.report import curves


def of_run(cell: Cell, panels: list[curves.Panel], smooth: int) -> str:
    """The page of one run: the numbers first, then the signals, a sample, the recipe and the machine."""
    parts = [
        heading(title(cell), cell.state),
        f'<p class="note">{escape(sentence(cell))}</p>',
        tiles(headline(cell, smooth)),
        f"<h2>Vital signs</h2><p class='note'>Over the updates. Lines of training are means of the last {smooth}, "
        "pale ones the updates themselves.</p>",
        grid(panels),
        *samples(cell),
        "<h2>Recipe</h2>",
        recipe(cell.record, cell.config),
        '<div class="columns">',
        f"<div><h2>Environment</h2>{table(environment(cell.record))}</div>",
        f"<div><h2>Checkpoints and events</h2>{table(events(cell.folder))}</div>",
        "</div>",
    ]
    return whole(title(cell), parts, cell.folder)


def title(cell: Cell) -> str:
    """The run's name and folder."""
    folder = cell.folder.resolve()
    return f"{cell.config.get('name', folder.parent.name)} / {folder.name}"


def of_runs(root: Path, cells: list[Cell], panels: list[curves.Panel]) -> str:
    """The page of several runs: a table, the best first, and their curves."""
    columns = "run", "state", "validation loss", "best", "last training loss", "updates", "tokens/s"
    head = "".join(f'<th class="{"number" if i > 1 else ""}">{name}</th>' for i, name in enumerate(columns))
    lines = [line(i, cell) for i, cell in enumerate(cells)]
    name = f"{root.resolve().name}: {len(cells)} runs"
    parts = [
        heading(name, ""),
        f'<div class="card first"><table><tr>{head}</tr>{"".join(text for _, text in sorted(lines))}</table></div>',
        "<h2>Curves</h2>",
        grid(panels),
    ]
    return whole(name, parts, root)


def line(place: int, cell: Cell) -> tuple[float, str]:
    """The last validation loss of a run, to sort by, and its line of the table."""
    losses = cell.metrics["validation/loss"][1]
    speeds = cell.metrics["train/tokens_per_second"][1]
    training = cell.metrics.last("train/loss")
    numbers = (
        f"{losses[-1]:.4f}" if len(losses) else "",
        f"{losses.min():.4f}" if len(losses) else "",
        "" if training is None else f"{training:.4f}",
        f"{cell.metrics.steps:,}",
        curves.spell(float(numpy.median(speeds))) if len(speeds) else "",
    )
    dot = f'<span class="dot" style="background:var(--curve{place % curves.COLOURS})"></span>'
    cells = f'<td class="wide">{dot}{escape(cell.name)}</td><td>{escape(cell.state)}</td>'
    cells += "".join(f'<td class="number">{text}</td>' for text in numbers)
    return losses[-1] if len(losses) and math.isfinite(losses[-1]) else math.inf, f"<tr>{cells}</tr>"


def whole(name: str, parts: Iterable[str], folder: Path) -> str:
    """The parts in a page with its style."""
    style = Path(__file__).with_name("page.css").read_text()
    made = f"Made of <code>{escape(str(folder))}</code> by <code>python -m gptx.report</code>, {now()[:10]}."
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}</title><style>{style}</style></head><body><main>\n"
        + "\n".join(parts)
        + f"\n<footer>{made}</footer></main></body></html>\n"
    )


def heading(text: str, state: str) -> str:
    pill = f' <span class="state {escape(state)}">{escape(state)}</span>' if state else ""
    return f"<h1>{escape(text)}{pill}</h1>"


def sentence(cell: Cell) -> str:
    """What the run is, in a line."""
    record, config = cell.record, cell.config
    choices, batch = record.get("choices", {}), record.get("batch", {})
    total = record.get("parameters", {}).get("total")
    return ", ".join(
        [
            f"{choices.get('model', 'a model')} of {curves.spell(float(total))} parameters" if total else "a model",
            f"on {record.get('data', {}).get('name', choices.get('data', '?'))}",
            f"{cell.metrics.steps:,} of {config.get('steps', '?')} updates of {batch.get('tokens', 0):,} tokens",
            f"seed {config.get('seed', '?')}",
        ]
    )


def headline(cell: Cell, smooth: int) -> list[tuple[str, str]]:
    """The numbers to see first, each with what it is."""
    found, metrics, record = [], cell.metrics, cell.record
    steps, losses = metrics["validation/loss"]
    if len(losses):
        found.append((f"{losses[-1]:.4f}", "validation loss, nats a token"))
        if losses[-1] != losses.min():
            found.append((f"{losses.min():.4f}", f"best, after update {int(steps[losses.argmin()]):,}"))
    for key, name, digits in (("perplexity", "validation perplexity", 2), ("bits_per_byte", "bits per byte", 4)):
        if (value := metrics.last(f"validation/{key}")) is not None:
            found.append((f"{value:.{digits}f}", name))
    loss, speed = metrics["train/loss"][1], metrics["train/tokens_per_second"][1]
    if len(loss):
        found.append((f"{curves.smoothed(loss, smooth)[-1]:.4f}", f"training loss, mean of {min(smooth, len(loss))}"))
    if tokens := metrics.last("train/tokens"):
        found.append((curves.spell(float(tokens)), f"tokens, {tokens / record['parameters']['total']:.1f} a parameter"
                      if record.get("parameters", {}).get("total") else "tokens"))  # fmt: skip
    if len(speed):
        found.append((curves.spell(float(f"{numpy.median(speed):.3g}")), "tokens per second, median"))
    if record.get("started") and record.get("ended"):
        found.append((duration(record["started"], record["ended"]), "from the last start to the end"))
    return found


def duration(first: str, last: str) -> str:
    """The time between two moments of a record, as 1:02:03."""
    seconds = int((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds())
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"


def tiles(numbers: list[tuple[str, str]]) -> str:
    cells = [f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in numbers]
    return f'<div class="tiles">{"".join(cells)}</div>'


def grid(panels: list[curves.Panel]) -> str:
    """The panels as drawings; one without curves says how to record them."""
    cells = []
    for panel in panels:
        if any(len(curve.steps) for curve in panel.curves):
            inside = curves.svg(panel)
        else:
            inside = f'<div class="missing"><div>{escape(panel.hint or "nothing recorded")}</div></div>'
        cells.append(f"<figure><h3>{escape(panel.title)} <small>{escape(panel.unit)}</small></h3>{inside}</figure>")
    return f'<div class="panels">{"".join(cells)}</div>'


def samples(cell: Cell) -> list[str]:
    """The last text that was recorded under each key that has text."""
    return [
        f'<h2>{escape(key)} <small class="note">after update {step:,}</small></h2>'
        f'<div class="card"><pre>{escape(text)}</pre></div>'
        for key, (step, text) in cell.metrics.texts.items()
    ]


def recipe(record: dict, config: dict) -> str:
    """Ingredient, option and values; what is not as in conf/ stands out, with the value of the preset."""
    choices = record.get("choices", {})
    changed, lines = presets.differences(config, choices), []
    for group, usual in presets.defaults().items():
        several = isinstance(usual, list)
        expected = ", ".join(usual) if several else str(usual)
        chosen = (", ".join(config.get(group) or {}) or "none") if several else choices.get(group, "?")
        option = escape(chosen)
        if chosen != expected:
            option = f'<span class="changed">{option}</span> <span class="note">instead of {escape(expected)}</span>'
        values = [
            shown(key.removeprefix(f"{group}."), value, changed.get(key, value))
            for key, value in runs.flat({group: config.get(group)}).items()
            if key != group and not key.endswith(presets.HIDDEN)
        ]
        lines.append(entry(group, option, values))
    roots = [key for key in ("steps", "seed", "device", "threads", "deterministic") if key in config]
    lines.append(entry("run", "", [shown(key, config[key], changed.get(key, config[key])) for key in roots]))
    legend = '<p class="note">Marked: not as in <code>conf/</code>, whose value is in brackets.</p>'
    return f'{legend}<div class="card"><table>{"".join(lines)}</table></div>'


def entry(group: str, option: str, values: list[str]) -> str:
    return f'<tr><th>{escape(group)}</th><td>{option}</td><td class="values">{" ".join(values)}</td></tr>'


def shown(name: str, given, usual) -> str:
    """A value of the recipe, marked where it is not the usual one."""
    if given != usual:
        return f'<span class="changed">{escape(name)} {escape(spelled(given))} ({escape(spelled(usual))})</span>'
    return f"<span>{escape(name)} <b>{escape(spelled(given))}</b></span>"


def environment(record: dict) -> list[tuple[str, str]]:
    """Machine, versions and commit."""
    place, batch, data, git, memory = (record.get(key, {}) for key in ("hardware", "batch", "data", "git", "memory"))
    pairs = [
        ("device", f"{place.get('device', '?')}, {place.get('name', '?')}, {place.get('threads', '?')} thread(s)"),
        ("batch", " x ".join(f"{batch[key]} {key}" for key in batch if key != "tokens")),
        ("peak memory", ", ".join(f"{name} {size / 1e9:.3f} GB" for name, size in memory.items() if size)),
        ("data", f"{data.get('train_tokens', 0):,} training tokens, {data.get('tokenizer', '?')} tokenizer"),
        ("commit", git.get("sha", "unknown")[:12] + (" and uncommitted changes" if git.get("dirty") else "")),
        ("started", record.get("started", "")),
        ("typed", " ".join(record.get("overrides", [])) or "no overrides"),
        *record.get("versions", {}).items(),
    ]
    return [(name, text) for name, text in pairs if text]


def events(folder: Path) -> list[tuple[str, str]]:
    """What happened beside the updates, and the checkpoints that are left."""
    file = folder / "events.jsonl"
    happened = [(f"update {row['step']:,}", f"{row.get('event')}: {row.get('text')}") for row in metrics.lines(file)[0]]
    kept = sorted(path.name for path in (folder / "checkpoints").glob("step_*[0-9]"))
    return [*happened, ("checkpoints", ", ".join(kept) or "none")]


def table(pairs: list[tuple[str, str]]) -> str:
    lines = "".join(f'<tr><th>{escape(name)}</th><td class="wide">{escape(text)}</td></tr>' for name, text in pairs)
    return f'<div class="card"><table>{lines}</table></div>'
