"""How many runs this machine trains at once, and the share of it that each of them has."""

import os

from gptx.config.groups import decides
from gptx.config.keys import flat
from gptx.config.recorded import recorded
from gptx.units.hardware import cores, machine_memory

_RESERVE = 500_000_000  # bytes of a process besides what its run is predicted to need: PyTorch itself
_SHARE = 0.8  # of the machine's memory that runs may fill


def room(configs: list, tasks: int) -> int:
    """Number of runs (of `tasks` processes each) that this machine has processors for: cores / threads per run on CPU
    (1 core by default: small models do not scale to 2), one run per GPU otherwise."""

    from gptx.ingredients.parallel import find_device

    on_cpu = all(find_device(config.device).type == "cpu" for config in configs)
    processors = cores() // threads_asked(configs, 1) if on_cpu else len(visible_gpus())
    return max(1, min(len(configs), processors // tasks))


def threads_asked(configs: list, otherwise: int) -> int:
    """The threads per process that the recipes or the environment ask for."""
    asked = max(config.threads or 0 for config in configs)
    return asked or int(os.environ.get("OMP_NUM_THREADS") or 0) or otherwise


def runs_in_memory(configs: list) -> int:
    """Number of runs that fit in memory, if all were as large as the largest is predicted to be; on GPUs one each."""
    from gptx.estimate.memory import likely_vocabulary, prediction
    from gptx.ingredients.parallel import find_device

    configs = [config for config in configs if find_device(config.device).type == "cpu"]
    if not configs:
        return len(visible_gpus())
    needs = [{k: v for k, v in flat(recorded(config)).items() if decides(k, "state", "speed")} for config in configs]
    different = {str(keys): config for keys, config in zip(needs, configs, strict=True)}
    found = [prediction(config, likely_vocabulary(config)) for config in different.values()]
    largest = max(getattr(footprint, "peak", 0) for footprint in found)
    return max(1, int(_SHARE * machine_memory() // (2 * largest + _RESERVE)))  # an allocator keeps as much again


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use."""
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(i) for i in range(torch.cuda.device_count())]
    return [name for name in chosen.split(",") if name]


def share(gpus: list[str], place: int, places: int, count: int | None) -> list[str]:
    """The GPUs of one of `places` places: `count` each, by default an equal share; shared if there are too few.

    >>> share(["0", "1", "2", "3"], place=1, places=2, count=None), share(["0"], place=1, places=2, count=None)
    (['2', '3'], ['0'])
    """
    count = count or max(1, len(gpus) // places)
    return [gpus[(place * count + i) % len(gpus)] for i in range(min(count, len(gpus)))]
