"""What may be written of a config: no text that was looked up in the environment, no credentials of a URL."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.resolvers import oc

from gptx.config.keys import key_of, under
from gptx.units.printable import hidden, hide, without_credentials

_asked: list[str] = []  # the variables of the environment that configs have looked up, in order


def looked_up(name: str, *default: Any) -> Any:
    """What `${oc.env:...}` gives; from then on `masked` hides it, unless a number or in the working folder's path."""
    _asked.append(name)
    found = oc.env(name, *default)
    text = os.environ.get(name, "")
    if text not in os.getcwd() and not re.fullmatch(r"[-+.\de]*|true|false", text, re.IGNORECASE):
        hide(text, f"${{oc.env:{name}}}")
    return found


def recorded(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain values, resolved, as every file and every sink has it. A text from the environment stands as
    it was written, with a digest by which another value is noticed, but for the name, which the run folder shows."""
    name = cfg.name
    found = {str(key): name if key == "name" else _value(cfg, key) for key in cfg}
    for text in [text for text in hidden if text in name]:
        del hidden[text]
    return found


def _value(node: DictConfig | ListConfig, key: Any) -> Any:
    before, found = len(_asked), node[key]
    raw = node._get_node(key)._value()  # type: ignore[union-attr]
    if len(_asked) > before and not isinstance(found, int | float | None):
        plain = OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
        return f"{raw} (sha256 {hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]})"
    if isinstance(found, DictConfig):
        return {str(name): _value(found, name) for name in found}
    if isinstance(found, ListConfig):
        return [_value(found, place) for place in range(len(found))]
    return without_credentials(found) if isinstance(found, str) else found


def typed(words: Any) -> list[str]:
    """What was typed, as it may be written: interpolations stand, credentials do not."""
    given: Any = OmegaConf.to_container(words, resolve=False) if OmegaConf.is_config(words) else words
    return [without_credentials(str(word)) for word in given]


def as_yaml(plain: Any) -> str:
    """Plain values as the text of a YAML file."""
    return OmegaConf.to_yaml(plain)


def yaml_loader() -> type:
    """The loader for such text, a subclass of PyYAML's safe one: 1e-3 is a number, no key comes twice."""
    return get_yaml_loader()


def refuse_beyond(run: str, recorded: Iterable[str]) -> None:
    """Raise ValueError for words that may run code or read the environment, as ${oc.env:NAME}; ${steps} does not."""
    keys = {word: key_of(word).replace("/", ".") for word in sorted(recorded)}
    risky = re.compile(r"-|.*\$\{.*:", re.DOTALL)
    if beyond := [word for word in keys if risky.match(word) or under(keys[word], ("hydra", "allow_targets"))]:
        line = f"{run}: its record asks for more than a recipe: {shlex.join(beyond)}"
        raise ValueError(f"{line}; trust=true runs it if you trust the author of that folder")
