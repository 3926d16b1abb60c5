"""Exercise 11: what a learning-rate warmup changes."""

from itertools import pairwise
from pathlib import Path

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import composed

QUESTION = (
    "Warmup and cosine decay over 100,000 updates for warmups of 500, 2,000 and 5,000: what does the warmup change?"
)
RECIPE = "steps=100000", "optim.lr=3e-4", "schedule=cosine", "schedule.floor=0", "schedule.warmup=500,2000,5000"
PRINTED = 50_000, 2000, 1.51e-4  # by the tutorial: update, warmup, rate
EARLY = 5000  # updates in which the three differ most


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """The schedules as `gptx.plan schedule` draws them, and whether each rises, peaks and ends as it should."""
    from gptx.plan import schedule

    arms = composed(*RECIPE, *overrides)
    details = schedule.rates(arms, at="0.5%,1%,2%,5%,25%,50%,75%,100%", out=str(figure))
    measured: dict[str, Number] = {}
    passed, tutorial = True, ""
    for cfg in arms.values():
        curve, steps, warmup = schedule.curve(cfg), cfg.steps, cfg.schedule.get("warmup", 0)
        rates = [curve(step) for step in range(steps + 1)]
        peak = max(rates)
        jump = max(abs(after - before) for before, after in pairwise(rates)) / peak
        name = f"warmup {warmup:,}"
        measured[f"{name}: peak reached at update"] = rates.index(peak)
        measured[f"{name}: largest step between updates, of the peak"] = jump
        measured[f"{name}: rate at the end, of the peak"] = rates[-1] / peak
        measured[f"{name}: mean rate of the run, of the peak"] = sum(rates[1:]) / steps / peak
        measured[f"{name}: mean rate of the first {EARLY:,} updates, of the peak"] = (
            sum(rates[1 : EARLY + 1]) / EARLY / peak
        )
        steepest = max(1 / max(warmup, 1), 4 / steps)  # of the cosine: pi / 2 over what the warmup leaves
        passed &= rates.index(peak) == warmup and jump <= steepest * (1 + 1e-9) and rates[-1] <= 1e-9 * peak
        if warmup == PRINTED[1] and steps == 100_000:
            tutorial = f"prints {PRINTED[2]:.2e} for update {PRINTED[0]:,} of warmup {PRINTED[1]:,}; the formula gives "
            tutorial += (
                f"{rates[PRINTED[0]]:.2e}. Its update 0, at rate 0, is not made here: updates are counted from 1."
            )
    return Answer(
        QUESTION,
        "composed and drawn by gptx.plan schedule; nothing is trained. A longer warmup keeps more of the first updates "
        "small and shifts the cosine a little later; the mean rate of the run stays: both parts average a half",
        measured,
        "each peaks at the end of its warmup, never steps by more than warmup or cosine allow (continuous), ends at 0",
        bool(passed),
        figure,
        tutorial,
        tuple(details),
    )
