"""How well the machine is used."""

import logging
import time

import torch

from gptx.ingredients.observe import Observer
from gptx.units.hardware import peak_memory, recognised
from gptx.units.lengths import Length

log = logging.getLogger(__name__)
PROBE_SECONDS = 0.15


class Throughput(Observer):
    """Tokens per second of wall-clock time since the last report, and MFU (arXiv:2204.02311, appendix B): the FLOPs
    that the model needs over those of the devices by data sheet, else measured first. `data_share` is the share of
    the time spent on reading data, `peak_bytes` the most memory that any process held: the device's, else its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.period, self.every = self.every, Length(1)  # to add up every step's wait

    def attach(self, trainer) -> None:
        device, dtype = trainer.parallel.device, computed_in(trainer)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        known = data_sheet(name, dtype, torch.get_float32_matmul_precision() != "highest")
        self.peak = known or measured_peak(device, dtype)
        if trainer.parallel.rank == 0:
            source = f"from the data sheet of {name}" if known else "measured by a matrix product"
            log.info("the peak for MFU is %.4g TFLOP/s a process, %s", self.peak / 1e12, source)
        flops = getattr(trainer.model, "flops_per_token", None)
        self.flops = flops() if flops else 6 * sum(p.numel() for p in trainer.model.parameters())
        self.begin()

    def begin(self) -> None:
        self.started, self.tokens, self.waited = time.perf_counter(), 0, 0.0

    def __call__(self, trainer) -> dict[str, float]:
        self.waited, self.tokens = self.waited + trainer.waited, self.tokens + trainer.batch.tokens_at(trainer.step)
        if trainer.step % self.period and not trainer.finished:
            return {}
        seconds, device = time.perf_counter() - self.started, trainer.parallel.device
        speed = self.tokens / seconds
        held = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
        shares, peaks, memory = zip(*trainer.parallel.gather((self.waited / seconds, self.peak, held)), strict=True)
        self.begin()
        return {
            "throughput/tokens_per_second": speed,
            "throughput/mfu": self.flops * speed / sum(peaks),
            "throughput/peak_flops": sum(peaks),
            "throughput/data_share": sum(shares) / len(shares),
            "memory/peak_bytes": max(memory),
        }


def data_sheet(name: str, dtype: torch.dtype, tf32: bool) -> float | None:
    """Dense peak of the GPU of that name for products in `dtype`, in FLOP/s; None where it is unknown."""
    form = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "tf32" if tf32 else "fp32")
    return device.peak(form) if (device := recognised(name)) else None


def computed_in(trainer) -> torch.dtype:
    device = trainer.parallel.device
    one = torch.ones(1, 1, dtype=next(trainer.model.parameters()).dtype, device=device)
    with trainer.precision.autocast(device):
        return (one @ one).dtype


def measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of a few square products, larger and larger while time allows."""
    best, began = 0.0, wall(device)
    for size in (128, 128, 256, 512, 512, 1024, 1024, 1024, 4096, 4096):
        flops, square = 2 * size**3, torch.ones(size, size, dtype=dtype, device=device)
        started = wall(device)
        if best and started - began + flops / best > PROBE_SECONDS:
            break
        square @ square
        best = max(best, flops / (wall(device) - started))
    return best


def wall(device: torch.device) -> float:
    """The time in seconds, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
