"""Hardware: cores and memory of this machine; named devices, their data sheets and the share of the peak they reach."""

import difflib
import os
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Device:
    """Peaks are dense FLOP/s; `memory` is bytes by the data sheet, of which drivers show up to 7 % more (150.8e9 of an
    H200's 141e9); `mfu` is the share of the 16-bit peak that trainings of 124M parameters reached, at nanoGPT's count
    of 8.547e8 FLOPs a token (`GPT.flops_per_token`)."""

    name: str
    called: str  # a pattern of what the driver calls it
    memory: float
    half: float  # in 16 bits
    tf32: float
    fp32: float
    mfu: float = 0.35
    source: str = "assumed, no figure is known"
    bf16: bool = True  # bf16 and tf32 in hardware (compute capability 8.0)
    fp8: bool = False  # compute capability 8.9

    def peak(self, form: str) -> float | None:
        """Dense FLOP/s in bf16, fp16, tf32 or fp32; None for a format that the device does not have."""
        found = {"bf16": self.half, "fp16": self.half, "tf32": self.tf32, "fp32": self.fp32}
        return found.get(form) if self.bf16 or form in ("fp16", "fp32") else None


_RUNS = "modded-nanogpt, track 3"
DEVICES = (
    Device("b200", r"B200", 180e9, 2250e12, 1125e12, 75e12, 0.23, f"612k tokens/s on one of 8, {_RUNS}", fp8=True),
    Device("h200", r"H200", 141e9, 989.4e12, 494.7e12, 66.9e12, 0.42, f"490k tokens/s on one, {_RUNS}", fp8=True),
    Device("h100-pcie", r"H100 PCIe", 80e9, 756e12, 378e12, 51.2e12, fp8=True),
    Device("h100-nvl", r"H100 NVL", 94e9, 835e12, 417.5e12, 60e12, fp8=True),
    Device("h100", r"H100", 80e9, 989.4e12, 494.7e12, 66.9e12, 0.38, f"442k tokens/s on one of 8, {_RUNS}; llm.c 40 %",
           fp8=True),
    Device("a100-40gb", r"A100\b.*40GB", 40e9, 312e12, 156e12, 19.5e12, 0.49, "178k tokens/s on one, llm.c"),
    Device("a100", r"A100", 80e9, 312e12, 156e12, 19.5e12, 0.49, "178k tokens/s on one, llm.c; build-nanogpt 50 %"),
    Device("a10", r"A10", 24e9, 125e12, 62.5e12, 31.2e12),
    Device("a6000", r"RTX A6000", 48e9, 154.8e12, 77.4e12, 38.7e12),
    Device("l40s", r"L40S", 48e9, 362e12, 183e12, 91.6e12, 0.18, f"76k tokens/s on one of 8, {_RUNS}", fp8=True),
    Device("l4", r"L4", 24e9, 121e12, 60e12, 30.3e12, fp8=True),
    Device("rtx4090", r"RTX 4090", 24e9, 165.2e12, 82.6e12, 82.6e12, fp8=True),
    Device("rtx3090", r"RTX 3090", 24e9, 71e12, 35.6e12, 35.6e12),
    Device("t4", r"T4", 16e9, 65e12, 0.0, 8.1e12, bf16=False),
    Device("v100", r"V100", 16e9, 125e12, 0.0, 15.7e12, bf16=False),
)  # fmt: skip


def device_named(word: str) -> Device:
    """The device of that name, in any spelling (RTX 4090, rtx-4090). Raises ValueError with the nearest name."""
    by_name = {device.name.replace("-", ""): device for device in DEVICES}
    plain = re.sub(r"[\s_-]", "", word.lower())
    if plain in by_name:
        return by_name[plain]
    close = [by_name[name].name for name in difflib.get_close_matches(plain, by_name, n=1)]
    advice = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(device.name for device in DEVICES)}"
    raise ValueError(f"hardware={word}: no such device; {advice}")


def recognised(called: str) -> Device | None:
    """The device that a driver's name means; None for an unknown one, such as a laptop's."""
    fitting = (device for device in DEVICES if re.search(rf"\b{device.called}\b", called))
    return None if "Laptop" in called else next(fitting, None)


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_memory() -> int:
    """Bytes of main memory of this machine, or of the container that limits it."""
    limit = Path("/sys/fs/cgroup/memory.max")
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine, int(limit.read_text())) if limit.exists() and limit.read_text().strip().isdigit() else machine


def peak_memory() -> int:
    """The most bytes of main memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage starts from what the parent process held
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
