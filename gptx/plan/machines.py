"""Where a training could run: how long it takes there, what it costs, and whether it fits."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gptx.estimate.effort import Effort
from gptx.estimate.footprint import Footprint
from gptx.units.amounts import memory
from gptx.units.hardware import DEVICES, Device, device_named

SHOWN = "h200", "h100", "a100", "l40s", "rtx4090", "t4"  # where no device is asked for
BUSY = 85e6  # parameters: smaller models leave a device idle between their small products


@dataclass(frozen=True)
class Place:
    """So many devices of one kind, or of whichever kind; `price` is of one for an hour."""

    device: Device | None
    devices: int = 1
    price: float | None = None


def place(hardware: str, devices: str, price: str) -> Place:
    """The place that words of the command line mean. Raises ValueError for what is none."""
    if not devices.isdecimal() or int(devices) < 1:
        raise ValueError(f"devices={devices}: how many there are, at least 1")
    try:
        hourly = float(price) if price else None
    except ValueError:
        hourly = math.nan
    if hourly is not None and not 0 < hourly < math.inf:
        raise ValueError(f"price={price}: what one device costs for an hour, such as 2.5")
    if price and not hardware:
        raise ValueError(f"price={price}: of which device? add hardware=h100")
    return Place(device_named(hardware) if hardware else None, int(devices), hourly)


def lines(where: Place, spent: Effort, precision, found: Footprint | str, shards: int) -> Iterator[str]:
    """Time, cost and room at a place; without a device the time on several, and whether none is large enough."""
    largest = max(DEVICES, key=lambda device: device.memory)
    if spent.parameters < BUSY:
        yield "not foreseen for a GPU: a model so small leaves it idle between products; probe=true measures here"
    elif where.device is None:
        yield from several(spent, precision, where.devices)
    else:
        yield from alone(where.device, spent, precision, where)
    if isinstance(found, Footprint) and (where.device or required(found, shards) > largest.memory):
        yield room(found, where.device or largest, shards=shards)


def seconds(spent: Effort, device: Device, form: str, devices: int = 1) -> float | None:
    """How long the updates take, at the share of the peak that is known; None for a format that it does not have."""
    peak = device.peak(form)
    return spent.flops / (peak * device.mfu * devices) if peak else None


def form(precision, device: Device) -> str:
    """The format of the large products there: a key of `Device.peak`. Those in fp8 are counted as bf16 where it is."""
    if precision.compute == "auto":
        return "bf16" if device.bf16 else "fp32"
    if precision.compute == "fp8":
        return "bf16" if device.fp8 else "fp8"
    return "tf32" if precision.tf32 else precision.compute


def alone(device: Device, spent: Effort, precision, where: Place) -> Iterator[str]:
    """Time and cost on one kind of device."""
    used = form(precision, device)
    peak, whole = device.peak(used), seconds(spent, device, used, where.devices)
    if peak is None or whole is None:
        yield f"{device.name} has no {used}: precision={'bf16, ' * device.bf16}fp16 or fp32"
        return
    alike = "" if used in ("bf16", "fp16") else f", seen in 16 bits and assumed for {used}"
    yield f"{device.name}: {device.mfu:.0%} of {peak / 1e12:,.4g} TFLOP/s in {used} ({device.source}{alike})"
    hours = whole * where.devices / 3600
    cost = f", {rounded(hours * where.price)} at {where.price:g} each, without energy" if where.price else ""
    yield f"{lasting(whole)} on {where.devices}, {rounded(hours)} device-hours{cost}; validation and saving not counted"


def several(spent: Effort, precision, devices: int) -> Iterator[str]:
    """The time on several kinds of devices, a line each."""
    yield f"of the updates alone, on {devices} (hardware=NAME shows one, with price= its cost)"
    for device in (device for device in DEVICES if device.name in SHOWN):
        used = form(precision, device)
        whole = seconds(spent, device, used, devices)
        share = f"  {device.mfu:.0%} of {(device.peak(used) or 0) / 1e12:,.4g} TFLOP/s in {used} ({device.source})"
        yield f"{device.name:10}" + (f"{lasting(whole):>9}{share}" if whole else f"has no {used}")


def required(found: Footprint, shards: int) -> int:
    """Bytes at the peak on a device that holds one of so many shards of weights, gradients and moments."""
    state = found.weights + found.moments  # of which a validation pass has no gradients beside it
    phases = (found.update, state + found.gradients), (found.validation, state if found.validation else 0)
    return max(peak - sharded + sharded // shards for peak, sharded in phases)


def room(found: Footprint, device: Device, *, shards: int = 1) -> str:
    """Whether a footprint fits on a device, and what would help where it does not."""
    need, largest = required(found, shards), max(DEVICES, key=lambda device: device.memory)
    amount = f"{memory(need)} at the peak" + f", with 1/{shards} of weights, gradients and moments" * (shards > 1)
    relief = "a smaller batch.micro" + (", memory=recompute or more devices may help" if shards > 1 else
                                        ", memory=recompute or parallel=fsdp devices=8 may help")  # fmt: skip
    if need <= device.memory:
        return f"{amount}: fits on {device.name} with its {memory(int(device.memory))}"
    if need > largest.memory:
        return (
            f"{amount}: larger than any listed hardware, of which {largest.name} has the most, "
            f"{memory(int(largest.memory))}; {relief}"
        )
    enough = min((other for other in DEVICES if other.memory >= need), key=lambda device: device.memory)
    return (
        f"{amount}: does not fit on {device.name} with its {memory(int(device.memory))}; the smallest that is listed "
        f"and large enough is {enough.name}; {relief}"
    )


def rounded(number: float) -> str:
    """Three digits, with commas.

    >>> rounded(588_512), rounded(3.14159)
    ('589,000', '3.14')
    """
    return f"{float(f'{number:.3g}'):,.10g}"


def lasting(seconds: float) -> str:
    """A time in short.

    >>> lasting(12), lasting(5400), lasting(86400 * 3)
    ('12 s', '1.5 h', '3 days')
    """
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} s"
