"""Where this process computes, and how several of them agree. `OneProcess` says what a way to do it must have."""

import atexit
import os
import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gptx.distributed.rank import world_size
from gptx.distributed.shards import like, split


class OneProcess:
    """One process on one device: every agreement is trivial."""

    rank, world_size = 0, 1
    writers = 1  # how many processes have a part of the state that must be saved

    def __init__(self, device: torch.device):
        self.device = device

    def part(self, state: dict) -> dict | None:
        """What this process has to save of the trainer's state; None if others save all of it."""
        return state if self.rank == 0 else None

    def placed(self, state: dict, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
        """The trainer's whole state, with the model's and optimizer's replaced by what this process holds of them."""
        return state

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network that runs."""
        return model

    def sync(self, network: nn.Module, last: bool) -> AbstractContextManager:
        """Context of one micro-batch; only the `last` of a step exchanges gradients."""
        return nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        """`value` summed over all processes."""
        return value

    def gather(self, value) -> list:
        """`value` of every process, in the order of their ranks."""
        return [value]


class _Replicas(OneProcess):
    def __init__(self, device: torch.device):
        if not dist.is_initialized():  # once per process: creating it again for the next job is a race
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)
        self.device, self.rank, self.world_size = device, dist.get_rank(), dist.get_world_size()

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


class _Sharded(_Replicas):
    """Each process holds rows of every weight, gradient and moment; a block is whole while it computes (FSDP2;
    arXiv:2304.11277), with `reshard` not between its passes. Gradients are whole before the last micro-batch."""

    def __init__(self, device: torch.device, *, reshard: bool):
        super().__init__(device)
        self.reshard, self.writers = reshard, self.world_size

    def part(self, state: dict) -> dict | None:
        return split(state, self.rank)

    def placed(self, state: dict, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
        weights = {name: like(state["model"][name], held) for name, held in model.state_dict().items()}
        held = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
        moments = {
            i: {name: like(value, held[i]) if isinstance(value, Tensor) else value for name, value in kept.items()}
            for i, kept in state["optimizer"]["state"].items()
        }
        return state | {"model": weights, "optimizer": state["optimizer"] | {"state": moments}}

    def wrap(self, model: nn.Module) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        refuse_unshardable(model)
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # logits are not changed in place
        mesh = init_device_mesh(self.device.type, (self.world_size,))
        for module in (*model.blocks, model):  # type: ignore[misc]
            fully_shard(module, mesh=mesh, reshard_after_forward=self.reshard)
            if self.device.type != "cuda":  # gloo sums, and does not average
                module.set_force_sum_reduction_for_comms(True)
        if not self.reshard:
            model.register_forward_hook(_free_after_evaluation)
        return model

    def sync(self, network: nn.Module, last: bool) -> AbstractContextManager:
        network.set_requires_gradient_sync(last)  # type: ignore[operator]
        network.set_is_last_backward(last)  # type: ignore[operator]
        return nullcontext()


def refuse_unshardable(model: nn.Module) -> None:
    if hasattr(model, "_orig_mod"):
        raise ValueError("parallel=fsdp shards blocks, which compile=compiled fuses; use compile=eager or parallel=ddp")
    if not hasattr(model, "blocks"):
        raise ValueError(f"parallel=fsdp: {type(model).__name__} has no `blocks` to shard one by one; use parallel=ddp")
    if any(type(module).__name__ == "Float8Linear" for module in model.modules()):
        raise ValueError("parallel=fsdp with precision=fp8 is untried; use precision=bf16 or parallel=ddp")
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            raise ValueError(f"parallel=fsdp shards weights in fp32, {name} is {parameter.dtype}; use precision=bf16")


def _free_after_evaluation(model: nn.Module, inputs, output) -> None:
    if not torch.is_grad_enabled():  # whole weights without a backward pass would outlive a change of the shards
        for module in model.modules():
            if hasattr(module, "reshard"):
                module.reshard()  # type: ignore[operator]


def ddp(*, device: str = "auto") -> OneProcess:
    """Data parallelism over torchrun's processes; `device` is auto (cuda, mps, else cpu), cpu, cuda, cuda:1 or mps."""
    place = find_device(device)
    return OneProcess(place) if world_size() == 1 else _Replicas(place)


def fsdp(*, device: str = "auto", reshard: bool = True) -> OneProcess:
    """Weights, gradients and moments sharded over the processes that torchrun started; `device` as in `ddp`."""
    place = find_device(device)
    return OneProcess(place) if world_size() == 1 else _Sharded(place, reshard=reshard)


def find_device(device: str) -> torch.device:
    """The torch device of that name; several processes on one machine take one GPU each."""
    here = ["cpu"] + ["mps"] * torch.backends.mps.is_available() + ["cuda"] * torch.cuda.is_available()
    kind, _, index = (here[-1] if device == "auto" else device).partition(":")
    if kind not in here or (index and not index.isdigit()):
        raise ValueError(f"device={device} is not there; this machine has {', '.join(here)}")
    if index and world_size() > 1:
        raise ValueError(f"device={device}: {world_size()} processes would share one GPU; use device={kind}")
    if kind != "cuda":
        return torch.device(kind)
    number, count = int(index or os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise ValueError(f"device=cuda:{number} is not there; this machine has {count} CUDA device(s)")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
