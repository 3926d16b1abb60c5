"""The speed of a recipe on this machine, measured by some steps on random tokens; by it, 5min becomes steps."""

import gc
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from gptx.config.build import build, ingredients
from gptx.config.errors import ConfigError
from gptx.config.groups import decides
from gptx.config.keys import flat
from gptx.config.model_size import vocabulary
from gptx.config.recorded import recorded
from gptx.config.rules import examine, refuse_format
from gptx.config.validate import time_asked
from gptx.distributed.rank import world_size
from gptx.estimate.capacity import this_machine, within_room
from gptx.ingredients.data.corpus import RandomTokens
from gptx.ingredients.observe.throughput import wall
from gptx.ingredients.parallel import OneProcess, find_device
from gptx.trainer import Trainer, rng_state, set_rng_state
from gptx.units.lengths import rounded

WARM = 2  # steps before the clock starts, besides the first: the optimizer has its state, the allocator its memory
_SECONDS, _FEWEST, _MOST = 3.0, 3, 200  # of the steps that are timed
_ANY = 10**6  # steps of a run that is measured, as its speed does not depend on them
_LONGEST = 10**9  # seconds of a run, thirty years
_known: dict[str, float] = {}  # seconds of a step by recipe: a process asks before its run, and again in it


def measured_steps(cfg: Any) -> dict[str, Any]:
    """The `steps` of a config that asks for a time, by the `seconds_per_step` that some of them take here, without
    validation and saves; measured once in a process. Raises ConfigError. Each of torchrun's processes must ask."""
    asked, seconds, world, trial = str(cfg.steps), time_asked(cfg), world_size(), cfg.copy()
    if not seconds or seconds > _LONGEST:
        raise ConfigError(f"steps={asked:.80}: a time above 0 and below 30 years, such as 5min or 2h")
    trial.steps = _ANY
    examine(trial, world, within_room(this_machine, world))
    refuse_format(trial)
    if trial.batch.get("doublings"):
        raise ConfigError(f"steps={asked}: the steps of a batch that grows take longer and longer; give steps")
    key = str({k: v for k, v in flat(recorded(trial)).items() if decides(k, "speed")})
    _known[key] = _known.get(key) or _seconds_per_step(trial)
    return {"asked": asked, "steps": rounded(seconds / _known[key], asked), "seconds_per_step": _known[key]}


def share_steps(cfg: Any, measured: dict[str, Any]) -> None:
    """Put steps in place of a time by the speed in `measured`, which is that of the first config that asks for one: all
    arms of a sweep have the same steps."""
    if (seconds := time_asked(cfg)) is not None:
        if not measured:
            measured |= measured_steps(cfg)
        cfg.steps = rounded(seconds / measured["seconds_per_step"], cfg.steps)


def _seconds_per_step(cfg: Any) -> float:
    """The median of some steps of a checked config, with the threads and on all processes that its run has."""
    with undisturbed(cfg):
        parallel = build(cfg.parallel)
        trainer = on_random_tokens(cfg, vocabulary(cfg), parallel)
        *_, warm = (timed(trainer, lambda: _step(trainer)) for _ in range(1 + WARM))
        count = parallel.gather(min(_MOST, max(_FEWEST, round(_SECONDS / warm))))[0]  # the same on every process
        return max(parallel.gather(statistics.median(timed(trainer, trainer.step_once) for _ in range(count))))


def _step(trainer: Trainer) -> None:
    while True:
        try:
            return trainer.step_once()
        except torch.OutOfMemoryError as error:
            trainer.shrink(error)


def on_random_tokens(cfg: Any, vocab_size: int, parallel: OneProcess) -> Trainer:
    """The trainer of a checked config with its full batch and context, without observers and sinks."""
    full = replace(build(cfg.batch), doublings=0, context_doublings=0)
    data = RandomTokens(vocab_size=vocab_size, context=cfg.data.context)
    given = {"batch": full, "data": data, "parallel": parallel, "inject": lambda trainer: None}
    return Trainer(**ingredients(cfg, **given, observe=None, log=None))


@contextmanager
def undisturbed(cfg: Any) -> Iterator[None]:
    """Compute as a run of `cfg` would; afterwards, random states, PyTorch's settings and memory are as before."""
    device = find_device(cfg.device)
    before, threads, exact = rng_state(device), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    configure(threads=cfg.threads or threads, deterministic=cfg.deterministic)
    try:
        yield
    finally:
        configure(threads=threads, deterministic=exact)
        set_rng_state(before, device)
        gc.collect()  # the trainer, whose hooks hold each other


def configure(*, threads: int, deterministic: bool) -> None:
    """Set what is global in PyTorch, for the next run of this process."""
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic products on a GPU need it
    torch.use_deterministic_algorithms(deterministic)


def timed(trainer: Trainer, work: Callable[[], object]) -> float:
    """Seconds of some work, until the device has done it."""
    started = wall(trainer.parallel.device)
    work()
    return wall(trainer.parallel.device) - started
