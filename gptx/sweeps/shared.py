"""Which of the initial weights and the batches the runs of a sweep share if they have the same seed."""

from itertools import chain

from gptx.config.groups import decides
from gptx.config.keys import flat


def kinship(configs: list[dict]) -> str:
    """A sentence about runs of the same seed: what they share, and which keys make the rest differ."""
    seeds: dict[int, list[dict]] = {}
    for config in map(flat, configs):
        seeds.setdefault(config["seed"], []).append(config)
    same = [each for each in seeds.values() if len(each) > 1]
    if not same:
        return ""
    found = {"initial weights": _differing(same, "weights"), "batches": _differing(same, "batches")}
    kept = " and ".join(what for what, keys in found.items() if not keys) or "neither weights nor batches"
    lost = (f"; not {what}, because of {', '.join(keys)}" for what, keys in found.items() if keys)
    return f"runs with the same seed share {kept}" + "".join(lost)


def _differing(same: list[list[dict]], what: str) -> list[str]:
    """The keys that decide it and differ within a seed; only the config group if three or more of its keys do."""
    groups: dict[str, list[str]] = {}
    for key in dict.fromkeys(chain.from_iterable(chain.from_iterable(same))):
        if decides(key, what) and any(len({repr(config.get(key)) for config in configs}) > 1 for configs in same):
            groups.setdefault(key.split(".")[0], []).append(key)
    return [word for group, keys in groups.items() for word in (keys if len(keys) < 3 else [group])]
