"""The names of gptx.runs.run from before; to be removed once nobody imports them."""

from gptx.runs.run import Run as Cell
from gptx.runs.run import find

cell = Cell.of
__all__ = ["Cell", "cell", "find"]
