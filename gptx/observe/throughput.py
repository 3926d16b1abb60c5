"""How well the machine is used."""

import logging
import re
import resource
import sys
import time

import torch

from gptx.lengths import Length
from gptx.observe.observer import Observer

log = logging.getLogger(__name__)

# Dense operations a second that the vendor's data sheets name for (16-bit, TF32, FP32); the first name that fits counts
PEAKS = {
    r"B200": (2250e12, 1125e12, 75e12),
    r"H100 PCIe": (756e12, 378e12, 51.2e12),
    r"H100 NVL": (835e12, 417.5e12, 60e12),
    r"H[12]00": (989.4e12, 494.7e12, 66.9e12),
    r"A100": (312e12, 156e12, 19.5e12),
    r"A10": (125e12, 62.5e12, 31.2e12),
    r"RTX A6000": (154.8e12, 77.4e12, 38.7e12),
    r"L40S": (362e12, 183e12, 91.6e12),
    r"L4": (121e12, 60e12, 30.3e12),
    r"RTX 4090": (165.2e12, 82.6e12, 82.6e12),
    r"RTX 3090": (71e12, 35.6e12, 35.6e12),
    r"T4": (65e12, 8.1e12, 8.1e12),
    r"V100": (125e12, 15.7e12, 15.7e12),
}
PROBE_SECONDS = 0.15


class Throughput(Observer):
    """Tokens per second of the wall clock since the last report, with everything between included, and MFU.

    MFU (arXiv:2204.02311, appendix B) is the operations that the model needs over those that the devices could do; the
    peak is the data sheet's, or measured at the start where none is known. `data_share` is the share of the clock
    spent on reading data, and `peak_bytes` the most memory that any process held: the device's, else its own.
    """

    def __init__(self, *, every: Length):
        super().__init__(every=Length(1))  # to add up every update's wait
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 update")
        self.period = every

    def attach(self, trainer) -> None:
        device = trainer.parallel.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
        dtype = computed_in(trainer)
        tf32 = torch.get_float32_matmul_precision() != "highest"
        known = data_sheet(name, dtype, tf32) if device.type == "cuda" else None
        self.peak = known or measured_peak(device, dtype)
        if trainer.parallel.rank == 0:
            source = (
                f"the data sheet's of {name}" if known else "measured by a matrix product, since no data sheet is known"
            )
            log.info("MFU is of %.4g TFLOP/s a process, %s", self.peak / 1e12, source)
        flops = getattr(trainer.model, "flops_per_token", None)
        self.flops = flops() if flops else 6 * sum(p.numel() for p in trainer.model.parameters())
        self.begin(trainer)

    def begin(self, trainer) -> None:
        self.started, self.first, self.waited = time.perf_counter(), trainer.cursor, 0.0

    def __call__(self, trainer) -> dict[str, float]:
        self.waited += trainer.waited
        if trainer.step % self.period and not trainer.finished:
            return {}
        seconds, parallel = time.perf_counter() - self.started, trainer.parallel
        speed = (trainer.cursor - self.first) * trainer.data.context / seconds
        shares, peaks, memory = zip(
            *parallel.gather((self.waited / seconds, self.peak, peak_bytes(parallel.device))), strict=True
        )
        self.begin(trainer)
        return {
            "throughput/tokens_per_second": speed,
            "throughput/mfu": self.flops * speed / sum(peaks),
            "throughput/peak_flops": sum(peaks),
            "throughput/data_share": sum(shares) / len(shares),
            "memory/peak_bytes": max(memory),
        }


def data_sheet(name: str, dtype: torch.dtype, tf32: bool) -> float | None:
    """Dense peak of the GPU of that name for products in `dtype`, in operations a second; None where it is unknown.

    >>> data_sheet("NVIDIA A100-SXM4-80GB", torch.bfloat16, tf32=False)
    312000000000000.0
    """
    if "Laptop" in name or (dtype == torch.bfloat16 and re.search(r"\b(T4|V100)\b", name)):  # those only imitate bf16
        return None
    column = 0 if dtype.itemsize == 2 else 1 if tf32 else 2
    return next((peaks[column] for words, peaks in PEAKS.items() if re.search(rf"\b{words}\b", name)), None)


def computed_in(trainer) -> torch.dtype:
    """The type of the training's large products."""
    device, weight = trainer.parallel.device, next(trainer.model.parameters())
    with trainer.precision.autocast(device):
        one = torch.ones(1, 1, dtype=weight.dtype, device=device)
        return (one @ one).dtype


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the quickest of a few square products, larger and larger while time allows."""
    best, began = 0.0, wall(device)
    for size in (128, 128, 256, 512, 512, 1024, 1024, 1024, 4096, 4096):
        operations, square = 2 * size**3, torch.ones(size, size, dtype=dtype, device=device)
        started = wall(device)
        if best and started - began + operations / best > PROBE_SECONDS:
            break
        square @ square
        best = max(best, operations / (wall(device) - started))
    return best


def wall(device: torch.device) -> float:
    """The clock, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_bytes(device: torch.device) -> int:
    """The most memory held so far: by tensors on a CUDA device, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes, Linux in KiB
