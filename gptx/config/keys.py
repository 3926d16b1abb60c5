"""Keys of a config as dotted names: what an override sets, which keys make a run another one, which key is meant."""

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gptx.config.groups import decides
from gptx.units.printable import without_credentials

_SWEEPS_OWN = ("hydra.sweep", "hydra.sweeper", "hydra.launcher", "hydra.mode", "hydra.run")  # no options of a lone run
FACTORS = "vary", "best_over", "per"  # of a question, each a key of the config or several
NAME_BYTES = 255  # of the name of a file or folder, on nearly every disk

_SYNONYMS = {word: key for key, words in {
    "optim": "optimizer", "optim.lr": "learning_rate", "optim.weight_decay": "wd", "optim.betas": "beta1 beta2",
    "model.depth": "n_layer n_layers num_layers layers", "model.heads": "n_head n_heads num_heads",
    "model.width": "n_embd d_model hidden_size", "model.context": "block_size seq_len seq_length context_length",
    "steps": "epochs num_epochs max_iters max_steps num_steps iterations", "batch.tokens": "batch_size",
    "batch.micro": "micro_batch_size", "schedule": "scheduler lr_scheduler", "data": "dataset",
    "schedule.warmup": "warmup_steps warmup_iters", "schedule.floor": "min_lr", "precision": "dtype",
    "clip.max_norm": "grad_clip max_grad_norm", "observe.validation.every": "eval_interval eval_every",
}.items() for word in words.split()}  # usual in other programs: what it is called here # fmt: skip


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys."""
    if isinstance(node, dict) and node:
        return {k: v for name, child in node.items() for k, v in flat(child, f"{prefix}{name}.").items()}
    return {prefix[:-1]: node}


def near(wrong: str, known: Iterable[str]) -> str:
    """The end of a message about a key that is none of the known: the one that is meant; "" if none is near."""
    known = [key for key in known if not re.search(r"(^|\.)_", key)]
    parent, _, last = wrong.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
    close = map(siblings.get, difflib.get_close_matches(last, siblings, n=1))
    alike = sorted((key for key in known if f".{key}".endswith(f".{last}")), key=lambda key: key.count("."))
    synonym = {_SYNONYMS.get(last.lower(), "")}.intersection(known)
    others = [*close, *alike] if parent else [*alike, *close, *difflib.get_close_matches(wrong, known)]
    return next((f"; did you mean '{key}'?" for key in (*synonym, *others)), "")


def nodes(node: Any, prefix: str = "") -> list[str]:
    """The dotted keys of nested dicts, inner ones too."""
    inside = node.items() if isinstance(node, dict) else ()
    return [key for name, child in inside for key in (f"{prefix}{name}", *nodes(child, f"{prefix}{name}."))]


def stated(question: Mapping[str, str | list[str]]) -> dict[str, tuple[str, ...]]:
    """What an experiment's `question` states. Raises ValueError for a key that a question does not have."""
    known = *FACTORS, "baseline", "at"
    if unknown := set(question).difference(known):
        raise ValueError(f"question.{min(unknown)}: no such key; there are {', '.join(known)}")
    listed = {key: told.split(",") if isinstance(told, str) else told for key, told in question.items()}
    return {key: tuple(filter(None, map(str.strip, told))) for key, told in listed.items()}


def key_of(override: str) -> str:
    """The key that an override of the command line sets."""
    return re.split("[=@]", override.lstrip("+~"))[0]


def under(name: str, keys: tuple[str, ...]) -> bool:
    """True if `name` is one of `keys` or lies below one."""
    return any(name == k or name.startswith((f"{k}.", f"{k}/")) for k in keys)


def slug(overrides: list[str], swept: tuple[str, ...] = (), *, whole: bool = False, room: int = NAME_BYTES) -> str:
    """A folder name of at most `room` bytes from the overrides that make this run another one, or set `swept` keys."""
    last = {key_of(o): o.lstrip("+") for o in overrides}  # of a key that is set twice the last word counts
    chosen = {k: o for k, o in last.items() if (k in swept if swept else decides(k, "result"))}
    kept = sorted(map(without_credentials, chosen.values()))
    short = kept if whole else [re.sub(r"=.*/(?=.)", "=", override) for override in kept]
    text = re.sub(r"[^\w.,=+~-]", "_", ",".join(short)) or "base"
    if len(text) <= 120 and len(text.encode()) <= room:
        return text
    digest = hashlib.sha256(",".join(kept).encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{text[:110].encode()[: room - 9].decode(errors='ignore')}-{digest}"  # no half character at the end


def changes(overrides: list[str]) -> list[str]:
    """The overrides that change what is computed."""
    return [override for override in overrides if decides(key_of(override), "result")]


def options(hydra: Any) -> list[str]:
    """The words for Hydra itself, from its section of a config, that a lone run of the same recipe needs."""
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    kept = [word for word in map(str, hydra.overrides.hydra) if not under(key_of(word).replace("/", "."), _SWEEPS_OWN)]
    return [*(word for folder in folders for word in ("--config-dir", folder)), *kept]


def recipe(config: dict) -> dict:
    """The part of a resolved config that must not change when a run is continued, with dotted keys."""
    return {k: v for k, v in flat(config).items() if decides(k, "result")}


def differences(old: dict, new: dict) -> list[str]:
    """What separates two flat dicts, one phrase for each key."""
    keys = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    return [f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in keys]


def quoted(text: str) -> str:
    """A text as a value of Hydra's, with any signs; a backslash means something to Hydra before a quote alone."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), text)
    return f"'{escaped}'"


def unquoted(value: str) -> str:
    """The text that a value of Hydra's means."""
    quote = value[:1]
    if quote not in ("'", '"'):
        return value
    return re.sub(rf"(\\*)({quote}|\Z)", lambda found: found[1][: len(found[1]) // 2] + found[2], value[1:-1])
