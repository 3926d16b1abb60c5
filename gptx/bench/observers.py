"""What watching a run costs:  python -m gptx bench observers   (help shows more)."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from omegaconf import OmegaConf

from gptx.config import arguments, paths, validate
from gptx.units.lengths import updates

NEVER = 10**9  # updates


def cost(
    *, observer: str = "all", model: str = "nano", turns: int = 10, steps: int = 1000, threads: int | None = None
) -> None:
    """Compare the time of an observer's own code with that of the update around it, on the CPU and on data=stdlib.

    python -m gptx bench observers observer=updates model=nano turns=20

    Its hooks and its report are timed inside the update that they are part of, in processor time, so that little
    disturbs their ratio: medians over so many `turns` with a report, and as many without. The share of a run is that
    of a report over the observer's own `every`, and that of the updates between. `steps` is the length of the run, of
    which an `every` may be a share.
    """
    names = sorted(path.stem for path in Path(paths.CONF, "observe").glob("*.yaml") if path.stem != "all")
    if observer != "all" and observer not in names:
        raise ValueError(f"observer={observer} is unknown; one of {', '.join(names)}, all")
    if turns < 1 or steps < 1:
        raise ValueError(f"turns={turns} and steps={steps} must be at least 1")
    torch.set_num_threads(threads or torch.get_num_threads())
    print(f"{'':16}{'a report, in updates':>22}{'every':>8}{'in between':>12}{'share of a run':>16}")
    for name in names if observer == "all" else [observer]:
        report, between, every = measured(name, model, turns, steps)
        print(f"{name:16}{report:>22.3f}{every:>8}{between:>12.2%}{between + report / every:>16.2%}", flush=True)


def measured(name: str, model: str, turns: int, steps: int) -> tuple[float, float, int]:
    """What a report costs, what each update costs that has none, both in updates, and the observer's own `every`."""
    nodes: Any = OmegaConf.to_container(OmegaConf.load(Path(paths.CONF, "observe", f"{name}.yaml")))
    always = [f"observe.{name}.until={NEVER}"] if "until" in nodes[name] else []
    shares = []
    for every in (NEVER, 1):
        trainer = built(name, model, *always, *([f"observe.{name}.every={every}"] if "every" in nodes[name] else []))
        watch = Stopwatch(trainer, name)
        turn(trainer, watch)  # warms up
        times = [turn(trainer, watch) for _ in range(turns)]
        shares.append(statistics.median(own / (whole - own) for own, whole in times))
    between, with_report = shares
    own_every = updates(nodes[name].get("every", 1), steps=steps, tokens=trainer.batch.tokens)
    return with_report - between, between, own_every


def built(name: str, model: str, *words: str):
    """A trainer with that observer, without sinks and checkpoints, and with two micro-batches an update."""
    from hydra import compose, initialize_config_dir

    paths.register()
    names = "validation" if name == "validation" else f"validation,{name}"
    recipe = [f"model={model}", "schedule=constant", "device=cpu", "log=[]", f"steps={NEVER}"]
    with initialize_config_dir(paths.CONF, version_base="1.3"):
        cfg = compose("train", [*recipe, f"observe=[{names}]", f"observe.validation.every={NEVER}", *words])
    cfg.batch.micro = cfg.batch.tokens // cfg.model.context // 2
    validate.check(cfg)
    trainer = validate.trainer(cfg)
    trainer.checkpoints = OneUpdate()
    return trainer


class OneUpdate:
    """Stands where checkpoints are: saves nothing, and ends `fit` after one update."""

    def begin(self, trainer) -> None:
        pass

    def __call__(self, trainer) -> None:
        trainer.stopped = "one update"


class Stopwatch:
    """Attaches the observers and adds up the processor time of their hooks, and of the reports of the one named."""

    def __init__(self, trainer, name: str):
        self.seconds = 0.0
        with (
            self.timing(torch.optim.Optimizer, "register_step_pre_hook"),
            self.timing(torch.optim.Optimizer, "register_step_post_hook"),
            self.timing(torch.Tensor, "register_post_accumulate_grad_hook"),
        ):
            trainer.attach()
        observer = type(trainer.observers[name])
        timed = type(observer.__name__, (observer,), {"__call__": self.timed(observer.__call__)})
        trainer.observers[name].__class__ = timed

    def timing(self, kind: type, registration: str):
        """While it lasts, hooks of that kind are registered with a clock around them."""
        register = getattr(kind, registration)
        return patch.object(kind, registration, lambda owner, hook: register(owner, self.timed(hook)))

    def timed(self, function: Callable) -> Callable:
        def call(*args):
            started = time.process_time()
            try:
                return function(*args)
            finally:
                self.seconds += time.process_time() - started

        return call


def turn(trainer, watch: Stopwatch) -> tuple[float, float]:
    """Processor time of the observer's own code in the next update, and of all of it."""
    trainer.stopped, watch.seconds = "", 0.0
    started = time.process_time()
    trainer.fit()
    return watch.seconds, time.process_time() - started


if __name__ == "__main__":
    arguments.call(cost)
