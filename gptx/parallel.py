"""Where this process computes, and how several of them agree."""

import atexit
import os
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gptx.rank import world_size


class OneProcess:
    """One process on one device: every agreement is trivial."""

    rank, world_size = 0, 1
    writers = 1  # how many processes have a part of the state that must be saved

    def __init__(self, device: torch.device):
        self.device = device

    def part(self, state: dict) -> dict | None:
        """What this process has to save of the trainer's state; None if others save all of it."""
        return state

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network that runs."""
        return model

    def sync(self, network: nn.Module, last: bool) -> AbstractContextManager:
        """Context of one micro-batch; only the `last` of an update exchanges gradients."""
        return nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        """`value` summed over all processes."""
        return value

    def gather(self, value) -> list:
        """`value` of every process, in the order of their ranks."""
        return [value]


class Replicas:
    """The same model in every process; gradients are averaged in the last micro-batch's backward pass."""

    writers = 1

    def __init__(self, device: torch.device):
        if not dist.is_initialized():  # once per process: creating it again for the next job is a race
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)
        self.device, self.rank, self.world_size = device, dist.get_rank(), dist.get_world_size()

    def part(self, state: dict) -> dict | None:
        return state if self.rank == 0 else None

    def wrap(self, model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model)

    def sync(self, network: nn.Module, last: bool) -> AbstractContextManager:
        return nullcontext() if last else network.no_sync()  # type: ignore[operator]

    def sum(self, value: Tensor) -> Tensor:
        dist.all_reduce(value)
        return value

    def gather(self, value) -> list:
        values: list = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values


def ddp(*, device: str = "auto") -> OneProcess | Replicas:
    """Data parallelism over the processes that torchrun started; one process alone needs none.

    `device` is auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps. Raises ValueError where it is not there.
    """
    place = find(device)
    return OneProcess(place) if world_size() == 1 else Replicas(place)


def find(device: str) -> torch.device:
    """The torch device of that name; several processes on one machine take one GPU each."""
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if here[name])
    kind, _, index = device.partition(":")
    if not here.get(kind, False) or (index and not index.isdigit()):
        raise ValueError(
            f"device={device} is not there; this machine has {', '.join(k for k, yes in here.items() if yes)}"
        )
    if index and world_size() > 1:
        raise ValueError(
            f"device={device}: {world_size()} processes would share one GPU; device={kind} gives each its own"
        )
    if kind != "cuda":
        return torch.device(kind)
    number = int(index or os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"device=cuda:{number} is not there; this machine has {torch.cuda.device_count()} CUDA device(s)"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
