"""A whole sweep before it is spent: its runs, hours and space on the disk, and how small a difference it can show."""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gptx.compare.outcomes import METRIC
from gptx.config.build import build
from gptx.config.groups import SEEDS
from gptx.config.keys import key_of
from gptx.config.model_size import model_size
from gptx.config.recorded import recorded
from gptx.estimate.effort import Effort
from gptx.estimate.memory import vocabulary_of
from gptx.estimate.speed import share_steps
from gptx.estimate.sweep import alike, can_show, disk_of, pilot_spread, seeds_by_arm, shipped_spread, vocabularies
from gptx.ingredients.parallel import find_device
from gptx.plan import machines
from gptx.plan.machines import Hardware
from gptx.plan.parts import composed_arms
from gptx.plan.probe import probe
from gptx.show.table import Table, terminal
from gptx.units.amounts import clock, power
from gptx.units.hardware import cores
from gptx.units.phrases import count

_Kind = tuple[str, Effort, float]
_TRIED = 8  # kinds of runs at most whose speed is measured
_SECONDS = 1.0  # of steps, for each


def plan_sweep(
    *overrides: str,
    pilot: str = "",
    difference: float = 0.01,
    metric: str = METRIC,
    at_once: int | None = None,
    hardware: str = "",
    vocab: str = "",
) -> None:
    """Show what a sweep needs and how small a difference it can show: runs, hours, disk, seeds.

      python -m gptx plan sweep optim=adamw,muon schedule=cosine,linear seed=0,1,2
      python -m gptx plan sweep model=nano,gpt_1600k seed=0,1 steps=20x pilot=runs/abl difference=0.005
      python -m gptx plan sweep experiment=ablation

    The words are those of `python -m gptx.train --multirun`. Every kind of run is tried here for a second, one alone;
    runs at the same time slow each other down.

    Options:
    pilot: folder of runs of at least two arms with two seeds, or of a results.json, whose spread of seeds is used; by
    default the median of the shipped experiments
    difference: how many seeds would show this difference
    metric: the metric that is compared
    at_once: runs at a time; by default as many as the cores or GPUs of this machine have room for
    hardware: device to run on, such as h100, by its usual speed; by default this machine is measured
    vocab: size of the vocabulary; by default the data's
    """
    if not 0 < difference < math.inf:
        raise ValueError(f"difference={difference:g} must be above 0")
    where = machines.hardware_of(hardware)
    spread = pilot_spread(Path(pilot), metric) if pilot else shipped_spread(metric)
    runs = composed_arms(overrides, partial(share_steps, measured={}), whole=True)
    first, *_ = configs = list(runs.values())
    size = vocabulary_of(first, vocab) if vocab else None
    arms, places = seeds_by_arm(configs), _places(configs, where, at_once)
    seeds, disk = min(arms.values()), disk_of(configs, Path("runs", first.name), at_once=places, vocab_size=size)
    _print("runs", [f"{len(configs)}: {count(len(arms), 'arm')}, {count(seeds, 'seed')} each"])
    _print("time", _time(runs, where, size, places))
    _print("disk", [f"{disk}{'' if disk.needed <= disk.free else ': too little'}"])
    _print("shows", can_show(len(arms), seeds, spread, metric, difference))


def _print(label: str, lines: Iterable[str]) -> None:
    for i, line in enumerate(lines):
        print(f"{label if i == 0 else '':8}{line}", flush=True)


def _places(configs: list[Any], where: Hardware, asked: int | None) -> int:
    """The runs that are trained at a time, each of which gets its share of the cores here; on named hardware one."""
    if asked is not None and asked < 1:
        raise ValueError(f"at_once={asked}: at least 1 run")
    if where.device:
        return asked or 1
    places = min(len(configs), asked or _room(configs))
    for config in configs:
        config.threads = config.threads or max(1, cores() // places)
    return places


def _room(configs: list[Any]) -> int:
    if find_device(configs[0].device).type != "cpu":
        return max(1, torch.cuda.device_count())
    return max(1, cores() // max(config.threads or 1 for config in configs))


def _time(runs: dict[str, Any], where: Hardware, vocab_size: int | None, places: int) -> Iterator[str]:
    """The time of all runs, and a table of those that cost the same."""
    kinds, speeds = _kinds(runs, where, vocab_size)
    whole = sum(seconds for each in kinds for _, _, seconds in each)
    told = f"by the usual speed of {where.device.name}" if where.device else "measured here, each run alone"
    yield f"{clock(whole)} of one run after another, {clock(whole / places)} with {places} at a time ({told})"
    yield from terminal(Table("", ("", "runs", "steps", "FLOPs", "time of each"), [*map(_row, kinds)]))
    if math.isnan(whole):
        yield "?: not predicted for a GPU that a small model leaves idle, or that lacks the number format"
    if speeds > _TRIED:
        yield f"the first {_TRIED} kinds were measured, the others take as long for a FLOP as the first"


def _kinds(runs: dict[str, Any], where: Hardware, vocab_size: int | None) -> tuple[list[list[_Kind]], int]:
    """Runs that cost the same, each with its arm, effort and seconds; and how many speeds they have."""
    speeds, kinds = dict[str, float](), dict[str, list[_Kind]]()
    for (name, config), vocab in zip(runs.items(), vocabularies([*runs.values()], vocab_size), strict=True):
        speed, spent = alike({**recorded(config), "steps": 0}, "speed"), _effort(config, vocab)
        if speed not in speeds:
            known = next(iter(speeds.values()), 0.0)
            speeds[speed] = known if len(speeds) >= _TRIED else _seconds_per_flop(config, spent, where, vocab)
        arm = ", ".join(word for word in name.split(", ") if key_of(word) not in SEEDS)
        kinds.setdefault(f"{spent.steps} {speed}", []).append((arm, spent, spent.flops * speeds[speed]))
    return list(kinds.values()), len(speeds)


def _row(kind: list[_Kind]) -> tuple[str, ...]:
    arms, (_, spent, seconds) = list(dict.fromkeys(arm for arm, _, _ in kind)), kind[0]
    more = f" and {len(arms) - 1} more" * (len(arms) > 1)
    return f"{arms[0] or 'base'}{more}", str(len(kind)), f"{spent.steps:,}", power(spent.flops), clock(seconds)


def _seconds_per_flop(config: Any, spent: Effort, where: Hardware, vocab_size: int) -> float:
    """Seconds of a run by its FLOPs: measured here with validation and saves, or usual on a device; NaN if unknown."""
    if where.device is None:
        return probe(config, _SECONDS, str(vocab_size)).run_seconds() / spent.flops
    whole = machines.seconds(spent, where.device, machines.form(build(config.precision), where.device))
    return whole / spent.flops if whole and spent.parameters >= machines.BUSY else math.nan


def _effort(config: Any, vocab_size: int) -> Effort:
    parameters, flops = model_size(config, vocab_size)
    batch, grown = build(config.batch), min(config.steps, config.batch.get("growth") or 0)
    tokens = sum(map(batch.tokens_at, range(1, grown + 1))) + (config.steps - grown) * batch.tokens
    return Effort(parameters, 0, flops, tokens, config.steps, batch.tokens)
