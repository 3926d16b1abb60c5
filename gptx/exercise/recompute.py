"""Exercise 17: gradient checkpointing."""

from pathlib import Path

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import GIVING_BACK, composed, record, train
from gptx.exercise.turns import ratio, turns
from gptx.runs import metrics
from gptx.show import figures

QUESTION = "A deep model with and without gradient checkpointing: peak memory, and is the overhead about 33 %?"
WAYS = "store", "recompute"
ROUNDS = 8
BOUND = 4 / 3  # a second forward pass beside one forward and a backward pass of twice its operations


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """Peak memory of runs of their own, and the ratio of times of updates that take turns."""
    from gptx.estimate.memory import predict

    recipe = "experiment=recompute", *overrides
    runs = {way: record(train(folder / way, *recipe, f"memory={way}", environment=GIVING_BACK)) for way in WAYS}
    arms = dict(zip(WAYS, composed(*recipe, "memory=store,recompute").values(), strict=True))
    kept = {way: predict(cfg, 257).activations / 1e6 for way, cfg in arms.items()}
    memory = {way: run["memory"]["measured"] / 1e6 for way, run in runs.items()}
    times = turns(arms, ROUNDS)
    slower = ratio(times["recompute"], times["store"])
    seconds = {way: sorted(clock for clock, _ in found)[len(found) // 2] for way, found in times.items()}
    losses = [metrics.read(folder / way)["train/loss"][1].tolist() for way in WAYS]
    equal = losses[0] == losses[1]
    cfg = arms["store"]
    measured: dict[str, Number] = {
        **{f"{way}: peak memory, MB": memory[way] for way in WAYS},
        **{f"{way}: peak memory predicted, MB": runs[way]["memory"]["predicted"] / 1e6 for way in WAYS},
        **{f"{way}: activations kept for the backward pass, MB (predicted)": kept[way] for way in WAYS},
        **{f"{way}: seconds an update": seconds[way] for way in WAYS},
        "time of recompute over store, clock": slower["clock"],
        "lowest and highest of the turns": f"{slower['low']:.3f} to {slower['high']:.3f}",
        "time of recompute over store, processor": slower["processor"],
        "training losses are the same to the bit": equal,
    }
    figures.save(
        figure,
        f"Storing activations or computing them again: {cfg.model.depth} blocks of width {cfg.model.width}",
        figures.bars("peak memory, MB", memory, "{:,.0f}"),
        figures.bars("seconds an update", seconds, "{:.3f}"),
        figures.bars(
            "time over that of storing", {"store": 1.0, "recompute": slower["clock"]}, "{:.3f}", ("+33 %", BOUND)
        ),
    )
    return Answer(
        QUESTION,
        f"{cfg.model.depth} blocks of width {cfg.model.width}, {cfg.batch.tokens} tokens an update; "
        f"{runs['store']['step']} updates in a process each for memory and losses, then {ROUNDS} updates of each in "
        f"turns for the time ({runs['store']['hardware']['device']}, {runs['store']['hardware']['threads']} thread(s))",
        measured,
        "less memory at the peak, the same losses, and a ratio of times between 1.1 and 1.45",
        memory["recompute"] < memory["store"] and equal and 1.1 <= slower["clock"] <= 1.45,
        figure,
        f'"~33% more compute": {slower["clock"] - 1:+.0%} by the clock; 33 % is what the operations alone would cost. '
        f'"halve activation memory": what is kept is {kept["recompute"] / kept["store"]:.0%} of it.',
    )
