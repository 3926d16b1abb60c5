"""What number formats can hold:  python -m gptx formats   (exercise 8 of "Building a GPT from Scratch")"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class _Format:
    """A number format: its limits, and how it rounds a float64 (to the nearest number, inf or nan if there is none)."""

    name: str
    bits: int
    epsilon: float  # distance from 1 to the next number
    largest: float
    smallest_normal: float  # smallest power of two with all bits of precision
    rounded: Callable[[torch.Tensor], torch.Tensor]

    @property
    def smallest(self) -> float:
        return self.smallest_normal * self.epsilon  # with one bit of precision

    def __call__(self, value: float) -> float:
        return float(self.rounded(torch.tensor(value, dtype=torch.float64)))


def _cast(name: str, dtype: torch.dtype) -> _Format:
    limits = torch.finfo(dtype)
    return _Format(name, limits.bits, limits.eps, limits.max, limits.smallest_normal, lambda x: x.to(dtype).double())


def _tf32(value: torch.Tensor) -> torch.Tensor:
    """Rounded as TensorFloat-32 rounds the inputs of a product: fp32 without its last 13 bits, to nearest even."""
    single = value.to(torch.float32)
    bits = single.view(torch.int32)
    nearest = (bits + 0x0FFF + (bits >> 13 & 1)) & ~0x1FFF
    return torch.where(single.isfinite(), nearest.view(torch.float32), single).double()


FORMATS = (
    _cast("fp32", torch.float32),
    _Format("tf32", 19, 2.0**-10, (2 - 2.0**-10) * 2.0**127, 2.0**-126, _tf32),
    _cast("bf16", torch.bfloat16),
    _cast("fp16", torch.float16),
    _cast("fp8 e4m3", torch.float8_e4m3fn),
    _cast("fp8 e5m2", torch.float8_e5m2),
)
_EXAMPLES = {
    70_000: "an activation or a loss that grew: more than fp16 can hold",
    1e-8: "a small gradient: less than fp16 can hold",
    0.001: "a weight; how many digits survive",
    1.001: "1 + 0.1 %, a normal step of a weight of 1: lost below 10 bits of fraction",
    1.0003: "1 + 3e-4, one step of Adam: why weights are kept in fp32",
}


def formats(*, values: str = "70000,1e-8,0.001,1.001,1.0003") -> None:
    """Print range and precision of fp32, tf32, bf16, fp16 and fp8, and how they round given values.

      python -m gptx formats values=70000,1e-8,0.1

    The last table shows why fp16 needs loss scaling and bf16 does not.

    Options:
    values: numbers to round, separated by commas
    """
    try:
        numbers = [float(word := each) for each in values.split(",")]
    except ValueError:
        raise ValueError(f"values: {word!r} is not a number; write values=70000,1e-8") from None
    print("format     bits      largest  smallest normal    smallest     epsilon  digits")
    for f in FORMATS:
        print(f"{f.name:10}{f.bits:>5}{f.largest:>13.5g}{f.smallest_normal:>17.3g}{f.smallest:>12.3g}{f.epsilon:>12.3g}"
              f"{-math.log10(f.epsilon):>8.1f}")  # fmt: skip
    print(f"\n{'number':>10}" + "".join(f"{f.name:>13}" for f in FORMATS))
    for number in numbers:
        held = "".join(f"{f(number):>13.6g}" for f in FORMATS)
        print(f"{number:>10.6g}{held}   {_EXAMPLES.get(number, '')}".rstrip())
    print("\n" + "\n".join(loss_scaling()))


def loss_scaling() -> list[str]:
    """Shares of gradients, drawn around 1e-7, that become zero or overflow, without and with a loss scale."""
    count, scale = 100_000, 2.0**16
    exponents = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 7
    lines = [f"{count:,} gradients around 1e-7: the share that becomes zero, and that overflows"]
    for f in (f for f in FORMATS if f.name in ("bf16", "fp16")):
        for name, factor in (("as they are", 1.0), (f"loss x {scale:,.0f}", scale)):
            held = f.rounded(10**exponents * factor)
            zero, over = (held == 0).double().mean(), (~held.isfinite()).double().mean()
            lines.append(f"  {f.name}  {name:16}{zero:>8.2%}{over:>8.2%}")
    end = "fp16's range ends at both sides: the loss is scaled up, the gradients down again. bf16 has fp32's range."
    return [*lines, f"  {end}"]
