"""Amounts as text, and text as amounts: numbers, FLOPs, bytes and times."""

import math
import re

from gptx.units.lengths import SCALE

_UNITS = [(unit, scale) for unit, scale in reversed(SCALE.items()) if unit]  # the largest first


def amount(number: float) -> str:
    """Three digits and a unit, as every length and number of tokens may have: 7.31B.
    >>> amount(7.3123e9), amount(999_700), amount(1.33e12), amount(2.5e17), amount(0.3491)
    ('7.31B', '1M', '1.33T', '250000T', '0.349')
    """
    rounded = float(f"{number:.3g}")
    unit, scale = next((each for each in _UNITS if rounded >= each[1]), ("", 1))
    return f"{rounded / scale:.10g}{unit}"


def power(number: float) -> str:
    """A huge number in three digits.
    >>> power(3.15e23), power(1.2e9)
    ('3.15e23', '1.2e9')
    """
    return f"{number:.3g}".replace("e+0", "e").replace("e+", "e")


def memory(size: float) -> str:
    """Bytes in three digits and their unit, of 1000 each.
    >>> memory(7e9 * 16), memory(2.8e12), memory(12_000), memory(999_700_000)
    ('112 GB', '2.8 TB', '12 kB', '1 GB')
    """
    digits, unit = re.fullmatch(r"([\d.]+)(\D?)", amount(size)).groups()  # type: ignore[union-attr]
    return f"{digits} {'G' if unit == 'B' else unit}B"


def clock(seconds: float) -> str:
    """A time to the second.
    >>> clock(83), clock(0.4), clock(3700), clock(90_000), clock(float("nan"))
    ('1:23', '0:00', '1:01:40', '25:00:00', '?')
    """
    if seconds != seconds:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def spell(value: float) -> str:
    """A number as a label of an axis: 20k, 0.5, 3e-4."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.6g}"
    if abs(value) >= 1e4:
        unit, scale = next(each for each in _UNITS if abs(value) >= each[1])
        return f"{value / scale:.4g}{unit}"
    digits, power = f"{value:.3e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def number(key: str, text: str, example: str) -> float:
    """A finite number above zero that may have a unit: 2.5e9 or 2.5B. Raises ValueError that begins with the key.
    >>> number("tokens", "2.5B", "10M")
    2500000000.0
    """
    found = re.fullmatch(r"(\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?)([kMBT]?)", text)
    value = float(found[1]) * SCALE[found[2]] if found else 0.0
    if not 0 < value < math.inf:
        raise ValueError(f"{key}={text}: a number above 0, such as {example}")
    return value


def whole(key: str, text: str, *, most: int, example: str) -> int:
    """A count of at most `most`. Raises ValueError that begins with the key."""
    value = number(key, text, example)
    if value != int(value) or value > most:
        raise ValueError(f"{key}={text}: a whole number of at most {most:,}, such as {example}")
    return int(value)
