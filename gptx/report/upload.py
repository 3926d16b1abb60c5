"""What W&B lacks of a run is sent to its page:  python -m gptx upload RUN"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gptx.config import paths, presets
from gptx.config.errors import ConfigError
from gptx.config.keys import changes
from gptx.ingredients.log import RunInfo, jsonl
from gptx.ingredients.log.wandb import EXIT_CODES, Wandb, first_line, next_segment, reset
from gptx.runs.folder import RunFolder
from gptx.units.printable import throughout


def upload(run: str, /) -> None:
    """Send to W&B what the page of a run lacks, or make the page.

      python -m gptx upload runs/default/base

    Rows and events that the page has already are not sent again; of a step that was made twice, the last row counts. An
    upload is a start like any other: its rows have the next `segment`. The project and the interval of the rows are
    those of the run's log.wandb. This replaces `wandb sync`: after both, rows are on the page twice.

    Options:
    run: folder of a run, or a folder of runs
    """
    for folder in _ended(Path(run)):
        try:
            rows, events, url = _send(folder)
        except ConfigError:
            raise
        except Exception as error:
            reset()
            raise ValueError(f"W&B: {first_line(error)} ({folder})") from None
        print(f"{rows:8} rows {events:4} events  {folder}  {url}", flush=True)


def _ended(root: Path) -> list[Path]:
    """The run in `root`, or all runs below it. Raises ValueError if there is none, or one that is running."""
    found = [root] if (root / "run.json").exists() else sorted(file.parent for file in root.rglob("run.json"))
    found = [folder for folder in found if (folder / "metrics.jsonl").exists()]
    if not found:
        raise ValueError(f"{root}: no run with metrics there; a run folder holds run.json and metrics.jsonl")
    for folder in found:
        run = RunFolder(folder)
        run.check()
        if run.state == "running":
            raise ValueError(f"{folder} is running and sends its own rows; upload it when it has ended")
    return found


def _send(folder: Path) -> tuple[int, int, str]:
    """Numbers of the rows and events that the run's page lacked and has now, and its address."""
    run = RunFolder(folder)
    record, config = run.record, run.config
    RunFolder(folder).refuse_links()
    sink = mirror(run.literal("log"))
    id, segment = next_segment(folder / "wandb_id")
    page = sink.page(info_of(folder, record, config), id, "online")
    known = {_identity(row) for row in _history(page)} if page.resumed else set()
    rows = [_as_sent(row) for row in jsonl.by_step(run.rows)]
    rows = [row for row in rows if sink.due(row["train/step"], row) and _identity(row) not in known]
    events = [row for row in _events(run.events) if _identity(row) not in known]
    for row in rows + events:
        page.log({**row, "segment": segment})
    page.finish(exit_code=EXIT_CODES.get(record.get("state", ""), 1))
    return len(rows), len(events), page.url


def mirror(config: dict) -> Wandb:
    """The run's own sink, or the default one, with time to send everything."""
    usual = presets.load_preset(Path(paths.CONF, "log/wandb.yaml"))["wandb"]
    own = {**usual, **((config.get("log") or {}).get("wandb") or {})}
    options = {name: own[name] for name in usual if name != "_target_"}
    return Wandb(**options | {"finish_timeout": 3600})


def info_of(folder: Path, record: dict, config: dict) -> RunInfo:
    """What the sink knew of the run when it began."""
    overrides = record.get("overrides") or []
    return RunInfo(
        folder=folder, name=folder.name, group=config.get("name", ""), steps=config.get("steps", 0), start=0,
        config=config, choices=record.get("choices") or {}, overrides=overrides, git=record.get("git") or {},
        tags=changes(overrides), budget=record.get("budget") or {},
    )  # fmt: skip


def _as_sent(row: dict) -> dict:
    """A line of metrics.jsonl as the sink sends it."""
    return throughout({"train/step": row["step"], **{name: value for name, value in row.items() if name != "step"}})


def _events(events: list[dict]) -> Iterator[dict]:
    """The events of a run as the sink sends them."""
    for event in events:
        yield throughout({"train/step": event["step"], "event/kind": event["event"], "event/text": event["text"]})


def _history(page: Any) -> list[dict]:
    """Every row of the page, from the server."""
    import wandb

    return list(wandb.Api().run(f"{page.entity}/{page.project}/{page.id}").scan_history(use_cache=False))


def _identity(row: dict) -> tuple:
    """Step, kind and text of an event, step and loss of another row."""
    if "event/kind" in row:
        return row["train/step"], row["event/kind"], row["event/text"]
    return row.get("train/step"), str(float(row.get("train/loss", "nan")))  # NaN differs from itself
