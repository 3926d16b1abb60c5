"""Where a training could run: how long it takes there, what it costs, and whether it fits."""

from collections.abc import Iterator

from gptx.footprint import Footprint, spelled
from gptx.hardware import DEVICES, Device
from gptx.plan.effort import Effort

SHOWN = "h200", "h100", "a100", "l40s", "rtx4090", "t4"  # where no device is asked for
BUSY = 85e6  # parameters below which a device is less busy than the share of its peak says


def seconds(effort: Effort, device: Device, form: str, devices: int = 1) -> float | None:
    """How long the updates take, at the share of the peak that is known; None for a format that it does not have."""
    peak = device.peak(form)
    return effort.flops / (peak * device.mfu * devices) if peak else None


def on(device: Device, effort: Effort, form: str, devices: int, price: float | None) -> Iterator[str]:
    """Time and cost on one kind of device, in lines."""
    peak, whole = device.peak(form), seconds(effort, device, form, devices)
    if peak is None or whole is None:
        yield f"{device.name} has no {form}: precision=fp16 or fp32"
        return
    yield f"{device.name}: {peak / 1e12:,.4g} TFLOP/s in {form}, of which {device.mfu:.0%} ({device.source})"
    hours = whole * devices / 3600
    cost = f", {hours * price:,.2f} at {price:g} each, without energy" if price else ""
    yield f"{lasting(whole)} on {devices}, {hours:,.3g} device-hours{cost}; validation and saving come on top"
    if effort.parameters < BUSY:
        yield "a model so small keeps such a device far less busy: take the time for the least it can be"


def several(effort: Effort, form: str, devices: int) -> Iterator[str]:
    """The time on several kinds of devices, a line each."""
    for device in (device for device in DEVICES if device.name in SHOWN):
        whole = seconds(effort, device, form, devices)
        told = f"{lasting(whole):>9}" if whole else f"has no {form}"
        share = f"{device.mfu:.0%} of {(device.peak(form) or 0) / 1e12:,.4g} TFLOP/s, {device.source}"
        yield f"{device.name:10}{told}" + f"  ({share})" * bool(whole)


def room(found: Footprint, device: Device, *, shards: int = 1) -> str:
    """Whether a footprint fits on a device that holds one of so many shards of weights, gradients and moments."""
    kept = found.weights + found.gradients + found.moments
    need = found.peak - kept + kept // shards
    amount = f"{spelled(need)} of memory" + f", 1/{shards} of the weights, gradients and moments" * (shards > 1)
    largest = max(DEVICES, key=lambda device: device.memory)
    if need <= device.memory:
        return f"{amount}: fits on {device.name}, which has {spelled(int(device.memory))}"
    relief = "smaller batch.micro, memory=recompute, or parallel=fsdp on more devices"
    if need > largest.memory:
        return (
            f"{amount}: larger than any listed hardware; {largest.name}, the largest, has "
            f"{spelled(int(largest.memory))}: {relief}"
        )
    enough = min((other for other in DEVICES if other.memory >= need), key=lambda device: device.memory)
    return (
        f"{amount}: does not fit on {device.name}, which has {spelled(int(device.memory))}; the smallest listed that is "
        f"large enough is {enough.name}, or {relief}"
    )


def lasting(seconds: float) -> str:
    """A time in short.

    >>> lasting(12), lasting(5400), lasting(86400 * 3)
    ('12 s', '1.5 h', '3 days')
    """
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.2g} s"
