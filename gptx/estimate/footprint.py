"""The memory of a training run, predicted: updates and a validation pass are made on tensors without data."""

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from gptx.distributed.shards import local
from gptx.ingredients.observe.validation import FORWARD_TOKENS
from gptx.trainer import Trainer, rng_state, set_rng_state
from gptx.units.amounts import memory


@dataclass(frozen=True)
class Footprint:
    """Bytes on one device; `state` is what the optimizer keeps of every weight, by name."""

    parameters: int  # their number, not bytes
    weights: int
    gradients: int
    state: dict[str, int] = field(default_factory=dict)
    activations: int = 0  # kept at the end of the forward pass of one micro-batch for the backward pass
    update: int = 0  # the most of an update: all of the above that is alive at once, and what is needed for a moment
    validation: int = 0  # the most of a validation pass, with weights and moments; 0 where there is none
    copy: int = 0  # of the state, in the host's memory, which is written while training goes on

    @property
    def moments(self) -> int:
        """All that the optimizer keeps."""
        return sum(self.state.values())

    @property
    def peak(self) -> int:
        """The most that the device holds of the run's tensors."""
        return max(self.update, self.validation)

    def __str__(self) -> str:
        names = "weights", "gradients", "moments", "activations"
        parts = [f"{n} {memory(getattr(self, n))}" for n in names]
        parts += [f"validation {memory(self.validation)} in all"] * (self.validation > self.update)
        parts += [f"beside it {memory(self.copy)} for the copy that is saved"] * (self.copy > 0)
        return f"{memory(self.peak)} at the peak: " + ", ".join(parts)


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
    """Data of the right shape and without content, of which two forward passes are for validation."""

    def __init__(self, vocab_size: int, context: int, device: torch.device):
        self.vocab_size, self.context, self.device = vocab_size, context, device
        self.validation_windows = 2 * max(1, FORWARD_TOKENS // context)  # the second finds what the first one left
        self.token_bytes = torch.zeros(vocab_size, dtype=torch.long)  # (V,)

    def __call__(self, first: int, count: int):
        from gptx.ingredients.data.corpus import TokenBatch

        class There(TokenBatch):
            """A batch that is already on its device; the way there cannot be gone without data."""

            def to(self, device):
                return self

        return There(*(torch.zeros(count, self.context, dtype=torch.long, device=self.device) for _ in range(2)))

    validation = __call__


def predict(ingredients: dict, *, vocab_size: int, context: int, copied: bool) -> Footprint:
    """What a Trainer of these ingredients needs, eager: it makes two updates without data, then calls its observers,
    which should be validation alone. `copied` says that the state is saved while training goes on.

    Whatever the ingredients allocate is counted as they do it; no formula knows them. Random states stay. Raises
    ValueError for ingredients that cannot compute without values.
    """
    device = ingredients["parallel"].device
    before = rng_state(device)
    live = Live()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), live:
            return two_updates(ingredients, Blank(vocab_size, context, device), live, copied=copied)
    except Exception as error:  # however an ingredient takes it that tensors have no values
        raise ValueError(f"the memory cannot be predicted: {first_line(error)}") from error
    finally:
        set_rng_state(before, device)


def first_line(error: Exception) -> str:
    """What an error says first, or what it is."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def two_updates(ingredients: dict, data: Blank, live: Live, *, copied: bool) -> Footprint:
    """The footprint of the second update, in which the optimizer has its state, and of what observes after it."""
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
    update = live.peak
    for observer in trainer.observers.values():
        live.peak = live.bytes
        observer(trainer)
    return Footprint(
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        weights=size([*trainer.model.parameters(), *trainer.model.buffers()]),
        gradients=gradients,
        state=by_name(trainer.optimizer.state_dict()),
        activations=max(kept),
        update=update,
        validation=live.peak if trainer.observers else 0,
        copy=size(tensor for _, tensor in named(trainer.state_dict())) if copied else 0,
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
