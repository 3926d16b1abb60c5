"""The page of a run, or of all runs of some folders side by side:  python -m gptx.report runs/NAME"""

from gptx import arguments
from gptx.compare.outcomes import METRIC


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


if __name__ == "__main__":
    arguments.call(report)
