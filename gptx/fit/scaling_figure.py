"""The figure of a law of scaling: losses over tokens by size, and measured beside fitted."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy

from gptx.estimate.laws import Law
from gptx.fit.reading import Foretold, Reading
from gptx.fit.words import short
from gptx.units.printable import mathtext

HELD = "#e0662b"


def figure(reading: Reading, file: Path) -> None:
    """Draw into a .png or .svg file; for .html, the chart of budgets of gptx.plan."""
    if file.suffix == ".html":
        from gptx.plan.chart import chart

        every = [*reading.rungs, *(each.rung for each in reading.foretold)]
        runs = [(rung.name, rung.parameters(reading.count), rung.tokens, rung.loss) for rung in every]
        chart(file, [reading.law], runs=runs)
        return
    from gptx.show.picture import INK, drawing

    with drawing():
        from matplotlib import pyplot

        picture, (left, right) = pyplot.subplots(1, 2, figsize=(11.2, 4.4), layout="constrained")
        over_tokens(left, reading)
        beside(right, reading)
        for axis, title in ((left, "loss over tokens, by size"), (right, "measured beside the law")):
            axis.set_title(title, fontsize=10, color=INK)
        picture.savefig(file, dpi=120, metadata={"Date": None} if file.suffix == ".svg" else {})
        pyplot.close(picture)


def over_tokens(axis: Any, reading: Reading) -> None:
    """Each size's runs and its curve by the law; what is held out with its interval beside the outcome."""
    from gptx.show.picture import AXES, COLOURS, INK, MARKERS

    law, count = reading.law, reading.count
    sizes = dict.fromkeys((rung.size, rung.parameters(count)) for rung in reading.rungs)
    ends = [rung.tokens for rung in reading.rungs]
    colours = [colour for colour in COLOURS if colour != HELD]
    for place, (name, size) in enumerate(sizes):
        here = [rung for rung in reading.rungs if (rung.size, rung.parameters(count)) == (name, size)]
        look = {"color": colours[place % len(colours)], "marker": MARKERS[place % len(MARKERS)]}
        axis.plot([r.tokens for r in here], [r.loss for r in here], linestyle="", markersize=5,
                  label=mathtext(f"{name}, {short(size)}"), **look)  # fmt: skip
        along = numpy.geomspace(min(ends), max(ends), 50)
        axis.plot(along, [law.loss(size, at) for at in along], color=look["color"], linewidth=1.1)
    for each in reading.foretold:
        along = numpy.geomspace(min(ends), max(each.rung.tokens, max(ends)), 50)
        size = each.rung.parameters(count)
        bands = [law.interval(partial(expected, size, at)) or (0.0, 0.0) for at in along]
        axis.fill_between(along, *zip(*bands, strict=True), color=HELD, alpha=0.15, linewidth=0)
        axis.plot(along, [law.loss(size, at) for at in along], color=HELD, linewidth=1.1, linestyle="--")
    errors(axis, [each.rung.tokens for each in reading.foretold], reading.foretold)
    axis.plot([each.rung.tokens for each in reading.foretold], [each.rung.loss for each in reading.foretold],
              linestyle="", marker="*", markersize=12, color=HELD, markeredgecolor=INK, markeredgewidth=0.6,
              label="held out, measured" if reading.foretold else None, zorder=5)  # fmt: skip
    logarithmic(axis)
    axis.set_xlabel("tokens", fontsize=8, color=AXES)
    axis.set_ylabel(mathtext(f"validation loss, {law.units}"), fontsize=8, color=AXES)
    axis.legend(fontsize=8, frameon=False, labelcolor=INK)


def expected(size: float, tokens: float, law: Law) -> float:
    return law.loss(size, tokens)


def beside(axis: Any, reading: Reading) -> None:
    """Measured loss over that of the law; a law without fault has all runs on the diagonal."""
    from gptx.show.picture import AXES, COLOURS, INK

    fitted = [rung.loss / numpy.exp(left) for rung, left in zip(reading.rungs, reading.residuals, strict=True)]
    every = [*fitted, *(rung.loss for rung in reading.rungs),
             *(value for each in reading.foretold for value in (each.expected, each.rung.loss, *each.run))]  # fmt: skip
    axis.plot([min(every), max(every)], [min(every), max(every)], color=AXES, linewidth=1, linestyle=":")
    axis.plot(fitted, [rung.loss for rung in reading.rungs], linestyle="", marker="o", markersize=5, color=COLOURS[0],
              label="fitted")  # fmt: skip
    span = numpy.array([[each.expected - each.run[0], each.run[1] - each.expected] for each in reading.foretold]).T
    if reading.foretold:
        axis.errorbar([each.expected for each in reading.foretold], [each.rung.loss for each in reading.foretold],
                      xerr=numpy.abs(span), linestyle="", marker="*", markersize=12, color=HELD, capsize=3,
                      label="held out, 95 % interval of a run")  # fmt: skip
    logarithmic(axis)
    axis.set_xlabel("by the law", fontsize=8, color=AXES)
    axis.set_ylabel("measured", fontsize=8, color=AXES)
    axis.legend(fontsize=8, frameon=False, labelcolor=INK)


def errors(axis: Any, across: list, foretold: Sequence[Foretold]) -> None:
    """What was foretold, with the interval of a run."""
    if foretold:
        span = numpy.array([[each.expected - each.run[0], each.run[1] - each.expected] for each in foretold]).T
        axis.errorbar(across, [each.expected for each in foretold], yerr=numpy.abs(span), linestyle="", marker="_",
                      color=HELD, capsize=4, linewidth=1.4, label="held out, foretold")  # fmt: skip


def logarithmic(axis: Any) -> None:
    """Logarithmic axes with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from gptx.show.picture import dress
    from gptx.units.amounts import spell

    for scale, line in ((axis.set_xscale, axis.xaxis), (axis.set_yscale, axis.yaxis)):
        scale("log")
        line.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        line.set_major_formatter(FuncFormatter(lambda value, _: spell(float(f"{value:.3g}"))))
        line.set_minor_formatter(NullFormatter())
    dress(axis)
