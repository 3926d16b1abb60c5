"""The memory of a training run, measured."""

import contextlib
import ctypes
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import torch

from gptx.estimate.footprint import Footprint, named, size
from gptx.units.amounts import memory

OFTEN, SELDOM = 0.003, 1.0  # seconds between two looks
EVERY = 1 / 500  # of the time that has passed, between these


class Meter:
    """The most memory that a run allocated at once, less what there was beside its weights and moments at the start.

    On a GPU these are the tensors, as PyTorch counts them. On a CPU it is all that the C library had handed out to the
    process: looked at, since nobody counts it, every few milliseconds at first and more and more seldom. `held` is what
    was kept of the machine for it, more than what is in use: freed memory in pieces that nothing new fits into.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.peak = self.held = 0  # bytes
        self.before = 0, 0

    @contextlib.contextmanager
    def over(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Measure what happens inside."""
        own = size(tensor for _, tensor in named([model.state_dict(), optimizer.state_dict()]))
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)  # what an earlier run of this process left would be used unseen
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        allocated, kept = now(self.device)
        self.before = allocated - own, kept - own
        ended = Event()
        watch = Thread(target=self.watch, args=(ended,), name="memory", daemon=True)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()
            self.look()

    def watch(self, ended: Event) -> None:
        """Look again and again; of a GPU PyTorch counts the most itself."""
        began = time.perf_counter()
        while self.device.type != "cuda" and not ended.wait(
            min(SELDOM, max(OFTEN, EVERY * (time.perf_counter() - began)))
        ):
            self.look()

    def look(self) -> None:
        """Take note of what is there now; on a GPU, of the most that there was."""
        allocated, kept = now(self.device)
        self.peak = max(self.peak, allocated - self.before[0])
        self.held = max(self.held, kept - self.before[1])

    def beside(self, predicted: Footprint | str) -> str:
        """The measured peak, beside what was predicted."""
        whole = total(predicted, self.device)
        foreseen = predicted if whole is None else f"predicted {memory(whole)}"
        return f"{foreseen}, measured {memory(self.peak)} ({memory(self.held)} with what the allocator keeps)"


def total(predicted: Footprint | str, device: torch.device) -> int | None:
    """What of a prediction will be in the memory that is measured; None where there is none."""
    if isinstance(predicted, str):
        return None
    return predicted.peak + (predicted.copy if device.type == "cpu" else 0)


def now(device: torch.device) -> tuple[int, int]:
    """Bytes allocated and bytes held: on a GPU the most since the peak was reset, else those of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    held = anonymous()
    return handed_out() or held, held


class Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2; see mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def handed_out() -> int:
    """Bytes that the process was given by malloc and has not freed; 0 elsewhere than in glibc 2.33 and later."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return 0
    mallinfo.restype = Mallinfo
    found = mallinfo()
    return found.uordblks + found.hblkhd


def anonymous() -> int:
    """Bytes of memory of the process that are no file's; where Linux does not say, the most that it held of all."""
    file = Path("/proc/self/statm")
    if file.exists():
        resident, shared = map(int, file.read_text().split()[1:3])
        return (resident - shared) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
