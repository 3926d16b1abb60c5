"""Exercises 14, 15 and 17, which compare arms: warmup, number formats, gradient checkpointing."""

import math
from pathlib import Path
from statistics import fmean

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import GIVING_BACK, configs_of, record, run_training, time_ratio, turns
from gptx.runs import metrics
from gptx.show.plots import Curve, Drawing, Panel, bars, lines, smoothed

# The models and batches of the experiments of these names; shorter, on text that every machine has.
_WARMUP = ("experiment=warmup", "data=stdlib", "steps=300", "schedule=cosine", "schedule.warmup=0,50", "optim.lr=1e-2",
          "seed=0,1", "observe.validation.every=20%", "observe.validation.windows=256")  # fmt: skip
_PRECISION = "experiment=precision", "data=stdlib", "steps=40", "observe.validation.windows=256"
FORMATS, FORMAT_TURNS = ("fp32", "bf16", "fp16"), 6
_TOLERANCE = 0.02  # of the loss in fp32
WAYS, WAY_TURNS = ("store", "recompute"), 8
_BOUND = 4 / 3  # a second forward pass, where a forward and a backward pass have one and two thirds of the FLOPs


def without_warmup(folder: Path, *overrides: str) -> Answer:
    """Does training without warmup diverge, or end worse than with it?"""
    cells, ended, lengths = _swept(folder, *overrides)
    without, warmed = ([value for level, _, value in ended if level == length] for length in lengths)
    gone, gone_warmed = _diverged(without), _diverged(warmed)
    spread = max(max(without) - min(without), max(warmed) - min(warmed))
    gap, first = fmean(without) - fmean(warmed), cells[0].config
    found = f"{gone} of {len(cells)} runs diverged." if gone else "none of these runs diverged"
    return Answer(
        f"cosine schedules with {lengths[1]} steps of warmup and without, {len(warmed)} seeds each; {first['steps']} "
        f"steps of {first['batch']['tokens']} tokens at a peak learning rate of {first['optim']['lr']:g}; runs of one "
        "seed share weights and batches",
        {f"validation loss, warmup {level}, seed {seed}": value for level, seed, value in ended}
        | {
            "without warmup worse by": gap,
            "seeds differ by at most": spread,
            "runs without warmup that diverged": gone,
            "runs with warmup that diverged": gone_warmed,
        },
        "without warmup the loss ends higher by more than the seeds of an arm differ, or more of its runs diverge",
        gone > gone_warmed or (math.isfinite(gap) and gap > spread),
        [_of_runs(cells, "validation/loss", "Validation loss"),
         _of_runs(cells, "train/loss", "Training loss, mean of 20 steps", smooth=20)],
        "Training without and with warmup",
        '"starting at the full learning rate often causes immediate divergence": '
        f"{found}{', they end on a higher plateau.' if not gone and gap > 0 else ''}",
    )  # fmt: skip


def _swept(folder: Path, *overrides: str) -> tuple[list, list, list[str]]:
    """The runs, the warmup, seed and loss of those that ended, and the two lengths of warmup. A run that diverges ends
    the sweep with an error, but is an answer too."""
    from gptx.compare.outcomes import compare
    from gptx.runs.run import find

    failure = None
    try:
        run_training(folder, *_WARMUP, *overrides, sweep=True)
    except ValueError as error:
        failure = error
        if not any(folder.glob("*/metrics.jsonl")):
            raise
    cells = find([folder])
    comparison = compare(cells)
    lengths = comparison.factors.get("schedule.warmup", [])
    if len(lengths) != 2 or lengths[0] != "0":
        raise ValueError("schedule.warmup: the exercise compares 0 with one other, such as schedule.warmup=0,50")
    ended = [(o.levels["schedule.warmup"], o.seed, o.value) for o in comparison.outcomes if o.value is not None]
    if failure and not _diverged([value for *_, value in ended]):
        raise failure
    return cells, ended, lengths


def _diverged(values: list[float]) -> int:
    return sum(not math.isfinite(value) for value in values)


def _of_runs(cells: list, metric: str, title: str, smooth: int = 0) -> Drawing:
    """A metric of some runs on the same axes, a line a run; with `smooth`, means of that many values."""
    curves = []
    for place, cell in enumerate(cells):
        steps, values = cell.metrics[metric]
        values, style = (smoothed(values, smooth), "line") if smooth else (values, "dots")
        curves.append(Curve(cell.name, steps, values, style, place))
    return lines(Panel(title, "nats per token", tuple(curves)))


def precisions(folder: Path, *overrides: str) -> Answer:
    """Memory, speed and final loss of the same model in fp32, in bf16, and in fp16 with loss scaling?"""
    recipe = *_PRECISION, *overrides
    runs = {
        name: record(run_training(folder / name, *recipe, f"precision={name}", environment=GIVING_BACK))
        for name in FORMATS
    }
    other = record(run_training(folder / "fp32_seed_1", *recipe, "precision=fp32", "seed=1"))
    arms = configs_of(*recipe, f"precision={','.join(FORMATS)}")
    times = dict(zip(FORMATS, turns(arms, FORMAT_TURNS).values(), strict=True))
    tokens, place = next(iter(arms.values())).batch.tokens, runs["fp32"]["hardware"]
    losses = {name: run["result"].get("validation/loss", math.nan) for name, run in runs.items()}
    memory = {name: run["memory"]["measured"] / 1e6 for name, run in runs.items()}
    quickness = {name: 1 / time_ratio(times[name], times["fp32"])["clock"] for name in FORMATS}
    speed = {name: tokens / sorted(seconds for seconds, _ in found)[len(found) // 2] for name, found in times.items()}
    away = [abs(loss / losses["fp32"] - 1) for loss in losses.values()]
    worst = max(away) if all(map(math.isfinite, away)) else math.nan  # which is within nothing
    measured: dict[str, Number] = {}
    for name in FORMATS:
        measured[f"{name}: validation loss"] = losses[name]
        measured[f"{name}: peak memory, MB"] = memory[name]
        measured[f"{name}: tokens per second"] = speed[name]
        measured[f"{name}: speed compared with fp32"] = quickness[name]
    measured["fp32, seed 1: validation loss"] = other["result"].get("validation/loss", math.nan)
    measured["largest difference from fp32, of its loss"] = worst
    return Answer(
        f"{runs['fp32']['step']} steps of {tokens} tokens in each format, each in a process of its own; then "
        f"{FORMAT_TURNS} steps of each in turns for the speed; {place['device']}, {place['threads']} thread(s)",
        measured,
        f"all three end within {_TOLERANCE:.0%} of the loss in fp32 (NaN fails); memory and speed are reported",
        worst <= _TOLERANCE,
        [bars("validation loss", losses, "{:.4f}"), bars("peak memory, MB", memory, "{:,.0f}"),
         bars("tokens per second", speed, "{:,.0f}")],
        f"One model in three formats, {place['device']}",
        f'"2x speed" for bf16: {quickness["bf16"]:.2f}x here, {quickness["fp16"]:.2f}x for fp16. Gradients are fp32 in '
        "all three, since weights are; bf16 has fp32's range and needs no loss scaling.",
    )  # fmt: skip


def checkpointing(folder: Path, *overrides: str) -> Answer:
    """A deep model with and without gradient checkpointing: peak memory, and is the overhead about 33 %?"""
    from gptx.estimate.memory import predict_memory

    recipe = "experiment=recompute", *overrides
    runs = {way: record(run_training(folder / way, *recipe, f"memory={way}", environment=GIVING_BACK)) for way in WAYS}
    arms = dict(zip(WAYS, configs_of(*recipe, "memory=store,recompute").values(), strict=True))
    kept = {way: predict_memory(cfg, 257).activations / 1e6 for way, cfg in arms.items()}
    memory = {way: run["memory"]["measured"] / 1e6 for way, run in runs.items()}
    times = turns(arms, WAY_TURNS)
    slower = time_ratio(times["recompute"], times["store"])
    seconds = {way: sorted(clock for clock, _ in found)[len(found) // 2] for way, found in times.items()}
    store, recomputed = (metrics.read_metrics(folder / way)["train/loss"][1].tolist() for way in WAYS)
    cfg = arms["store"]
    shape, place = f"{cfg.model.depth} blocks of width {cfg.model.width}", runs["store"]["hardware"]
    measured: dict[str, Number] = {}
    for way in WAYS:
        measured[f"{way}: peak memory, MB"] = memory[way]
        measured[f"{way}: peak memory predicted, MB"] = runs[way]["memory"]["predicted"] / 1e6
        measured[f"{way}: activations kept for the backward pass, MB (predicted)"] = kept[way]
        measured[f"{way}: seconds per step"] = seconds[way]
    return Answer(
        f"{shape}, {cfg.batch.tokens} tokens per step; {len(store)} steps in a process each for memory and losses, "
        f"then {WAY_TURNS} steps of each in turns for the time ({place['device']}, {place['threads']} thread(s))",
        measured
        | {
            "time of recompute over store, clock": slower["clock"],
            "lowest and highest of the turns": f"{slower['low']:.3f} to {slower['high']:.3f}",
            "time of recompute over store, processor": slower["processor"],
            "training losses are the same to the bit": store == recomputed,
        },
        "less memory at the peak, the same losses, and a ratio of times between 1.1 and 1.45",
        memory["recompute"] < memory["store"] and store == recomputed and 1.1 <= slower["clock"] <= 1.45,
        [bars("peak memory, MB", memory, "{:,.0f}"), bars("seconds per step", seconds, "{:.3f}"),
         bars("time over that of storing", {"store": 1.0, "recompute": slower["clock"]}, "{:.3f}", ("+33 %", _BOUND))],
        f"Storing activations or computing them again: {shape}",
        f'"~33% more compute": {slower["clock"] - 1:+.0%} by the clock; 33 % is what the FLOPs alone would cost. '
        f'"halve activation memory": what is kept is {kept["recompute"] / kept["store"]:.0%} of it.',
    )  # fmt: skip
