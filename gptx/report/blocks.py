"""What a report in W&B consists of: the answer in words and tables, and charts that W&B draws from the runs' pages."""

import json
import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gptx.compare.outcomes import Comparison
from gptx.compare.verdict import Verdict
from gptx.ingredients.log.wandb import imported
from gptx.runs.cells import Cell
from gptx.show import table as tables
from gptx.units.printable import md, safe, throughout

STEP = "train/step"  # the sink's own count, see gptx.ingredients.log.wandb
MOST = 100  # lines and bars that a chart shows; W&B's own limit is 10
SPREAD = 10.0  # levels that reach over more than this factor stand on a logarithmic axis


@dataclass(frozen=True)
class Place:
    """Where in W&B the runs are. What is not known without a connection is empty."""

    project: str
    entity: str
    groups: list[str]  # the sweeps
    pages: dict[str, str]  # id of the page of each run that has one, by its name
    address: str = ""  # where the pages of the project are


def built(cells: list[Cell], comparison: Comparison, verdict: Verdict, place: Place, made: str) -> Any:
    """The report: the answer in words and tables, then charts of the runs."""
    wr = reports()
    keys = {factor: config_key(factor, cells) for factor in comparison.factors}
    blocks = [
        wr.CalloutBlock(text=safe(verdict.headline)),
        wr.MarkdownBlock(text="\n\n".join(map(md, verdict.sentences))),
        *([wr.H2(text="Warnings"), wr.UnorderedList(items=throughout(verdict.warnings))] if verdict.warnings else []),
        *(wr.MarkdownBlock(text=f"### {md(table.title)}\n\n{tables.grid(table)}") for table in verdict.tables),
        *charts(wr, comparison, place, keys),
        wr.H2(text="The runs"),
        wr.MarkdownBlock(text=linked(cells, place)),
    ]
    metric = comparison.metric.replace("/", " ")  # the title becomes part of the address
    title = f"{', '.join(place.groups)}, {metric} by {' and '.join(keys) or 'seed'}"
    return wr.Report(
        project=place.project, entity=place.entity, title=safe(title)[:128], description=safe(made), blocks=blocks,
        width="fluid",
    )  # fmt: skip


def reports() -> Any:
    """The package that builds reports. Raises ValueError where it is not installed."""
    imported()
    try:
        import wandb_workspaces.reports.v2 as wr
    except ModuleNotFoundError:
        install = 'pip install -c constraints.txt "gptx[report]"'
        raise ValueError(f"--wandb needs the package wandb-workspaces: {install}") from None
    return wr


def config_key(factor: str, cells: list[Cell]) -> str:
    """Where the sink keeps a factor: the option of an ingredient under `recipe`, a value where the config has it."""
    return f"recipe.{factor}" if any(factor in cell.record.get("choices", {}) for cell in cells) else factor


def charts(wr: Any, comparison: Comparison, place: Place, keys: dict[str, str]) -> list[Any]:
    """Curves of all arms, each factor for itself, vital signs, and what tells the runs apart."""
    metric, arms = comparison.metric, list(keys.values())
    others = " over all levels of the other factors" if len(keys) > 1 else ""
    blocks = [
        wr.H2(text="All arms"),
        wr.P(text="A line is the mean of an arm's runs; its band reaches from the lowest to the highest."),
        grid(wr, place, "arms", arms, [curve(wr, metric, width=24)]),
    ]
    for factor, levels in comparison.factors.items():
        blocks += [
            wr.H2(text=f"By {factor}"),
            wr.P(text=f"A line or bar is the mean of a level's runs{others}, from the lowest to the highest."),
            grid(wr, place, factor, [keys[factor]], of_factor(wr, metric, factor, levels, keys[factor])),
        ]
    signs = [curve(wr, "train/lr"), curve(wr, "train/grad_norm", log_y=True), curve(wr, "train/loss", width=24)]
    apart = [
        parallel(wr, comparison, keys),
        wr.RunComparer(diff_only="split", layout=wr.Layout(w=24, h=12)),
    ]
    return [
        *blocks,
        wr.H2(text="Vital signs"),
        grid(wr, place, "vital signs", arms, signs),
        wr.H2(text="What tells the runs apart"),
        grid(wr, place, "runs", [], apart),
    ]


def of_factor(wr: Any, metric: str, factor: str, levels: list[str], key: str) -> list[Any]:
    """The metric by levels of one factor: curves, bars, and points where the levels are numbers."""
    level, last = wr.Config(key), f"last {metric}"
    bars = wr.BarPlot(
        title=f"{last} by {factor}", metrics=[metric], orientation="h", layout=wr.Layout(w=12, h=9),
        groupby=level, groupby_aggfunc="mean", groupby_rangefunc="minmax", max_runs_to_show=MOST, max_bars_to_show=MOST,
    )  # fmt: skip
    panels = [curve(wr, metric, title=f"{metric} by {factor}", groupby=level), bars]
    if (sizes := numbers(levels)) is not None:
        scatter = {"x": level, "y": wr.SummaryMetric(metric), "log_x": spread(sizes)}
        panels.append(wr.ScatterPlot(title=f"{last} over {factor}", layout=wr.Layout(w=24, h=9), **scatter))
    return panels


def curve(wr: Any, key: str, *, width: int = 12, title: str = "", **options: Any) -> Any:
    """A metric over updates, a line and a band a group."""
    return wr.LinePlot(
        title=title or key, x=STEP, y=[key], title_x="update", layout=wr.Layout(w=width, h=9),
        groupby_aggfunc="mean", groupby_rangefunc="minmax", max_runs_to_show=MOST, **options,
    )  # fmt: skip


def parallel(wr: Any, comparison: Comparison, keys: dict[str, str]) -> Any:
    """A line a run, through its levels, its seed and its last value of the metric."""
    column = wr.ParallelCoordinatesPlotColumn
    columns = [
        *(
            column(metric=wr.Config(keys[factor]), display_name=factor, log=spread(numbers(levels) or []))
            for factor, levels in comparison.factors.items()
        ),
        column(metric=wr.Config("seed")),
        column(metric=wr.SummaryMetric(comparison.metric)),
    ]
    title = f"every run: levels, seed and last {comparison.metric}"
    return wr.ParallelCoordinatesPlot(title=title, columns=columns, layout=wr.Layout(w=24, h=9))


def grid(wr: Any, place: Place, name: str, groups: list[str], panels: list[Any]) -> Any:
    """Charts of the runs, which are grouped by some keys of their config."""
    return wr.PanelGrid(runsets=[runset(wr, place, name, groups)], panels=panels)


def runset(wr: Any, place: Place, name: str, groups: list[str]) -> Any:
    """The runs of the comparison, in groups.

    Only with a connection does it say whose project: it asks the server for that. Otherwise it is the report's own.
    """
    from wandb_workspaces import expr

    chosen = [expr.Metric("Group").isin(place.groups)]
    if place.pages:  # a sweep's name may have been used for others too
        chosen.append(expr.Metric("ID").isin(list(place.pages.values())))
    owner = {"entity": place.entity, "project": place.project} if place.address else {}
    return wr.Runset(name=name, groupby=[f"config.{key}" for key in groups], filters=expr.And(*chosen), **owner)


def numbers(levels: list[str]) -> list[float] | None:
    """The levels as finite numbers; None if they are not."""
    try:
        found = [float(level) for level in levels]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None


def spread(sizes: list[float]) -> bool:
    """True for numbers to be drawn on a logarithmic axis."""
    return bool(sizes) and min(sizes) > 0 and max(sizes) >= SPREAD * min(sizes)


def linked(cells: list[Cell], place: Place) -> str:
    """The runs as a list in Markdown, with links to their pages where these are known."""
    lines = []
    for cell in cells:
        id = place.pages.get(cell.name)
        name = f"[{md(cell.name)}]({place.address}/runs/{quote(id)})" if id and place.address else md(cell.name)
        lines.append(f"- {name}: {cell.state}{'' if id else ', not in W&B'}")
    return "\n".join(lines)


def spec(report: Any) -> dict:
    """What `report.save()` sends as the report; wandb-workspaces has no public way to ask."""
    return json.loads(report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
