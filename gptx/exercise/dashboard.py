"""Exercise 18: the monitoring dashboard."""

from pathlib import Path

import numpy

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import train
from gptx.files import in_one_step
from gptx.runs import metrics

QUESTION = "Loss, perplexity, gradient norm, learning rate and update/weight ratio of one run: are all five watched?"
SIGNALS = "train/loss", "train/perplexity", "train/grad_norm", "train/lr", "updates/median"


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """The five signals of a run on one figure, and whether they are whole and agree with each other."""
    run = train(folder / "run", "experiment=dashboard", *overrides)
    found = metrics.read(run)
    measured, whole = signals(found)
    loss, perplexity = found["train/loss"][1], found["train/perplexity"][1]
    apart = float(numpy.abs(numpy.exp(loss) / perplexity - 1).max())
    late = found["updates/median"][1][-10:]
    balance = found["updates/equilibrium"][1][-10:]
    measured["perplexity beside exp(loss), largest relative difference"] = apart
    measured["updates made"] = found.steps
    if len(late):
        measured["update/weight ratio, median of the last ten reports"] = float(numpy.median(late))
    if len(balance):
        measured["AdamW's equilibrium of that ratio, likewise"] = float(numpy.median(balance))
    draw(run, figure)
    return Answer(
        QUESTION,
        f"gptx.train experiment=dashboard (observe=[validation,updates,...]), drawn by the report; all that was "
        f"recorded is on the page of python -m gptx report {run}",
        measured,
        "all five are recorded over the whole run and finite, and perplexity is exp(loss)",
        whole and apart < 1e-6,
        figure,
        ratios(found["updates/median"][1]),
    )


def signals(found: metrics.Metrics) -> tuple[dict[str, Number], bool]:
    """How often each of the five was recorded and its last value; True if all are finite and cover the whole run."""
    measured: dict[str, Number] = {}
    whole = True
    for key in SIGNALS:
        steps, values = found[key]
        whole &= len(values) > 0 and bool(numpy.isfinite(values).all()) and steps[-1] >= 0.9 * found.steps
        whole &= key.startswith("updates/") or len(values) == found.steps
        measured[f"{key}: values"] = len(values)
        measured[f"{key}: last"] = float(values[-1]) if len(values) else "none"
    return measured, bool(whole)


def draw(run: Path, figure: Path) -> None:
    """The five signals of a run on one figure, as the report draws them."""
    from gptx.report.panels import of_run
    from gptx.runs.cells import find
    from gptx.show.picture import picture

    figure.parent.mkdir(parents=True, exist_ok=True)
    panels, kind = of_run(find([run])[0], smooth=20)[:5], figure.suffix[1:]
    in_one_step(figure, lambda part: picture(panels, part, f"The five signals of {run}", kind))


def ratios(medians) -> str:
    """What the update/weight ratio of a healthy run was, beside what the tutorial calls healthy."""
    if not len(medians):
        return ""
    return (
        f'"a healthy value is around 1e-3": their median goes from {medians[0]:.1e} to {medians[-1]:.1e} in '
        "this run, with the rate; where AdamW's decay balances growth it is sqrt(2 lr wd (1-b1)/(1+b1)), drawn beside."
    )
