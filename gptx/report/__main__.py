"""The command that draws a run, or compares runs:  python -m gptx report runs/NAME"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gptx.compare.collect import compare, with_earlier
from gptx.compare.factors import factors
from gptx.compare.outcomes import METRIC, Comparison, load_comparison
from gptx.compare.target import time_to
from gptx.compare.verdict import Verdict, as_numbers, verdict
from gptx.files import to_json, write_text
from gptx.report import one, several
from gptx.report import readme as results
from gptx.report.arms import Report, arms_of
from gptx.report.panels import picture
from gptx.runs.run import Run, find
from gptx.show import marked
from gptx.show.plots import lines, save
from gptx.units.phrases import capital, joined

_KINDS = (".html", ".png", ".svg", ".md")
_EVERY = 10  # seconds between two renewals of a watched page
_PATIENCE = 60  # renewals without a running run, after which those that did not begin are no longer waited for


@dataclass(frozen=True)
class _Asked:
    """The options that decide what a report says."""

    metric: str
    better: str
    baseline: str
    at: str
    target: str
    without: list[str]
    smooth: int
    readme: str
    add: bool


def report(*folders: str, out: str = "", metric: str = METRIC, better: str = "", baseline: str = "", at: str = "",
           target: str = "", json: bool = False, smooth: int = 20, readme: str = "", add: bool = False,
           without: str = "", watch: bool = False, wandb: bool = False, sync: bool = False) -> None:  # fmt: skip
    """Draw the dashboard of a run, or compare runs, as report.html, report.png and report.md.

      python -m gptx report runs/default/base
      python -m gptx report runs/warmup baseline=schedule=cosine watch=true

    FOLDERS are run folders, or folders of runs such as that of a sweep. report.html needs no other file.

    Options:
    out: folder for the files, or one file that ends in .html, .png, .svg or .md; by default the folder of the runs
    metric: what is compared
    better: higher or lower, for a metric of your own whose observer does not say it
    baseline: what arms are compared with: levels such as schedule=cosine
    at: what is equal, steps, tokens, flops, time or memory, instead of what the runs were asked for
    target: a value of the metric, such as 1.8; the steps and seconds that each arm takes to it
    json: print the numbers of the answer as JSON, and draw nothing
    smooth: lines of training are means of this many steps around each
    readme: folder of an experiment, such as experiments/warmup, whose results.json, figure and README.md are written
    add: with readme, keep the runs of results.json that are none of these, such as those of other seeds
    without: tables to leave out, of effects, levels, arms, speed
    watch: write the page again while runs go on, and wait ten minutes for the next to begin
    wandb: build the comparison as a W&B report
    sync: build it after sending the runs that were made offline
    """
    if not folders:
        raise ValueError("which runs? A run folder, or a folder of runs: python -m gptx report runs/NAME")
    places, said = list(map(Path, folders)), ""
    asked = _Asked(metric, better, baseline, at, target, without.split(",") * bool(without), smooth, readme, add)
    for found, goes_on in _renewed(places, watch, asked):
        if json:
            print(to_json(as_numbers(found.answer), indent=1))
            return
        targets = _targets(found, places[0], out)
        for file in targets:
            _write(found, file, _EVERY * goes_on)
        if goes_on and said != (said := f"{found.standing}. {found.answer.headline}"):
            print(f"{said} Page: {targets[0]}, renewed until all have ended", flush=True)
    _tell(found, targets)
    if readme:
        results.write_page(found.comparison, found.answer, Path(readme))
        print(f"results in {Path(readme) / 'README.md'}")
    if wandb or sync:
        from gptx.report.wandb import publish

        print("\n".join(publish(places, found, targets[0].parent, sync)))


def _renewed(places: list[Path], watch: bool, asked: _Asked) -> Iterator[tuple[Report, bool]]:
    """The report, and if it comes again. Raises ValueError if no run has recorded anything, nor is about to."""
    idle = 0
    while True:
        found = _gathered(places, asked)
        states = {cell.state for cell in found.cells}
        idle = (idle + 1) * ("running" not in states)
        watch = watch and ("running" in states or ("missing" in states and idle <= _PATIENCE))
        if found.arms:
            yield found, watch
        elif not watch:
            raise ValueError(f"{joined(map(str, places))}: no step recorded yet; let a run make its first one")
        if not watch:
            return
        try:
            time.sleep(_EVERY)
        except KeyboardInterrupt:
            watch = False  # the page is written once more, as one that stays


def _gathered(places: list[Path], asked: _Asked) -> Report:
    """The runs in some folders, compared; without arms where no run has recorded anything."""
    found = find(places)
    if asked.smooth < 1:
        raise ValueError(f"smooth={asked.smooth} must be at least 1 step")
    if asked.add and not asked.readme:
        raise ValueError("add=true: to which results? readme=experiments/NAME says it")
    if asked.readme:  # a mistake is said before anything is drawn
        marked.parts(Path(asked.readme) / "README.md", results.KIND)
        results.refuse_other_experiment(found, Path(asked.readme))
    begun = [cell for cell in found if cell.metrics.columns]
    known = [cell for cell in begun if cell.config] or begun  # of another it cannot be said which arm it is of
    name, (comparison, answer) = _name(found, begun, places), _answered(found, begun, asked)
    arms = arms_of(known, comparison.factors, _base(answer))
    return Report(name, found, arms, comparison, answer, asked.smooth)


def _name(found: list[Run], begun: list[Run], places: list[Path]) -> str:
    if len(found) == 1:
        folder = found[0].folder.resolve()
        return f"{found[0].config.get('name', folder.parent.name)} / {folder.name}"
    return str(next(filter(None, (cell.config.get("name") for cell in begun)), places[0].resolve().name))


def _base(answer: Verdict) -> dict[str, str]:
    """The base by which arms are called, where several keys are changed one at a time."""
    asked = answer.numbers.question if answer.numbers else None
    return {name: asked.base[name] for name in asked.vary} if asked and asked.design in ("arms", "cumulative") else {}


def _answered(found: list[Run], begun: list[Run], asked: _Asked) -> tuple[Comparison, Verdict]:
    """The comparison of runs and its answer. Where no run has the usual metric, what there is can still be drawn."""
    try:
        comparison = replace(compare(found, asked.metric, asked.better), without=asked.without)
    except ValueError as error:
        if asked.metric != METRIC:
            raise
        return Comparison(METRIC, factors(begun), []), Verdict({}, f"{capital(str(error))}.", [], [], [])
    if asked.add:
        comparison = with_earlier(comparison, load_comparison(Path(asked.readme) / "results.json"))
    answer = verdict(comparison, asked.baseline, asked.at)
    to = [time_to(asked.target, begun, comparison)] if asked.target else []
    return comparison, replace(answer, tables=[*to, *answer.tables])


def _targets(found: Report, place: Path, out: str) -> list[Path]:
    """What to write: the one file that `out` names, or a page, a picture and a summary in a folder."""
    target = Path(out or (found.cells[0].folder if len(found.cells) == 1 else place))
    if out and target.suffix in _KINDS:
        return [target]
    if out and not target.is_dir() and (target.is_file() or re.fullmatch(r"\.[A-Za-z]+", target.suffix)):
        raise ValueError(f"out={out}: must be a folder, or a file that ends in {joined(_KINDS, 'or')}")
    return [target / f"report{kind}" for kind in (".html", ".png", ".md")]


def _write(found: Report, target: Path, renew: float) -> None:
    view = one if len(found.cells) == 1 else several
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".html":
        write_text(target, view.report_page(found, renew))
    elif target.suffix == ".md":
        write_text(target, view.report_summary(found))
    else:
        panels, title = picture(found), found.name if view is one else f"{found.name}: {found.standing}"
        columns = 2 if len(panels) == 4 else min(3, len(panels))
        save(target, title, *map(lines, panels), columns=columns, size=(5.2, 3.6))


def _tell(found: Report, targets: list[Path]) -> None:
    for cell in found.cells:
        loss = cell.result(found.comparison.metric)
        print(f"{cell.state:12} {'' if loss is None else f'{loss:.4f}':>8}  {cell.folder}")
    if len(found.cells) > 1:  # last, where a terminal shows it
        print(*(f"warning: {text}" for text in found.answer.warnings), found.answer.headline, sep="\n")
    print(f"report in {joined(map(str, targets))}")
