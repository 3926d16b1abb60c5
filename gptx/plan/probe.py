"""How long a recipe takes on this machine: it is tried for some seconds on random tokens."""

import gc
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gptx.config.build import build
from gptx.config.groups import SETTINGS
from gptx.plan.decay import vocabulary
from gptx.units.amounts import clock

WARM = 2  # updates before the clock starts, beside the first; the optimizer has its state and the allocator its memory
LARGEST = 4_000_000_000  # bytes of a state that is written to the disk for trial


@dataclass(frozen=True)
class Probe:
    """Seconds that each part of a run takes, and how many of each part the run has."""

    update: float  # the median of full updates
    quickest: float
    slowest: float
    made: int  # updates that were measured
    start: float  # to build the model, and what the first update takes longer than others: where compiled, the compiler
    validation: float  # of one pass over its windows
    save: float  # that training waits for a copy of the state
    last_save: float  # that is waited for until it is on the disk
    updates: float  # as many full updates as have the tokens of the run
    validations: int
    saves: int
    left_out: tuple[str, ...]  # what a run does beside these

    def run_seconds(self) -> float:
        """The whole run, without what is left out."""
        saving = max(0, self.saves - 1) * self.save + self.last_save
        return self.start + self.updates * self.update + self.validations * self.validation + saving

    def __str__(self) -> str:
        each = (
            f"{brief(self.update)} an update (median of {self.made}, {brief(self.quickest)} to {brief(self.slowest)})"
        )
        parts = [each, f"{brief(self.start)} to build and begin"]
        parts += [f"{brief(self.validation)} a validation pass x {self.validations}"] * bool(self.validations)
        parts += [f"{brief(self.save)} a save x {self.saves - 1}"] * (self.saves > 1)
        parts += [f"{brief(self.last_save)} the last save"] * bool(self.last_save)
        told = f"{clock(round(self.run_seconds()))} on this machine, measured: " + ", ".join(parts)
        return told + f"; not in it: {', '.join(self.left_out)}"


def probe(cfg, seconds: float = 5.0, vocab: str = "") -> Probe:
    """Make updates of a checked config for about `seconds` on its own device, then a validation pass and two saves.

    `vocab` stands for the data's vocabulary, which is else asked of the data. One process; nothing stays: no run
    folder, no checkpoint, and the random states and threads of this process as they were.
    """
    import torch

    from gptx.ingredients.parallel import find
    from gptx.trainer import rng_state, set_rng_state

    device = find(cfg.device)
    before, threads = rng_state(device), torch.get_num_threads()
    torch.set_num_threads(cfg.threads or threads)
    try:
        return tried(cfg, vocabulary(cfg, vocab), device, seconds, asks=not vocab)
    finally:
        torch.set_num_threads(threads)
        set_rng_state(before, device)
        gc.collect()  # the trainer, whose hooks hold each other


def tried(cfg, vocab_size: int, device, seconds: float, *, asks: bool) -> Probe:
    """The parts of a run, measured one after the other; the data is left alone unless one `asks` it."""
    from gptx.ingredients.parallel import OneProcess
    from gptx.trainer import Trainer

    began = time.perf_counter()
    without = {*SETTINGS, "data", "parallel", "observe", "log", "inject"}
    ingredients = {str(key): build(cfg[key]) for key in cfg if key not in without}
    full = cfg.batch.copy()
    full.doublings = full.context_doublings = 0
    trainer = Trainer(
        **ingredients | {"batch": build(full)},
        data=random_tokens(vocab_size, cfg.data.context),
        parallel=OneProcess(device),
        inject=lambda trainer: None,
    )
    built = time.perf_counter() - began
    first = update(trainer)
    for _ in range(WARM):
        update(trainer)
    times = [update(trainer)]
    while sum(times) + times[-1] <= seconds:
        times.append(update(trainer))
    usual = statistics.median(times)
    validated, validations, unknown = validation(trainer, cfg, asks=asks)
    saved, last, saves, refused = saving(trainer, cfg)
    batch, others = build(cfg.batch), [name for name in cfg.get("observe") or {} if name != "validation"]
    tokens = sum(batch.tokens_at(step) for step in range(1, cfg.steps + 1))
    return Probe(
        update=usual, quickest=min(times), slowest=max(times), made=len(times), start=built + max(0.0, first - usual),
        validation=validated, save=saved, last_save=last,
        updates=tokens / batch.tokens, validations=validations, saves=saves,
        left_out=(
            "starting Python", "reading data", "what is logged",
            *[f"the observers {', '.join(others)} (python -m gptx bench observers)"] * bool(others),
            *["that sequences are short at first"] * bool(batch.context_doublings),
            *unknown, *refused,
        ),
    )  # fmt: skip


def update(trainer) -> float:
    """Seconds of one update, as the loop makes it."""
    from gptx.ingredients.observe.throughput import wall

    started = wall(trainer.parallel.device)
    trainer.set_learning_rate()
    trainer.accumulate_gradients()
    trainer.update("accept")
    return wall(trainer.parallel.device) - started


def validation(trainer, cfg, *, asks: bool) -> tuple[float, int, list[str]]:
    """Seconds of a validation pass, how many the run makes, and what is not known of it; measured over two forward
    passes and multiplied."""
    from gptx.ingredients.observe.throughput import wall
    from gptx.ingredients.observe.validation import FORWARD_TOKENS

    node = (cfg.get("observe") or {}).get("validation")
    if node is None:
        return 0.0, 0, []
    observer, rows = build(node), max(1, FORWARD_TOKENS // trainer.data.context)
    if observer.limit is None and not asks:
        return 0.0, 0, ["validation, on all of a text of which vocab= says no length"]
    windows = observer.limit or build(cfg.data).validation_windows
    observer.limit = min(windows, 2 * rows)
    started = wall(trainer.parallel.device)
    observer(trainer)
    return (wall(trainer.parallel.device) - started) * windows / observer.limit, -(-cfg.steps // observer.every), []


def saving(trainer, cfg) -> tuple[float, float, int, list[str]]:
    """Seconds of a save beside training and of the last one, how many the run makes, and what was not tried."""
    from gptx.estimate.footprint import named, size

    saves = -(-cfg.steps // trainer.checkpoints.every)
    state = size(tensor for _, tensor in named(trainer.state_dict()))
    if state > LARGEST:
        return 0.0, 0.0, saves, [f"saves, of {state / 1e9:.1f} GB each"]
    with tempfile.TemporaryDirectory() as folder:
        trainer.checkpoints.place(Path(folder))
        copied = 0.0
        for _ in range(2 if saves > 1 else 0):  # the first also looks for the memory, which a run does beside training
            trainer.step += 1  # a checkpoint of its own
            copied = timed(lambda: trainer.checkpoints.save(trainer))
            trainer.checkpoints.wait(strict=True)
        trainer.step += 1
        written = timed(lambda: trainer.checkpoints.save(trainer, wait=True))
    return copied, written, saves, []


def timed(work) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def random_tokens(vocab_size: int, context: int):
    """A corpus of random tokens, for training and validation alike."""
    import torch

    from gptx.bench.steps import Noise

    class Everywhere(Noise):
        """The same tokens in the place of held-out ones, of a byte each."""

        validation_windows = 1_000_000  # as many as are asked for: they repeat
        token_bytes = torch.ones(vocab_size, dtype=torch.long)  # (V,)
        validation = Noise.__call__

    return Everywhere(vocab_size=vocab_size, context=context)


def brief(seconds: float) -> str:
    """12.3 ms or 4.56 s."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
