"""What watching a run costs:  python -m gptx.cost   (help shows more)."""

import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from gptx import arguments, check, paths
from gptx.lengths import updates

NEVER = 10**9  # updates


def cost(
    *, observer: str = "all", model: str = "nano", turns: int = 50, steps: int = 1000, threads: int | None = None
) -> None:
    """Compare updates that an observer watches with updates that nobody watches, on the CPU and on data=stdlib.

    python -m gptx.cost observer=updates model=nano turns=200

    Trainers of one recipe take turns: without the observer, with it and never due, and reporting at every update. A
    report costs so many updates; the share of a run is that over the observer's own `every`, and what its hooks cost
    in between. Times are the processor's, the least of the `turns`, which other programs disturb little. `steps` is
    the length of the run, of which an `every` may be a share.
    """
    names = sorted(path.stem for path in Path(paths.CONF, "observe").glob("*.yaml") if path.stem != "all")
    if observer != "all" and observer not in names:
        raise ValueError(f"observer={observer} is unknown; one of {', '.join(names)}, all")
    if turns < 1:
        raise ValueError(f"turns={turns} must be at least 1")
    torch.set_num_threads(threads or torch.get_num_threads())
    print(f"{'':16}{'a report, in updates':>22}{'every':>8}{'in between':>12}{'share of a run':>16}")
    for name in names if observer == "all" else [observer]:
        report, between, every = measured(name, model, turns, steps)
        print(f"{name:16}{report:>22.3f}{every:>8}{between:>12.2%}{between + report / every:>16.2%}", flush=True)


def measured(name: str, model: str, turns: int, steps: int) -> tuple[float, float, int]:
    """What a report of the observer costs, what each update costs that has none, both in updates, and its `every`."""
    node: Any = OmegaConf.to_container(OmegaConf.load(Path(paths.CONF, "observe", f"{name}.yaml")))
    node = node[name]
    always = [f"observe.{name}.until={NEVER}"] if "until" in node else []
    cadences = [[f"observe.{name}.every={n}"] if "every" in node else [] for n in (NEVER, 1)]
    trainers = [watched(model), *(watched(model, name, *always, *words) for words in cadences)]
    times = [[seconds(trainer) for trainer in trainers] for _ in range(turns + 1)][1:]  # the first warms up
    bare, idle, due = map(min, zip(*times, strict=True))
    every = updates(node.get("every", 1), steps=steps, tokens=trainers[0].batch.tokens)
    return (due - idle) / bare, (idle - bare) / bare, every


def watched(model: str, name: str = "validation", *words: str):
    """A trainer with that observer, without sinks and checkpoints, and with two micro-batches an update."""
    from hydra import compose, initialize_config_dir

    paths.register()
    names = "validation" if name == "validation" else f"validation,{name}"
    recipe = [f"model={model}", "schedule=constant", "device=cpu", "log=[]", f"steps={NEVER}"]
    with initialize_config_dir(paths.CONF, version_base="1.3"):
        cfg = compose("train", [*recipe, f"observe=[{names}]", f"observe.validation.every={NEVER}", *words])
    cfg.batch.micro = cfg.batch.tokens // cfg.model.context // 2
    check.check(cfg)
    trainer = check.trainer(cfg)
    trainer.checkpoints = lambda trainer: setattr(trainer, "stopped", "one update")
    return trainer


def seconds(trainer) -> float:
    """Processor time that the next update takes."""
    trainer.stopped = ""
    started = time.process_time()
    trainer.fit()
    return time.process_time() - started


if __name__ == "__main__":
    arguments.call(cost)
