"""What W&B lacks of a run is sent to its page:  python -m gptx upload RUN"""

from collections.abc import Iterator
from pathlib import Path

from gptx.config import paths, presets
from gptx.config.errors import ConfigError
from gptx.config.keys import changes
from gptx.ingredients.log import RunInfo, jsonl
from gptx.ingredients.log.wandb import EXIT_CODES, Wandb, first_line, imported, next_segment, reset
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
            raise ValueError(f"W&B: {first_line(error)} ({folder.path})") from None
        print(f"{rows:8} rows {events:4} events  {folder.path}  {url}", flush=True)


def _ended(root: Path) -> list[RunFolder]:
    """The run in `root`, or all runs below it. Raises ValueError if there is none, or one that is running."""
    found = [root] if (root / "run.json").exists() else sorted(file.parent for file in root.rglob("run.json"))
    runs = [RunFolder(folder) for folder in found if (folder / "metrics.jsonl").exists()]
    if not runs:
        raise ValueError(f"{root}: no run with metrics there; a run folder holds run.json and metrics.jsonl")
    for run in runs:
        run.check()
        if run.state == "running":
            raise ValueError(f"{run.path} is running and sends its own rows; upload it when it has ended")
    return runs


def _send(run: RunFolder) -> tuple[int, int, str]:
    """Numbers of the rows and events that the run's page lacked and has now, and its address."""
    record, config, sink = run.record, run.config, mirror(run.literal("log"))
    run.refuse_links()
    overrides = record.get("overrides") or []
    info = RunInfo(  # as when the run began
        folder=run.path, name=run.path.name, group=config.get("name", ""), steps=config.get("steps", 0), start=0,
        config=config, choices=record.get("choices") or {}, overrides=overrides, git=record.get("git") or {},
        tags=changes(overrides), budget=record.get("budget") or {},
    )  # fmt: skip
    id, segment = next_segment(run.path / "wandb_id")
    page, known = sink.page(info, id, "online"), set[tuple]()
    if page.resumed:
        api = imported().Api()
        known = set(map(_identity, api.run(f"{page.entity}/{page.project}/{page.id}").scan_history(use_cache=False)))
    new = [row for row in throughout(list(_as_sent(run, sink))) if _identity(row) not in known]
    for row in new:
        page.log({**row, "segment": segment})
    page.finish(exit_code=EXIT_CODES.get(record.get("state", ""), 1))
    events = sum("event/kind" in row for row in new)
    return len(new) - events, events, page.url


def _as_sent(run: RunFolder, sink: Wandb) -> Iterator[dict]:
    for row in jsonl.by_step(run.rows):
        sent = {f"{'train/' * (key == 'step')}{key}": value for key, value in row.items()}
        if sink.due(row["step"], sent):
            yield sent
    for event in run.events:
        yield {"train/step": event["step"], "event/kind": event["event"], "event/text": event["text"]}


def mirror(config: dict) -> Wandb:
    """The run's own sink, or the default one, with time to send everything."""
    usual = presets.load_preset(Path(paths.CONF, "log/wandb.yaml"))["wandb"]
    own = usual | ((config.get("log") or {}).get("wandb") or {})
    return Wandb(**{name: own[name] for name in usual if name != "_target_"} | {"finish_timeout": 3600})


def _identity(row: dict) -> tuple:
    if "event/kind" in row:
        return row["train/step"], row["event/kind"], row["event/text"]
    return row.get("train/step"), str(float(row.get("train/loss", "nan")))  # NaN differs from itself
