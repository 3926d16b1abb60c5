"""Whether a recipe fits in the memory of the device that it will run on, known before anything is built.

Only what certainly does not fit is refused: by arithmetic on the values of the config, and where that comes near the
limit by the prediction of `gptx.estimate.footprint`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from gptx.config.build import build
from gptx.config.command_line import arms
from gptx.config.errors import ConfigError
from gptx.config.rules import examine
from gptx.distributed.rank import world_size
from gptx.ingredients.model.size import size
from gptx.units.amounts import memory, power
from gptx.units.hardware import machine_memory

SMALLEST = 2  # tokens of a vocabulary that only the text knows


@dataclass(frozen=True)
class Room:
    """Bytes of a device, and which one it is."""

    size: float
    device: str
    cpu: bool = False  # where batches that are too large are not halved


ANYWHERE = Room(1e15, "no machine")  # of a plan, which is for whichever machine


def this_machine(device: str) -> Room:
    """The memory of this machine's device of that name. Raises ConfigError if there is none."""
    import torch

    from gptx.ingredients.parallel import find

    try:
        place = find(device)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if place.type == "cuda":
        return Room(torch.cuda.get_device_properties(place).total_memory, f"this machine's {place}")
    return Room(machine_memory(), f"this machine's {place.type}", cpu=place.type == "cpu")


def asked(launcher: DictConfig, device: str) -> Room:
    """The memory that a submitted job asks for; without a limit where the cluster decides, or where a GPU computes."""
    gpus = launcher.get("gpus_per_node") or launcher.get("gres") or device.startswith("cuda")
    limit = math.inf if gpus or launcher.get("mem_gb") is None else launcher.mem_gb * 2**30
    return Room(limit, "hydra.launcher.mem_gb", cpu=True)


def examined(words: list[str], *, here: bool = False) -> dict[str, DictConfig]:
    """The config of every job that the words mean, by what sets it apart ("" where there is one), as far as it can be
    checked without data. Raises ConfigError, with `here` also for what this machine has no memory for."""
    room, world = this_machine if here else (lambda device: ANYWHERE), world_size()
    return arms(words, lambda cfg: examine(cfg, world, within(room, world)))


def within(room: Callable[[str], Room], world: int) -> Callable[[DictConfig], None]:
    """The check of `refuse_too_large` for the room of a job's device and a number of processes."""
    return lambda job: refuse_too_large(job, world, room(job.device))


def refuse_too_large(job: DictConfig, world: int, room: Room) -> None:
    """Raise ConfigError, with the key that asks for most, if the run of a checked config needs more than the room."""
    parameters = counted(job, room)
    needed = least(job, parameters, world, room)
    if needed <= room.size < 4 * likely(job, parameters, room):
        needed = max(needed, predicted(job, world, room))
    if needed > room.size:
        size = memory(needed) if needed < 1e15 else f"{power(needed)} B"
        raise ConfigError(
            f"{largest(job, room)}: {power(parameters)} parameters, with what a step needs beside them, take {size} of "
            f"memory; {room.device} has {memory(room.size)}"
        )


def counted(job: DictConfig, room: Room) -> int:
    """How many parameters the model has; one of the user's own is built without data. Raises ConfigError where it has
    more than any device holds."""
    if job.model._target_ == "gptx.ingredients.model.gpt.GPT":
        return gpt(job)
    import torch

    try:
        with torch.device("meta"), at_most(int(min(room.size, ANYWHERE.size))):
            return sum(parameter.numel() for parameter in build(job.model)(vocab_size=vocabulary(job)).parameters())
    except (RuntimeError, OverflowError) as error:
        raise ConfigError(f"model: it cannot be built without data ({' '.join(str(error).split())})") from None


def gpt(job: DictConfig) -> int:
    """The parameters of gptx's own model, the rows beyond the vocabulary included; 0 for values that it refuses."""
    values = {str(key): job.model[key] for key in job.model if not str(key).startswith("_")}
    counts = [value for value in values.values() if type(value) is int]
    if min(counts) < 1:
        return 0
    multiple = values.get("vocab_multiple", 64)
    return size(vocab_size=-(-vocabulary(job) // multiple) * multiple, **values).parameters


@contextmanager
def at_most(parameters: int) -> Iterator[None]:
    """Ends the building of a model that registers far more parameters. Raises ConfigError."""
    found = 0

    def count(module, name, parameter) -> None:
        nonlocal found
        found += parameter.numel() if parameter is not None else 0
        if found > 4 * parameters:  # some are registered more than once
            raise ConfigError(f"model: more than {power(found)} parameters; no machine has memory for them")

    from torch.nn.modules.module import register_module_parameter_registration_hook

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def vocabulary(job: DictConfig) -> int:
    """The size of the vocabulary, or the smallest where only the text knows it."""
    from gptx.ingredients.data.tokenizers import vocabulary_size

    return vocabulary_size(str(job.data.get("tokenizer"))) or SMALLEST


def tokens(job: DictConfig, room: Room) -> int:
    """Of a micro-batch, at least: where a GPU is too small it is halved down to one sequence."""
    micro = job.batch.get("micro")
    return job.data.context * (micro if isinstance(micro, int) and room.cpu else 1)


def least(job: DictConfig, parameters: int, world: int, room: Room) -> float:
    """Bytes that no run does without: weights and gradients, and of a micro-batch the tokens and their logits."""
    shards = world if str(job.parallel._target_).endswith(".fsdp") else 1
    each = 2 if job.precision.get("weights") == "bf16" else 4
    logits = 0 if job.objective.get("chunk") else 2 * vocabulary(job)
    return 2 * each * parameters / shards + tokens(job, room) * (16 + logits)


def likely(job: DictConfig, parameters: int, room: Room) -> float:
    """Bytes as with Adam in fp32, and activations of a GPT's usual number; roughly."""
    wide = job.model.get("width", 0) * job.model.get("depth", 0)
    count = tokens(job, room) if isinstance(job.batch.get("micro"), int) else 16_384
    return 16 * parameters + room.cpu * count * (12 * vocabulary(job) + 120 * wide)


def predicted(job: DictConfig, world: int, room: Room) -> float:
    """Bytes as `gptx.estimate.footprint` counts them, 0 where it cannot: the peak of an eager run on a CPU, else
    weights, gradients and moments, which are there however small the batch is."""
    from gptx.estimate.memory import prediction

    share = job.copy()
    share.batch.tokens //= world // world_size()
    found = prediction(share, vocabulary(job))
    if isinstance(found, str):
        return 0
    shards = world if str(job.parallel._target_).endswith(".fsdp") else 1
    state = (found.weights + found.gradients + found.moments) / shards
    eager = str(job.compile._target_).endswith(".eager") and shards == 1
    return max(state, found.peak) if room.cpu and eager else state


def largest(job: DictConfig, room: Room) -> str:
    """The key and value without which least would be needed, as they are typed."""
    if job.model._target_ != "gptx.ingredients.model.gpt.GPT":
        return "model"
    found = {}
    for key in [*(f"model.{name}" for name in job.model), "batch.micro", "data.context", "data.tokenizer"]:
        value = OmegaConf.select(job, key)
        if type(value) is int or key == "data.tokenizer":
            without = job.copy()
            OmegaConf.update(without, key, 1 if key != "data.tokenizer" else "chars")
            found[f"{key}={value}"] = likely(without, gpt(without), room)
    return min(found, key=lambda line: found[line])
