"""Hydra's own section of a config, checked before Hydra builds anything from it.

Callbacks, launcher, sweeper and logging can all run code, some of it without a `_target_`. So a key may have the value
that gptx ships, or the one that was typed on the command line; a file may set only what is plain data.
"""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
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

_PLAIN = re.compile(r"[\w.,:=@+/%-]*")  # what a file may give a launcher: nothing that a shell reads
_BASIC = "hydra._internal.core_plugins.basic_"
_PLUGINS = {
    "launcher": ("hydra_plugins.gptx.", f"{_BASIC}launcher.BasicLauncher", "hydra_plugins.hydra_submitit_launcher."),
    "sweeper": (f"{_BASIC}sweeper.BasicSweeper",),
}
_HANDLERS = ("logging.StreamHandler", "logging.NullHandler")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_FOR_A_SHELL = ("setup", "srun_args", "additional_parameters", "submitit_folder")  # of a launcher
_LOGGING = ("job_logging", "hydra_logging")
_TYPED = ("run.dir", "sweep.dir", "sweep.subdir", "job.env_set", "job.env_copy")  # shipped, or from the command line
_BY_HAND = "a file cannot set it; write it on the command line"


def refuse(composed: DictConfig, words: list[Override]) -> None:
    """Raise ConfigError for the first key that is neither shipped, nor typed in `words`, nor plain data."""
    hydra: Any = OmegaConf.to_container(composed.hydra, resolve=False)
    typed = {key for word in words for key in _set_by(word)}
    try:
        given = composed.get("allow_targets")
    except OmegaConfBaseException:
        given = None
    allow = tuple(map(str, given)) if isinstance(given, ListConfig) else ()  # gptx.config.validate refuses no list
    name = str(composed._get_node("name")._value())  # type: ignore[union-attr]
    _refuse_claims(hydra["overrides"], name, allow, words, typed)
    _refuse_unknown(hydra, HydraConf, "hydra")
    for section in ("callbacks", *_PLUGINS, *_LOGGING):
        if not isinstance(hydra.get(section), dict):
            raise ConfigError(f"hydra.{section}={hydra.get(section)}: keys with values are needed there, written out")
        _refuse_interpolation(hydra[section], f"hydra.{section}")
    _refuse_callbacks(hydra["callbacks"], allow)
    for section, known in _PLUGINS.items():
        _refuse_plugin(hydra[section], f"hydra.{section}", (*known, *allow))
    _refuse_launcher_values(hydra["launcher"], typed)
    _refuse_sweep(hydra["sweeper"])
    for section in _LOGGING:
        _refuse_logging(hydra[section], f"hydra.{section}")
    _refuse_places(hydra, typed)


def _every(node: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Path, key and value of everything at any depth in a dict or list."""
    for key, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield f"{path}.{key}", key, child
        yield from _every(child, f"{path}.{key}")


def _set_by(word: Override) -> list[str]:
    given = word.value() if not word.is_delete() and not word.is_sweep_override() else None
    return [f"{word.key_or_group}.{key}" for key in flat(given)] if isinstance(given, dict) else [word.key_or_group]


def _refuse_claims(overrides: dict, name: str, allow: tuple[str, ...], words: list[Override], typed: set[str]) -> None:
    """Refuse a file that says what was typed or what is trusted, or makes a name of what it looks up."""
    if sorted([*overrides["task"], *overrides["hydra"]]) != sorted(str(word.input_line) for word in words):
        raise ConfigError("hydra.overrides: a file says what was typed; only the command line does")
    if allow and "allow_targets" not in typed:
        raise ConfigError("allow_targets: a file cannot widen what is trusted; write it on the command line")
    if re.search(r"\$\{[^}]*:", name) and "name" not in typed:
        raise ConfigError(f"name={name}: the run folder would show what a file looks up; write it on the command line")


def _refuse_places(hydra: dict, typed: set[str]) -> None:
    """Refuse a file that says where runs go or what their environment is, and what gptx lacks."""
    shipped = flat(_shipped_section())
    for key, given in flat({name: hydra[name] for name in ("run", "sweep", "job")}).items():
        copied = key.removeprefix("job.env_set.") in hydra["job"]["env_copy"]  # which is typed, or refused itself
        known = copied or f"hydra.{key}" in typed or given in (shipped.get(key), {}, [])
        if key.startswith(_TYPED) and not known:
            raise ConfigError(f"hydra.{key}={given}: {_BY_HAND}")
    if hydra["job"].get("chdir"):
        line = "paths are relative to the folder where the command is typed; leave it out"
        raise ConfigError(f"hydra.job.chdir=true: {line}")
    if hydra.get("output_subdir") is not None:
        raise ConfigError("hydra.output_subdir: the run folder is written by gptx; leave it null")


def _refuse_unknown(node: dict, kind: type, path: str) -> None:
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)} | ({"env"} if kind is HydraConf else set())
    for key, child in node.items():
        if key not in known:
            raise ConfigError(f"{path}.{key}: no such key{nearest(str(key), known)}")
        if is_dataclass(hints.get(key)) and isinstance(child, dict):
            _refuse_unknown(child, hints[key], f"{path}.{key}")


def _refuse_interpolation(node: dict, path: str) -> None:
    for where, _, child in _every(node, path):
        looked_up = (
            isinstance(child, str) and "${" in child and not where.startswith("hydra.sweeper.params")
        )  # see below
        if looked_up and not any(child in each.values() for each in _shipped_launchers()):
            raise ConfigError(f"{where}={child}: write the value out; Hydra would build what it resolves to")


def _refuse_callbacks(callbacks: dict, allow: tuple[str, ...]) -> None:
    """Refuse callbacks unless gptx's own is there as shipped, and others are of a package that is trusted."""
    shipped = _shipped_section()["callbacks"]
    if any(callbacks.get(name) != node for name, node in shipped.items()):
        raise ConfigError(f"hydra.callbacks: gptx needs its own as it is shipped ({', '.join(shipped)}); leave it out")
    for name, node in callbacks.items():
        for path, target in _targets(node, f"hydra.callbacks.{name}") if name not in shipped else ():
            permitted(target, path, allow)


def _targets(node: dict, path: str) -> list[tuple[str, Any]]:
    """The path of everything that is built at and below a node, and its `_target_`."""
    return [(where.removesuffix("._target_"), each) for where, key, each in _every(node, path) if key == "_target_"]


def _refuse_plugin(node: dict, path: str, known: tuple[str, ...]) -> None:
    for where, target in _targets(node, path):
        if where != path or not str(target).startswith(known):
            raise ConfigError(
                f"{where}._target_: {target} is not allowed there; {path} is one of {', '.join(known[:2])}; if you "
                "trust another one that is installed, add allow_targets=[hydra_plugins.] to the command line"
            )


@cache
def _shipped_section() -> dict:
    return yaml.safe_load(Path(CONF, "hydra/gptx.yaml").read_text())


@cache
def _shipped_launchers() -> list[dict]:
    return [flat(yaml.safe_load(file.read_text())) for file in sorted(Path(CONF, "hydra/launcher").glob("*.yaml"))]


def _refuse_launcher_values(launcher: dict, typed: set[str]) -> None:
    """Refuse values of a launcher that a file gave and that could reach a shell."""
    for key, given in flat(launcher).items():
        shipped = any(each.get(key, {}) == given for each in _shipped_launchers())
        if key == "_target_" or f"hydra.launcher.{key}" in typed or shipped:
            continue
        plain = _PLAIN.fullmatch(given) if isinstance(given, str) else given is None or isinstance(given, int | float)
        if key.startswith(_FOR_A_SHELL) or not plain:
            raise ConfigError(f"hydra.launcher.{key}={given!r}: {_BY_HAND}")


def _refuse_sweep(sweeper: dict) -> None:
    size, params = sweeper.get("max_batch_size"), sweeper.get("params") or {}
    if size is not None and (type(size) is not int or size < 1):
        raise ConfigError(f"hydra.sweeper.max_batch_size={size!r:.80}: at least 1, or null for all jobs at once")
    if not isinstance(params, dict):
        raise ConfigError(f"hydra.sweeper.params={params}: keys of the recipe with their values are needed there")
    for name in params:
        key = re.sub(r"^[+~]*", "", str(name)).replace("/", ".")
        if key.split(".")[0] in ("hydra", "allow_targets") or not re.fullmatch(r"[\w.]+", key):
            raise ConfigError(f"hydra.sweeper.params.{name}: a sweep of a file lists keys of the recipe only")


def _refuse_logging(node: dict, path: str) -> None:
    """Refuse a logging section that could build anything but lines on the terminal.

    Python's dictConfig calls what `()` and `class` name, imports what `ext://` names, and sets attributes by `.`.
    """
    for where, key, child in _every(node, path):
        if key in ("()", ".", "filters"):
            raise ConfigError(f"{where}: not allowed; lines go to the terminal, and gptx writes train.log itself")
        imported = isinstance(child, str) and re.match("(ext|cfg)://", child)
        known = _HANDLERS if key == "class" else _STREAMS if imported else (child,)
        if child not in known:
            raise ConfigError(f"{where}: {child} is not allowed there; one of {', '.join(known)}")
