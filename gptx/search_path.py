"""Hydra plugins that put experiments/ on its search path."""

from pathlib import Path

from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from gptx.config import hydra_node, recorded
from gptx.paths import ROOT


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
