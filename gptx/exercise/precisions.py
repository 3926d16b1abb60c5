"""Exercise 15: number formats."""

import math
from pathlib import Path

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import GIVING_BACK, composed, record, train
from gptx.exercise.turns import ratio, turns
from gptx.show import figures

QUESTION = "fp32, bf16 and fp16 with loss scaling on the same model: peak memory, tokens per second, final loss?"
FORMATS = "fp32", "bf16", "fp16"
RECIPE = (
    "experiment=precision",  # its model and batch; shorter, on text that every machine has
    "data=stdlib",
    "steps=40",
    "observe.validation.windows=256",
)
ROUNDS = 6  # updates of each format that are timed, in turns
TOLERANCE = 0.02  # of the loss in fp32


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """What each format needs, how fast it is beside fp32, and where it ends beside another seed of fp32."""
    recipe = *RECIPE, *overrides
    runs = {
        name: record(train(folder / name, *recipe, f"precision={name}", environment=GIVING_BACK)) for name in FORMATS
    }
    other = record(train(folder / "fp32_seed_1", *recipe, "precision=fp32", "seed=1"))
    arms = composed(*recipe, f"precision={','.join(FORMATS)}")
    times = dict(zip(FORMATS, turns(arms, ROUNDS).values(), strict=True))
    tokens = next(iter(arms.values())).batch.tokens
    losses = {name: run["result"].get("validation/loss", math.nan) for name, run in runs.items()}
    memory = {name: run["memory"]["measured"] / 1e6 for name, run in runs.items()}
    quickness = {name: 1 / ratio(times[name], times["fp32"])["clock"] for name in FORMATS}
    speed = {name: tokens / sorted(seconds for seconds, _ in times[name])[len(times[name]) // 2] for name in FORMATS}
    away = [abs(loss / losses["fp32"] - 1) for loss in losses.values()]
    worst = max(away) if all(map(math.isfinite, away)) else math.nan  # which is within nothing
    measured: dict[str, Number] = {}
    for name in FORMATS:
        measured[f"{name}: validation loss"] = losses[name]
        measured[f"{name}: peak memory, MB"] = memory[name]
        measured[f"{name}: tokens per second"] = speed[name]
        measured[f"{name}: speed beside fp32"] = quickness[name]
    measured["fp32, seed 1: validation loss"] = other["result"].get("validation/loss", math.nan)
    measured["largest difference from fp32, of its loss"] = worst
    place = runs["fp32"]["hardware"]
    figures.save(
        figure,
        f"One model in three formats, {place['device']}",
        figures.bars("validation loss", losses, "{:.4f}"),
        figures.bars("peak memory, MB", memory, "{:,.0f}"),
        figures.bars("tokens per second", speed, "{:,.0f}"),
    )
    return Answer(
        QUESTION,
        f"{runs['fp32']['step']} updates of {tokens} tokens in each format, each in a process of its own; then "
        f"{ROUNDS} updates of each in turns for the speed; {place['device']}, {place['threads']} thread(s)",
        measured,
        f"all three end within {TOLERANCE:.0%} of the loss in fp32 (NaN fails); memory and speed are reported",
        worst <= TOLERANCE,
        figure,
        f'"2x speed" for bf16: {quickness["bf16"]:.2f}x here, {quickness["fp16"]:.2f}x for fp16. Gradients are fp32 in '
        "all three, since weights are; bf16 has fp32's range and needs no loss scaling.",
    )
