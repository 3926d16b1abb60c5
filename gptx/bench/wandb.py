"""What mirroring a run to W&B costs."""

import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from gptx.bench.frame import clocked, print_table, refuse_below_one
from gptx.bench.observers import built
from gptx.config import paths, presets
from gptx.ingredients.log import RunInfo
from gptx.ingredients.log.wandb import Wandb


def bench_wandb(*, model: str = "nano", rows: int = 300, mode: str = "offline", threads: int | None = None) -> None:
    """Measure what W&B costs compared with a step (CPU, data=stdlib), if every step sends a row.

      python -m gptx bench wandb model=nano rows=300 mode=online

    The training thread hands over a row; other threads of the process send it. While these hold Python's lock the
    training thread may wait, so their processor time is the most that training loses. Times are processor time, which
    other programs disturb little. The share is of the steps between two rows, by `every` of conf/log/wandb.yaml.

    Options:
    model: preset of the model, see conf/model/
    rows: number of rows to send
    mode: offline or online, as for W&B
    threads: CPU threads of PyTorch; null is its own choice
    """
    refuse_below_one(rows=rows)
    torch.set_num_threads(threads or torch.get_num_threads())
    options = {
        k: v for k, v in presets.load_preset(Path(paths.CONF, "log/wandb.yaml"))["wandb"].items() if k != "_target_"
    }
    every, folder = options["every"], Path(tempfile.mkdtemp())
    trainer, sink = built("validation", model), Wandb(**options | {"mode": mode, "every": 1})
    try:
        sink.open(RunInfo(folder, "cost", "cost", rows, 0, {}, {}, [], {}, []))
        step, handing, sending = measured(trainer, sink, rows)
    finally:
        sink.close("finished")
        shutil.rmtree(folder)
    found = {"a step": step, "a row, in the training thread": handing, "a row, in the threads that send it": sending}
    shares = ("", *(f"{seconds / step / every:.3%}" for seconds in (handing, sending)))
    lines = [(name, f"{found[name] * 1e3:.3f}", share) for name, share in zip(found, shares, strict=True)]
    print_table("", ("", "ms", f"share at every={every}"), lines)


def measured(trainer: Any, sink: Any, rows: int) -> tuple[float, float, float]:
    """Processor seconds of a step, of handing over a row, and of sending it."""
    steps: list[float] = []
    handing: list[float] = []
    trainer.sinks = [clocked(sink, handing, time.thread_time)]
    step = clocked(trainer.fit, steps, time.thread_time)

    def sent(count: int) -> None:
        for _ in range(count):
            step()
        while not sink.rows.empty():
            time.sleep(0.01)

    sent(1)  # W&B is ready
    before = _others()
    sent(rows)
    return statistics.median(steps[1:]), statistics.median(handing[1:]), (_others() - before) / rows


def _others() -> float:
    """Processor seconds of all Python threads of this process except the one that asks."""
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in others if thread.ident)
