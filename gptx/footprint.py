"""The memory of a training run: predicted by making updates on tensors without data, and measured afterwards."""

import contextlib
import ctypes
import resource
import sys
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from gptx.shards import local
from gptx.trainer import Trainer, rng_state, set_rng_state


@dataclass(frozen=True)
class Footprint:
    """Bytes on one device; `state` is what the optimizer keeps of every weight, by name."""

    parameters: int  # their number, not bytes
    weights: int
    gradients: int
    state: dict[str, int] = field(default_factory=dict)
    activations: int = 0  # kept at the end of the forward pass of one micro-batch for the backward pass
    peak: int = 0  # of an update: all of the above that is alive at once, and what is needed for a moment only

    @property
    def moments(self) -> int:
        """All that the optimizer keeps."""
        return sum(self.state.values())

    def __str__(self) -> str:
        names = "weights", "gradients", "moments", "activations"
        return f"{spelled(self.peak)} at the peak: " + ", ".join(f"{n} {spelled(getattr(self, n))}" for n in names)


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive; code that asks a tensor without data for its value gets 1."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known: dict[int, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            return 1.0
        result = function(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.count, result)
        return result

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known[storage._cdata] = storage.nbytes()
            self.bytes += storage.nbytes()
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self.forget, storage._cdata)

    def forget(self, name: int) -> None:
        self.bytes -= self.known.pop(name)


class Blank:
    """Data of the right shape and without content."""

    def __init__(self, vocab_size: int, context: int, device: torch.device):
        self.vocab_size, self.context, self.device = vocab_size, context, device

    def __call__(self, first: int, count: int):
        from gptx.data.corpus import TokenBatch

        class There(TokenBatch):
            """A batch that is already on its device; the way there cannot be gone without data."""

            def to(self, device):
                return self

        return There(*(torch.zeros(count, self.context, dtype=torch.long, device=self.device) for _ in range(2)))


def predict(ingredients: dict, *, vocab_size: int, context: int) -> Footprint:
    """What a Trainer of these ingredients needs, eager and without observers: it makes two updates without data.

    Whatever the ingredients allocate is counted as they do it; no formula knows them. Random states stay. Raises
    ValueError for ingredients that cannot compute without values.
    """
    device = ingredients["parallel"].device
    before = rng_state(device)
    live = Live()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), live:
            return two_updates(ingredients, Blank(vocab_size, context, device), live)
    except Exception as error:  # however an ingredient takes it that tensors have no values
        raise ValueError(f"the memory cannot be predicted: {first_line(error)}") from error
    finally:
        set_rng_state(before, device)


def first_line(error: Exception) -> str:
    """What an error says first, or what it is."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def two_updates(ingredients: dict, data: Blank, live: Live) -> Footprint:
    """The footprint of the second update, in which the optimizer has its state."""
    blank = {
        "data": data,
        "inject": lambda trainer: None,
        "compile": lambda model: model,
        "model": partial(in_place, ingredients["model"]),
    }
    with torch.device(ingredients["parallel"].device):
        trainer = Trainer(**ingredients | blank)
    trainer.scaler = torch.amp.GradScaler(enabled=False)  # it would judge values, and needs no memory
    few = min(2, trainer.accumulation)  # the second micro-batch has gradients beside its activations
    trainer.batch = replace(trainer.batch, tokens=trainer.batch.tokens // trainer.accumulation * few,
                            micro=trainer.micro_batch, doublings=0, context_doublings=0)  # fmt: skip
    kept: list[int] = []
    trainer.objective = partial(watched, trainer.objective, live, kept)
    for _ in range(2):
        live.peak = live.bytes
        trainer.set_learning_rate()
        trainer.accumulate_gradients()
        gradients = size(p.grad for p in trainer.model.parameters() if p.grad is not None)
        trainer.update("accept")
    return Footprint(
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        weights=size([*trainer.model.parameters(), *trainer.model.buffers()]),
        gradients=gradients,
        state=by_name(trainer.optimizer.state_dict()),
        activations=max(kept),
        peak=live.peak,
    )


def in_place(model, **arguments) -> torch.nn.Module:
    """The model where it was built; PyTorch cannot move parameters without data."""
    built = model(**arguments)
    built.to = lambda device: built
    return built


def watched(objective, live: Live, kept: list[int], network, batch) -> Tensor:
    """The objective's loss; what it leaves alive goes to `kept`."""
    before = live.bytes
    loss = objective(network, batch)
    kept.append(live.bytes - before)
    return loss


def size(tensors: Iterable[Tensor]) -> int:
    """Bytes that this process holds of tensors, of those that share their storage once."""
    storages = [local(tensor).untyped_storage() for tensor in tensors]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


def by_name(state: dict) -> dict[str, int]:
    """Bytes of the tensors in an optimizer's state, by their key, without scalars such as the count of updates."""
    found: dict[str, int] = {}
    for name, tensor in named(state):
        if tensor.ndim:
            found[name] = found.get(name, 0) + size([tensor])
    return found


def named(node, key: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor below, with the key that it is nearest to."""
    if isinstance(node, Tensor):
        yield key, node
    items: Iterable = ()
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list | tuple):
        items = ((key, child) for child in node)
    for name, child in items:
        yield from named(child, name if isinstance(name, str) else key)


class Meter:
    """Measures a run from now on: the most memory, less what the process held beside the weights when it began.

    On a GPU these are the tensors; on a CPU the whole process, with what its allocator keeps of what was freed.
    """

    def __init__(self, device: torch.device, model: torch.nn.Module):
        self.device, weights = device, size([*model.parameters(), *model.buffers()])
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with contextlib.suppress(OSError, AttributeError):  # elsewhere than on Linux the peak is the whole process's
            ctypes.CDLL(None).malloc_trim(0)  # what an earlier run of this process left would be used unseen
            Path("/proc/self/clear_refs").write_text("5")
        self.before = (torch.cuda.memory_allocated(device) if device.type == "cuda" else resident()) - weights

    def peak(self) -> int:
        """Bytes at the highest."""
        high = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else highest()
        return high - self.before

    def beside(self, predicted: Footprint | str) -> str:
        """The measured peak, beside what was predicted."""
        foreseen = f"predicted {spelled(predicted.peak)}" if isinstance(predicted, Footprint) else predicted
        return f"{foreseen}, measured {spelled(self.peak())}"


def spelled(size: int) -> str:
    """Bytes in short: 1.30 GB."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def resident() -> int:
    """Bytes of memory that the process holds."""
    return status("VmRSS:") or highest()


def highest() -> int:
    """The most bytes of memory that the process held."""
    scale = 1 if sys.platform == "darwin" else 1024
    return status("VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def status(name: str) -> int:
    """Bytes that Linux says of this process under a name; 0 where it does not."""
    file = Path("/proc/self/status")
    return int(file.read_text().split(name)[1].split()[0]) * 1024 if file.exists() else 0
