"""Hydra's own section of a config, checked before Hydra builds callbacks, launcher, sweeper and logging, which can all
run code: a key may have the value that gptx ships, or a typed one; a file may set only what is plain data."""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from hydra.conf import HydraConf
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gptx.config.build import permitted
from gptx.config.errors import ConfigError, nearest
from gptx.config.keys import flat
from gptx.config.paths import CONF

_SHIPPED: dict = yaml.safe_load(Path(CONF, "hydra/gptx.yaml").read_text())
_LAUNCHERS = [{"launcher": yaml.safe_load(file.read_text())} for file in Path(CONF, "hydra/launcher").glob("*.yaml")]
_SHIPPED_VALUES = [pair for section in (_SHIPPED, *_LAUNCHERS) for pair in flat(section, "hydra.").items()]
_BASIC = "hydra._internal.core_plugins.basic_"
_PLUGINS = {
    "launcher": ("hydra_plugins.gptx.", f"{_BASIC}launcher.BasicLauncher", "hydra_plugins.hydra_submitit_launcher."),
    "sweeper": (f"{_BASIC}sweeper.BasicSweeper",),
}
_HANDLERS = ("logging.StreamHandler", "logging.NullHandler")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_LOGGING = r"hydra\.(job|hydra)_logging\b"
_SECTION = rf"({_LOGGING}|hydra\.(callbacks|launcher|sweeper)\b)"
_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (  # where, what is allowed unless shipped, the cure
    (rf"{_SECTION}\Z", lambda given: isinstance(given, dict), "keys with values are needed there, written out"),
    (r"hydra\.callbacks\Z", lambda given: given | _SHIPPED["callbacks"] == given,
     "gptx needs its own as it is shipped; leave it out"),
    (rf"(?!hydra\.sweeper\.params\.){_SECTION}\.", lambda given: not isinstance(given, str) or "${" not in given,
     "write the value out; Hydra would build what it resolves to"),
    (r"hydra\.sweeper\.params\Z", lambda given: given is None or isinstance(given, dict),
     "keys of the recipe with their values are needed there"),
    (r"hydra\.sweeper\.params\.(?![+~]*(?!(hydra|allow_targets)([./]|\Z))[\w./]+\Z)", lambda given: False,
     "a sweep of a file lists keys of the recipe only"),
    (r"hydra\.sweeper\.max_batch_size\Z", lambda given: given is None or (type(given) is int and given > 0),
     "at least 1, or null for all jobs at once"),
    (r"hydra\.job\.chdir\Z", lambda given: not given,
     "paths are relative to the folder where the command is typed; leave it out"),
    (r"hydra\.output_subdir\Z", lambda given: given is None, "the run folder is written by gptx; leave it null"),
    # Python's dictConfig calls what `()` and `class` name, imports what `ext://` names, and sets attributes by `.`
    (rf"{_LOGGING}.*\.(\(\)|\.|filters)\Z", lambda given: False,
     "not allowed; lines go to the terminal, and gptx writes train.log itself"),
    (rf"{_LOGGING}.*\.class\Z", lambda given: given in _HANDLERS, f"one of {', '.join(_HANDLERS)}"),
    (_LOGGING, lambda given: not str(given).startswith(("ext://", "cfg://")) or given in _STREAMS,
     f"one of {', '.join(_STREAMS)}"),
)  # fmt: skip
_BY_HAND = re.compile(
    r"hydra\.(run\.dir|sweep\.(sub)?dir|job\.env_(set|copy)|launcher\.(setup|srun_args|additional_parameters|submitit_))"
)
_PLAIN = re.compile(r"[\w.,:=@+/%-]*")  # what a file may give a launcher: nothing that a shell reads


def refuse(composed: DictConfig, words: list[Override]) -> None:
    """Raise ConfigError for the first key that is neither shipped, nor typed in `words`, nor plain data."""
    hydra: Any = OmegaConf.to_container(composed.hydra, resolve=False)
    typed: set[str] = set().union(*(flat(word.value(), f"{word.key_or_group}.") for word in words))
    if sorted([*hydra["overrides"]["task"], *hydra["overrides"]["hydra"]]) != sorted(str(w.input_line) for w in words):
        raise ConfigError("hydra.overrides: a file says what was typed; only the command line does")
    try:
        given = composed.get("allow_targets")
        allow = tuple(map(str, given)) if isinstance(given, ListConfig) else ()  # what is no list fails validate.check
    except OmegaConfBaseException as error:
        raise ConfigError(f"allow_targets: {str(error).splitlines()[0]}") from None
    if allow and "allow_targets" not in typed:
        raise ConfigError("allow_targets: a file cannot widen what is trusted; write it on the command line")
    name = str(composed._get_node("name")._value())  # type: ignore[union-attr]
    if re.search(r"\$\{[^}]*:", name) and "name" not in typed:
        raise ConfigError(f"name={name}: the run folder would show what a file looks up; write it on the command line")
    _refuse_unknown(hydra, HydraConf, "hydra")
    _refuse_what_runs(hydra, allow)
    _refuse_by_hand(hydra, typed)


def _refuse_unknown(node: dict, kind: type, path: str) -> None:
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)} | ({"env"} if kind is HydraConf else set())
    for key, child in node.items():
        if key not in known:
            raise ConfigError(f"{path}.{key}: no such key{nearest(str(key), known)}")
        if is_dataclass(hints.get(key)) and isinstance(child, dict):
            _refuse_unknown(child, hints[key], f"{path}.{key}")


def _refuse_what_runs(node: Any, allow: tuple[str, ...], path: str = "hydra") -> None:
    """Refuse what no rule allows at any depth of a dict or list, and targets that are not trusted."""
    for key, given in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        here = f"{path}.{key}"
        if (here, given) in _SHIPPED_VALUES:
            continue
        for where, allowed, cure in _RULES:
            if re.match(where, here, re.DOTALL) and not allowed(given):
                raise ConfigError(f"{here}{'' if isinstance(given, dict) else f'={given!s:.200}'}: {cure}")
        if key == "_target_":
            _refuse_target(given, path, allow)
        _refuse_what_runs(given, allow, here)


def _refuse_target(target: Any, path: str, allow: tuple[str, ...]) -> None:
    section = path.split(".")[1]
    if section not in _PLUGINS:
        permitted(target, path, allow)
    elif path != f"hydra.{section}" or not str(target).startswith((*_PLUGINS[section], *allow)):
        line = f"{target} is not allowed there; hydra.{section} is one of {', '.join(_PLUGINS[section][:2])}"
        raise ConfigError(f"{path}._target_: {line}; to trust another one, type allow_targets=[hydra_plugins.]")


def _refuse_by_hand(hydra: dict, typed: set[str]) -> None:
    """Refuse a file that says where runs go, what their environment is, or what could reach a shell."""
    for path, given in flat(hydra, "hydra.").items():
        copied = path.removeprefix("hydra.job.env_set.") in hydra["job"]["env_copy"]  # typed, or refused itself
        known = copied or path in typed or given in ({}, []) or (path, given) in _SHIPPED_VALUES
        unfit = path.startswith("hydra.launcher.") and not _PLAIN.fullmatch(str(given))
        if (unfit or _BY_HAND.match(path)) and not known:
            raise ConfigError(f"{path}={given!r}: a file cannot set it; write it on the command line")
