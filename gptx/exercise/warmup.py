"""Exercise 14: training without and with warmup."""

import math
from pathlib import Path

from gptx.exercise import figures
from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import train

QUESTION = "Does training without warmup diverge, or end worse than with it?"
RECIPE = (
    "experiment=warmup",  # its model, batch and clipping; shorter, on text that every machine has
    "data=stdlib",
    "steps=300",
    "schedule=cosine,cosine_no_warmup",
    "optim.lr=1e-2",
    "seed=0,1",
    "observe.validation.every=20%",
    "observe.validation.windows=256",
)


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """Validation loss without warmup less that with it, beside how far seeds differ."""
    from gptx.compare.cells import find
    from gptx.compare.outcomes import compare, diverged

    train(folder, *RECIPE, *overrides, sweep=True)
    cells = find([folder])
    comparison = compare(cells)
    arms: dict[str, list] = {"cosine": [], "cosine_no_warmup": []}
    for outcome in comparison.outcomes:
        arms[outcome.levels["schedule"]].append(outcome)
    means = {name: sum(o.value for o in found) / len(found) for name, found in arms.items()}
    spread = max(max(o.value for o in found) - min(o.value for o in found) for found in arms.values())
    gone = sum(map(diverged, comparison.outcomes))
    gap = means["cosine_no_warmup"] - means["cosine"]
    first = cells[0].config
    measured: dict[str, Number] = {
        **{
            f"validation loss, {o.levels['schedule']}, seed {o.seed}": o.value
            for o in comparison.outcomes
            if o.value is not None
        },
        "without warmup worse by": gap,
        "seeds differ by at most": spread,
        "runs that diverged": gone,
    }
    figures.save(
        figure,
        "Training without and with warmup",
        figures.arms(cells, "validation/loss", "Validation loss"),
        figures.arms(cells, "train/loss", "Training loss, mean of 20 updates", smooth=20),
    )
    return Answer(
        QUESTION,
        f"cosine with {first['schedule']['warmup'] or 'no'} updates of warmup against cosine without, seeds 0 and 1, "
        f"{first['steps']} updates of {first['batch']['tokens']} tokens at a peak rate of {first['optim']['lr']:g}; "
        "arms of one seed share weights and batches",
        measured,
        "without warmup the loss ends higher by more than the seeds of an arm differ, or a run diverges",
        gone > 0 or (math.isfinite(gap) and gap > spread),
        figure,
        '"starting at the full learning rate often causes immediate divergence": '
        + (f"{gone} of {len(comparison.outcomes)} runs diverged." if gone else "none of these runs diverged")
        + (", even at a rate ten times the usual one: they end on a higher plateau." if not gone and gap > 0 else ""),
    )
