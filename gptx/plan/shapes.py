"""From a number of parameters to a model and the command that trains it."""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from gptx.config import paths
from gptx.estimate.effort import critical_batch_size
from gptx.estimate.laws import SUBWORDS
from gptx.ingredients.model.size import Size, size
from gptx.units.amounts import amount

_BROAD = 2560  # width from which heads have 128 dimensions
# Peak learning rates of Adam by parameters: the default's, tuned for nano, then GPT-3's (arXiv:2005.14165, table 2.1).
_RATES = ((0.84e6, 3e-3), (125e6, 6e-4), (350e6, 3e-4), (760e6, 2.5e-4), (1.3e9, 2e-4), (2.7e9, 1.6e-4),
          (6.7e9, 1.2e-4), (13e9, 1e-4), (175e9, 0.6e-4))  # fmt: skip
_BATCHES = ((1e9, 2**19), (5e9, 2**20), (math.inf, 2**21))  # tokens per step below this many parameters, same table
_STEPS = 2000  # at least, if the batch can be smaller
_SAMPLES = {"sample-10BT": 10e9, "sample-100BT": 100e9, "sample-350BT": 350e9, "default": 1.3e12}  # of FineWeb-Edu
_LIBRARY = 12e6  # bytes of data=stdlib, about
SHAKESPEARE_TEXT = 66, 1e6  # vocabulary of data=shakespeare, and its characters to train on
_LEAST = 10_000_000  # tokens to fetch at least: the thousandth that is held out must have some windows


@dataclass(frozen=True)
class _Shape:
    """The model of gpt2_124m with other sizes."""

    width: int
    depth: int
    heads: int
    size: Size


def shape(parameters: float, *, vocab_size: int, context: int) -> _Shape:
    """The shape whose count is near to `parameters` and whose aspect is near to that of GPT-3's sizes: a width of 64 x
    the depth and heads of 64 dimensions up to a width of 1,536, then more of both, up to 128 (arXiv:2005.14165, table
    2.1); below a width of 256 about four blocks and smaller heads, as in the small presets. A tenth too many or too few
    parameters is as bad as an aspect 2.7 times the usual."""
    ideal = (64 * parameters / 12) ** (1 / 3)  # width, if all parameters are in blocks: 12 width^2 (width / 64)
    widths = [*range(16, 112, 16), *range(128, 256, 32), *range(256, min(_BROAD, max(257, int(3 * ideal))), 64)]
    widths += range(_BROAD, max(_BROAD, int(3 * ideal)), 128)
    shapes = dict[_Shape, float]()  # how far each is off
    for width in widths:
        each = 128 if width >= _BROAD else 64 if width >= 256 else 32 if width >= 96 and width % 32 == 0 else 16
        near = max(1, int((parameters - width * (vocab_size + context)) / (12 * width**2)))
        for depth in {near, near + 1, _blocks(width)}:
            sizes = {"width": width, "depth": depth, "heads": width // each}
            found = _Shape(**sizes, size=size(vocab_size=vocab_size, context=context, **sizes))
            miss = abs(math.log(found.size.parameters / parameters))
            shapes[found] = 10 * miss + abs(math.log(depth / _blocks(width)))
    return min(shapes, key=lambda found: shapes[found])


def _blocks(width: int) -> int:
    """The usual depth: the width over an aspect of 64 up to a width of 1,536, of 128 from 4,096 on."""
    aspect = 64 * (min(max(width, 1536), 4096) / 1536) ** (math.log(2) / math.log(4096 / 1536))
    return max(4, round(width / aspect))


@cache
def preset(name: str) -> dict:
    """The values of conf/model/NAME.yaml with those of its defaults."""
    import yaml

    own = yaml.safe_load(Path(paths.CONF, "model", f"{name}.yaml").read_text())
    values: dict = {}
    for parent in own.pop("defaults", ["_self_"]):
        values |= own if parent == "_self_" else preset(parent)
    return values


def nearest_preset(parameters: float, vocab_size: int) -> tuple[str, Size]:
    names = sorted(file.stem for file in Path(paths.CONF, "model").glob("*.yaml"))
    sizes = {name: size(**preset(name), vocab_size=vocab_size) for name in names}
    return min(sizes.items(), key=lambda preset: abs(math.log(preset[1].parameters / parameters)))


def training_command(found: _Shape, tokens: float, *, vocab_size: int, context: int, recipe: str = "") -> str:
    """The command that trains a shape on this many tokens; by the `recipe` of a law's runs, if it has one."""
    shaped = f"model.width={found.width} model.depth={found.depth} model.heads={found.heads}"
    if recipe:
        return f"python -m gptx.train {recipe} {shaped} steps={amount(tokens)}tok"
    batch = tokens_per_step(found.size.parameters, tokens, context)
    words = ["python -m gptx.train model=gpt2_124m", shaped, *[f"model.context={context}"] * (context != 1024)]
    words += [text_for(vocab_size, tokens)[0], f"batch.tokens={batch}", f"steps={amount(max(tokens, batch))}tok"]
    return " ".join([*words, f"optim.lr={peak_rate(found.size.parameters):.1e}".replace("e-0", "e-")])


def tokens_per_step(parameters: float, tokens: float, context: int) -> int:
    """The batch of GPT-3's size, or less for _STEPS and the critical batch; a power of two of whole sequences."""
    usual = next(batch for below, batch in _BATCHES if parameters < below)
    sequences = max(1.0, min(usual, tokens / _STEPS, critical_batch_size(tokens)) / context)
    return context * 2 ** int(math.log2(sequences))


def text_for(vocab_size: int, tokens: float) -> tuple[str, tuple[str, float] | None]:
    """The overrides of a text with that vocabulary and many tokens; its name and training tokens, None if not known."""
    if vocab_size < 257:
        return "data=shakespeare", ("data=shakespeare", SHAKESPEARE_TEXT[1])
    if vocab_size == 257 and tokens <= _LIBRARY:
        return "data=stdlib", ("data=stdlib", _LIBRARY)
    first, *_, last = _SAMPLES
    sample = next((name for name, there in _SAMPLES.items() if tokens <= there), last)
    config = "" if sample == first else f" data.config={sample}"
    tokenizer = {50257: "", 257: " data.tokenizer=bytes"}.get(vocab_size, f" data.tokenizer=bpe:{vocab_size}")
    known = ("FineWeb-Edu", _SAMPLES[last]) if vocab_size >= SUBWORDS else None
    return f"data=fineweb_edu{config}{tokenizer} data.tokens={amount(max(tokens, _LEAST))}", known


def peak_rate(parameters: float) -> float:
    """A first guess at Adam's peak learning rate: _RATES, joined by straight lines in logarithms."""
    (low, above), (high, below) = next((pair for pair in pairwise(_RATES) if parameters <= pair[1][0]), _RATES[-2:])
    share = math.log(parameters / low) / math.log(high / low)
    return above * (below / above) ** min(1.0, max(0.0, share))
