"""The memory of a recipe, predicted by steps and a validation pass on tensors without data, and measured in a run."""

import contextlib
import ctypes
import resource
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event, Thread

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from gptx.config.build import build, ingredients
from gptx.distributed.rank import world_size
from gptx.distributed.shards import local
from gptx.estimate.laws import LARGEST_VOCABULARY
from gptx.ingredients.data.corpus import TokenBatch
from gptx.ingredients.data.tokenizers import vocabulary_size
from gptx.ingredients.observe.validation import FORWARD_TOKENS
from gptx.ingredients.parallel import OneProcess, find_device
from gptx.trainer import Trainer, rng_state, set_rng_state
from gptx.units.amounts import memory, whole
from gptx.units.hardware import peak_memory

_CHARACTERS = 1000  # assumed size of a vocabulary that depends on the text
_OFTEN, _SELDOM = 0.003, 1.0  # seconds between two looks
_EVERY = 1 / 500  # of the time that has passed, between these


@dataclass(frozen=True)
class Footprint:
    """Bytes on one device, the most of them at the peak; `state` is what the optimizer keeps of weights, by name."""

    parameters: int  # their number, not bytes
    weights: int
    gradients: int
    state: dict[str, int] = field(default_factory=dict)
    activations: int = 0  # kept after the forward pass of one micro-batch for its backward pass
    step: int = 0  # peak of a training step: all of the above that is alive at once, and temporaries
    validation: int = 0  # peak of a validation pass, with weights and moments; 0 if there is none
    copy: int = 0  # of the state in main memory, written while training goes on

    @property
    def moments(self) -> int:
        return sum(self.state.values())

    @property
    def peak(self) -> int:
        return max(self.step, self.validation)

    def __str__(self) -> str:
        parts = [f"{n} {memory(getattr(self, n))}" for n in ("weights", "gradients", "moments", "activations")]
        parts += [f"validation {memory(self.validation)} in all"] * (self.validation > self.step)
        parts += [f"besides {memory(self.copy)} for the copy that is saved"] * (self.copy > 0)
        return f"{memory(self.peak)} at the peak: " + ", ".join(parts)


class _Live(TorchDispatchMode):
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


class _OnDevice(TokenBatch):
    def to(self, device):
        return self  # tensors without data cannot be moved


class _Blank:
    """Data of the right shape without content; its validation text takes two forward passes."""

    def __init__(self, vocab_size: int, context: int, device: torch.device):
        self.vocab_size, self.context, self.device = vocab_size, context, device
        self.validation_windows = 2 * max(1, FORWARD_TOKENS // context)  # the second finds what the first one left
        self.token_bytes = torch.zeros(vocab_size, dtype=torch.long)  # (V,)

    def __call__(self, first: int, count: int):
        return _OnDevice(*(torch.zeros(count, self.context, dtype=torch.long, device=self.device) for _ in range(2)))

    validation = __call__


def predict_memory(cfg, vocab_size: int) -> Footprint:
    """The footprint of a checked config on its own device, eager, for one process: two steps, then validation; random
    states stay. Raises ValueError for ingredients that cannot compute without values."""
    place = OneProcess(find_device(cfg.device))
    place.world_size = world_size()  # its share of the batch
    observed = {name: build(node) for name, node in (cfg.get("observe") or {}).items() if name == "validation"}
    parts = ingredients(cfg, parallel=place, observe=observed, data=None, checkpoints=None, log=None,
                        compile=lambda model: model, inject=lambda trainer: None)  # fmt: skip
    before, live = rng_state(place.device), _Live()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), live:
            found = _two_steps(parts | {"data": _Blank(vocab_size, cfg.data.context, place.device)}, live)
    except Exception as error:  # an ingredient may raise anything for tensors without values
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"the memory cannot be predicted: {said}") from error
    finally:
        set_rng_state(before, place.device)
    copied = cfg.checkpoints.get("every", cfg.steps) < cfg.steps  # training waits for the last save
    return found if copied else replace(found, copy=0)


def prediction(cfg, vocab_size: int) -> Footprint | str:
    """The footprint, or why there is none: a run whose memory cannot be predicted can still be trained."""
    try:
        return predict_memory(cfg, vocab_size)
    except ValueError as error:
        return str(error)


def vocabulary_of(cfg, vocab: str = "") -> int:
    """The size of the vocabulary: `vocab` if given, else the data's. Raises ValueError for a size that cannot be."""
    return whole("vocab", vocab, most=LARGEST_VOCABULARY, example="50257") if vocab else build(cfg.data).vocab_size


def likely_vocabulary(cfg, otherwise: int = _CHARACTERS) -> int:
    """The size of the vocabulary by the name of the tokenizer, without data; `otherwise` if it depends on the text."""
    return vocabulary_size(str(cfg.data.get("tokenizer"))) or otherwise


def _two_steps(parts: dict, live: _Live) -> Footprint:
    """The footprint of the second step, when the optimizer has its state, and of the observers after it."""
    kept: list[int] = []

    def in_place(**arguments) -> torch.nn.Module:
        built = parts["model"](**arguments)
        built.to = lambda device: built  # PyTorch cannot move parameters without data
        return built

    def watched(objective, network, batch) -> Tensor:
        before, loss = live.bytes, objective(network, batch)
        kept.append(live.bytes - before)
        return loss

    with torch.device(parts["parallel"].device):
        trainer = Trainer(**parts | {"model": in_place})
    trainer.scaler = torch.amp.GradScaler(enabled=False)  # it would judge values, and needs no memory
    few = min(2, trainer.accumulation)  # at the second micro-batch, gradients and activations are alive together
    trainer.batch = replace(trainer.batch, tokens=trainer.batch.tokens // trainer.accumulation * few,
                            micro=trainer.micro_batch, doublings=0, context_doublings=0)  # fmt: skip
    trainer.objective = partial(watched, trainer.objective)
    for _ in range(2):
        live.peak = live.bytes
        trainer.set_learning_rate()
        trainer.accumulate_gradients()
        gradients = storage_bytes(p.grad for p in trainer.model.parameters() if p.grad is not None)
        trainer.update("accept")
    step = live.peak
    for observer in trainer.observers.values():
        live.peak = live.bytes
        observer(trainer)
    state: dict[str, int] = {}
    for name, tensor in named_tensors(trainer.optimizer.state_dict()):
        if tensor.ndim:  # no scalars such as the count of steps
            state[name] = state.get(name, 0) + storage_bytes([tensor])
    copied = storage_bytes(tensor for _, tensor in named_tensors(trainer.state_dict()))
    weights = storage_bytes([*trainer.model.parameters(), *trainer.model.buffers()])
    return Footprint(sum(map(Tensor.numel, trainer.model.parameters())), weights, gradients, state, max(kept), step,
                     validation=live.peak if trainer.observers else 0, copy=copied)  # fmt: skip


def storage_bytes(of: Iterable[Tensor]) -> int:
    """Bytes that this process holds of tensors; a storage that several share counts once."""
    storages = [local(tensor).untyped_storage() for tensor in of]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


def named_tensors(node, key: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dicts and lists, with the nearest key above it."""
    if isinstance(node, Tensor):
        yield key, node
    elif isinstance(node, dict | list | tuple):
        for name, child in node.items() if isinstance(node, dict) else zip([key] * len(node), node, strict=True):
            yield from named_tensors(child, name if isinstance(name, str) else key)


class Meter:
    """The peak of a run's allocated memory, without what was there before besides its weights and moments: on a GPU of
    tensors, as PyTorch records it; on a CPU of all that the C library has handed out, at which a thread looks every few
    milliseconds, later less often. `held` is what is kept from the machine for it, with freed pieces."""

    def __init__(self, device: torch.device):
        self.device = device
        self.peak = self.held = 0  # bytes
        self.before = 0, 0

    @contextlib.contextmanager
    def over(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        own = storage_bytes(tensor for _, tensor in named_tensors([model.state_dict(), optimizer.state_dict()]))
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)  # free memory of an earlier run would be used unseen
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        allocated, kept = _now(self.device)
        self.before = allocated - own, kept - own
        ended = Event()
        watch = Thread(target=self._watch, args=(ended,), name="memory", daemon=True)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()
            self._look()

    def _watch(self, ended: Event) -> None:
        began, wait = time.perf_counter(), _OFTEN
        while self.device.type != "cuda" and not ended.wait(wait):  # there PyTorch records the peak itself
            self._look()
            wait = min(_SELDOM, max(_OFTEN, _EVERY * (time.perf_counter() - began)))

    def _look(self) -> None:
        allocated, kept = _now(self.device)
        self.peak = max(self.peak, allocated - self.before[0])
        self.held = max(self.held, kept - self.before[1])

    def compared_with(self, predicted: Footprint | str) -> str:
        whole = predicted_peak(predicted, self.device)
        expected = predicted if whole is None else f"predicted {memory(whole)}"
        return f"{expected}, measured {memory(self.peak)} ({memory(self.held)} with what the allocator keeps)"


def predicted_peak(predicted: Footprint | str, device: torch.device) -> int | None:
    """Bytes of a prediction that a Meter of the device measures; None if there is no prediction."""
    return None if isinstance(predicted, str) else predicted.peak + predicted.copy * (device.type == "cpu")


class _Mallinfo(ctypes.Structure):  # glibc's struct mallinfo2, see mallinfo(3)
    _fields_ = [("sizes", ctypes.c_size_t * 10)]


def _now(device: torch.device) -> tuple[int, int]:
    """Bytes allocated and bytes held: on a GPU the most since the peak was reset, else those of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    held, file, allocated = peak_memory(), Path("/proc/self/statm"), 0
    if file.exists():  # memory that is no file's
        resident, shared = map(int, file.read_text().split()[1:3])
        held = (resident - shared) * resource.getpagesize()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc from 2.33 on
        mallinfo = ctypes.CDLL(None).mallinfo2
        mallinfo.restype = _Mallinfo
        sizes = mallinfo().sizes  # 4 is hblkhd, 7 is uordblks
        allocated = sizes[4] + sizes[7]
    return allocated or held, held
