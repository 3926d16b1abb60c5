"""Hydra plugins that put experiments/ on its search path; and what folders of one's own may not hold."""

from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from gptx.config import hydra_node, recorded
from gptx.config.paths import CONF, ROOT
from gptx.config.validate import ConfigError


class ExperimentSource(ConfigSource):
    """Serves experiments/NAME/experiment.yaml as experiment=NAME, laid over the whole config."""

    @staticmethod
    def scheme() -> str:
        return "experiments"

    def files(self) -> dict[str, Path]:
        return {f"experiment/{f.parent.name}": f for f in sorted(Path(self.path).glob("*/experiment.yaml"))}

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", "experiment")

    def is_config(self, config_path: str) -> bool:
        return config_path.removesuffix(".yaml") in self.files()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else ["experiment"]
        if results_filter == ObjectType.GROUP:
            return []
        return [name.removeprefix("experiment/") for name in self.files()]

    def load_config(self, config_path: str) -> ConfigResult:
        file = self.files()[config_path.removesuffix(".yaml")]
        return ConfigResult(self.provider, str(file), OmegaConf.load(file), header={"package": "_global_"})


class SearchPath(SearchPathPlugin):
    """Adds the experiments folder behind conf/ and the user's own --config-dir."""

    def manipulate_search_path(self, search_path) -> None:
        search_path.append("gptx", f"experiments://{ROOT}/experiments")


def register() -> None:
    """Make Hydra know the experiments, and have all that it composes checked; harmless when repeated."""
    hydra_node.register()
    recorded.register()
    Plugins.instance().register(ExperimentSource)
    Plugins.instance().register(SearchPath)


def refuse_shadowed(words: list[str]) -> None:
    """Raise ConfigError for a file in a folder of the command line's (--config-dir, hydra.searchpath) that has the name
    of one of gptx's, which Hydra would compose instead without a word."""
    given = get_args_parser().parse_known_args(words)[0]
    folders = [given.config_dir] if given.config_dir else []
    paths = [word.partition("=")[2].strip("[]") for word in words if word.startswith("hydra.searchpath=")]
    folders += [part.strip(" '\"").removeprefix("file://") for path in paths for part in path.split(",")]
    for folder in map(Path, filter(None, folders)):
        for name, shipped in sorted(own_files().items()):
            if (mine := folder / name).exists() and not mine.samefile(shipped):
                raise ConfigError(
                    f"{mine}: Hydra would take {shipped}, which has the same name, instead of this file; give it "
                    "another name"
                )


def own_files() -> dict[str, Path]:
    """The files of gptx and Hydra, by the names under which they are found on the search path."""
    roots = Path(hydra.__file__).parent / "conf", Path(CONF)
    found = {path.relative_to(root).as_posix(): path for root in roots for path in root.rglob("*.yaml")}
    return found | {f"experiment/{f.parent.name}.yaml": f for f in Path(ROOT).glob("experiments/*/experiment.yaml")}
