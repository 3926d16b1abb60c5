"""Draw a run, or all runs of a folder on the same axes:  python -m gptx.report run=runs/default/base"""

from pathlib import Path

from gptx import arguments, presets, runs
from gptx.log import jsonl
from gptx.report import curves, page


def report(*, run: str, out: str = "", smooth: int = 20) -> None:
    """Draw the dashboard of a run: a page (report.html, which needs nothing beside itself) and a picture (report.png).

    Loss, perplexity, gradient norm, learning rate, update/weight ratio, and what else the run recorded; beside them
    the numbers, the recipe and the machine. `run` is a run folder, or a folder of runs, which are drawn on the same
    axes. `out` is the folder for both, or the name of one file: .html, .png or .svg. Lines of training are means of
    the last `smooth` updates.
    """
    if smooth < 1:
        raise ValueError(f"smooth={smooth} must be at least 1 update")
    folders = find(Path(run))
    root = folders[0] if len(folders) == 1 else Path(run)  # a folder of one run means that run
    targets = files(Path(out) if out else root, out)
    rows = {folder: read(folder) for folder in folders}
    records = {folder: runs.read(folder) or {} for folder in folders}
    if folders == [root]:
        config = presets.load(root / "config.yaml")
        panels, title = curves.of_run(rows[root], config, smooth), page.title(root, config)
    else:
        names = {folder: str(folder.relative_to(root)) for folder in folders}
        panels, title = (
            curves.of_runs({names[f]: rows[f] for f in folders}, smooth),
            f"{root.resolve().name}: {len(folders)} runs",
        )
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix != ".html":
            curves.picture(panels, target, title, target.suffix[1:])
        elif folders == [root]:
            target.write_text(page.of_run(root, rows[root], records[root], config, panels, smooth))
        else:
            target.write_text(page.of_runs(root, {names[f]: (f, rows[f]) for f in folders}, panels))
    for folder in folders:
        loss = (records[folder].get("result") or {}).get("validation/loss")
        print(f"{runs.state(folder):12} {'' if loss is None else f'{loss:.4f}':>8}  {folder}")
    print("report in " + " and ".join(map(str, targets)))


def files(target: Path, out: str) -> list[Path]:
    """What to write: the one file that `out` names, or a page and a picture in the folder."""
    if target.suffix in (".html", ".png", ".svg") and out:
        return [target]
    if out and target.is_file():
        raise ValueError(f"out={out} is a file; a folder, or a name that ends in .html, .png or .svg")
    if out and not target.is_dir() and target.suffix in (".jpg", ".jpeg", ".pdf", ".htm", ".md", ".txt"):
        raise ValueError(f"out={out}: the name must end in .html, .png or .svg, or be a folder")
    return [target / "report.html", target / "report.png"]


def find(root: Path) -> list[Path]:
    """The run in `root`, or the runs below it, two levels deep. Raises ValueError if there is none with a metric."""
    for patterns in (("",), ("*/", "*/*/")):
        found = [file.parent for pattern in patterns for file in sorted(root.glob(f"{pattern}run.json"))]
        found = [folder for folder in found if (folder / "metrics.jsonl").exists()]
        if found:
            return found
    raise ValueError(f"run={root}: no run with metrics there; a run folder holds run.json and metrics.jsonl")


def read(folder: Path) -> list[dict]:
    """The rows of a run. Raises ValueError if there are none, or if the file is of something else."""
    file = folder / "metrics.jsonl"
    try:
        rows = jsonl.read(file)
    except (KeyError, TypeError):
        raise ValueError(f"{file} is no record of updates: a line has no step") from None
    if not rows:
        raise ValueError(f"{file} holds no update yet; let the run make its first one")
    return rows


if __name__ == "__main__":
    arguments.call(report)
