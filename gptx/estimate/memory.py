"""The memory of a composed recipe, predicted; and the size of its vocabulary."""

from gptx.config.build import build, ingredients
from gptx.estimate.footprint import Footprint, footprint
from gptx.estimate.laws import LARGEST_VOCABULARY
from gptx.units.amounts import whole

_CHARACTERS = 1000  # assumed size of a vocabulary that depends on the text


def predict_memory(cfg, vocab_size: int) -> Footprint:
    """The footprint of a checked config on its own device, eager, for one process. Raises ValueError."""
    from gptx.distributed.rank import world_size
    from gptx.ingredients.parallel import OneProcess, find_device

    place = OneProcess(find_device(cfg.device))
    place.world_size = world_size()  # its share of the batch
    observed = {name: build(node) for name, node in (cfg.get("observe") or {}).items() if name == "validation"}
    parts = ingredients(cfg, parallel=place, checkpoints=None, observe=observed, log=None, data=None, compile=None)
    copied = cfg.checkpoints.get("every", cfg.steps) < cfg.steps  # training waits for the last save
    return footprint(parts, vocab_size=vocab_size, context=cfg.data.context, copied=copied)


def prediction(cfg, vocab_size: int) -> Footprint | str:
    """The footprint, or why there is none: a run whose memory cannot be predicted can still be trained."""
    try:
        return predict_memory(cfg, vocab_size)
    except ValueError as error:
        return str(error)


def vocabulary_of(cfg, vocab: str = "") -> int:
    """The size of the vocabulary: `vocab` if given, else the data's. Raises ValueError for a size that cannot be."""
    if not vocab:
        return build(cfg.data).vocab_size
    return whole("vocab", vocab, most=LARGEST_VOCABULARY, example="50257")


def likely_vocabulary(cfg, otherwise: int = _CHARACTERS) -> int:
    """The size of the vocabulary by the name of the tokenizer, without data; `otherwise` if it depends on the text."""
    from gptx.ingredients.data.tokenizers import vocabulary_size

    return vocabulary_size(str(cfg.data.get("tokenizer"))) or otherwise
