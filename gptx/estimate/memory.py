"""The footprint of a composed recipe, or why there is none."""

from gptx.config import validate
from gptx.estimate import footprint
from gptx.estimate.footprint import Footprint


def predict(cfg, vocab_size: int) -> Footprint:
    """The footprint of a checked config on its own device, eager, for one process."""
    from gptx.distributed.rank import world_size
    from gptx.ingredients.parallel import OneProcess, find

    place = OneProcess(find(cfg.device))
    place.world_size = world_size()  # its share of the batch
    without = {*validate.SETTINGS, "data", "compile", "parallel", "checkpoints", "observe", "log"}
    ingredients = {str(key): validate.build(cfg[key]) for key in cfg if key not in without}
    observed = {name: validate.build(node) for name, node in (cfg.get("observe") or {}).items() if name == "validation"}
    ingredients |= {"parallel": place, "checkpoints": None, "observe": observed}
    copied = cfg.checkpoints.get("every", cfg.steps) < cfg.steps  # the last save is waited for
    return footprint.predict(ingredients, vocab_size=vocab_size, context=cfg.data.context, copied=copied)


def foreseen(cfg, vocab_size: int) -> Footprint | str:
    """The footprint, or why there is none: a run that cannot be predicted can still be trained."""
    try:
        return predict(cfg, vocab_size)
    except ValueError as error:
        return str(error)
