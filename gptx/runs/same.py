"""Whether two runs are the same: the same recipe, and the same text wherever its file is."""

import re
from collections.abc import Iterable
from pathlib import Path

from gptx.config.keys import differences, flat, recipe

# Where a text is and what may divide it, whether that occurs or not: only the digest of the text decides.
_PLACES = r"data\.(.+\.)?(path|validation_path|dataset|separator)"
_FOLLOWS = ("digest", "validation_tokens", "validation_documents")  # follow from the content of a text


def other_recipe(record: dict, config: dict) -> list[str]:
    """What separates a recorded recipe from a config's, a phrase a key; not the place of a text that has a digest."""
    moved = moved_text(record, config)
    old, new = ({k: v for k, v in each.items() if k not in moved} for each in (record["recipe"], recipe(config)))
    return differences(old, new)


def of_another(record: dict, config: dict) -> str:
    """A sentence that the recorded run is not the run of a config; empty if it is, or has not begun."""
    found = other_recipe(record, config) if "recipe" in record else []
    return f"the run there is another command's: {'; '.join(found[:3])}" if found else ""


def moved_text(record: dict, config: dict) -> list[str]:
    """The keys that name another place of the text (not the name on a hub) than in a recorded run with a digest."""
    old, new = record["recipe"], recipe(config)
    keys = [k for k in new if re.fullmatch(_PLACES, k) and old.get(k) != new[k]]
    keys = [k for k in keys if not k.endswith(".dataset") or Path(str(new[k])).is_dir()]
    return keys if "digest" in record.get("data", {}) else []


def meaningless(records: list[dict], keys: Iterable[str]) -> set[str]:
    """Those of the keys that say where the text is, or what may divide it, if all runs have the same by its digests."""
    texts = [record.get("data", {}) for record in records]
    same = any(all(name in t and t[name] == texts[0].get(name) for t in texts) for name in ("digest", "content"))
    return {k for k in keys if re.fullmatch(_PLACES, k)} if same else set()


def other_text(old: dict, new: dict) -> list[str]:
    """What separates two texts, by the identities of their corpora, one phrase for each fact; nothing if only names
    differ, or earlier versions held copies out. Earlier runs have no digest of `content`: theirs includes the names."""
    before, after = flat({"data": old}), flat({"data": new})
    same = {k.rpartition(".")[0] for k in before if k.endswith((".content", ".digest")) and before[k] == after.get(k)}

    def decides(fact: str) -> bool:
        where, _, name = fact.rpartition(".")
        return name not in ("name", "content", *(_FOLLOWS if where in same else ()))

    told = differences(*({k: v for k, v in each.items() if decides(k)} for each in (before, after)))
    return [f"{phrase} (the text is not the same)" if ".digest was " in phrase else phrase for phrase in told]
