"""What the arms of a sweep share by construction: those with the same seed begin with the same weights and see the same
batches, unless they differ in what decides these."""

from gptx.config.keys import flat, under

# Model values that touch no initial weight: they act in the forward pass alone.
FORWARD = ("model.dropout", "model.mask", "model.softcap")
VOCABULARY = ("data._target_", "data.path", "data.tokenizer", "data.dataset", "data.sources")
WEIGHTS = ("model", "parametrization._target_", "precision.weights", "from", *VOCABULARY)
BATCHES = ("data", "batch.tokens", "batch.doublings", "batch.growth", "batch.context_doublings", "batch.lengthening",
           "inject", "from")  # fmt: skip


def kinship(configs: list[dict]) -> str:
    """A sentence about the arms of these configs that have the same seed; empty where there are no two such."""
    seeds: dict[int, list[dict]] = {}
    for config in map(flat, configs):
        seeds.setdefault(config["seed"], []).append(config)
    arms = [same for same in seeds.values() if len(same) > 1]
    if not arms:
        return ""
    weights, batches = (differing(arms, keys) for keys in (WEIGHTS, BATCHES))
    told = {"initial weights": weights, "batches": batches}
    kept = [name for name, keys in told.items() if not keys]
    lost = [
        f"not {name}, which {', '.join(keys)} decide{'s' * (len(keys) == 1)}" for name, keys in told.items() if keys
    ]
    return (
        f"arms with the same seed share {' and '.join(kept) or 'neither weights nor batches by construction'}"
        + "".join(f"; {words}" for words in lost)
    )


def differing(arms: list[list[dict]], decisive: tuple[str, ...]) -> list[str]:
    """The decisive keys in which configs of the same seed differ; an ingredient alone where many of its values do."""
    keys = {
        key: None
        for same in arms
        for key in dict.fromkeys(key for config in same for key in config)
        if under(key, decisive) and not under(key, FORWARD)
        if len({repr(config.get(key)) for config in same}) > 1
    }
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key.split(".")[0], []).append(key)
    return [word for group, found in groups.items() for word in (found if len(found) < 3 else [group])]
