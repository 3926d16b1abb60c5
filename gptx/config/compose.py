"""From the words of a command line to a config: Hydra's composition, and what gptx adds to it, in one place."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gptx.config import hydra_node
from gptx.config.errors import ConfigError
from gptx.config.keys import slug
from gptx.config.paths import CONF, ROOT
from gptx.config.recorded import looked_up

_LARGEST = 100_000  # values of a file: a config has a hundred


def composed(words: Sequence[str] = (), *, hydra: bool = False) -> DictConfig:
    """The config that the overrides compose, unchecked; `hydra` keeps Hydra's section. Raises Hydra's errors too."""
    register()
    outer = GlobalHydra.instance().hydra  # of a command that is under way
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            return compose("train", list(words), return_hydra_config=hydra)
    finally:
        GlobalHydra.instance().hydra = outer


def as_config(values: dict) -> DictConfig:
    """Plain values, or parts of another config, as a config."""
    return OmegaConf.create(values)


def register() -> None:
    """Make Hydra know the experiments and the names of run folders, and check all that it composes in this process."""
    OmegaConf.register_new_resolver("gptx.slug", _slug, replace=True)
    OmegaConf.register_new_resolver("gptx.whole_slug", functools.partial(_slug, whole=True), replace=True)
    OmegaConf.register_new_resolver("oc.env", looked_up, replace=True)
    for plugin in (_Experiments, _SearchPath):
        Plugins.instance().register(plugin)
    loader: Any = ConfigLoaderImpl
    if not hasattr(loader.load_configuration, "__wrapped__"):
        loader.load_configuration = _guarded(loader.load_configuration)
        loader._apply_overrides_to_config = staticmethod(_open(loader._apply_overrides_to_config))
        of_files: Any = SourcesRegistry.instance().resolve("file")  # which Plugins has imported
        of_files.load_config = _bounded(of_files.load_config)


def _slug(*swept: str, _root_: DictConfig, whole: bool = False) -> str:
    """The run's folder name; overrides are read as typed: one such as a='${b}' must not be resolved here."""
    return slug(OmegaConf.to_container(_root_.hydra.overrides.task), swept, whole=whole)  # type: ignore[arg-type]


class _Experiments(FileConfigSource):
    """Serves experiments/NAME/experiment.yaml as experiment=NAME."""

    @staticmethod
    def scheme() -> str:
        return "experiments"

    @staticmethod
    def _normalize_file_name(filename: str) -> str:
        group, _, name = filename.removesuffix(".yaml").partition("/")
        return f"{name}/experiment.yaml" if group == "experiment" else "none"

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", "experiment")

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else ["experiment"]
        files = () if results_filter == ObjectType.GROUP else Path(self.path).glob("*/experiment.yaml")
        return sorted(file.parent.name for file in files)


class _SearchPath(SearchPathPlugin):
    def manipulate_search_path(self, search_path: Any) -> None:
        search_path.append("gptx", f"experiments://{ROOT}/experiments")


def _guarded(load: Callable) -> Callable:
    """Hydra's way from words and files to a config, which raises ConfigError where that of a run is not allowed."""

    @functools.wraps(load)
    def load_configuration(self, config_name, overrides, *rest, **more):
        words = OverridesParser.create().parse_overrides(list(overrides))
        for word in words:
            if (word.is_delete() and word.key_or_group.startswith("hydra")) or word.key_or_group == "hydra":
                raise ConfigError(f"{word.input_line}: gptx needs this section of Hydra's; set single keys of it")
        try:
            found = load(self, config_name, overrides, *rest, **more)
        except (HydraException, OmegaConfBaseException):  # which gptx.config.command_line explains
            raise
        except RecursionError:
            raise ConfigError("a file of the config is nested without end, or its defaults list names itself") from None
        except (yaml.YAMLError, UnicodeError, LookupError, AttributeError, TypeError) as error:
            line = " ".join(str(error).split())
            raise ConfigError(f"the config cannot be composed: {type(error).__name__}: {line}") from None
        if config_name == "train":
            hydra_node.refuse(found, words)
        return found

    return load_configuration


def _open(apply: Callable) -> Callable:
    """Hydra's way to lay overrides over a config: new keys, but Hydra's, are added, as validate.check judges them."""

    def apply_overrides(overrides, cfg):
        OmegaConf.set_struct(cfg.hydra, True)
        with open_dict(cfg):
            apply(overrides, cfg)

    return apply_overrides


def _bounded(load: Callable) -> Callable:
    """Hydra's way to read a file: an experiment is laid over the whole config, also without `# @package _global_`, and
    ConfigError is raised for one whose aliases make more of it than a memory holds."""

    @functools.wraps(load)
    def load_config(self, config_path):
        file = Path(self.path, self._normalize_file_name(config_path))
        if file.is_file() and b"*" in (text := file.read_bytes()) and _spread(yaml.compose(text), {}) > _LARGEST:
            raise ConfigError(f"{file}: its aliases make more than {_LARGEST:,} values of it")
        found = load(self, config_path)
        if config_path.startswith("experiment/"):
            found.header["package"] = found.header.get("package") or "_global_"
        return found

    return load_config


def _spread(node: Any, known: dict[int, int]) -> int:
    """Number of values in a node of YAML where every alias is written out; one that is in itself counts once."""
    if id(node) not in known:
        known[id(node)] = 1
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for each in inside for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] += sum(_spread(part, known) for part in parts)
    return known[id(node)]
