"""The figure of a critical batch size: updates against tokens, and the best rate."""

from pathlib import Path

import numpy

from gptx.fit.batches import Size
from gptx.fit.tradeoff import RULES, Tradeoff
from gptx.show import figures


def figure(law: Tradeoff, target: float, found: list[Size], file: Path) -> None:
    """Write the trade-off and, beside it, the best rate by batch size."""
    figures.save(
        file,
        f"To a validation loss of {target:g}",
        lambda axis: draw_tradeoff(axis, law, found),
        lambda axis: draw_rates(axis, law, found),
    )


def draw_tradeoff(axis, law: Tradeoff, found: list[Size]) -> None:
    """Updates against tokens, measured and by the law, on matplotlib axes."""
    from gptx.show import picture

    blue, orange = picture.COLOURS[:2]
    batches = numpy.geomspace(found[0].batch / 2, 2 * found[-1].batch, 100)
    updates = law.updates(batches)
    axis.plot(updates, updates * batches, color=blue, linewidth=1.6, label="(S/Smin - 1)(E/Emin - 1) = 1")
    for size in found:
        seeds = size.best.measured
        axis.plot(seeds, [each * size.batch for each in seeds], "o", color=orange, markersize=3, alpha=0.5)
        axis.plot(size.updates, size.tokens, "o", color=orange, markersize=6)
        axis.annotate(f"{size.batch:,}", (size.updates, size.tokens), (6, 4), textcoords="offset points",
                      fontsize=8, color=picture.INK)  # fmt: skip
    for line, at, name in ((axis.axvline, law.fewest_updates, "Smin"), (axis.axhline, law.fewest_tokens, "Emin")):
        line(at, color=picture.AXES, linestyle="--", linewidth=1, label=f"{name} {at:,.0f}")
    frame(axis, "updates", "tokens", "tokens an update beside each point")


def draw_rates(axis, law: Tradeoff, found: list[Size]) -> None:
    """The best rate by batch size beside the rules that start at the smallest, on matplotlib axes."""
    from gptx.show import picture

    batches = [size.batch for size in found]
    for look, (name, power) in enumerate(RULES.items()):
        if power:
            rates = [found[0].best.rate * (batch / batches[0]) ** power for batch in batches]
            colour, dashes = picture.COLOURS[look + 2], picture.DASHES[look + 1]
            axis.plot(batches, rates, color=colour, linestyle=dashes, label=f"{name} rule")
    axis.plot(batches, [size.best.rate for size in found], "o", color=picture.COLOURS[1], fillstyle="none",
              label="best of those tried")  # fmt: skip
    axis.plot(batches, [size.rate for size in found], "o-", color=picture.COLOURS[0], markersize=4,
              label="between them, by a parabola")  # fmt: skip
    axis.axvline(law.critical, color=picture.AXES, linestyle="--", linewidth=1, label=f"Bcrit {law.critical:,.0f}")
    frame(axis, "tokens an update", "peak rate", "the best rate")


def frame(axis, across: str, up: str, title: str) -> None:
    """Logarithmic axes in the house's dress, with numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    from gptx.show import picture

    axis.set_xscale("log")
    axis.set_yscale("log")
    for line in (axis.xaxis, axis.yaxis):
        line.set_major_locator(LogLocator(subs=(1, 2, 5)))
        line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        line.set_minor_locator(NullLocator())
    axis.set_title(title, fontsize=10, color=picture.INK)
    axis.set_xlabel(across, fontsize=8, color=picture.AXES)
    axis.set_ylabel(up, fontsize=8, color=picture.AXES)
    picture.dress(axis)
    axis.legend(fontsize=8, frameon=False, labelcolor=picture.INK)
