"""How long a recipe takes on this machine: it runs for some seconds on random tokens."""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gptx.config.build import build, ingredients
from gptx.estimate.memory import vocabulary
from gptx.units.amounts import clock

_WARM = 2  # steps before the clock starts, besides the first: the optimizer has its state, the allocator its memory
_LARGEST = 4_000_000_000  # bytes of a state that is written to the disk for trial


@dataclass(frozen=True)
class Probe:
    """Seconds that each part of a run takes, and how many of each part the run has."""

    step: float  # the median of full steps
    quickest: float
    slowest: float
    made: int  # steps that were measured
    start: float  # to build the model, and what the first step takes longer than others: compiling, if compiled
    validation: float  # of one pass over its windows
    save: float  # that training waits for a copy of the state
    last_save: float  # until it is on the disk
    steps: float  # as many full steps as have the tokens of the run
    validations: int
    saves: int
    left_out: tuple[str, ...]  # what a run does besides

    def run_seconds(self) -> float:
        """The whole run, without what is left out."""
        saving = max(0, self.saves - 1) * self.save + self.last_save
        return self.start + self.steps * self.step + self.validations * self.validation + saving

    def __str__(self) -> str:
        spread = f"median of {self.made}, {_brief(self.quickest)} to {_brief(self.slowest)}"
        parts = [f"{_brief(self.step)} a step ({spread})", f"{_brief(self.start)} to build and begin"]
        parts += [f"{_brief(self.validation)} a validation pass x {self.validations}"] * bool(self.validations)
        parts += [f"{_brief(self.save)} a save x {self.saves - 1}"] * (self.saves > 1)
        parts += [f"{_brief(self.last_save)} the last save"] * bool(self.last_save)
        total = f"{clock(round(self.run_seconds()))} on this machine, measured: {', '.join(parts)}"
        return f"{total}; not in it: {', '.join(self.left_out)}"


def probe(cfg, seconds: float = 5.0, vocab: str = "") -> Probe:
    """Make steps of a checked config for about `seconds` on its own device, then a validation pass and two saves.

    `vocab` stands for the data's vocabulary. One process; nothing stays: no run folder, no checkpoint, and random
    states and threads of this process as they were.
    """
    import torch

    from gptx.ingredients.parallel import find
    from gptx.trainer import rng_state, set_rng_state

    device = find(cfg.device)
    before, threads = rng_state(device), torch.get_num_threads()
    torch.set_num_threads(cfg.threads or threads)
    try:
        return _tried(cfg, vocabulary(cfg, vocab), device, seconds, asks=not vocab)
    finally:
        torch.set_num_threads(threads)
        set_rng_state(before, device)
        gc.collect()  # the trainer, whose hooks hold each other


def _tried(cfg, vocab_size: int, device, seconds: float, *, asks: bool) -> Probe:
    """The parts of a run, measured one after the other; `asks`: the data may be asked for its validation text."""
    from gptx.ingredients.data.corpus import RandomTokens
    from gptx.ingredients.parallel import OneProcess
    from gptx.trainer import Trainer

    began = time.perf_counter()
    full = cfg.batch.copy()
    full.doublings = full.context_doublings = 0
    data, place = RandomTokens(vocab_size=vocab_size, context=cfg.data.context), OneProcess(device)
    given = {"batch": build(full), "data": data, "parallel": place, "inject": lambda trainer: None}
    trainer = Trainer(**ingredients(cfg, **given, observe=None, log=None))
    built = time.perf_counter() - began

    first, *_ = (_timed(trainer, trainer.step_once) for _ in range(1 + _WARM))
    times = [_timed(trainer, trainer.step_once)]
    while sum(times) + times[-1] <= seconds:
        times.append(_timed(trainer, trainer.step_once))
    usual = statistics.median(times)
    validated, validations, unknown = _validation(trainer, cfg, asks=asks)
    saved, last, saves, refused = _saving(trainer, cfg)
    batch, others = build(cfg.batch), [name for name in cfg.get("observe") or {} if name != "validation"]
    left_out = ["starting Python", "reading data", "what is logged"]
    left_out += [f"the observers {', '.join(others)} (python -m gptx bench observers)"] * bool(others)
    left_out += ["that sequences are short at first"] * bool(batch.context_doublings)
    return Probe(
        step=usual, quickest=min(times), slowest=max(times), made=len(times), start=built + max(0.0, first - usual),
        validation=validated, save=saved, last_save=last, validations=validations, saves=saves,
        steps=sum(batch.tokens_at(step) for step in range(1, cfg.steps + 1)) / batch.tokens,
        left_out=(*left_out, *unknown, *refused),
    )  # fmt: skip


def _validation(trainer, cfg, *, asks: bool) -> tuple[float, int, list[str]]:
    """Seconds of a validation pass, from two forward passes; how many passes the run makes; what is not known."""
    from gptx.ingredients.observe.validation import FORWARD_TOKENS

    node = (cfg.get("observe") or {}).get("validation")
    if node is None:
        return 0.0, 0, []
    observer, rows = build(node), max(1, FORWARD_TOKENS // trainer.data.context)
    if observer.limit is None and not asks:
        return 0.0, 0, ["validation, on all of a text whose length vocab= does not tell"]
    windows = observer.limit or build(cfg.data).validation_windows
    observer.limit = min(windows, 2 * rows)
    took = _timed(trainer, lambda: observer(trainer))
    return took * windows / observer.limit, -(-cfg.steps // observer.every), []


def _saving(trainer, cfg) -> tuple[float, float, int, list[str]]:
    """Seconds of a save during training and of the last one; how many saves the run makes; what was not tried."""
    from gptx.estimate.footprint import storage_bytes, tensors

    checkpoints, copied = trainer.checkpoints, 0.0
    saves, state = -(-cfg.steps // checkpoints.every), storage_bytes(each for _, each in tensors(trainer.state_dict()))
    if state > _LARGEST:
        return 0.0, 0.0, saves, [f"saves, of {state / 1e9:.1f} GB each"]
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.place(Path(folder))
        for _ in range(2 if saves > 1 else 0):  # the first also allocates the memory, which a run does during training
            trainer.step += 1  # a checkpoint of its own
            copied = _timed(trainer, lambda: checkpoints.save(trainer))
            checkpoints.wait(strict=True)
        trainer.step += 1
        written = _timed(trainer, lambda: checkpoints.save(trainer, wait=True))
    return copied, written, saves, []


def _timed(trainer, work: Callable[[], object]) -> float:
    """Seconds of some work, until the device has done it."""
    from gptx.ingredients.observe.throughput import wall

    started = wall(trainer.parallel.device)
    work()
    return wall(trainer.parallel.device) - started


def _brief(seconds: float) -> str:
    """12.3 ms or 4.56 s."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
