"""The page of a run, or of all runs of some folders side by side:  python -m gptx.report runs/NAME"""

from pathlib import Path

from gptx import arguments
from gptx.compare import cells
from gptx.compare.outcomes import METRIC
from gptx.report import curves, page

KINDS = (".html", ".png", ".svg", ".md")


def report(
    *folders: str,
    out: str = "",
    metric: str = METRIC,
    baseline: str = "",
    smooth: int = 20,
    readme: str = "",
    watch: bool = False,
    wandb: bool = False,
    sync: bool = False,
) -> None:
    """Draw the dashboard of a run, or compare runs: report.html, which needs nothing beside itself, report.png and
    report.md.

    FOLDERS are run folders, or folders of runs such as that of a sweep. `out` is the folder for the files, or the name
    of one: .html, .png, .svg or .md. `metric` is what is compared, `baseline` what with: levels such as
    schedule=cosine. Lines of training are means of the last `smooth` updates. `readme` is an experiment's folder, such
    as experiments/warmup: its results.json, figure and the marked part of its README.md are written from the runs.
    --watch renews the page while runs go on. --wandb builds the comparison as a W&B report; --sync first sends runs
    that were made offline.
    """
    if smooth < 1:
        raise ValueError(f"smooth={smooth} must be at least 1 update")
    if not folders:
        raise ValueError("which runs? python -m gptx.report runs/NAME")
    found = cells.find([Path(folder) for folder in folders])
    begun = [cell for cell in found if cell.metrics.columns]
    if not begun:
        raise ValueError(f"{', '.join(folders)}: no update recorded yet; let a run make its first one")
    root = begun[0].folder if len(found) == 1 else Path(folders[0])
    targets = files(Path(out) if out else root, out)
    if len(found) == 1:
        panels, title = curves.of_run(begun[0].metrics, begun[0].config, smooth), page.title(begun[0])
        text = page.of_run(begun[0], panels, smooth)
    else:
        panels = curves.of_runs({cell.name: cell.metrics for cell in begun}, smooth)
        title, text = f"{root.resolve().name}: {len(begun)} runs", page.of_runs(root, begun, panels)
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".html":
            target.write_text(text)
        else:
            curves.picture(panels, target, title, target.suffix[1:])
    for cell in found:
        loss = cell.result(metric)
        print(f"{cell.state:12} {'' if loss is None else f'{loss:.4f}':>8}  {cell.folder}")
    print("report in " + " and ".join(map(str, targets)))


def files(target: Path, out: str) -> list[Path]:
    """What to write: the one file that `out` names, or a page and a picture in the folder."""
    if target.suffix in KINDS and out:
        return [target]
    if out and target.is_file():
        raise ValueError(f"out={out} is a file; a folder, or a name that ends in {', '.join(KINDS)}")
    if out and not target.is_dir() and target.suffix in (".jpg", ".jpeg", ".pdf", ".htm", ".txt"):
        raise ValueError(f"out={out}: the name must end in {', '.join(KINDS)}, or be a folder")
    return [target / "report.html", target / "report.png"]


if __name__ == "__main__":
    arguments.call(report)
