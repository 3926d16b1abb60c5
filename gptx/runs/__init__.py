"""The run folder: what a run says of itself, and the interface between the commands.

run.json        state, recipe, data, git, code, versions, hardware, result
config.yaml     the resolved config
overrides.yaml  what was typed
tokenizer.json  tokens to text and back
metrics.jsonl   every update
code_*.patch    uncommitted changes of the code that the config builds, from that update on
train.log       what the terminal showed
process.log     what its process printed, where a sweep or a study started it
checkpoints/    full states
"""

import importlib.metadata
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from gptx import files
from gptx.config.errors import ConfigError
from gptx.config.keys import differences, flat, recipe
from gptx.config.moved import current
from gptx.ingredients.log import shown
from gptx.runs import plain, schema

# Where a text is, not what, and what may divide it, whether it occurs or not: the digest of the text decides.
PLACES = r"data\.(.+\.)?(path|validation_path|dataset|separator)"
FOLLOWS = ("digest", "validation_tokens", "validation_documents")  # of a text from its content
BEGINNINGS = (".lock", "train.log", "config.yaml", "overrides.yaml", "tokenizer.json")  # of a run without run.json
KEPT = (".lock", ".lock.pid", "train.log", "process.log")  # what overwrite=true leaves in the folder
PACKAGES = ("gptx", "torch", "numpy", "hydra-core", "omegaconf", "tiktoken", "datasets", "wandb", "submitit")


def other_recipe(record: dict, config: dict) -> list[str]:
    """What separates the recipe of a recorded run from that of a resolved config, a phrase a key; not where the text
    is, if its digest tells whether it is the same (`other_text`)."""
    moved = moved_text(record, config)
    old, new = ({k: v for k, v in each.items() if k not in moved} for each in (record["recipe"], recipe(config)))
    return differences(old, new)


def of_another(record: dict, config: dict) -> str:
    """That the run of a record is not the one of a config, in words; empty where it is, or has not begun."""
    found = other_recipe(record, config) if "recipe" in record else []
    return f"the run there is another command's: {'; '.join(found[:3])}" if found else ""


def moved_text(record: dict, config: dict) -> list[str]:
    """The keys that name another place of the text than in a recorded run, whose digest tells whether it is the same.

    The name of a dataset of the hub is no place.
    """
    old, new = record["recipe"], recipe(config)
    keys = [k for k in new if re.fullmatch(PLACES, k) and old.get(k) != new[k]]
    keys = [k for k in keys if not k.endswith(".dataset") or Path(str(new[k])).is_dir()]
    return keys if "digest" in record.get("data", {}) else []


def meaningless(records: list[dict], keys: Iterable[str]) -> set[str]:
    """Those of the keys of recorded runs that say where their text is, or what may divide it, although it is the same
    text by its digests: nothing follows from where they differ."""
    texts = [record.get("data", {}) for record in records]
    same = any(
        all(name in text and text[name] == texts[0].get(name) for text in texts) for name in ("digest", "content")
    )
    return {k for k in keys if re.fullmatch(PLACES, k)} if same else set()


def other_text(old: dict, new: dict) -> list[str]:
    """What separates two texts, by the identities of their corpora, a phrase a fact; nothing where only the names of
    texts and files differ, or earlier versions held copies out. Earlier runs have no digest of the `content` alone:
    theirs is of the names too."""
    before, after = flat({"data": old}), flat({"data": new})
    digests = (k for k in before if k.endswith((".content", ".digest")) and before[k] == after.get(k))
    same = {k.rpartition(".")[0] for k in digests}

    def decides(fact: str) -> bool:
        where, _, name = fact.rpartition(".")
        return name not in ("name", "content") and not (where in same and name in FOLLOWS)

    told = differences(*({k: v for k, v in each.items() if decides(k)} for each in (before, after)))
    return [f"{phrase} (the text is not the same)" if ".digest was " in phrase else phrase for phrase in told]


def read(folder: Path) -> dict | None:
    """The record of the run in `folder`; None if it holds none. Raises ConfigError if it is damaged."""
    file = folder / "run.json"
    try:
        record = plain.read_json(file)
    except FileNotFoundError:
        return None
    schema.validated(record, schema.Record, file)
    return current(record)


def write(folder: Path, **values) -> None:
    """Add to the record of the run, in one step, so that a crash leaves the old or the new one."""
    record = (read(folder) or {}) | values
    files.write_text(folder / "run.json", files.to_json(record, indent=1))


def refuse_links(folder: Path, *, overwrite: bool = False) -> None:
    """Raise ConfigError for a symbolic link in the folder of a run that is to be written, unless `overwrite` removes
    it. Only checkpoints may be one, to a folder on another disk."""
    for link in sorted(entry for entry in folder.iterdir() if entry.is_symlink()) if folder.is_dir() else ():
        if overwrite and link.name not in KEPT:
            continue
        if link.name != "checkpoints":
            raise ConfigError(f"{shown(link)} is a symbolic link, and nothing is written through one; remove it")
        if not link.is_dir():
            raise ConfigError(f"{shown(link)} is a symbolic link to {link.readlink()}, which is no folder; make that "
                              "folder, or remove the link")  # fmt: skip


def refuse_strangers(folder: Path) -> None:
    """Raise ConfigError for a folder with something in it that is no run's: `hydra.run.dir` may name any folder, and
    overwrite=true empties the one that it is given."""
    known = (*KEPT, *BEGINNINGS, "checkpoints", "wandb", "wandb_id")
    for entry in sorted(folder.iterdir()) if folder.is_dir() and not (folder / "run.json").exists() else ():
        if entry.name not in known and not entry.name.startswith(".part.") and not holds_runs(entry):
            raise ConfigError(f"{shown(folder)} holds {entry.name}, which is no run's; a run needs a folder of its own")


def holds_runs(entry: Path) -> bool:
    """True for a folder of other runs, such as runs/a/b where runs/a is one too."""
    return entry.is_dir() and not entry.is_symlink() and any(entry.rglob("run.json"))


def clear(folder: Path) -> list[Path]:
    """Remove the run in `folder`, but not the lock that its owner holds; the symbolic links that were removed, since
    what they point to is left."""
    entries = [entry for entry in folder.iterdir() if entry.name not in KEPT and not holds_runs(entry)]
    links = [entry for entry in entries if entry.is_symlink()]
    for entry in sorted(entries, key=lambda entry: entry.name == "run.json"):  # which says whose the rest is
        files.delete(entry)
    return links


def remove_beginnings(folder: Path) -> None:
    """Remove what a run that never began left in its folder, and the folders that this empties."""
    for name in BEGINNINGS:
        (folder / name).unlink(missing_ok=True)
    remove_empty(folder)


def remove_empty(folder: Path) -> None:
    """Remove a folder that is empty, and those above it that this empties, up to the one where the command runs."""
    here = Path.cwd()
    for empty in (folder, *folder.parents):
        if empty == here or not empty.is_relative_to(here):
            return
        try:
            empty.rmdir()
        except FileNotFoundError:  # another process of the run was quicker
            continue
        except OSError:  # not empty
            return


def state(folder: Path) -> str:
    """The recorded state of a run; killed where it says running and no process holds the folder."""
    recorded = (read(folder) or {}).get("state", "missing")
    if recorded != "running":
        return recorded
    try:
        with files.lock(folder / ".lock"):
            return "killed"
    except (files.Held, OSError):  # or it cannot be told, as in a folder that another user owns
        return recorded


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
