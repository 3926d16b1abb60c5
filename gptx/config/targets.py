"""What a `_target_` may name: the gate through which every name of code in a config goes.

A group builds what the files of conf/<group> name, `optim` also the optimizers of PyTorch, `model` and `objective` its
modules. Only `allow_targets` on the command line widens this; nothing that was read from a file does.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

from gptx.config.errors import ConfigError, nearest
from gptx.config.paths import CONF

TARGET = re.compile(r"^\s*_target_:\s*([\w.]+)", re.MULTILINE)
LIBRARY = {
    "optim": ("torch.optim.", "Optimizer"),
    "model": ("torch.nn.", "Module"),
    "objective": ("torch.nn.", "Module"),
}


@cache
def offered(group: str) -> tuple[str, ...]:
    """The names that the files of conf/<group> build from, nested ones too."""
    files = sorted(Path(CONF, group).glob("*.yaml"))
    return tuple(dict.fromkeys(name for file in files for name in TARGET.findall(file.read_text())))


def permitted(target: Any, path: str, allow: Collection[str] = ()) -> Callable:
    """The function or class that `target` names, at the key `path` of a config, such as optim or observe.custom.

    `allow` has the packages that the command line trusts, such as "mylib."; every `_target_` that Hydra would import
    is looked up here first. Raises ConfigError for all that the group does not offer, before it is imported.
    """
    group = re.split(r"[.\[]", path, maxsplit=1)[0]
    if not isinstance(target, str) or not re.fullmatch(r"\w+(\.\w+)+", target):
        raise ConfigError(f"{path}._target_: {target!r} is not the dotted name of a class or a function")
    if target in offered(group):
        return find(target, path)
    trusted = tuple(prefix for prefix in allow if prefix)
    if target.startswith(trusted):
        found = find(target, path)
        if callable(found) and home(found).startswith(trusted):
            return found
        target = home(found)
    if found := of_library(target, path, group):
        return found
    raise refused(target, path, group)


def of_library(target: str, path: str, group: str) -> Callable | None:
    """The class of PyTorch of that name, if it is of the kind that the group takes."""
    prefix, kind = LIBRARY.get(group, (None, ""))
    if prefix is None or not target.startswith(prefix):
        return None
    found, base = find(target, path), getattr(importlib.import_module(prefix[:-1]), kind)
    fits = inspect.isclass(found) and issubclass(found, base) and home(found).startswith(prefix)
    return found if fits else None


def home(found: Any) -> str:
    """What an object is, not the name that it was reached by: gptx.trainer.random.os.system is posix.system."""
    return f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"


def refused(target: str, path: str, group: str) -> ConfigError:
    """The one line for a name that is not offered."""
    if target.startswith("gptx."):
        return ConfigError(
            f"{path}._target_: {target} is nothing that conf/{group} offers{nearest(target, offered(group))}"
        )
    library = f" or {LIBRARY[group][0]}{LIBRARY[group][1]} classes" if group in LIBRARY else ""
    return ConfigError(
        f"{path}._target_: {target} is not in an allowed package (what conf/{group} names{library}); if you trust it, "
        f"add allow_targets=[{target.split('.')[0]}.] to the command line"
    )


def find(target: str, path: str) -> Any:
    """The object of that dotted name. Raises ConfigError where there is none."""
    parts = target.split(".")
    for split in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:split])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and not f"{module}.".startswith(f"{error.name}."):
                raise ConfigError(
                    f"{path}._target_: {module} needs the package {error.name}, which is not installed"
                ) from None
            continue
        for name in parts[split:]:
            if not hasattr(found, name):
                raise ConfigError(f"{path}._target_: {module} has no {name}{nearest(name, public(found))}")
            found = getattr(found, name)
        return found
    raise ConfigError(f"{path}._target_: no module {parts[0]}; is its folder on PYTHONPATH?")


def public(module: Any) -> list[str]:
    """Names of a module that do not begin with an underscore."""
    return [name for name in dir(module) if not name.startswith("_")]
