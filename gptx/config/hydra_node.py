"""Hydra's own section of a config, checked before Hydra builds anything from it.

Callbacks, launcher, sweeper and logging can all run code, some of it without a `_target_`. So a key may have the value
that gptx ships, or the one that was typed on the command line; a file may set only what is plain data.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gptx.config.errors import ConfigError, nearest
from gptx.config.keys import flat
from gptx.config.paths import CONF
from gptx.config.targets import permitted

PLAIN = re.compile(r"[\w.,:=@+/%-]*")  # what a file may give a launcher: no space, no quote, nothing that a shell reads
BASIC = "hydra._internal.core_plugins.basic_"
LAUNCHERS = ("hydra_plugins.gptx.", f"{BASIC}launcher.BasicLauncher", "hydra_plugins.hydra_submitit_launcher.")
SWEEPERS = (f"{BASIC}sweeper.BasicSweeper",)
HANDLERS = ("logging.StreamHandler", "logging.NullHandler")
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
FOR_A_SHELL = ("setup", "srun_args", "additional_parameters", "submitit_folder")  # of a launcher
BUILDS = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
LARGEST = 100_000  # values of a file: a config has a hundred
TYPED = ("run.dir", "sweep.dir", "sweep.subdir", "job.env_set", "job.env_copy")  # shipped, or from the command line


def register() -> None:
    """Have every composition of this process checked, whoever asks for it; harmless when repeated."""
    if not hasattr(ConfigLoaderImpl.load_configuration, "__wrapped__"):
        ConfigLoaderImpl.load_configuration = guarded(ConfigLoaderImpl.load_configuration)  # type: ignore[method-assign]
        Plugins.instance()  # which imports the sources
        source = SourcesRegistry.instance().resolve("file")
        source.load_config = bounded(source.load_config)  # type: ignore[method-assign]


def guarded(load: Callable) -> Callable:
    """Hydra's way from words and files to a config, which raises ConfigError where that of a run is not allowed."""

    @functools.wraps(load)
    def load_configuration(self, config_name, overrides, *rest, **more):
        words = OverridesParser.create().parse_overrides(list(overrides))
        for word in words:
            if (word.is_delete() and word.key_or_group.startswith("hydra")) or word.key_or_group == "hydra":
                raise ConfigError(f"{word.input_line}: gptx needs this section of Hydra's; set single keys of it")
        try:
            composed = load(self, config_name, overrides, *rest, **more)
        except (HydraException, OmegaConfBaseException):  # which gptx.config.hydra_errors explains
            raise
        except RecursionError:
            raise ConfigError("a file of the config is nested without end, or its defaults list names itself") from None
        except (yaml.YAMLError, UnicodeError, LookupError, AttributeError, TypeError) as error:
            line = " ".join(str(error).split())
            raise ConfigError(f"the config cannot be composed: {type(error).__name__}: {line}") from None
        if config_name == "train":
            refuse(composed, words)
        return composed

    return load_configuration


def bounded(load: Callable) -> Callable:
    """Hydra's way to read a file, which raises ConfigError where aliases make of it more than a memory holds."""

    @functools.wraps(load)
    def load_config(self, config_path):
        file = Path(self.path, self._normalize_file_name(config_path))
        if file.is_file() and b"*" in (text := file.read_bytes()) and spread(yaml.compose(text), {}) > LARGEST:
            raise ConfigError(f"{file}: its aliases make more than {LARGEST:,} values of it")
        return load(self, config_path)

    return load_config


def spread(node: Any, known: dict[int, int]) -> int:
    """How many values a node of YAML has where every alias is written out; one that is in itself counts once."""
    if id(node) not in known:
        known[id(node)] = 1
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for each in inside for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] += sum(spread(part, known) for part in parts)
    return known[id(node)]


def refuse(composed: DictConfig, words: list[Override]) -> None:
    """Raise ConfigError for the first key that is neither shipped, nor typed in `words`, nor plain data."""
    hydra: Any = OmegaConf.to_container(composed.hydra, resolve=False)
    typed = {key for word in words for key in set_by(word)}
    try:
        given = composed.get("allow_targets")
    except OmegaConfBaseException:
        given = None
    allow = (
        tuple(map(str, given)) if isinstance(given, ListConfig) else ()
    )  # gptx.config.validate refuses what is no list
    name = str(composed._get_node("name")._value())  # type: ignore[union-attr]
    refuse_claims(hydra["overrides"], name, allow, words, typed)
    refuse_unknown(hydra, HydraConf, "hydra")
    for name in BUILDS:
        refuse_interpolation(hydra.get(name), f"hydra.{name}")
    refuse_callbacks(hydra.get("callbacks") or {}, allow)
    refuse_plugin(hydra["launcher"], "hydra.launcher", (*LAUNCHERS, *allow))
    refuse_launcher_values(hydra["launcher"], typed)
    refuse_plugin(hydra["sweeper"], "hydra.sweeper", (*SWEEPERS, *allow))
    refuse_sweep(hydra["sweeper"])
    refuse_logging(hydra["job_logging"], "hydra.job_logging")
    refuse_logging(hydra["hydra_logging"], "hydra.hydra_logging")
    refuse_places(hydra, typed)


def refuse_claims(overrides: dict, name: str, allow: tuple[str, ...], words: list[Override], typed: set[str]) -> None:
    """Raise ConfigError for a file that says what was typed or what is trusted, or makes a name of what it looks up."""
    said = [*overrides["task"], *overrides["hydra"]]
    if sorted(said) != sorted(str(word.input_line) for word in words):
        raise ConfigError("hydra.overrides: a file says what was typed; only the command line does")
    if allow and "allow_targets" not in typed:
        raise ConfigError("allow_targets: a file cannot widen what is trusted; write it on the command line")
    if re.search(r"\$\{[^}]*:", name) and "name" not in typed:
        raise ConfigError(f"name={name}: the run folder would show what a file looks up; write it on the command line")


def refuse_places(hydra: dict, typed: set[str]) -> None:
    """Raise ConfigError for a file that says where runs go or what their environment is, and for what gptx lacks."""
    shipped = flat(shipped_section())
    for key, given in flat({name: hydra[name] for name in ("run", "sweep", "job")}).items():
        copied = key.removeprefix("job.env_set.") in hydra["job"]["env_copy"]  # which is typed, or refused itself
        known = copied or f"hydra.{key}" in typed or given in (shipped.get(key), {}, [])
        if key.startswith(TYPED) and not known:
            raise ConfigError(f"hydra.{key}={given}: a file cannot set it; write it on the command line")
    if hydra["job"].get("chdir"):
        raise ConfigError(
            "hydra.job.chdir=true: paths are relative to the folder where the command is typed; leave it out"
        )
    if hydra.get("output_subdir") is not None:
        raise ConfigError("hydra.output_subdir: the run folder is written by gptx; leave it null")


def set_by(word: Override) -> list[str]:
    """The keys that an override sets to values of its own."""
    given = word.value() if not word.is_delete() and not word.is_sweep_override() else None
    return [f"{word.key_or_group}.{key}" for key in flat(given)] if isinstance(given, dict) else [word.key_or_group]


def refuse_unknown(node: dict, kind: type, path: str) -> None:
    """Raise ConfigError for a key that Hydra does not know, in a node that has a fixed set of them."""
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)} | ({"env"} if kind is HydraConf else set())
    for key, child in node.items():
        if key not in known:
            raise ConfigError(f"{path}.{key}: no such key{nearest(str(key), known)}")
        if is_dataclass(hints.get(key)) and isinstance(child, dict):
            refuse_unknown(child, hints[key], f"{path}.{key}")


def refuse_interpolation(node: Any, path: str, top: bool = True) -> None:
    """Raise ConfigError for what is no dict, or has a value in it that only resolving would show."""
    if top and not isinstance(node, dict):
        raise ConfigError(f"{path}={node}: keys with values are needed there, written out")
    if isinstance(node, str) and "${" in node and not any(node in flat(each).values() for each in shipped_launchers()):
        raise ConfigError(f"{path}={node}: write the value out; Hydra would build what it resolves to")
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        if f"{path}.{key}" != "hydra.sweeper.params":  # overrides of jobs, which are checked one by one
            refuse_interpolation(child, f"{path}.{key}", top=False)


def refuse_callbacks(callbacks: dict, allow: tuple[str, ...]) -> None:
    """Raise ConfigError unless gptx's own callback is there as shipped, and others are of a package that is trusted."""
    shipped = shipped_section()["callbacks"]
    if any(callbacks.get(name) != node for name, node in shipped.items()):
        raise ConfigError(f"hydra.callbacks: gptx needs its own as it is shipped ({', '.join(shipped)}); leave it out")
    for name, node in callbacks.items():
        for path, target in targets(node, f"hydra.callbacks.{name}"):
            if name not in shipped:
                permitted(target, path, allow)


def targets(node: Any, path: str) -> list[tuple[str, Any]]:
    """Every `_target_` at and below a node, with the path of what it builds."""
    found = [(path, node["_target_"])] if isinstance(node, dict) and "_target_" in node else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return found + [each for key, child in items for each in targets(child, f"{path}.{key}")]


def refuse_plugin(node: dict, path: str, known: tuple[str, ...]) -> None:
    """Raise ConfigError unless a launcher or sweeper is a known one and builds nothing else."""
    for where, target in targets(node, path):
        if where != path or not str(target).startswith(known):
            raise ConfigError(
                f"{where}._target_: {target} is not allowed there; {path} is one of {', '.join(known[:2])}; if you "
                "trust another one that is installed, add allow_targets=[hydra_plugins.] to the command line"
            )


@cache
def shipped_section() -> dict:
    """Hydra's section as gptx ships it."""
    section: dict = yaml.safe_load(Path(CONF, "hydra/gptx.yaml").read_text())
    return section


@cache
def shipped_launchers() -> tuple[dict, ...]:
    """The launchers as gptx ships them."""
    return tuple(yaml.safe_load(file.read_text()) for file in sorted(Path(CONF, "hydra/launcher").glob("*.yaml")))


def refuse_launcher_values(launcher: dict, typed: set[str]) -> None:
    """Raise ConfigError for values of a launcher that a file gave and that could reach a shell."""
    shipped = [flat(each) for each in shipped_launchers()]
    for key, given in flat(launcher).items():
        if key == "_target_" or f"hydra.launcher.{key}" in typed or any(each.get(key, {}) == given for each in shipped):
            continue
        plain = given is None or isinstance(given, bool | int | float)
        plain = plain or (isinstance(given, str) and PLAIN.fullmatch(given) is not None)
        if key.startswith(FOR_A_SHELL) or not plain:
            raise ConfigError(f"hydra.launcher.{key}={given!r}: a file cannot set it; write it on the command line")


def refuse_sweep(sweeper: dict) -> None:
    """Raise ConfigError for what a file's sweep would set beyond the recipe, and for jobs in batches of none."""
    size, params = sweeper.get("max_batch_size"), sweeper.get("params") or {}
    if size is not None and (type(size) is not int or size < 1):
        raise ConfigError(f"hydra.sweeper.max_batch_size={size!r:.80}: at least 1, or null for all jobs at once")
    if not isinstance(params, dict):
        raise ConfigError(f"hydra.sweeper.params={params}: keys of the recipe with their values are needed there")
    for name in params:
        key = re.sub(r"^[+~]*", "", str(name)).replace("/", ".")
        if key.split(".")[0] in ("hydra", "allow_targets") or not re.fullmatch(r"[\w.]+", key):
            raise ConfigError(f"hydra.sweeper.params.{name}: a sweep of a file lists keys of the recipe only")


def refuse_logging(node: Any, path: str) -> None:
    """Raise ConfigError for a logging section that could build anything but lines on the terminal.

    Python's dictConfig calls what `()` and `class` name, imports what `ext://` names, and sets attributes by `.`.
    """
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        where = f"{path}.{key}"
        if key == "class" and child not in HANDLERS:
            raise ConfigError(f"{where}: {child} is not allowed there; one of {', '.join(HANDLERS)}")
        if key in ("()", ".", "filters"):
            raise ConfigError(f"{where}: not allowed; lines go to the terminal, and gptx writes train.log itself")
        if isinstance(child, str) and re.match("(ext|cfg)://", child) and child not in STREAMS:
            raise ConfigError(f"{where}: {child} is not allowed there; one of {', '.join(STREAMS)}")
        refuse_logging(child, where)
