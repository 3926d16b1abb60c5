"""What number formats can hold, measured by rounding into them:  python -m gptx formats   (exercise 8 of the tutorial)

Range decides over stability, precision over what an update can change. Nothing here is read from a table: every number
is found by casting values and looking at what came back.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Format:
    """A number format by what it does to a float64."""

    name: str
    bits: int
    rounded: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, value: float) -> float:
        """`value` as the format holds it: the nearest number, or inf or nan where there is none."""
        return float(self.rounded(torch.tensor(value, dtype=torch.float64)))

    def holds(self, value: float) -> bool:
        """True if the format has exactly this number."""
        return self(value) == value

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next number."""
        return next(2.0**-k for k in range(52, -1, -1) if self.holds(1 + 2.0**-k))

    @property
    def largest(self) -> float:
        """The largest finite number: the largest power of two, and every further bit that still fits."""
        value = next(2.0**k for k in range(1023, -1, -1) if self.holds(2.0**k))
        bit = value / 2
        while bit >= value * self.epsilon / 2:
            value += bit if self.holds(value + bit) else 0.0
            bit /= 2
        return value

    @property
    def smallest(self) -> float:
        """The smallest number above zero, with the last bit that is left."""
        return next(2.0**k for k in range(-1022, 0) if self.holds(2.0**k))

    @property
    def smallest_normal(self) -> float:
        """The smallest power of two that still has all its bits."""
        return next(2.0**k for k in range(-1022, 0) if self.holds(2.0**k) and self.holds(2.0**k * (1 + self.epsilon)))


def cast(name: str, dtype: torch.dtype) -> Format:
    """A format that PyTorch has as a type."""
    return Format(name, torch.empty(0, dtype=dtype).element_size() * 8, lambda x: x.to(dtype).to(torch.float64))


def tf32(value: torch.Tensor) -> torch.Tensor:
    """float64 rounded as TensorFloat-32 rounds the inputs of a product: fp32 without its last 13 bits, to nearest."""
    single = value.to(torch.float32)
    bits = single.view(torch.int32)
    nearest = (bits + 0x0FFF + (bits >> 13 & 1)) & ~0x1FFF  # ties to even
    return torch.where(single.isfinite(), nearest.view(torch.float32), single).to(torch.float64)


FORMATS = (
    cast("fp32", torch.float32),
    Format("tf32", 19, tf32),
    cast("bf16", torch.bfloat16),
    cast("fp16", torch.float16),
    cast("fp8 e4m3", torch.float8_e4m3fn),
    cast("fp8 e5m2", torch.float8_e5m2),
)
EXAMPLES = {
    "70000": "an activation or a loss that grew: more than fp16 can hold",
    "1e-8": "a small gradient: less than fp16 can hold",
    "0.001": "a weight; how many digits survive",
    "1.001": "1 + 0.1 %, a healthy update of a weight of 1: lost below 10 bits of fraction",
    "1.0003": "1 + 3e-4, one step of Adam: why weights are kept in fp32",
}


def formats(*, values: str = "70000,1e-8,0.001,1.001,1.0003") -> None:
    """Print range and precision of fp32, tf32, bf16, fp16 and fp8, and how they round given values.

      python -m gptx formats values=70000,1e-8,0.1

    Everything is measured by rounding into the format. The last table shows why fp16 needs loss scaling and bf16 does
    not.

    Options:
    values: numbers to round, separated by commas
    """
    numbers = [parsed(word) for word in values.split(",")]
    print("\n".join([*limits(), "", *examples(numbers), "", *loss_scaling()]))


def parsed(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"values: {word!r} is not a number; write values=70000,1e-8") from None


def limits() -> list[str]:
    """The table of what each format can hold."""
    names = ("largest", 13), ("smallest normal", 17), ("smallest", 12), ("epsilon", 12)
    lines = ["format     bits" + "".join(f"{name:>{width}}" for name, width in names) + "  digits"]
    for f in FORMATS:
        found = f"{f.largest:>13.5g}{f.smallest_normal:>17.3g}{f.smallest:>12.3g}{f.epsilon:>12.3g}"
        lines.append(f"{f.name:10}{f.bits:>5}{found}{-math.log10(f.epsilon):>8.1f}")
    return lines


def examples(numbers: list[float]) -> list[str]:
    """What becomes of numbers in each format."""
    lines = [f"{'number':>10}" + "".join(f"{f.name:>13}" for f in FORMATS)]
    for number in numbers:
        why = next((note for word, note in EXAMPLES.items() if float(word) == number), "")
        lines.append(f"{number:>10.6g}" + "".join(f"{f(number):>13.6g}" for f in FORMATS) + f"   {why}".rstrip())
    return lines


def loss_scaling(*, scale: float = 2.0**16, count: int = 100_000) -> list[str]:
    """How many gradients become zero, as they are and after the loss was multiplied by GradScaler's first scale.

    The gradients are drawn: typically 1e-7, a factor of ten up or down in two of three.
    """
    exponents = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 7
    gradients = 10**exponents
    lines = [f"{count:,} gradients around 1e-7: the share that becomes zero, and that overflows"]
    for f in (f for f in FORMATS if f.name in ("bf16", "fp16")):
        for name, factor in (("as they are", 1.0), (f"loss x {scale:,.0f}", scale)):
            held = f.rounded(gradients * factor)
            zero, over = (held == 0).double().mean(), (~held.isfinite()).double().mean()
            lines.append(f"  {f.name}  {name:16}{zero:>8.2%}{over:>8.2%}")
    return [
        *lines,
        "  fp16's range ends at both sides: the loss is scaled up, the gradients down again. bf16 has fp32's range.",
    ]
