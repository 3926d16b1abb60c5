"""From a number of parameters to a model: the preset nearest to it, and a shape that has it."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gptx.config import paths
from gptx.ingredients.model.size import Size, size

BROAD = 2560  # width from which heads have 128 dimensions


@dataclass(frozen=True)
class Shape:
    """The model of gpt2_124m with other sizes."""

    width: int
    depth: int
    heads: int
    size: Size


def shape(parameters: float, *, vocab_size: int, context: int) -> Shape:
    """The shape whose count is near to `parameters` and whose aspect is near to that of GPT-3's sizes.

    That is a width of 64 x the depth and heads of 64 dimensions up to a width of 1,536, then more of both, up to 128
    (arXiv:2005.14165, table 2.1); below a width of 256 it has about four blocks, smaller steps and smaller heads, as
    the small presets have.

    >>> found = shape(124_439_808, vocab_size=50257, context=1024)
    >>> found.width, found.depth, found.heads
    (768, 12, 12)
    """
    ideal = (64 * parameters / 12) ** (1 / 3)  # width, where all parameters are in blocks: 12 width^2 (width / 64)
    widths = [*range(16, 112, 16), *range(128, 256, 32), *range(256, min(BROAD, max(257, int(3 * ideal))), 64)]
    widths += range(BROAD, max(BROAD, int(3 * ideal)), 128)
    shapes = []
    for width in widths:
        rest = parameters - width * (vocab_size + context)
        near = max(1, int(rest / (12 * width**2)))
        shapes += [of(width, depth, vocab_size, context) for depth in {near, near + 1, blocks(width)}]
    return min(shapes, key=lambda found: awkwardness(found, parameters))


def of(width: int, depth: int, vocab_size: int, context: int) -> Shape:
    """That width and depth, with heads of the usual size."""
    each = 128 if width >= BROAD else 64 if width >= 256 else 32 if width >= 96 and width % 32 == 0 else 16
    heads = width // each
    return Shape(
        width, depth, heads, size(vocab_size=vocab_size, context=context, width=width, depth=depth, heads=heads)
    )


def blocks(width: int) -> int:
    """The usual depth: the width over an aspect of 64 up to a width of 1,536, of 128 from 4,096 on."""
    aspect = 64 * (min(max(width, 1536), 4096) / 1536) ** (math.log(2) / math.log(4096 / 1536))
    return max(4, round(width / aspect))


def awkwardness(found: Shape, parameters: float) -> float:
    """A tenth too many or too few parameters is as bad as an aspect 2.7 times the usual."""
    miss = abs(math.log(found.size.parameters / parameters))
    return 10 * miss + abs(math.log(found.depth / blocks(found.width)))


@cache
def preset(name: str) -> dict:
    """The values of conf/model/NAME.yaml, those that it builds on included."""
    import yaml

    own = yaml.safe_load(Path(paths.CONF, "model", f"{name}.yaml").read_text())
    values: dict = {}
    for parent in own.pop("defaults", ["_self_"]):
        values |= own if parent == "_self_" else preset(parent)
    return values


def nearest(parameters: float, vocab_size: int) -> tuple[str, Size]:
    """The preset whose count is most like `parameters`, with a vocabulary of that size."""
    names = sorted(file.stem for file in Path(paths.CONF, "model").glob("*.yaml"))
    sizes = {name: size(**preset(name), vocab_size=vocab_size) for name in names}
    name = min(names, key=lambda name: abs(math.log(sizes[name].parameters / parameters)))
    return name, sizes[name]
