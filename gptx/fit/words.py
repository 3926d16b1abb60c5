"""How the numbers of a fit are said."""

from gptx.units.amounts import spell

Span = tuple[float, float]


def short(value: float) -> str:
    """A number in three digits: 843k, 0.349, 1.61M."""
    return spell(float(f"{value:.3g}"))


def between(span: Span | None, form: str = "") -> str:
    """An interval: 0.31 to 0.38; a dash of none."""
    if span is None:
        return "-"
    low, high = (f"{end:{form}}" if form else short(end) for end in span)
    return f"{low} to {high}"


def off(share: float, sign: str = "+") -> str:
    """A share as a signed percentage."""
    return f"{100 * share:{sign}.1f} %"
