"""The run folder: what a run says of itself, and the interface between the commands.

run.json        state, recipe, data, git, versions, hardware, result
config.yaml     the resolved config
overrides.yaml  what was typed
tokenizer.json  tokens to text and back
metrics.jsonl   every update
train.log       what the terminal showed
process.log     what its process printed, where a sweep or a study started it
checkpoints/    full states
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock, Timeout

from gptx.check import ConfigError

# What may change when a run is continued: where and how it is computed and watched, not what is computed.
FREE = ("name", "device", "threads", "overwrite", "allow_targets", "log", "observe", "checkpoints", "parallel",
        "memory", "compile", "deterministic", "batch.micro")  # fmt: skip
PLACES = r"data\.(.+\.)?(path|validation_path|dataset)"  # where a text is, not what: the digest of the text decides
BOOKKEEPING = ("name", "overwrite", "allow_targets", "log", "experiment", "hydra")  # never part of a folder's name
SWEEPS_OWN = ("hydra.sweep", "hydra.sweeper", "hydra.launcher", "hydra.mode", "hydra.run")  # no options of a lone run
NAME_BYTES = 255  # of the name of a file or folder, on nearly every disk
PACKAGES = ("gptx", "torch", "numpy", "hydra-core", "omegaconf", "tiktoken", "datasets", "wandb", "submitit")


def key(override: str) -> str:
    """The key that an override of the command line sets."""
    return re.match(r"[+~]*([^=@]+)", override)[1]  # type: ignore[index]


def under(name: str, keys: tuple[str, ...]) -> bool:
    """True if `name` is one of `keys` or lies below one."""
    return any(name == k or name.startswith((f"{k}.", f"{k}/")) for k in keys)


def slug(overrides: list[str], swept: tuple[str, ...] = (), *, whole: bool = False, room: int = NAME_BYTES) -> str:
    """A folder name of at most `room` bytes from the overrides that make this run another one; the same in every
    process and every time.

    In a sweep these are the `swept` keys, whatever they are: arms may differ in anything. Of a path the name has the
    last part, or all of it where the `whole` is asked for.
    """
    last = {key(o): o.lstrip("+") for o in overrides}  # of a key that is set twice the last word counts
    kept = sorted(o for name, o in last.items() if (name in swept if swept else not under(name, BOOKKEEPING + FREE)))
    short = kept if whole else [re.sub(r"=.*/(?=.)", "=", override) for override in kept]
    text = re.sub(r"[^\w.,=+~-]", "_", ",".join(short)) or "base"
    if len(text) <= 120 and len(text.encode()) <= room:
        return text
    digest = hashlib.sha256(",".join(kept).encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{text[:110].encode()[: room - 9].decode(errors='ignore')}-{digest}"  # no half character at the end


def changes(overrides: list[str]) -> list[str]:
    """The overrides that change what is computed."""
    return [override for override in overrides if not under(key(override), BOOKKEEPING + FREE)]


def options(hydra) -> list[str]:
    """What the command line told Hydra itself, by Hydra's own config, as words for another command that trains one run
    of the same: folders of configs, and settings that are not of the sweep."""
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    kept = [word for word in map(str, hydra.overrides.hydra) if not under(key(word).replace("/", "."), SWEEPS_OWN)]
    return [*(word for folder in folders for word in ("--config-dir", folder)), *kept]


def flat(node, prefix: str = "") -> dict:
    """Nested dicts as one dict with dotted keys."""
    if isinstance(node, dict) and node:
        return {k: v for name, child in node.items() for k, v in flat(child, f"{prefix}{name}.").items()}
    return {prefix[:-1]: node}


def recipe(config: dict) -> dict:
    """The part of a resolved config that must not change when a run is continued, with dotted keys."""
    return {k: v for k, v in flat(config).items() if not under(k, FREE)}


def differences(old: dict, new: dict) -> list[str]:
    """What separates two flat dicts, a phrase a key."""
    keys = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    return [f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in keys]


def other_recipe(record: dict, config: dict) -> list[str]:
    """What separates the recipe of a recorded run from that of a resolved config, a phrase a key; not where the text
    is, if its digest tells whether it is the same (`other_text`)."""
    moved = moved_text(record, config)
    old, new = ({k: v for k, v in each.items() if k not in moved} for each in (record["recipe"], recipe(config)))
    return differences(old, new)


def moved_text(record: dict, config: dict) -> list[str]:
    """The keys that name another place of the text than in a recorded run, whose digest tells whether it is the same.

    The name of a dataset of the hub is no place.
    """
    old, new = record["recipe"], recipe(config)
    keys = [k for k in new if re.fullmatch(PLACES, k) and old.get(k) != new[k]]
    keys = [k for k in keys if not k.endswith(".dataset") or Path(str(new[k])).is_dir()]
    return keys if "digest" in record.get("data", {}) else []


def other_text(old: dict, new: dict) -> list[str]:
    """What separates two texts, by the identities of their corpora, a phrase a fact; nothing where only the names of
    texts and files differ. Earlier runs have no digest of the `content` alone: theirs is of the names too."""
    before, after = flat({"data": old}), flat({"data": new})
    same = {k for k, content in before.items() if k.endswith(".content") and content == after.get(k)}

    def decides(fact: str) -> bool:
        where, _, name = fact.rpartition(".")
        return name not in ("name", "content") and not (name == "digest" and f"{where}.content" in same)

    told = differences(*({k: v for k, v in each.items() if decides(k)} for each in (before, after)))
    return [f"{phrase} (the text is not the same)" if ".digest was " in phrase else phrase for phrase in told]


def read(folder: Path) -> dict | None:
    """The record of the run in `folder`; None if it holds none. Raises ConfigError if the record is unreadable."""
    try:
        return json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"{folder / 'run.json'} cannot be read ({error}); overwrite=true starts afresh, or choose another name="
        ) from None


def write(folder: Path, **values) -> None:
    """Add to the record of the run, in one step, so that a crash leaves the old or the new one."""
    record = (read(folder) or {}) | values
    with (folder / "run.json.part").open("w") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(folder / "run.json.part", folder / "run.json")


def clear(folder: Path) -> None:
    """Remove the run in `folder`, but not the lock that its owner holds."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == "run.json"):  # which says whose the rest is
        if entry.name in (".lock", "train.log", "process.log"):
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def remove_beginnings(folder: Path) -> None:
    """Remove what a run that never began left in its folder, and the folders that this empties."""
    for name in (".lock", "train.log", "config.yaml", "overrides.yaml", "tokenizer.json", "run.json.part"):
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
        with FileLock(folder / ".lock", blocking=False):
            return "killed"
    except Timeout:
        return recorded


def git() -> dict:
    """Commit of gptx's own repository and whether it was changed since; empty where it was installed without one."""

    def ask(*words: str) -> str:
        try:
            return subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True, timeout=10
            ).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""

    commit = ask("rev-parse", "HEAD")
    return {"sha": commit, "dirty": bool(ask("status", "--porcelain"))} if commit else {}


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
