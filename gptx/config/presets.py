"""What conf/ says: the options that the recipe takes by default, their values, and where a run differs from them."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from gptx.config import paths
from gptx.config.groups import GROUPS
from gptx.config.keys import flat
from gptx.units import lengths
from gptx.units.phrases import joined

CONF = Path(paths.CONF)
HIDDEN = ("_target_", "_partial_", "_convert_")


@cache
def defaults() -> dict[str, str | list[str]]:
    """The option of every ingredient in conf/train.yaml's defaults list; a list where several may be."""
    entries = yaml.safe_load((CONF / "train.yaml").read_text())["defaults"]
    chosen = {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}
    return {group: option for group, option in chosen.items() if option is not None and group != "hydra"}


def spelled(value: object) -> str:
    """A value as YAML has it."""
    if isinstance(value, list):
        return ", ".join(map(spelled, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def elsewhere(key: str, chosen: Iterable[str] = ()) -> str:
    """The end of a message about a key that other options of its group have, added to the `chosen` ones; or ""."""
    group, _, name = key.partition(".")
    files = {path.stem: yaml.safe_load(path.read_text()) or {} for path in sorted((CONF / group).glob("*.yaml"))}
    options = [option for option, content in files.items() if name in content]
    options.sort(key=lambda option: files[option][name] != "???")  # those that need a value for it come first
    if options and GROUPS[group].several:
        present = [each.partition(".")[2] for each in chosen if each != key]
        return f"; add {group}=[{','.join([*present, options[0]])}]"
    return f"; add {group}={joined(options, 'or')}" if options else ""


def load_preset(file: Path) -> dict:
    """The values of an option of conf/; interpolations stay text."""
    return OmegaConf.to_container(OmegaConf.load(file))  # type: ignore[return-value]


def departures(config: dict, choices: dict[str, str]) -> dict[str, object]:
    """The keys of a run's config whose values are not those of the options it chose, with the options' values; a length
    is compared by the steps that it means in this run, and what interpolates another key, which says it, is not."""
    from gptx.config.compose import composed

    known = {group: option for group, option in choices.items() if (CONF / group / f"{option}.yaml").exists()}
    usual_config = composed([f"{group}={option}" for group, option in known.items()])
    preset, here = flat(OmegaConf.to_container(usual_config, resolve=False)), flat(config)
    found = {}
    for key, given in here.items():
        group, usual = key.split(".")[0], preset.get(key, given)
        told_elsewhere = isinstance(usual, str) and (usual == "???" or "${" in usual)
        if group not in choices.keys() - known and not told_elsewhere and not _same(usual, given, here):
            found[key] = usual
    return found


def _same(usual: object, given: object, config: dict) -> bool:
    """True if both mean the same in a run of this flat config, where lengths have become steps."""
    if isinstance(usual, str) and isinstance(given, int):
        try:
            usual = lengths.in_steps(usual, steps=config["steps"], tokens=config["batch.tokens"])
        except (ValueError, KeyError):
            return False
    return usual == given
