"""The page of a run, or of all runs of some folders side by side:  python -m gptx report runs/NAME"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from gptx.compare import outcomes
from gptx.compare.factors import factors
from gptx.compare.outcomes import METRIC, Comparison
from gptx.compare.verdict import Verdict, verdict
from gptx.config import arguments
from gptx.files import in_one_step, write_text
from gptx.report import markdown, one, panels, several
from gptx.report import readme as results
from gptx.report.arms import Arm, arms
from gptx.runs import cells
from gptx.runs.cells import Cell
from gptx.show import marked, picture

KINDS = (".html", ".png", ".svg", ".md")
EVERY = 10  # seconds between two renewals of a watched page
PATIENCE = 60  # renewals at which no run is at work before those that did not begin are no longer waited for


@dataclass(frozen=True)
class Report:
    """What is known of some runs: each, as arms, compared, and the answer."""

    name: str
    cells: list[Cell]
    arms: list[Arm]
    comparison: Comparison
    answer: Verdict


def report(
    *folders: str,
    out: str = "",
    metric: str = METRIC,
    better: str = "",
    baseline: str = "",
    smooth: int = 20,
    readme: str = "",
    without: str = "",
    watch: bool = False,
    wandb: bool = False,
    sync: bool = False,
) -> None:
    """Draw the dashboard of a run, or compare runs: report.html, which needs nothing beside itself, report.png and
    report.md.

    FOLDERS are run folders, or folders of runs such as that of a sweep. `out` is the folder for the files, or the name
    of one: .html, .png, .svg or .md. `metric` is what is compared; `better` is higher or lower, for one of your own
    whose observer does not say it. `baseline` is what arms are compared with: levels such as schedule=cosine. Lines of
    training are means of the last `smooth` updates. `readme` is an experiment's folder, such as experiments/warmup: its
    results.json, figure and the marked part of its README.md are written from the runs. `without` leaves out tables: of
    attribution, levels, best, arms, speed. --watch renews the page while runs go on, and waits ten minutes for the next
    to begin. --wandb builds the comparison as a W&B report; --sync first sends runs that were made offline.
    """
    if smooth < 1:
        raise ValueError(f"smooth={smooth} must be at least 1 update")
    if not folders:
        raise ValueError("which runs? A run folder, or a folder of runs: python -m gptx report runs/NAME")
    if readme:
        marked.parts(Path(readme) / "README.md", results.KIND)  # a mistake is told before anything is drawn
    places = [Path(folder) for folder in folders]
    said, idle = "", 0
    while True:
        try:
            found = gathered(places, metric, better, baseline, without)
        except NoUpdate:
            if not watch:
                raise
            time.sleep(EVERY)
            continue
        if readme:
            results.refuse_other(found.cells, Path(readme))
        states = {cell.state for cell in found.cells}
        idle = 0 if "running" in states else idle + 1
        watch = watch and ("running" in states or ("missing" in states and idle <= PATIENCE))
        root = found.cells[0].folder if len(found.cells) == 1 else places[0]
        targets = files(Path(out) if out else root, out)
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            write(found, target, smooth, EVERY if watch else 0)
        if not watch:
            break
        if said != (said := f"{several.standing(found.cells)}. {found.answer.headline}"):
            print(f"{said} Page: {targets[0]}, renewed until all have ended", flush=True)
        try:
            time.sleep(EVERY)
        except KeyboardInterrupt:
            watch = False  # the page is written once more, as one that stays
    tell(found, targets)
    if readme:
        results.write(found.comparison, found.answer, Path(readme))
        print(f"results in {Path(readme) / 'README.md'}")
    if wandb or sync:
        from gptx.report.workspace import publish

        for line in publish(places, found.cells, found.comparison, found.answer, targets[0].parent, sync):
            print(line)


class NoUpdate(ValueError):
    """No run has recorded anything yet."""


def gathered(places: list[Path], metric: str, better: str, baseline: str, without: str) -> Report:
    """The runs in some folders, compared. Raises ValueError where no run has recorded anything."""
    found = cells.find(places)
    begun = [cell for cell in found if cell.metrics.columns]
    if not begun:
        raise NoUpdate(f"{', '.join(map(str, places))}: no update recorded yet; let a run make its first one")
    name = begun[0].config.get("name") or places[0].resolve().name
    try:
        comparison = outcomes.compare(found, metric, better)
    except ValueError as error:  # no run has the metric: what there is can still be drawn
        comparison = Comparison(metric, factors(begun), [])
        answer = Verdict({}, f"{str(error)[:1].upper()}{str(error)[1:]}.", [], [], [])
    else:
        comparison = replace(comparison, without=without.split(",") if without else [])
        answer = verdict(comparison, baseline)
    known = [cell for cell in begun if cell.config] or begun  # of another it cannot be said which arm it is of
    return Report(str(name), found, arms(known, comparison.factors), comparison, answer)


def write(found: Report, target: Path, smooth: int, renew: float) -> None:
    """Write one file of the report, in one step."""
    alone = found.cells[0] if len(found.cells) == 1 else None
    standing = several.standing(found.cells)
    if target.suffix == ".html":
        text = one.of_run(alone, smooth, renew) if alone else several.of_runs(
            found.name, found.cells, found.arms, found.comparison, found.answer, smooth, renew
        )  # fmt: skip
        write_text(target, text)
    elif target.suffix == ".md":
        summary = markdown.of_run(alone, smooth) if alone else markdown.of_runs(
            found.name, several.question(found.cells), found.comparison, found.answer, standing
        )  # fmt: skip
        write_text(target, summary)
    else:
        drawn = panels.of_run(alone, smooth) if alone else several.picture(found.arms, found.comparison, smooth)
        title = one.title(alone) if alone else f"{found.name}: {standing}"
        in_one_step(target, lambda part: picture.picture(drawn, part, title, target.suffix[1:]))


def tell(found: Report, targets: list[Path]) -> None:
    """Print the answer, a line a run, and where the report is."""
    for cell in found.cells:
        loss = cell.result(found.comparison.metric)
        print(f"{cell.state:12} {'' if loss is None else f'{loss:.4f}':>8}  {cell.folder}")
    if len(found.cells) > 1:  # last, where a terminal shows it
        for text in found.answer.warnings:
            print(f"warning: {text}")
        print(found.answer.headline)
    print("report in " + " and ".join(map(str, targets)))


def files(target: Path, out: str) -> list[Path]:
    """What to write: the one file that `out` names, or a page, a picture and a summary in the folder."""
    if target.suffix in KINDS and out:
        return [target]
    if out and target.is_file():
        raise ValueError(f"out={out} is a file; a folder, or a name that ends in {', '.join(KINDS)}")
    if out and not target.is_dir() and target.suffix in (".jpg", ".jpeg", ".pdf", ".htm", ".txt"):
        raise ValueError(f"out={out}: the name must end in {', '.join(KINDS)}, or be a folder")
    return [target / "report.html", target / "report.png", target / "report.md"]


if __name__ == "__main__":
    arguments.call(report)
