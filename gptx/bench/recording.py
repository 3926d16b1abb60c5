"""What recording a run costs: its observers, and mirroring it to W&B."""

import shutil
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from gptx.bench.frame import Unsaved, chosen, clocked, print_table, refuse_below_one, seconds_of, trainer
from gptx.config import paths, presets
from gptx.ingredients.log import RunInfo
from gptx.ingredients.log.wandb import Wandb
from gptx.units.lengths import in_steps

_NEVER = 10**9  # steps
_HOOKS: list[tuple[type, str]] = [  # in which observers run
    (torch.optim.Optimizer, "register_step_pre_hook"),
    (torch.optim.Optimizer, "register_step_post_hook"),
    (torch.Tensor, "register_post_accumulate_grad_hook"),
]


def bench_observers(
    *, observer: str = "all", model: str = "nano", turns: int = 10, steps: int = 1000, threads: int | None = None
) -> None:
    """Measure what an observer costs compared with the step around it, on the CPU and on data=stdlib.

      python -m gptx bench observers observer=updates model=nano turns=20

    Hooks and report are timed in the step that they are part of, in processor time: medians over the turns. The share
    of a run is a report's over the observer's own `every`, plus that of the steps between.

    Options:
    observer: name of an observer, see conf/observe/, or all
    model: preset of the model, see conf/model/
    turns: steps to measure with a report, and as many without
    steps: length of the run, of which an `every` may be a share
    """
    known = sorted(path.stem for path in Path(paths.CONF, "observe").glob("*.yaml") if path.stem != "all")
    names, rows = chosen("observer", observer, known), []
    refuse_below_one(turns=turns, steps=steps)
    torch.set_num_threads(threads or torch.get_num_threads())
    for name in names:
        report, between, every = observer_cost(name, model, turns, steps)
        rows.append((name, f"{report:.3f}", str(every), f"{between:.2%}", f"{between + report / every:.2%}"))
    print_table("", ("", "a report, in steps", "every", "in between", "share of a run"), rows)


def observer_cost(name: str, model: str, turns: int, steps: int) -> tuple[float, float, int]:
    """Cost of a report and of a step without a report, both in steps, and the observer's own `every`."""
    node: dict[str, Any] = presets.load_preset(Path(paths.CONF, "observe", f"{name}.yaml"))[name]
    shares = []
    for every in (_NEVER, 1):
        kept = {"until": _NEVER, "every": every}
        made = built(name, model, *(f"observe.{name}.{key}={value}" for key, value in kept.items() if key in node))
        own = watched(made, name)
        timed_step(made, own)  # warms up
        times = [timed_step(made, own) for _ in range(turns)]
        shares.append(statistics.median(seconds / (whole - seconds) for seconds, whole in times))
    between, with_report = shares
    return with_report - between, between, in_steps(node.get("every", 1), steps=steps, tokens=made.batch.tokens)


def built(name: str, model: str, *words: str):
    """A trainer with that observer, in two micro-batches a step; its `fit` ends after one step."""
    names = ",".join(dict.fromkeys(("validation", name)))
    observe = f"observe=[{names}]", f"observe.validation.every={_NEVER}"
    made = trainer(f"model={model}", "device=cpu", f"steps={_NEVER}", *observe, *words, sequences=2)
    made.checkpoints = Unsaved("one step")
    return made


def watched(made, name: str) -> list[float]:
    """Attach the observers. The list gets the processor seconds of every hook's call and of the named one's reports."""
    own: list[float] = []
    timed = partial(clocked, times=own, clock=time.process_time)
    with ExitStack() as stack:
        for kind, registration in _HOOKS:
            register = getattr(kind, registration)
            clock = patch.object(kind, registration, lambda owner, hook, to=register: to(owner, timed(hook)))
            stack.enter_context(clock)
        made.attach()
    observer = type(made.observers[name])
    made.observers[name].__class__ = type(observer.__name__, (observer,), {"__call__": timed(observer.__call__)})
    return own


def timed_step(made, own: list[float]) -> tuple[float, float]:
    """Processor seconds of the observer's own code in the next step, and of the whole step."""
    own.clear()
    whole = seconds_of(made.fit, clock=time.process_time)
    return sum(own), whole


def bench_wandb(*, model: str = "nano", rows: int = 300, mode: str = "offline", threads: int | None = None) -> None:
    """Measure what W&B costs compared with a step (CPU, data=stdlib), if every step sends a row.

      python -m gptx bench wandb model=nano rows=300 mode=online

    The training thread hands over a row, and other threads send it: their processor time is the most that training
    loses by waiting for Python's lock. The share is of the steps between two rows, by `every` of conf/log/wandb.yaml.

    Options:
    model: preset of the model, see conf/model/
    rows: number of rows to send
    mode: offline or online, as for W&B
    """
    refuse_below_one(rows=rows)
    torch.set_num_threads(threads or torch.get_num_threads())
    options = presets.load_preset(Path(paths.CONF, "log/wandb.yaml"))["wandb"]
    del options["_target_"]
    made, folder = built("validation", model), Path(tempfile.mkdtemp())
    sink = Wandb(**options | {"mode": mode, "every": 1})
    try:
        sink.open(RunInfo(folder, "cost", "cost", rows, 0, {}, {}, [], {}, []))
        step, handing, sending = row_cost(made, sink, rows)
    finally:
        sink.close("finished")
        shutil.rmtree(folder)
    lines = [("a step", f"{step * 1e3:.3f}", "")]
    for name, seconds in {"in the training thread": handing, "in the threads that send it": sending}.items():
        lines.append((f"a row, {name}", f"{seconds * 1e3:.3f}", f"{seconds / step / options['every']:.3%}"))
    print_table("", ("", "ms", f"share at every={options['every']}"), lines)


def row_cost(made: Any, sink: Any, rows: int) -> tuple[float, float, float]:
    """Processor seconds of a step, of handing over a row, and of sending it."""
    handing: list[float] = []
    made.sinks = [clocked(sink, handing, time.thread_time)]

    def sent(count: int) -> list[float]:
        steps = [seconds_of(made.fit, clock=time.thread_time) for _ in range(count)]
        while not sink.rows.empty():
            time.sleep(0.01)
        return steps

    sent(1)  # W&B is ready
    before = _others()
    steps = sent(rows)
    return statistics.median(steps), statistics.median(handing[1:]), (_others() - before) / rows


def _others() -> float:
    """Processor seconds of all Python threads of this process except the one that asks."""
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in others if thread.ident)
