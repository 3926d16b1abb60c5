"""The names of gptx.show.plots under the module's former name."""

from gptx.show.plots import POINTS, Curve, Panel, Values, smoothed, stretches, thinned

__all__ = ["POINTS", "Curve", "Panel", "Values", "smoothed", "stretches", "thinned"]
