"""How long a recipe takes on this machine: it runs for some seconds on random tokens."""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from gptx.config.build import build
from gptx.estimate.memory import named_tensors, storage_bytes, vocabulary_of
from gptx.estimate.speed import WARM, on_random_tokens, timed, undisturbed
from gptx.ingredients.observe.validation import FORWARD_TOKENS
from gptx.ingredients.parallel import OneProcess, find_device
from gptx.units.amounts import clock

STEP = "a step"
_Parts = dict[str, tuple[float, float]]
_LARGEST = 4_000_000_000  # bytes of a state that is written to the disk for trial


@dataclass(frozen=True)
class Probe:
    """The parts of a run on this machine: by name, seconds of each and how many of it the run has."""

    parts: _Parts
    spread: str  # of the seconds of a step
    left_out: tuple[str, ...]  # what a run does besides

    def run_seconds(self) -> float:
        return sum(seconds * count for seconds, count in self.parts.values())

    def __str__(self) -> str:
        said = [f"{_brief(seconds)} {name}{f' ({self.spread})' * (name == STEP)}{f' x {count:g}' * (count != 1)}"
                for name, (seconds, count) in self.parts.items() if count]  # fmt: skip
        total = clock(round(self.run_seconds()))
        return f"{total} on this machine, measured: {', '.join(said)}; not in it: {', '.join(self.left_out)}"


def probe(cfg, seconds: float = 5.0, vocab: str = "") -> Probe:
    """Make steps of a checked config for about `seconds` on its own device, then a validation pass and two saves, in
    one process; `vocab` stands for the data's vocabulary. Nothing stays; random states and threads are as before."""
    with undisturbed(cfg):
        return _tried(cfg, vocabulary_of(cfg, vocab), seconds, asks=not vocab)


def _tried(cfg, vocab_size: int, seconds: float, *, asks: bool) -> Probe:
    """The parts of a run, measured one after the other; `asks`: the data may be asked for its validation text."""
    began = time.perf_counter()
    trainer = on_random_tokens(cfg, vocab_size, OneProcess(find_device(cfg.device)))
    built = time.perf_counter() - began
    first, *_ = (timed(trainer, trainer.step_once) for _ in range(1 + WARM))
    times = [timed(trainer, trainer.step_once)]
    while sum(times) + times[-1] <= seconds:
        times.append(timed(trainer, trainer.step_once))
    usual, batch = statistics.median(times), build(cfg.batch)
    tokens = sum(batch.tokens_at(step) for step in range(1, cfg.steps + 1))
    parts = {STEP: (usual, tokens / batch.tokens), "to build and begin": (built + max(0.0, first - usual), 1)}
    others = [name for name in cfg.get("observe") or {} if name != "validation"]
    left_out = ["starting Python", "reading data", "what is logged"]
    left_out += [f"the observers {', '.join(others)} (python -m gptx bench observers)"] * bool(others)
    left_out += ["that sequences are short at first"] * bool(batch.context_doublings)
    for measured, missing in (_validation(trainer, cfg, asks=asks), _saving(trainer, cfg)):
        parts |= measured
        left_out += missing
    return Probe(parts, f"median of {len(times)}, {_brief(min(times))} to {_brief(max(times))}", tuple(left_out))


def _validation(trainer, cfg, *, asks: bool) -> tuple[_Parts, list[str]]:
    """A validation pass, from two forward passes; and what is not known of it."""
    node = (cfg.get("observe") or {}).get("validation")
    if node is None:
        return {}, []
    observer, rows = build(node), max(1, FORWARD_TOKENS // trainer.data.context)
    if observer.windows is None and not asks:
        return {}, ["validation, on all of a text whose length vocab= does not tell"]
    windows = observer.windows or build(cfg.data).validation_windows
    observer.windows = min(windows, 2 * rows)
    took = timed(trainer, lambda: observer(trainer)) * windows / observer.windows
    return {"a validation pass": (took, -(-cfg.steps // observer.every))}, []


def _saving(trainer, cfg) -> tuple[_Parts, list[str]]:
    """A save during training and the last one; and what was not tried."""
    checkpoints, state = trainer.checkpoints, storage_bytes(each for _, each in named_tensors(trainer.state_dict()))
    if state > _LARGEST:
        return {}, [f"saves, of {state / 1e9:.1f} GB each"]
    saves, copied = -(-cfg.steps // checkpoints.every), 0.0
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.place(Path(folder))
        for _ in range(2 if saves > 1 else 0):  # the first also allocates the memory, which a run does during training
            trainer.step += 1  # a checkpoint of its own
            copied = timed(trainer, lambda: checkpoints.save(trainer))
            checkpoints.wait(strict=True)
        trainer.step += 1
        written = timed(trainer, lambda: checkpoints.save(trainer, wait=True))
    return {"a save": (copied, saves - 1), "the last save": (written, 1)}, []


def _brief(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
