"""A report as one HTML page that needs nothing beside itself: no network, no script, light and dark."""

import math
from collections.abc import Iterable
from datetime import datetime
from html import escape
from pathlib import Path

import numpy

from gptx import presets, runs
from gptx.log import jsonl, now
from gptx.presets import spelled
from gptx.report import curves


def of_run(folder: Path, rows: list[dict], record: dict, config: dict, panels: list[curves.Panel], smooth: int) -> str:
    """The page of one run: the numbers first, then the signals, a sample, the recipe and the machine."""
    parts = [
        heading(title(folder, config), runs.state(folder)),
        f'<p class="note">{escape(sentence(rows, record, config))}</p>',
        tiles(headline(rows, record, smooth)),
        f"<h2>Vital signs</h2><p class='note'>Over the updates. Lines of training are means of the last {smooth}, "
        "pale ones the updates themselves.</p>",
        grid(panels),
        *samples(rows),
        "<h2>Recipe</h2>",
        recipe(record, config),
        '<div class="columns">',
        f"<div><h2>Environment</h2>{table(environment(record))}</div>",
        f"<div><h2>Checkpoints and events</h2>{table(events(folder))}</div>",
        "</div>",
    ]
    return whole(title(folder, config), parts, folder)


def title(folder: Path, config: dict) -> str:
    """The run's name and folder."""
    return f"{config.get('name', folder.resolve().parent.name)} / {folder.resolve().name}"


def of_runs(root: Path, found: dict[str, tuple[Path, list[dict]]], panels: list[curves.Panel]) -> str:
    """The page of several runs: a table, the best first, and their curves."""
    columns = "run", "state", "validation loss", "best", "last training loss", "updates", "tokens/s"
    head = "".join(f'<th class="{"number" if i > 1 else ""}">{name}</th>' for i, name in enumerate(columns))
    lines = [line(i, name, *run) for i, (name, run) in enumerate(found.items())]
    name = f"{root.resolve().name}: {len(found)} runs"
    parts = [
        heading(name, ""),
        f'<div class="card first"><table><tr>{head}</tr>{"".join(text for _, text in sorted(lines))}</table></div>',
        "<h2>Curves</h2>",
        grid(panels),
    ]
    return whole(name, parts, root)


def line(place: int, name: str, folder: Path, rows: list[dict]) -> tuple[float, str]:
    """The last validation loss of a run, to sort by, and its line of the table."""
    losses = curves.series(rows, "validation/loss")[1]
    speeds = curves.series(rows, "train/tokens_per_second")[1]
    numbers = (
        f"{losses[-1]:.4f}" if len(losses) else "",
        f"{losses.min():.4f}" if len(losses) else "",
        f"{rows[-1]['train/loss']:.4f}" if "train/loss" in rows[-1] else "",
        f"{rows[-1]['step']:,}",
        curves.spell(float(numpy.median(speeds))) if len(speeds) else "",
    )
    dot = f'<span class="dot" style="background:var(--curve{place % curves.COLOURS})"></span>'
    cells = f'<td class="wide">{dot}{escape(name)}</td><td>{escape(runs.state(folder))}</td>'
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


def sentence(rows: list[dict], record: dict, config: dict) -> str:
    """What the run is, in a line."""
    choices, batch = record.get("choices", {}), record.get("batch", {})
    total = record.get("parameters", {}).get("total")
    return ", ".join(
        [
            f"{choices.get('model', 'a model')} of {curves.spell(float(total))} parameters" if total else "a model",
            f"on {record.get('data', {}).get('name', choices.get('data', '?'))}",
            f"{rows[-1]['step']:,} of {config.get('steps', '?')} updates of {batch.get('tokens', 0):,} tokens",
            f"seed {config.get('seed', '?')}",
        ]
    )


def headline(rows: list[dict], record: dict, smooth: int) -> list[tuple[str, str]]:
    """The numbers to see first, each with what it is."""
    found = []
    validated = [row for row in rows if "validation/loss" in row]
    if validated:
        last, best = validated[-1], min(validated, key=lambda row: row["validation/loss"])
        found.append((f"{last['validation/loss']:.4f}", "validation loss, nats a token"))
        if best is not last:
            found.append((f"{best['validation/loss']:.4f}", f"best, after update {best['step']:,}"))
        found.append((f"{last['validation/perplexity']:.2f}", "validation perplexity"))
        found.append((f"{last['validation/bits_per_byte']:.4f}", "bits per byte"))
    loss, speed = (curves.series(rows, f"train/{name}")[1] for name in ("loss", "tokens_per_second"))
    if len(loss):
        found.append((f"{curves.smoothed(loss, smooth)[-1]:.4f}", f"training loss, mean of {min(smooth, len(loss))}"))
    if tokens := rows[-1].get("train/tokens"):
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


def samples(rows: list[dict]) -> list[str]:
    """The last text that was recorded under each key that has text."""
    last = {key: (row["step"], value) for row in rows for key, value in row.items() if isinstance(value, str)}
    return [
        f'<h2>{escape(key)} <small class="note">after update {step:,}</small></h2>'
        f'<div class="card"><pre>{escape(text)}</pre></div>'
        for key, (step, text) in last.items()
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
    happened = [
        (f"update {row['step']:,}", f"{row['event']}: {row['text']}")
        for row in (jsonl.lines(file) if file.exists() else [])
    ]
    kept = sorted(path.name for path in (folder / "checkpoints").glob("step_*[0-9]"))
    return [*happened, ("checkpoints", ", ".join(kept) or "none")]


def table(pairs: list[tuple[str, str]]) -> str:
    lines = "".join(f'<tr><th>{escape(name)}</th><td class="wide">{escape(text)}</td></tr>' for name, text in pairs)
    return f'<div class="card"><table>{lines}</table></div>'
