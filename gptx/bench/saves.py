"""How long training waits for a checkpoint:  python -m gptx bench saves model=gpt2_124m."""

import statistics
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_dir

from gptx.config import arguments, paths, validate

VOCABULARY = 50_257  # GPT-2's
MB = 1_000_000


def bench_saves(
    *, model: str = "gpt2_124m", folder: str | None = None, repeats: int = 5, context: int = 64, device: str = "cpu"
) -> None:
    """Save a model with its AdamW state in turn while training waits for the disk, and in the background, where
    training waits for a copy in memory; then make updates beside a write and without one.

    `folder` is on the disk to measure, the machine's own for temporary files if null. Seconds are the median of
    `repeats` with the range in brackets; the ratio is taken within each turn. Memory on the CPU: twice the state, and
    a third more for gradients and activations.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats} must be at least 1")
    trainer = trained(model, context, device)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        trainer.checkpoints.place(Path(place))
        first = seconds(lambda: trainer.checkpoints.save(trainer))
        turns = [turn(trainer) for _ in range(repeats)]
        size = sum(file.stat().st_size for file in trainer.checkpoints.saved()[-1].iterdir())
    waited, behind, written, alone, beside = zip(*turns, strict=True)
    print(f"{model} on {trainer.parallel.device}, a checkpoint of {size / MB:,.0f} MB in {place}, {repeats} turns")
    print(f"training waits, synchronous save   {spread(waited)} s")
    print(f"training waits, background save    {spread(behind)} s    the first one {first:.3f} s")
    print(f"ratio within a turn                {spread([b / w for b, w in zip(behind, waited, strict=True)])}")
    print(f"until it is on the disk            {spread(written)} s")
    print(f"an update, without a write         {spread(alone)} s")
    print(f"an update, beside a write          {spread(beside)} s")


def trained(model: str, context: int, device: str):
    """A trainer of that model after one update, so that the optimizer has its state, and without observers."""
    paths.register()
    words = [f"model={model}", f"device={device}", f"batch.tokens={context}", "batch.micro=1", "log=[]", "observe=[]",
             "schedule=constant", "steps=1000000", "checkpoints.every=1000", "checkpoints.keep=1",
             "checkpoints.keep_best=false"]  # fmt: skip
    with initialize_config_dir(paths.CONF, version_base="1.3"):
        cfg = compose("train", words)
    cfg.data = {"_target_": "gptx.bench.steps.Noise", "vocab_size": VOCABULARY, "context": context}
    validate.check(cfg, allow=("gptx.bench.steps.",))
    trainer = validate.trainer(cfg)
    update(trainer)
    trainer.checkpoints(trainer)  # which looks for the memory that copies will need
    update(trainer)
    return trainer


def update(trainer) -> None:
    """One update, as the loop makes it."""
    trainer.set_learning_rate()
    trainer.accumulate_gradients()
    trainer.update("accept")


def turn(trainer) -> tuple[float, float, float, float, float]:
    """Seconds that training waits for a synchronous save and for one in the background, until the latter is written,
    and of an update without a write and beside one."""
    trainer.checkpoints.wait()
    alone = seconds(lambda: update(trainer))
    waited = seconds(lambda: trainer.checkpoints.save(trainer, wait=True))
    started = time.perf_counter()
    behind = seconds(lambda: trainer.checkpoints.save(trainer))
    beside = seconds(lambda: update(trainer))
    trainer.checkpoints.wait(strict=True)
    return waited, behind, time.perf_counter() - started, alone, beside


def seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(values) -> str:
    """The median with the range."""
    return f"{statistics.median(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


if __name__ == "__main__":
    arguments.call(bench_saves)
