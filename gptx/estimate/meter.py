"""The memory of a training run, measured."""

import contextlib
import ctypes
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import torch

from gptx.estimate.memory import Footprint, named_tensors, storage_bytes
from gptx.units.amounts import memory
from gptx.units.hardware import peak_memory

_OFTEN, _SELDOM = 0.003, 1.0  # seconds between two looks
_EVERY = 1 / 500  # of the time that has passed, between these


class Meter:
    """The peak of a run's allocated memory, without what was there before besides its weights and moments.

    On a GPU it counts tensors, as PyTorch does. On a CPU it counts all that the C library has handed out to the
    process; nobody records that peak, so a thread looks every few milliseconds, and later less often. `held` is the
    memory kept from the machine for it: larger, since freed pieces that nothing new fits into stay.
    """

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
    if isinstance(predicted, str):
        return None
    return predicted.peak + (predicted.copy if device.type == "cpu" else 0)


class _Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2, see mallinfo(3): ten sizes, of which 4 is hblkhd and 7 is uordblks."""

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
        sizes = mallinfo().sizes
        allocated = sizes[4] + sizes[7]
    return allocated or held, held
