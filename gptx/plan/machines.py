"""Where a training could run: how long it takes there, what it costs, and whether it fits."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gptx.estimate.effort import Effort
from gptx.estimate.memory import Footprint
from gptx.show.table import Table, terminal
from gptx.units.amounts import amount, memory
from gptx.units.hardware import DEVICES, Device, device_named

_SHOWN = "h200", "h100", "a100", "l40s", "rtx4090", "t4"  # if no device is asked for
BUSY = 85e6  # parameters: smaller models leave a GPU idle between their small products
_LARGEST = max(DEVICES, key=lambda device: device.memory)


@dataclass(frozen=True)
class Hardware:
    """Some devices of one kind, or of any kind; `price` is of one for an hour."""

    device: Device | None = None
    devices: int = 1
    price: float | None = None


def hardware_of(hardware: str = "", devices: int = 1, price: float | None = None) -> Hardware:
    """The place that options mean. Raises ValueError for one that cannot be."""
    if devices < 1:
        raise ValueError(f"devices={devices}: how many there are, at least 1")
    if price is not None and not 0 < price < math.inf:
        raise ValueError(f"price={price}: the price of one device for an hour, such as 2.5")
    if price and not hardware:
        raise ValueError(f"price={price}: of which device? add hardware=h100")
    return Hardware(device_named(hardware) if hardware else None, devices, price)


def time_and_room(where: Hardware, spent: Effort, precision, found: Footprint | str, shards: int) -> Iterator[str]:
    """Time, cost and memory at a place; without a device the time on several, and whether none is large enough."""
    shown = [where.device] if where.device else [device for device in DEVICES if device.name in _SHOWN]
    rows = [_row(device, spent, precision, where) for device in shown]
    if spent.parameters < BUSY:
        yield "not predicted for a GPU: a model so small leaves it idle between products; probe=true measures here"
    elif where.device is None:
        title = f"of the steps alone, on {where.devices} (hardware=NAME shows one, with price= its cost)"
        yield from terminal(Table(title, ("", "time", "share of the peak", "source"), rows, names=4))
    else:
        name, time, share, source = rows[0]
        yield from [f"{name}: {share} ({source})", time] if share else [f"{name} {time}"]
    if isinstance(found, Footprint) and (where.device or required(found, shards) > _LARGEST.memory):
        yield room_on(found, where.device or _LARGEST, shards=shards)


def seconds(spent: Effort, device: Device, form: str, devices: int = 1) -> float | None:
    """Time of the steps at the device's usual share of its peak; None for a format that it does not have."""
    peak = device.peak(form)
    return spent.flops / (peak * device.mfu * devices) if peak else None


def form(precision, device: Device) -> str:
    """The format of the large products there, a key of `Device.peak`; fp8 counts as bf16 on a device that has it."""
    if precision.compute == "auto":
        return "bf16" if device.bf16 else "fp32"
    if precision.compute == "fp8":
        return "bf16" if device.fp8 else "fp8"
    return "tf32" if precision.tf32 else precision.compute


def _row(device: Device, spent: Effort, precision, where: Hardware) -> tuple[str, str, str, str]:
    """A device, time and cost there, the share of its peak that trainings reach (38% of 989.4 TFLOP/s), its source."""
    used = form(precision, device)
    whole = seconds(spent, device, used, where.devices)
    if whole is None:
        return device.name, f"has no {used}: precision={'bf16, ' * device.bf16}fp16 or fp32", "", ""
    share = f"{device.mfu:.0%} of {(device.peak(used) or 0) / 1e12:,.4g} TFLOP/s in {used}"
    alike = "" if used in ("bf16", "fp16") else f", seen in 16 bits and assumed for {used}"
    hours, time = whole * where.devices / 3600, _lasting(whole)
    if where.device:
        cost = f", {amount(hours * where.price)} at {where.price:g} each, without energy" if where.price else ""
        time += f" on {where.devices}, {amount(hours)} device-hours{cost}; without validation and saves"
    return device.name, time, share, device.source + alike


def required(found: Footprint, shards: int) -> int:
    """Peak bytes on a device that holds one of this many shards of weights, gradients and moments."""
    state = found.weights + found.moments  # a validation pass, if there is one, has no gradients
    phases = (found.step, state + found.gradients), (found.validation, state * bool(found.validation))
    return max(peak - sharded + sharded // shards for peak, sharded in phases)


def room_on(found: Footprint, device: Device, *, shards: int = 1) -> str:
    """Whether a footprint fits on a device, and what would help if it does not."""
    need = required(found, shards)
    said = f"{memory(need)} at the peak{f', with 1/{shards} of weights, gradients and moments' * (shards > 1)}"
    its = f"on {device.name} with its {memory(device.memory)}"
    if need <= device.memory:
        return f"{said}: fits {its}"
    there = f"larger than any listed hardware, of which {_LARGEST.name} has the most, {memory(_LARGEST.memory)}"
    if need <= _LARGEST.memory:
        enough = min((other for other in DEVICES if other.memory >= need), key=lambda other: other.memory)
        there = f"does not fit {its}; the smallest that is listed and large enough is {enough.name}"
    return f"{said}: {there}; a smaller batch.micro, memory=recompute or more devices with parallel=fsdp may help"


def _lasting(seconds: float) -> str:
    """A time in short.

    >>> _lasting(12), _lasting(5400), _lasting(86400 * 3)
    ('12 s', '1.5 h', '3 days')
    """
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"
