"""The figures of the exercises: panels of curves or bars side by side, in the report's colours."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptx.files import in_one_step

Drawing = Callable[[Any], None]  # on matplotlib axes


def save(file: Path, title: str, *drawings: Drawing) -> Path:
    """Draw side by side into a PNG or SVG file; the file."""
    from gptx.show.picture import INK, drawing

    with drawing():
        from matplotlib import pyplot

        size = 5.6 * len(drawings), 4.2
        figure, axes = pyplot.subplots(1, len(drawings), figsize=size, layout="constrained", squeeze=False)
        figure.suptitle(title, fontsize=11, color=INK)
        for axis, draw in zip(axes.flat, drawings, strict=True):
            draw(axis)
        file.parent.mkdir(parents=True, exist_ok=True)
        in_one_step(file, lambda part: figure.savefig(part, format=file.suffix[1:], dpi=120))
        pyplot.close(figure)
    return file


def lines(panel, across: str = "update") -> Drawing:
    """A panel of curves over what is named `across`."""

    def draw(axis) -> None:
        from gptx.show import picture

        picture.draw(axis, panel)
        axis.set_title(f"{panel.title}, {panel.unit}", fontsize=10, color=picture.INK)
        axis.set_xlabel(across, fontsize=8, color=picture.AXES)

    return draw


def bars(
    title: str, values: dict[str, float], spell: str = "{:,.4g}", mark: tuple[str, float] | None = None
) -> Drawing:
    """A bar for each value, with the value beside it; `mark` is a line that is named, such as what was expected."""

    def draw(axis) -> None:
        from gptx.show.picture import AXES, COLOURS, INK

        places = list(range(len(values)))[::-1]
        axis.barh(places, list(values.values()), height=0.6, color=COLOURS[0])
        for place, value in zip(places, values.values(), strict=True):
            axis.annotate(spell.format(value), (value, place), (4, 0), textcoords="offset points", va="center",
                          fontsize=9, color=INK,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        axis.set_yticks(places, list(values), fontsize=9, color=INK)
        axis.set_title(title, fontsize=10, color=INK)
        if mark:
            axis.axvline(mark[1], color=AXES, linestyle="--", linewidth=1.2, label=mark[0], zorder=0)
            axis.legend(fontsize=8, frameon=False, loc="lower right")
        axis.set_xlim(0, 1.25 * max(*values.values(), mark[1] if mark else 0.0, 1e-300))
        room = max(0, 4 - len(values)) / 2  # so that few bars are not thick
        axis.set_ylim(-0.5 - room, len(values) - 0.5 + room)
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.spines["left"].set_color(AXES)

    return draw


def arms(cells, metric: str, title: str, smooth: int = 0) -> Drawing:
    """A metric of some runs on the same axes, a line a run; with `smooth`, means of its last so many values."""
    from gptx.show.curves import Curve, Panel, smoothed

    curves = []
    for place, cell in enumerate(cells):
        steps, values = cell.metrics[metric]
        shown = smoothed(values, smooth) if smooth else values
        curves.append(Curve(cell.name, steps, shown, "line" if smooth else "dots", place))
    return lines(Panel(title, "nats per token", tuple(curves)))
