"""The command that trains a model of some size on some tokens."""

import math
from itertools import pairwise

from gptx.estimate.warnings import critical_batch
from gptx.plan.expectations import SUBWORDS
from gptx.plan.shapes import Shape
from gptx.units.amounts import amount

# Peak rates of Adam by parameters: the default's, tuned for nano, then those of GPT-3 (arXiv:2005.14165, table 2.1).
RATES = ((0.84e6, 3e-3), (125e6, 6e-4), (350e6, 3e-4), (760e6, 2.5e-4), (1.3e9, 2e-4), (2.7e9, 1.6e-4), (6.7e9, 1.2e-4),
         (13e9, 1e-4), (175e9, 0.6e-4))  # fmt: skip
BATCHES = (
    (1e9, 2**19),
    (5e9, 2**20),
    (math.inf, 2**21),
)  # tokens an update below so many parameters, by the same table
UPDATES = 2000  # at least, where the batch can be smaller
SAMPLES = (
    ("sample-10BT", 10e9),
    ("sample-100BT", 100e9),
    ("sample-350BT", 350e9),
    ("default", 1.3e12),
)  # FineWeb-Edu's
LIBRARY = 12e6  # bytes of data=stdlib, about
SHAKESPEARE = 66, 1e6  # the vocabulary of data=shakespeare and its characters to train on
LEAST = 10_000_000  # tokens that are fetched at least: the thousandth that is held out has to have some windows


def command(found: Shape, tokens: float, *, vocab_size: int, context: int) -> str:
    """The command that trains a shape on so many tokens."""
    batch = tokens_an_update(found.size.parameters, tokens, context)
    words = ["python -m gptx.train model=gpt2_124m", f"model.width={found.width} model.depth={found.depth}"]
    words += [f"model.heads={found.heads}"] + [f"model.context={context}"] * (context != 1024)
    words += [text(vocab_size, tokens)[0], f"batch.tokens={batch}", f"steps={amount(max(tokens, batch))}tok"]
    return " ".join([*words, f"optim.lr={rate(found.size.parameters):.1e}".replace("e-0", "e-")])


def as_before(found: Shape, tokens: float, recipe: str) -> str:
    """The command that trains a shape on so many tokens by the recipe of the runs of a law."""
    size = f"model.width={found.width} model.depth={found.depth} model.heads={found.heads}"
    return f"python -m gptx.train {recipe} {size} steps={amount(tokens)}tok"


def tokens_an_update(parameters: float, tokens: float, context: int) -> int:
    """What GPT-3 took for that size, or so much less that there are UPDATES and that it is below the critical batch; a
    power of two of whole sequences."""
    usual = next(batch for below, batch in BATCHES if parameters < below)
    sequences = max(1.0, min(usual, tokens / UPDATES, critical_batch(tokens)) / context)
    return context * 2 ** int(math.log2(sequences))


def text(vocab_size: int, tokens: float) -> tuple[str, tuple[str, float] | None]:
    """The overrides of a text with that vocabulary, and so many tokens of it where there are; what it is called and how
    many there are to train on, None where that is not known of such tokens."""
    if vocab_size < 257:
        return "data=shakespeare", ("data=shakespeare", SHAKESPEARE[1])
    if vocab_size == 257 and tokens <= LIBRARY:
        return "data=stdlib", ("data=stdlib", LIBRARY)
    sample = next((f" data.config={name}" for name, there in SAMPLES if tokens <= there), " data.config=default")
    tokenizer = {50257: "", 257: " data.tokenizer=bytes"}.get(vocab_size, f" data.tokenizer=bpe:{vocab_size}")
    config = sample.replace(f" data.config={SAMPLES[0][0]}", "")
    known = ("FineWeb-Edu", SAMPLES[-1][1]) if vocab_size >= SUBWORDS else None
    return f"data=fineweb_edu{config}{tokenizer} data.tokens={amount(max(tokens, LEAST))}", known


def rate(parameters: float) -> float:
    """A first guess at Adam's peak rate: between RATES along straight lines in logarithms, beyond them their ends."""
    if parameters <= RATES[0][0]:
        return RATES[0][1]
    for (low, above), (high, below) in pairwise(RATES):
        if parameters <= high:
            return above * (below / above) ** (math.log(parameters / low) / math.log(high / low))
    return RATES[-1][1]
