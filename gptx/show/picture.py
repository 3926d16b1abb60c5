"""The names of gptx.show.plots under the module's former name."""

from gptx.show.plots import AXES, COLOURS, DASHES, GRID, INK, MARKERS, draw, dress, lines, save

__all__ = ["AXES", "COLOURS", "DASHES", "GRID", "INK", "MARKERS", "draw", "drawing", "dress", "picture"]


def picture(panels, file, title: str, kind: str) -> None:
    """All panels in one picture."""
    save(file, title, *map(lines, panels), columns=2 if len(panels) == 4 else min(3, len(panels)), size=(5.2, 3.6))


def drawing():
    """Context in which matplotlib needs no screen and draws the same file every time."""
    import matplotlib

    matplotlib.use("Agg")
    return matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gptx", "figure.dpi": 100})
