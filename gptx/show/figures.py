"""The names of gptx.show.plots under the module's former name."""

from gptx.show.plots import Curve, Drawing, Panel, bars, lines, save, smoothed

__all__ = ["Drawing", "arms", "bars", "lines", "save"]


def arms(cells, metric: str, title: str, smooth: int = 0) -> Drawing:
    """A metric of some runs on the same axes, a line a run; with `smooth`, means of its last so many values."""
    curves = []
    for place, cell in enumerate(cells):
        steps, values = cell.metrics[metric]
        shown = smoothed(values, smooth) if smooth else values
        curves.append(Curve(cell.name, steps, shown, "line" if smooth else "dots", place))
    return lines(Panel(title, "nats per token", tuple(curves)))
