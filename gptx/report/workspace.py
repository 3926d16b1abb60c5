"""A comparison as a report in W&B, drawn there from the runs' own pages:  python -m gptx report runs/NAME --wandb"""

from pathlib import Path
from typing import Any

from gptx.commands import upload
from gptx.compare.outcomes import Comparison
from gptx.compare.verdict import Verdict
from gptx.config.errors import ConfigError
from gptx.files import to_json, write_text
from gptx.ingredients.log import now, shown
from gptx.ingredients.log.wandb import first_line, imported, noted, reset
from gptx.report.blocks import Place, built, spec
from gptx.runs import plain, schema
from gptx.runs.cells import Cell


def publish(
    folders: list[Path], cells: list[Cell], comparison: Comparison, verdict: Verdict, out: Path, sync: bool = False
) -> list[str]:
    """Write what makes the report to report.wandb.json in `out`, and save it in W&B if there is a key; what is to be
    told of it, a line each. The same comparison again renews the same report.

    `sync` first sends what W&B lacks of the runs. Raises ValueError where the package is missing, no run is there, or
    W&B refuses or does not answer.
    """
    begun = [cell for cell in cells if cell.config]
    place, file = placed(begun), out / "report.wandb.json"
    made = f"Made of {', '.join(str(shown(folder)) for folder in folders)} by python -m gptx report, {now()[:10]}"
    saved = saved_before(file)
    write(file, built(begun, comparison, verdict, place, made), saved)
    try:
        api, why = connection()
        if api is None:
            told = f"W&B: nothing sent, since {why}; the report as it would be is {file}"
            later = "with a connection the same command saves it; --sync sends the runs before that"
            return [told, later, *lacking(begun, place)]
        if sync:
            send(begun)
        place = online(placed(begun), api)
        if not place.pages:
            raise ValueError(f"none of the {len(begun)} runs is in {place.entity}/{place.project}; --sync sends them")
        report = built(begun, comparison, verdict, place, made)
        if (saved.get("entity"), saved.get("project")) == (place.entity, place.project):
            report.id = saved["id"]
        report.save()
    except Exception as error:
        reset()
        what = "the report as it would be" + (", and which one it is to renew," if saved else "")
        raise ValueError(f"W&B: {first_line(error).removeprefix('W&B: ').rstrip('.')}; {what} is in {file}") from None
    write(file, report, {"id": report.id, "url": report.url, "entity": place.entity, "project": place.project})
    return [f"W&B: {report.url}", *lacking(begun, place)]


def placed(cells: list[Cell]) -> Place:
    """Where the runs say they are. Raises ValueError if that is more than one project, of which W&B could show one."""
    sinks = {(sink.entity or "", sink.project) for sink in (upload.mirror(cell.config) for cell in cells)}
    if len(sinks) > 1:
        names = ", ".join(sorted("/".join(filter(None, each)) for each in sinks))
        raise ValueError(f"the runs are in several projects of W&B ({names}); a report shows those of one")
    entity, project = next(iter(sinks))
    groups = list(dict.fromkeys(upload.described(cell.folder, cell.record, cell.config).group for cell in cells))
    return Place(project, entity, groups, {cell.name: id for cell in cells if (id := page_id(cell.folder))})


def page_id(folder: Path) -> str:
    """Id of the run's page; empty for a run of which W&B was never told."""
    return noted(folder / "wandb_id")[0]


def lacking(cells: list[Cell], place: Place) -> list[str]:
    """A line that says which runs have no page, if any."""
    names = [cell.name for cell in cells if cell.name not in place.pages]
    shortly = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    told = f"{len(names)} of {len(cells)} runs are not in W&B: {shortly}; --sync sends those that have ended"
    return [told] if names else []


def connection() -> tuple[Any, str]:
    """W&B's interface; or None, and why there is none. Raises what wandb does if W&B refuses or does not answer."""
    wandb = imported()
    # Silent before all else: only then does wandb raise where it would ask for a key.
    mode = wandb.setup(wandb.Settings(silent=True)).settings.mode
    if mode != "online":
        return None, f"WANDB_MODE={mode}"
    try:
        return wandb.Api(), ""
    except wandb.errors.UsageError as error:
        if "No API key" not in str(error):
            raise
        return None, "there is no API key (`wandb login`, or WANDB_API_KEY)"


def send(cells: list[Cell]) -> None:
    """Send what W&B lacks of the runs that made an update and are not at work, with a line for each."""
    for cell in cells:
        if (cell.folder / "metrics.jsonl").exists() and cell.state != "running":
            upload.upload(str(cell.folder))


def online(place: Place, api: Any) -> Place:
    """The place with its owner, its address, and only those pages that are there."""
    entity = place.entity or api.settings["entity"] or api.default_entity
    ids = list(place.pages.values())
    try:
        there = {run.id for run in api.runs(f"{entity}/{place.project}", {"name": {"$in": ids}}, per_page=500)}
    except ValueError:  # no such project yet
        there = set()
    pages = {name: id for name, id in place.pages.items() if id in there}
    server = imported().setup().settings.app_url.rstrip("/")
    return Place(place.project, entity, place.groups, pages, f"{server}/{entity}/{place.project}")


def saved_before(file: Path) -> dict:
    """Id, address and project of the report that an earlier call saved; empty if there is none."""
    try:
        saved = plain.read_json(file).get("saved", {})
        return schema.validated(saved, schema.Saved, file)
    except (FileNotFoundError, ConfigError, AttributeError):
        return {}


def write(file: Path, report: Any, saved: dict) -> None:
    """Write what W&B gets of the report, and where it is saved, if it is."""
    facts = {"title": report.title, "description": report.description, "saved": saved, "spec": spec(report)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, to_json(facts, indent=1) + "\n")
