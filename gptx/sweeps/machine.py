"""How many runs this machine does best at once, and the share of it that each of them has."""

import os

from gptx.units.hardware import cores, machine_memory

RESERVE = 500_000_000  # bytes of a process beside what its run is predicted to need: PyTorch itself
SHARE = 0.8  # of the machine's memory that runs may fill


def room(configs: list, tasks: int) -> int:
    """How many runs of `tasks` processes this machine has processors for: one a core where they compute on CPUs, since
    a small model gains little from a second one, so many as they have `threads`; one a GPU where they compute there."""
    from gptx.ingredients.parallel import find

    on_cpu = all(find(config.device).type == "cpu" for config in configs)
    processors = cores() // threads_asked(configs, 1) if on_cpu else len(visible_gpus())
    return max(1, min(len(configs), processors // tasks))


def threads_asked(configs: list, otherwise: int) -> int:
    """The threads that the recipes or the environment ask for."""
    asked = max(config.threads or 0 for config in configs)
    return asked or int(os.environ.get("OMP_NUM_THREADS") or 0) or otherwise


def fit(configs: list) -> int:
    """How many of the largest of these runs fit in memory, as predicted; of those on a GPU one on each."""
    from gptx.estimate.memory import likely_vocabulary, prediction
    from gptx.ingredients.parallel import find

    configs = [config for config in configs if find(config.device).type == "cpu"]
    if not configs:
        return len(visible_gpus())
    different = {shape(config): config for config in configs}.values()
    found = [prediction(config, likely_vocabulary(config)) for config in different]
    largest = max(getattr(footprint, "peak", 0) for footprint in found)
    return max(1, int(SHARE * machine_memory() // (2 * largest + RESERVE)))  # an allocator keeps as much again


def shape(config) -> str:
    """What the memory of a run depends on, as text."""
    keys = "model", "batch", "precision", "memory", "objective"
    return str([config.optim._target_, config.data.get("tokenizer"), *(config[key] for key in keys)])


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        [str(i) for i in range(torch.cuda.device_count())] if chosen is None else list(filter(None, chosen.split(",")))
    )


def share(gpus: list[str], place: int, places: int, count: int | None) -> list[str]:
    """The GPUs of one of `places` places: `count` each, else as many as there are for each; shared where too few.

    >>> share(["0", "1", "2", "3"], place=1, places=2, count=None), share(["0"], place=1, places=2, count=None)
    (['2', '3'], ['0'])
    """
    count = count or max(1, len(gpus) // places)
    return [gpus[(place * count + i) % len(gpus)] for i in range(min(count, len(gpus)))]
