"""Exercises 14, 15 and 17, which compare arms: warmup, number formats, gradient checkpointing."""

import math
from pathlib import Path
from statistics import fmean, median_high

import numpy

from gptx.exercise.answer import Answer, of_each
from gptx.exercise.training import configs_of, record, run_training, time_ratio, turns
from gptx.runs import metrics
from gptx.runs.run import Run, find
from gptx.show.plots import Curve, Drawing, Panel, bars, lines

# The models and batches of the experiments of these names; shorter, on text that every machine has.
_WARMUP = ("experiment=warmup", "data=stdlib", "steps=300", "schedule=cosine", "schedule.warmup=0,50", "optim.lr=1e-2",
          "seed=0,1", "observe.validation.every=20%", "observe.validation.windows=256")  # fmt: skip
_PRECISION = "experiment=precision", "data=stdlib", "steps=40", "observe.validation.windows=256"
_LOSS, _MEMORY, _SPEED, _SECONDS = "validation loss", "peak memory, MB", "tokens per second", "seconds per step"
_FORMAT_TURNS, _WAY_TURNS = 6, 8
_TOLERANCE = 0.02  # of the loss in fp32
_BOUND = 4 / 3  # a second forward pass, where a forward and a backward pass have one and two thirds of the FLOPs


def without_warmup(folder: Path, *overrides: str) -> Answer:
    """Does training without warmup diverge, or end worse than with it?"""
    cells, ended = _swept(folder, *overrides)
    without, warmed = (list(losses.values()) for losses in ended.values())
    gone, gone_warmed = (len(losses) - sum(map(math.isfinite, losses)) for losses in (without, warmed))
    gap, spread, cfg = fmean(without) - fmean(warmed), max(map(numpy.ptp, (without, warmed))), cells[0].config
    return Answer(
        f"{cfg['steps']} steps of {cfg['batch']['tokens']} tokens; cosine to a peak of {cfg['optim']['lr']:g}, with "
        f"{max(ended)} steps of warmup and none, {len(warmed)} seeds each; runs of one seed share weights and batches",
        {
            **{f"validation loss, warmup {length}, seed {seed}": loss
               for length, losses in ended.items() for seed, loss in losses.items()},
            "without warmup worse by": gap,
            "seeds differ by at most": float(spread),
            "runs without warmup that diverged": gone,
            "runs with warmup that diverged": gone_warmed,
        },
        "without warmup the loss ends higher by more than the seeds of an arm differ, or more of its runs diverge",
        gone > gone_warmed or gap > spread,
        [_of_runs(cells, "validation/loss", "Validation loss", "dots"),
         _of_runs(cells, "train/loss", "Training loss, mean of 20 steps", "line", smooth=20)],
        "Training without and with warmup",
        f'"starting at the full learning rate often causes immediate divergence": {gone} of {len(without)} runs did',
    )  # fmt: skip


def _swept(folder: Path, *overrides: str) -> tuple[list[Run], dict[int, dict[int, float]]]:
    """The runs, and by warmup and seed the losses of those that ended; one that diverges is an answer, not an error."""
    try:
        run_training(folder, *_WARMUP, *overrides, sweep=True)
    except ValueError:
        begun = find([folder]) if any(folder.glob("*/metrics.jsonl")) else []
        if all(math.isfinite(cell.result("validation/loss") or 0.0) for cell in begun):
            raise
    cells, ended = find([folder]), dict[int, dict[int, float]]()
    for cell in cells:
        if (loss := cell.result("validation/loss")) is not None:
            ended.setdefault(cell.config["schedule"].get("warmup", 0), {})[cell.seed] = loss
    if len(ended) != 2 or 0 not in ended:
        raise ValueError("schedule.warmup: the exercise compares 0 with one other, such as schedule.warmup=0,50")
    return cells, dict(sorted(ended.items()))


def _of_runs(cells: list[Run], metric: str, title: str, style: str, smooth: int = 0) -> Drawing:
    curves = (Curve(cell.name, *cell.metrics[metric], style, i, smooth=smooth) for i, cell in enumerate(cells))
    return lines(Panel(title, "nats per token", tuple(curves)))


def _trained(folder: Path, group: str, options: tuple[str, ...], rounds: int, *recipe: str) -> tuple[dict, dict, dict]:
    """Of each option: run.json of a run in a process of its own, its config, and the seconds of `rounds` steps."""
    runs = {name: record(run_training(folder / name, *recipe, f"{group}={name}", trim=True)) for name in options}
    configs = dict(zip(options, configs_of(*recipe, f"{group}={','.join(options)}").values(), strict=True))
    return runs, configs, turns(configs, rounds)


def _bars(rows: dict[str, dict], what: str, spelled: str) -> Drawing:
    return bars(what, {arm: numbers[what] for arm, numbers in rows.items()}, spelled)


def precisions(folder: Path, *overrides: str) -> Answer:
    """Memory, speed and final loss of the same model in fp32, in bf16, and in fp16 with loss scaling?"""
    recipe = *_PRECISION, *overrides
    runs, configs, times = _trained(folder, "precision", ("fp32", "bf16", "fp16"), _FORMAT_TURNS, *recipe)
    other = record(run_training(folder / "fp32_seed_1", *recipe, "precision=fp32", "seed=1"))["result"]
    tokens, place = configs["fp32"].batch.tokens, runs["fp32"]["hardware"]
    rows = {
        name: {
            _LOSS: run["result"].get("validation/loss", math.nan),
            _MEMORY: run["memory"]["measured"] / 1e6,
            _SPEED: tokens / median_high(seconds for seconds, _ in times[name]),
            "speed compared with fp32": 1 / time_ratio(times[name], times["fp32"])["clock"],
        }
        for name, run in runs.items()
    }
    quick, loss = (f"{rows[name]['speed compared with fp32']:.2f}x" for name in ("bf16", "fp16")), rows["fp32"][_LOSS]
    worst = float(numpy.max([abs(numbers[_LOSS] / loss - 1) for numbers in rows.values()]))  # NaN is within nothing
    return Answer(
        f"{runs['fp32']['step']} steps of {tokens} tokens in each format, each in a process of its own; then "
        f"{_FORMAT_TURNS} steps of each in turns for the speed; {place['device']}, {place['threads']} thread(s)",
        of_each(rows | {"fp32, seed 1": {_LOSS: other.get("validation/loss", math.nan)}})
        | {"largest difference from fp32, of its loss": worst},
        f"all three end within {_TOLERANCE:.0%} of the loss in fp32 (NaN fails); memory and speed are reported",
        worst <= _TOLERANCE,
        [_bars(rows, _LOSS, "{:.4f}"), _bars(rows, _MEMORY, "{:,.0f}"), _bars(rows, _SPEED, "{:,.0f}")],
        f"One model in three formats, {place['device']}",
        '"2x speed" for bf16: {} here, {} for fp16. '.format(*quick) + "Gradients are fp32 in all three, since weights "
        "are; bf16 has fp32's range and needs no loss scaling.",
    )


def checkpointing(folder: Path, *overrides: str) -> Answer:
    """A deep model with and without gradient checkpointing: peak memory, and is the overhead about 33 %?"""
    from gptx.estimate.memory import predict_memory

    ways, kept = ("store", "recompute"), "activations kept for the backward pass, MB (predicted)"
    runs, configs, times = _trained(folder, "memory", ways, _WAY_TURNS, "experiment=recompute", *overrides)
    rows = {
        way: {
            _MEMORY: run["memory"]["measured"] / 1e6,
            "peak memory predicted, MB": run["memory"]["predicted"] / 1e6,
            kept: predict_memory(configs[way], 257).activations / 1e6,
            _SECONDS: median_high(seconds for seconds, _ in times[way]),
        }
        for way, run in runs.items()
    }
    store, again = (rows[way] for way in ways)
    slower, cfg, place = time_ratio(times["recompute"], times["store"]), configs["store"], runs["store"]["hardware"]
    stored, recomputed = (metrics.read_metrics(folder / way)["train/loss"][1].tolist() for way in ways)
    shape, ratios = f"{cfg.model.depth} blocks of width {cfg.model.width}", {"store": 1.0, "recompute": slower["clock"]}
    return Answer(
        f"{shape}, {cfg.batch.tokens} tokens per step; {len(stored)} steps in a process each for memory and losses, "
        f"then {_WAY_TURNS} steps of each in turns for the time ({place['device']}, {place['threads']} thread(s))",
        of_each(rows)
        | {
            "time of recompute over store, clock": slower["clock"],
            "lowest and highest of the turns": f"{slower['low']:.3f} to {slower['high']:.3f}",
            "time of recompute over store, processor": slower["processor"],
            "training losses are the same to the bit": stored == recomputed,
        },
        "less memory at the peak, the same losses, and a ratio of times between 1.1 and 1.45",
        again[_MEMORY] < store[_MEMORY] and stored == recomputed and 1.1 <= slower["clock"] <= 1.45,
        [_bars(rows, _MEMORY, "{:,.0f}"), _bars(rows, _SECONDS, "{:.3f}"),
         bars("time over that of storing", ratios, "{:.3f}", ("+33 %", _BOUND))],
        f"Storing activations or computing them again: {shape}",
        f'"~33% more compute": {slower["clock"] - 1:+.0%} by the clock; 33 % is what the FLOPs alone would cost. '
        f'"halve activation memory": what is kept is {again[kept] / store[kept]:.0%} of it.',
    )  # fmt: skip
