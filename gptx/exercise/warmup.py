"""Exercise 14: training without and with warmup."""

import math
from pathlib import Path
from statistics import fmean

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import train
from gptx.show import figures

QUESTION = "Does training without warmup diverge, or end worse than with it?"
RECIPE = (
    "experiment=warmup",  # its model, batch and clipping; shorter, on text that every machine has
    "data=stdlib",
    "steps=300",
    "schedule=cosine",
    "schedule.warmup=0,50",
    "optim.lr=1e-2",
    "seed=0,1",
    "observe.validation.every=20%",
    "observe.validation.windows=256",
)


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """Validation loss without warmup less that with it, beside how far seeds differ."""
    from gptx.compare.outcomes import compare
    from gptx.runs.cells import find

    failure = None
    try:
        train(folder, *RECIPE, *overrides, sweep=True)
    except ValueError as error:
        if not any(folder.glob("*/metrics.jsonl")):
            raise
        failure = error  # a run that diverges is given up, which is an answer too
    cells = find([folder])
    comparison = compare(cells)
    warmups = comparison.factors.get("schedule.warmup", [])
    if len(warmups) != 2 or warmups[0] != "0":
        raise ValueError("schedule.warmup: the exercise compares 0 with one other, such as schedule.warmup=0,50")
    without, warmed = (
        [o.value for o in comparison.outcomes if o.levels["schedule.warmup"] == length and o.value is not None]
        for length in warmups
    )
    gone, gone_warmed = (sum(not math.isfinite(value) for value in values) for values in (without, warmed))
    if failure and not gone + gone_warmed:
        raise failure
    spread = max(max(values) - min(values) for values in (without, warmed))
    gap = fmean(without) - fmean(warmed)
    first = cells[0].config
    measured: dict[str, Number] = {
        **{
            f"validation loss, warmup {o.levels['schedule.warmup']}, seed {o.seed}": o.value
            for o in comparison.outcomes
            if o.value is not None
        },
        "without warmup worse by": gap,
        "seeds differ by at most": spread,
        "runs without warmup that diverged": gone,
        "runs with warmup that diverged": gone_warmed,
    }
    figures.save(
        figure,
        "Training without and with warmup",
        figures.arms(cells, "validation/loss", "Validation loss"),
        figures.arms(cells, "train/loss", "Training loss, mean of 20 updates", smooth=20),
    )
    return Answer(
        QUESTION,
        f"cosine schedules with {warmups[1]} updates of warmup and without, {len(warmed)} seeds each; {first['steps']} "
        f"updates of {first['batch']['tokens']} tokens at a peak rate of {first['optim']['lr']:g}; runs of one seed "
        "share weights and batches",
        measured,
        "without warmup the loss ends higher by more than the seeds of an arm differ, or more of its runs diverge",
        gone > gone_warmed or (math.isfinite(gap) and gap > spread),
        figure,
        '"starting at the full learning rate often causes immediate divergence": '
        + (f"{gone} of {len(comparison.outcomes)} runs diverged." if gone else "none of these runs diverged")
        + (", they end on a higher plateau." if not gone and gap > 0 else ""),
    )
