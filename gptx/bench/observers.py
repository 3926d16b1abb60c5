"""What watching a run costs."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from gptx.bench.frame import Unsaved, clocked, print_table, refuse_below_one, trainer
from gptx.config import paths, presets
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

    Its hooks and its report are timed inside the step that they are part of, in processor time: little disturbs their
    ratio. Medians over the turns. The share of a run is a report's over the observer's own `every`, plus that of the
    steps between.

    Options:
    observer: name of an observer, see conf/observe/, or all
    model: preset of the model, see conf/model/
    turns: steps to measure with a report, and as many without
    steps: length of the run, of which an `every` may be a share
    threads: CPU threads of PyTorch; null is its own choice
    """
    names = sorted(path.stem for path in Path(paths.CONF, "observe").glob("*.yaml") if path.stem != "all")
    if observer != "all" and observer not in names:
        raise ValueError(f"observer={observer} is unknown; one of {', '.join(names)}, all")
    refuse_below_one(turns=turns, steps=steps)
    torch.set_num_threads(threads or torch.get_num_threads())
    rows = []
    for name in names if observer == "all" else [observer]:
        report, between, every = measured(name, model, turns, steps)
        shares = f"{between:.2%}", f"{between + report / every:.2%}"
        rows.append((name, f"{report:.3f}", str(every), *shares))
    print_table("", ("", "a report, in steps", "every", "in between", "share of a run"), rows)


def measured(name: str, model: str, turns: int, steps: int) -> tuple[float, float, int]:
    """Cost of a report and of a step without a report, both in steps, and the observer's own `every`."""
    node: dict[str, Any] = presets.load_preset(Path(paths.CONF, "observe", f"{name}.yaml"))[name]
    always = [f"observe.{name}.until={_NEVER}"] if "until" in node else []
    shares = []
    for every in (_NEVER, 1):
        made = built(name, model, *always, *([f"observe.{name}.every={every}"] if "every" in node else []))
        seconds = watched(made, name)
        timed_step(made, seconds)  # warms up
        times = [timed_step(made, seconds) for _ in range(turns)]
        shares.append(statistics.median(own / (whole - own) for own, whole in times))
    between, with_report = shares
    return with_report - between, between, in_steps(node.get("every", 1), steps=steps, tokens=made.batch.tokens)


def built(name: str, model: str, *words: str):
    """A trainer with that observer, in two micro-batches a step; its `fit` ends after one step."""
    names = "validation" if name == "validation" else f"validation,{name}"
    observe = f"observe=[{names}]", f"observe.validation.every={_NEVER}"
    made = trainer(f"model={model}", "device=cpu", f"steps={_NEVER}", *observe, *words, sequences=2)
    made.checkpoints = Unsaved("one step")
    return made


def watched(made, name: str) -> list[float]:
    """Attach the observers. The list gets the processor seconds of every hook's call and of the named one's reports."""
    own: list[float] = []

    def timed(hook: Callable) -> Callable:
        return clocked(hook, own, time.process_time)

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
    whole: list[float] = []
    clocked(made.fit, whole, time.process_time)()
    return sum(own), whole[0]
