"""What certainly does not fit in its device's memory, known before it is built: by arithmetic, else by prediction."""

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from gptx.config.command_line import examined_arms
from gptx.config.errors import ConfigError
from gptx.config.model_size import OWN_MODEL, model_size, own_values
from gptx.config.rules import examine
from gptx.distributed.rank import world_size
from gptx.estimate.memory import likely_vocabulary, prediction
from gptx.ingredients.parallel import find_device
from gptx.units.amounts import memory, power
from gptx.units.hardware import machine_memory

_SMALLEST = 2  # tokens of a vocabulary that only the text knows


@dataclass(frozen=True)
class Room:
    """Bytes of a device, and which one it is."""

    size: float
    device: str
    cpu: bool = False  # where batches that are too large are not halved


_ANYWHERE = Room(1e15, "no machine")  # of a plan, which is for any machine


def this_machine(device: str) -> Room:
    """The memory of this machine's device of that name. Raises ConfigError if there is none."""
    try:
        place = find_device(device)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if place.type == "cuda":
        return Room(torch.cuda.get_device_properties(place).total_memory, f"this machine's {place}")
    return Room(machine_memory(), f"this machine's {place.type}", cpu=place.type == "cpu")


def asked(launcher: Any, device: str) -> Room:
    """The memory that a submitted job asks for; without a limit where the cluster decides, or where a GPU computes."""
    gpus = launcher.get("gpus_per_node") or launcher.get("gres") or device.startswith("cuda")
    limit = math.inf if gpus or launcher.get("mem_gb") is None else launcher.mem_gb * 2**30
    return Room(limit, "hydra.launcher.mem_gb", cpu=True)


def examined(words: list[str], *, here: bool = False, first: Callable = lambda cfg: None, whole: bool = False) -> dict:
    """The config of every job that the words mean, by what sets it apart ("" where there is one), as far as it can be
    checked without data; `first` is done with each; `whole`: with an experiment's lists. Raises ConfigError, with
    `here` also for too little memory here."""
    room, world = this_machine if here else (lambda device: _ANYWHERE), world_size()

    def check(cfg: Any) -> None:
        first(cfg)
        examine(cfg, world, within_room(room, world))

    with nullcontext() if here else fetching_nothing():
        return examined_arms(words, check, whole=whole)


@contextmanager
def fetching_nothing() -> Iterator[None]:
    """Every attempt to reach another machine, by whichever library, fails at once."""

    def refuse(*_, **__):
        raise socket.gaierror("a plan fetches nothing")

    usual, socket.getaddrinfo = socket.getaddrinfo, refuse
    try:
        yield
    finally:
        socket.getaddrinfo = usual


def within_room(room: Callable[[str], Room], world: int) -> Callable[[Any], None]:
    """The check of `refuse_too_large` for the room of a job's device and a number of processes."""
    return lambda job: refuse_too_large(job, world, room(job.device))


def refuse_too_large(job: Any, world: int, room: Room) -> None:
    """Raise ConfigError, with the key that asks for most, if the run of a checked config needs more than the room: no
    run does without weights and gradients, and of a micro-batch the tokens and their logits."""
    parameters, shards = _parameters(job, room), world if str(job.parallel._target_).endswith(".fsdp") else 1
    each = 2 if job.precision.get("weights") == "bf16" else 4
    logits = 0 if job.objective.get("chunk") else 2 * likely_vocabulary(job, _SMALLEST)
    needed = 2 * each * parameters / shards + _tokens(job, room) * (16 + logits)
    if needed <= room.size < 4 * _likely(job, room, parameters):
        needed = max(needed, _predicted(job, world, room, shards))
    if needed > room.size:
        size = memory(needed) if needed < 1e15 else f"{power(needed)} B"
        takes = f"{power(parameters)} parameters, with what a step needs besides, take {size} of memory"
        raise ConfigError(f"{_largest(job, room)}: {takes}; {room.device} has {memory(room.size)}")


def _parameters(job: Any, room: Room) -> int:
    """Those of gptx's own model by arithmetic, 0 for values that it refuses; a user's model is built without data."""
    vocabulary = likely_vocabulary(job, _SMALLEST)
    if job.model._target_ == OWN_MODEL:
        if not (values := own_values(job.model)):
            return 0
        vocabulary += -vocabulary % values.get("vocab_multiple", 64)
    return model_size(job, vocabulary, int(min(room.size, _ANYWHERE.size)))[0]


def _tokens(job: Any, room: Room, otherwise: int = 0) -> int:
    """Tokens of a micro-batch, at least: where a GPU is too small it is halved down to one sequence."""
    micro = job.batch.get("micro")
    return (job.data.context * (micro if room.cpu else 1)) if isinstance(micro, int) else otherwise or job.data.context


def _likely(job: Any, room: Room, parameters: int) -> float:
    """Bytes with Adam in fp32, and activations of a GPT's usual number; roughly."""
    wide = job.model.get("width", 0) * job.model.get("depth", 0)
    each = 12 * likely_vocabulary(job, _SMALLEST) + 120 * wide
    return 16 * parameters + room.cpu * _tokens(job, room, otherwise=16_384) * each


def _predicted(job: Any, world: int, room: Room, shards: int) -> float:
    """Bytes by `gptx.estimate.memory`, 0 where it cannot: the peak of an eager run on a CPU, else weights, gradients
    and moments, which are there however small the batch is."""
    share = job.copy()
    share.batch.tokens //= world // world_size()
    found = prediction(share, likely_vocabulary(job, _SMALLEST))
    if isinstance(found, str):
        return 0
    state = (found.weights + found.gradients + found.moments) / shards
    eager = room.cpu and shards == 1 and str(job.compile._target_).endswith(".eager")
    return max(state, found.peak) if eager else state


def _largest(job: Any, room: Room) -> str:
    """The key and value without which least would be needed, as they are typed."""
    if job.model._target_ != OWN_MODEL:
        return "model"
    found = {}
    for key in [*(f"model.{name}" for name in job.model), "batch.micro", "data.context", "data.tokenizer"]:
        group, name = key.split(".")
        if type(value := job[group].get(name)) is int or name == "tokenizer":
            without = job.copy()
            without[group][name] = 1 if name != "tokenizer" else "chars"
            found[f"{key}={value}"] = _likely(without, room, _parameters(without, room))
    return min(found, key=lambda line: found[line])
