"""A comparison as a report in W&B, drawn there from the runs' own pages:  python -m gptx report runs/NAME wandb=true"""

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gptx.compare.outcomes import Comparison
from gptx.compare.verdict import Verdict
from gptx.config.errors import ConfigError
from gptx.files import to_json, write_text
from gptx.ingredients.log import now, shown
from gptx.ingredients.log.wandb import first_line, imported, noted, reset
from gptx.report import upload
from gptx.runs import plain, schema
from gptx.runs.cells import Cell
from gptx.show.table import grid
from gptx.units.printable import md, safe, throughout

MOST = 100  # lines and bars that a chart shows; W&B's own limit is 10
SPREAD = 10.0  # levels that reach over more than this factor stand on a logarithmic axis
CURVE = {"x": "train/step", "title_x": "step"}  # the sink's own count, see gptx.ingredients.log.wandb
MEANS = {"groupby_aggfunc": "mean", "groupby_rangefunc": "minmax", "max_runs_to_show": MOST}
SEND = "sync=true sends"


@dataclass(frozen=True)
class Place:
    """Where in W&B the runs are. What is not known without a connection is empty."""

    project: str
    entity: str
    groups: list[str]  # the sweeps
    pages: dict[str, str]  # id of the page of each run that has one, by its name
    address: str = ""  # where the pages of the project are


def publish(
    folders: list[Path], cells: list[Cell], comparison: Comparison, verdict: Verdict, out: Path, sync: bool = False
) -> list[str]:
    """Write what makes the report to report.wandb.json in `out`, and save it in W&B if there is a key. Returns lines
    that say what was done. The same comparison again renews the same report.

    `sync` first sends what W&B lacks of the runs. Raises ValueError where the package is missing, no run is there, or
    W&B refuses or does not answer.
    """
    begun = [cell for cell in cells if cell.config]
    place, file = placed(begun), out / "report.wandb.json"
    made = f"Made of {', '.join(str(shown(folder)) for folder in folders)} by python -m gptx report, {now()[:10]}"
    saved = _saved(file)
    _write(file, Builder(begun, comparison, place).report(verdict, made), saved)
    try:
        api, why = _connection()
        if api is None:
            told = f"W&B: nothing sent, since {why}; the report as it would be is {file}"
            later = f"with a connection the same command saves it; {SEND} the runs before that"
            return [told, later, *lacking(begun, place)]
        for cell in begun if sync else []:
            if (cell.folder / "metrics.jsonl").exists() and cell.state != "running":
                upload.upload(str(cell.folder))
        place = _online(placed(begun), api)
        if not place.pages:
            raise ValueError(f"none of the {len(begun)} runs is in {place.entity}/{place.project}; {SEND} them")
        report = Builder(begun, comparison, place).report(verdict, made)
        if (saved.get("entity"), saved.get("project")) == (place.entity, place.project):
            report.id = saved["id"]
        report.save()
    except Exception as error:
        reset()
        what = "the report as it would be" + (", and which one it is to renew," if saved else "")
        raise ValueError(f"W&B: {first_line(error).removeprefix('W&B: ').rstrip('.')}; {what} is in {file}") from None
    _write(file, report, {"id": report.id, "url": report.url, "entity": place.entity, "project": place.project})
    return [f"W&B: {report.url}", *lacking(begun, place)]


def placed(cells: list[Cell]) -> Place:
    """Where the runs say they are. Raises ValueError if that is more than one project, of which W&B could show one."""
    sinks = {(sink.entity or "", sink.project) for sink in (upload.mirror(cell.config) for cell in cells)}
    if len(sinks) > 1:
        names = ", ".join(sorted("/".join(filter(None, each)) for each in sinks))
        raise ValueError(f"the runs are in several projects of W&B ({names}); a report shows those of one")
    entity, project = next(iter(sinks))
    groups = list(dict.fromkeys(upload.described(cell.folder, cell.record, cell.config).group for cell in cells))
    ids = {cell.name: noted(cell.folder / "wandb_id")[0] for cell in cells}
    return Place(project, entity, groups, {name: id for name, id in ids.items() if id})


def lacking(cells: list[Cell], place: Place) -> list[str]:
    """A line that says which runs have no page, if any."""
    names = [cell.name for cell in cells if cell.name not in place.pages]
    shortly = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    told = f"{len(names)} of {len(cells)} runs are not in W&B: {shortly}; {SEND} those that have ended"
    return [told] if names else []


def _connection() -> tuple[Any, str]:
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


def _online(place: Place, api: Any) -> Place:
    """The place with its owner, its address, and only those pages that are there."""
    entity = place.entity or api.settings["entity"] or api.default_entity
    ids = list(place.pages.values())
    try:
        there = {run.id for run in api.runs(f"{entity}/{place.project}", {"name": {"$in": ids}}, per_page=500)}
    except ValueError:  # no such project yet
        there = set()
    pages = {name: id for name, id in place.pages.items() if id in there}
    server = imported().setup().settings.app_url.rstrip("/")
    return replace(place, entity=entity, pages=pages, address=f"{server}/{entity}/{place.project}")


def _saved(file: Path) -> dict:
    """Id, address and project of the report that an earlier call saved; empty if there is none."""
    try:
        return schema.validated(plain.read_json(file).get("saved", {}), schema.Saved, file)
    except (FileNotFoundError, ConfigError, AttributeError):
        return {}


def _write(file: Path, report: Any, saved: dict) -> None:
    """Write what `report.save()` sends, for which wandb-workspaces has no public name, and where it is saved."""
    spec = json.loads(report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    facts = {"title": report.title, "description": report.description, "saved": saved, "spec": spec}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, to_json(facts, indent=1) + "\n")


def reports() -> Any:
    """The package that builds reports. Raises ValueError where it is not installed."""
    imported()
    try:
        import wandb_workspaces.reports.v2 as wr
    except ModuleNotFoundError:
        install = 'pip install -c constraints.txt "gptx[report]"'
        raise ValueError(f"wandb=true needs the package wandb-workspaces: {install}") from None
    return wr


def config_key(factor: str, cells: list[Cell]) -> str:
    """Where the sink keeps a factor: the option of an ingredient under `recipe`, a value where the config has it."""
    return f"recipe.{factor}" if any(factor in cell.record.get("choices", {}) for cell in cells) else factor


def logarithmic_levels(levels: list[str]) -> bool | None:
    """True for numbers to be drawn on a logarithmic axis; None for levels that are no finite numbers."""
    try:
        sizes = [float(level) for level in levels]
    except ValueError:
        return None
    return min(sizes) > 0 and max(sizes) >= SPREAD * min(sizes) if all(map(math.isfinite, sizes)) else None


@dataclass(frozen=True)
class Builder:
    """Builds the report of a comparison, as wandb-workspaces has it."""

    cells: list[Cell]
    comparison: Comparison
    place: Place
    wr: Any = field(default_factory=reports)

    def report(self, verdict: Verdict, made: str) -> Any:
        """The answer in words and tables, then charts of the runs."""
        wr, keys = self.wr, [config_key(factor, self.cells) for factor in self.comparison.factors]
        blocks = [
            wr.CalloutBlock(text=safe(verdict.headline)),
            wr.MarkdownBlock(text="\n\n".join(map(md, verdict.sentences))),
            *(
                [wr.H2(text="Warnings"), wr.UnorderedList(items=throughout(verdict.warnings))]
                if verdict.warnings
                else []
            ),
            *(wr.MarkdownBlock(text=f"### {md(table.title)}\n\n{grid(table)}") for table in verdict.tables),
            *self.charts(keys),
            wr.H2(text="The runs"),
            wr.MarkdownBlock(text="\n".join(map(self.linked, self.cells))),
        ]
        metric = self.comparison.metric.replace("/", " ")  # the title becomes part of the address
        title = safe(f"{', '.join(self.place.groups)}, {metric} by {' and '.join(self.comparison.factors) or 'seed'}")[
            :128
        ]
        return wr.Report(project=self.place.project, entity=self.place.entity, title=title, description=safe(made),
                         blocks=blocks, width="fluid")  # fmt: skip

    def charts(self, keys: list[str]) -> list[Any]:
        """Curves of all arms, each factor for itself, further signals, and what tells the runs apart."""
        wr, metric, factors = self.wr, self.comparison.metric, self.comparison.factors
        others = " over all levels of the other factors" if len(keys) > 1 else ""
        told = "A line is the mean of an arm's runs; its band reaches from the lowest to the highest."
        blocks = self.section("All arms", told, keys, [self.curve(metric, w=24)])
        for (factor, levels), key in zip(factors.items(), keys, strict=True):
            told = f"A line or bar is the mean of a level's runs{others}, from the lowest to the highest."
            blocks += self.section(f"By {factor}", told, [key], self.by_factor(factor, levels, key))
        signals = [self.curve("train/lr"), self.curve("train/grad_norm", log_y=True), self.curve("train/loss", w=24)]
        column = wr.ParallelCoordinatesPlotColumn
        columns = [
            *(column(metric=wr.Config(key), display_name=factor, log=bool(logarithmic_levels(levels)))
              for (factor, levels), key in zip(factors.items(), keys, strict=True)),
            column(metric=wr.Config("seed")),
            column(metric=wr.SummaryMetric(metric)),
        ]  # fmt: skip
        title = f"every run: levels, seed and last {metric}"
        apart = [
            wr.ParallelCoordinatesPlot(title=title, columns=columns, layout=wr.Layout(w=24, h=9)),
            wr.RunComparer(diff_only="split", layout=wr.Layout(w=24, h=12)),
        ]
        return [
            *blocks,
            *self.section("Signals", "", keys, signals),
            *self.section("What tells the runs apart", "", [], apart),
        ]

    def by_factor(self, factor: str, levels: list[str], key: str) -> list[Any]:
        """The metric by levels of one factor: curves, bars, and points where the levels are numbers."""
        wr, metric = self.wr, self.comparison.metric
        level, last = wr.Config(key), f"last {metric}"
        bars = wr.BarPlot(title=f"{last} by {factor}", metrics=[metric], orientation="h", layout=wr.Layout(w=12, h=9),
                          groupby=level, max_bars_to_show=MOST, **MEANS)  # fmt: skip
        panels = [self.curve(metric, title=f"{metric} by {factor}", groupby=level), bars]
        if (log := logarithmic_levels(levels)) is not None:
            scatter = {"x": level, "y": wr.SummaryMetric(metric), "log_x": log}
            panels.append(wr.ScatterPlot(title=f"{last} over {factor}", layout=wr.Layout(w=24, h=9), **scatter))
        return panels

    def curve(self, key: str, *, w: int = 12, title: str = "", **options: Any) -> Any:
        """A metric over steps, a line and a band for each group."""
        layout = self.wr.Layout(w=w, h=9)
        return self.wr.LinePlot(title=title or key, y=[key], layout=layout, **CURVE, **MEANS, **options)

    def section(self, title: str, text: str, groups: list[str], panels: list[Any]) -> list[Any]:
        """Charts of the runs, which are grouped by some keys of their config, below a heading and a text.

        Only with a connection does it say whose project: it asks the server for that. Otherwise it is the report's own.
        """
        from wandb_workspaces import expr

        chosen = [expr.Metric("Group").isin(self.place.groups)]
        if self.place.pages:  # a sweep's name may have been used for others too
            chosen.append(expr.Metric("ID").isin(list(self.place.pages.values())))
        owner = {"entity": self.place.entity, "project": self.place.project} if self.place.address else {}
        groupby = [f"config.{key}" for key in groups]
        runs = self.wr.Runset(name=title, groupby=groupby, filters=expr.And(*chosen), **owner)
        told = [self.wr.P(text=text)] if text else []
        return [self.wr.H2(text=title), *told, self.wr.PanelGrid(runsets=[runs], panels=panels)]

    def linked(self, cell: Cell) -> str:
        """A run in a list of Markdown, with a link to its page where that is known."""
        id, address = self.place.pages.get(cell.name), self.place.address
        name = f"[{md(cell.name)}]({address}/runs/{quote(id)})" if id and address else md(cell.name)
        return f"- {name}: {cell.state}{'' if id else ', not in W&B'}"
