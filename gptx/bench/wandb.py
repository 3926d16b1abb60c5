"""What mirroring a run to W&B costs:  python -m gptx bench wandb   (help shows more)."""

import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from gptx.bench import observers
from gptx.config import arguments, paths, presets
from gptx.ingredients.log import Run
from gptx.ingredients.log.wandb import Wandb


def mirror(*, model: str = "nano", rows: int = 300, mode: str = "offline", threads: int | None = None) -> None:
    """Compare what W&B takes with an update, on the CPU and on data=stdlib, while it is sent every update of `rows`.

    python -m gptx bench wandb model=nano rows=300 mode=online

    The training thread hands over a row; other threads of the process send it. While they hold Python's lock the
    training thread may wait, so that their processor time bounds what it loses. All is processor time, which other
    programs disturb little. Beside the cost of a row stands its share of the updates from one row to the next, at
    conf/log/wandb.yaml's own `every`.
    """
    if rows < 1:
        raise ValueError(f"rows={rows} must be at least 1")
    torch.set_num_threads(threads or torch.get_num_threads())
    options = {k: v for k, v in presets.load(Path(paths.CONF, "log/wandb.yaml"))["wandb"].items() if k != "_target_"}
    every, folder = options["every"], Path(tempfile.mkdtemp())
    trainer, sink = observers.built("validation", model), Wandb(**options | {"mode": mode, "every": 1})
    try:
        sink.open(Run(folder, "cost", "cost", rows, 0, {}, {}, [], {}, []))
        update, handing, sending = measured(trainer, sink, rows)
    finally:
        sink.close("finished")
        shutil.rmtree(folder)
    print(f"{'an update':40}{update * 1e3:9.3f} ms")
    parts = {"a row, in the training thread": handing, "a row, in the threads that send it": sending}
    for name, seconds in parts.items():
        print(f"{name:40}{seconds * 1e3:9.3f} ms{seconds / update / every:9.3%} at every={every}")


def measured(trainer: Any, sink: Any, rows: int) -> tuple[float, float, float]:
    """Processor seconds of an update, of handing over a row, and of sending it."""
    updates: list[float] = []
    handing: list[float] = []

    def timed(step: int, scalars: dict) -> None:
        started = time.thread_time()
        sink(step, scalars)
        handing.append(time.thread_time() - started)

    def turn() -> None:
        trainer.stopped, started = "", time.thread_time()
        trainer.fit()
        updates.append(time.thread_time() - started)

    trainer.sinks = [timed]

    def sent() -> None:
        while not sink.rows.empty():
            time.sleep(0.01)

    turn()
    sent()  # W&B is ready
    updates.clear()
    handing.clear()
    before = processor_time()
    for _ in range(rows):
        turn()
    sent()
    return statistics.median(updates), statistics.median(handing), (processor_time() - before) / rows


def processor_time() -> float:
    """Seconds that the Python threads of this process have computed for, without the one that asks."""
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in others if thread.ident)


if __name__ == "__main__":
    arguments.call(mirror)
