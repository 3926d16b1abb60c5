"""A comparison as a report in W&B, drawn there from the runs' own pages:  python -m gptx report runs/NAME wandb=true"""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gptx.compare.factors import numeric
from gptx.compare.outcomes import Comparison
from gptx.compare.verdict import Verdict
from gptx.config.errors import ConfigError
from gptx.files import to_json, write_text
from gptx.ingredients.log import now, shown
from gptx.ingredients.log.wandb import first_line, imported, noted_id, reset
from gptx.report import upload
from gptx.report.arms import Report
from gptx.runs import plain
from gptx.runs.run import Run
from gptx.show.table import grid
from gptx.units.printable import md, safe, throughout

_MOST = 100  # lines and bars that a chart shows; W&B's own limit is 10
_CURVE = {"x": "train/step", "title_x": "step"}  # the sink's own count, see gptx.ingredients.log.wandb
_MEANS = {"groupby_aggfunc": "mean", "groupby_rangefunc": "minmax", "max_runs_to_show": _MOST}
_SEND = "sync=true sends"


def publish(folders: list[Path], found: Report, out: Path, sync: bool = False) -> list[str]:
    """Write the report as report.wandb.json in `out`, and save it in W&B if there is a key; `sync` first sends what W&B
    lacks of the runs. Returns lines that say what was done. Raises ValueError where that fails."""
    begun = list(filter(lambda cell: cell.config, found.cells))
    builder, file = placed(begun, found.comparison), out / "report.wandb.json"
    made = f"Made of {', '.join(map(str, map(shown, folders)))} by python -m gptx report, {now()[:10]}"
    saved = _saved(file)
    _write(file, builder.report(found.answer, made), saved)
    try:
        api, why = _connection()
        if api is None:
            later = f"with a connection the same command saves it; {_SEND} the runs before that"
            return [f"W&B: nothing sent, since {why}; the report as it would be is {file}", later, *builder.lacking]
        for cell in begun if sync else ():
            if (cell.folder / "metrics.jsonl").exists() and cell.state != "running":
                upload.upload(str(cell.folder))
        builder = placed(begun, found.comparison).online(api)
        if not builder.pages:
            raise ValueError(f"none of the {len(begun)} runs is in {builder.entity}/{builder.project}; {_SEND} them")
        report, owner = builder.report(found.answer, made), {"entity": builder.entity, "project": builder.project}
        if saved.items() >= owner.items():
            report.id = saved["id"]
        report.save()
    except Exception as error:
        reset()
        what = "the report as it would be" + (", and which one it is to renew," if saved else "")
        raise ValueError(f"W&B: {first_line(error).removeprefix('W&B: ').rstrip('.')}; {what} is in {file}") from None
    _write(file, report, {"id": report.id, "url": report.url} | owner)
    return [f"W&B: {report.url}", *builder.lacking]


def _connection() -> tuple[Any, str]:
    """W&B's interface, or None and why there is none. Raises what wandb does if W&B refuses or does not answer."""
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


def _saved(file: Path) -> dict:
    """Id, address and project of the report that an earlier call saved; empty if there is none."""
    try:
        return plain.validated(plain.read(file).get("saved", {}), plain.SAVED, file)
    except (FileNotFoundError, ConfigError, AttributeError):
        return {}


def _write(file: Path, report: Any, saved: dict) -> None:
    """Write what `report.save()` sends, for which wandb-workspaces has no public name, and where it is saved."""
    spec = json.loads(report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    facts = {"title": report.title, "description": report.description, "saved": saved, "spec": spec}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, to_json(facts, indent=1) + "\n")


def placed(cells: list[Run], comparison: Comparison) -> "Builder":
    """The builder of a report where the runs say they are. Raises ValueError if that is more than one project."""
    sinks = {(sink.entity or "", sink.project) for sink in (upload.mirror(cell.config) for cell in cells)}
    if len(sinks) > 1:
        names = ", ".join(sorted("/".join(filter(None, each)) for each in sinks))
        raise ValueError(f"the runs are in several projects of W&B ({names}); a report shows those of one")
    groups = list(dict.fromkeys(cell.config.get("name", "") for cell in cells))
    ids = {cell.name: noted_id(cell.folder / "wandb_id")[0] for cell in cells}
    return Builder(cells, comparison, *sinks.pop(), groups, {name: id for name, id in ids.items() if id})


def spans_much(levels: list[str]) -> bool:
    """True for numbers over a factor of ten or more, which are drawn on a logarithmic axis."""
    sizes = list(map(float, levels)) if numeric(levels) else [0.0]
    return min(sizes) > 0 and max(sizes) >= 10 * min(sizes)


@dataclass(frozen=True)
class Builder:
    """Builds a report with wandb-workspaces. What is not known of W&B without a connection is empty."""

    cells: list[Run]
    comparison: Comparison
    entity: str
    project: str
    groups: list[str]  # the sweeps
    pages: dict[str, str]  # id of the page of each run that has one, by its name
    address: str = ""  # of the project

    @cached_property
    def wr(self) -> Any:
        imported()
        try:
            import wandb_workspaces.reports.v2 as wr
        except ModuleNotFoundError:
            raise ValueError('wandb=true: no wandb-workspaces; pip install -c constraints.txt "gptx[report]"') from None
        return wr

    @property
    def lacking(self) -> list[str]:
        names = [cell.name for cell in self.cells if cell.name not in self.pages]
        shortly = ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)
        told = f"{len(names)} of {len(self.cells)} runs are not in W&B: {shortly}; {_SEND} those that have ended"
        return [told] if names else []

    def online(self, api: Any) -> "Builder":
        """The same with owner and address, and only with those pages that are there."""
        entity = self.entity or api.settings["entity"] or api.default_entity
        asked = {"name": {"$in": list(self.pages.values())}}
        try:
            there = {run.id for run in api.runs(f"{entity}/{self.project}", asked, per_page=500)}
        except ValueError:  # no such project yet
            there = set()
        pages = {name: id for name, id in self.pages.items() if id in there}
        server = imported().setup().settings.app_url.rstrip("/")
        return replace(self, entity=entity, pages=pages, address=f"{server}/{entity}/{self.project}")

    def config_key(self, factor: str) -> str:
        """Where the sink keeps a factor: an ingredient's option under `recipe`, a value where the config has it."""
        return f"recipe.{factor}" if any(factor in cell.record.get("choices", {}) for cell in self.cells) else factor

    def report(self, verdict: Verdict, made: str) -> Any:
        wr, factors = self.wr, self.comparison.factors
        warnings = [wr.H2(text="Warnings"), wr.UnorderedList(items=throughout(verdict.warnings))]
        blocks = [
            wr.CalloutBlock(text=safe(verdict.headline)),
            wr.MarkdownBlock(text="\n\n".join(map(md, verdict.sentences))),
            *(warnings if verdict.warnings else []),
            *(wr.MarkdownBlock(text=f"### {md(table.title)}\n\n{grid(table)}") for table in verdict.tables),
            *(block for section in self.charts() for block in self.section(*section)),
            wr.H2(text="The runs"),
            wr.MarkdownBlock(text="\n".join(map(self.linked, self.cells))),
        ]
        metric = self.comparison.metric.replace("/", " ")  # the title becomes part of the address
        title = safe(f"{', '.join(self.groups)}, {metric} by {' and '.join(factors) or 'seed'}")[:128]
        owner = {"project": self.project, "entity": self.entity}
        return wr.Report(**owner, title=title, description=safe(made), blocks=blocks, width="fluid")

    def charts(self) -> list[tuple[str, str, list[str], list[Any]]]:
        """Sections, each with a title, a text, the keys that group its runs, and its panels."""
        wr, metric, factors = self.wr, self.comparison.metric, self.comparison.factors
        keys = {factor: self.config_key(factor) for factor in factors}
        every, others = list(keys.values()), " over all levels of the other factors" * (len(keys) > 1)
        signals = [self.curve("train/lr"), self.curve("train/grad_norm", log_y=True), self.curve("train/loss", w=24)]
        axis, title = wr.ParallelCoordinatesPlotColumn, f"every run: levels, seed and last {metric}"
        columns = [axis(wr.Config(key), display_name=name, log=spans_much(factors[name])) for name, key in keys.items()]
        columns += [axis(wr.Config("seed")), axis(wr.SummaryMetric(metric))]
        apart = [wr.ParallelCoordinatesPlot(title=title, columns=columns, layout=wr.Layout(w=24, h=9)),
                 wr.RunComparer(diff_only="split", layout=wr.Layout(w=24, h=12))]  # fmt: skip
        told = f"A line or bar is the mean of a level's runs{others}, from the lowest to the highest."
        whole = "A line is the mean of an arm's runs; its band reaches from the lowest to the highest."
        return [
            ("All arms", whole, every, [self.curve(metric, w=24)]),
            *((f"By {factor}", told, [key], self.by_factor(factor, key)) for factor, key in keys.items()),
            ("Signals", "", every, signals),
            ("What tells the runs apart", "", [], apart),
        ]  # fmt: skip

    def by_factor(self, factor: str, key: str) -> list[Any]:
        """The metric by levels of one factor: curves, bars, and points where the levels are numbers."""
        wr, metric, levels = self.wr, self.comparison.metric, self.comparison.factors[factor]
        level, last = wr.Config(key), f"last {metric}"
        bars = wr.BarPlot(title=f"{last} by {factor}", metrics=[metric], orientation="h", layout=wr.Layout(w=12, h=9),
                          groupby=level, max_bars_to_show=_MOST, **_MEANS)  # fmt: skip
        points = wr.ScatterPlot(title=f"{last} over {factor}", x=level, y=wr.SummaryMetric(metric),
                                log_x=spans_much(levels), layout=wr.Layout(w=24, h=9))  # fmt: skip
        curves = self.curve(metric, title=f"{metric} by {factor}", groupby=level)
        return [curves, bars, *([points] if numeric(levels) else [])]

    def curve(self, key: str, *, w: int = 12, title: str = "", **options: Any) -> Any:
        layout, look = self.wr.Layout(w=w, h=9), _CURVE | _MEANS | options
        return self.wr.LinePlot(title=title or key, y=[key], layout=layout, **look)

    def section(self, title: str, text: str, groups: list[str], panels: list[Any]) -> list[Any]:
        """Charts of the runs, grouped by some keys of their config, below a heading and a text."""
        from wandb_workspaces import expr

        chosen = [expr.Metric("Group").isin(self.groups)]
        if self.pages:  # a sweep's name may have been used for others too
            chosen.append(expr.Metric("ID").isin(list(self.pages.values())))
        # Without a connection they are those of the report's project, as wandb would ask the server for one by name.
        owner = {"entity": self.entity, "project": self.project} if self.address else {}
        keys, filters = [f"config.{key}" for key in groups], expr.And(*chosen)
        runs = self.wr.Runset(name=title, groupby=keys, filters=filters, **owner)
        told = [self.wr.P(text=text)] if text else []
        return [self.wr.H2(text=title), *told, self.wr.PanelGrid(runsets=[runs], panels=panels)]

    def linked(self, cell: Run) -> str:
        id = self.pages.get(cell.name)
        name = f"[{md(cell.name)}]({self.address}/runs/{quote(id)})" if id and self.address else md(cell.name)
        return f"- {name}: {cell.state}{'' if id else ', not in W&B'}"
