"""From a checked config to objects. Only what `permitted` accepts is imported: what the files of conf/<group> name, the
classes of PyTorch that its row in groups.py has, and what `allow_targets` on the command line trusts."""

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from gptx.config.errors import ConfigError, nearest, refusal
from gptx.config.groups import GROUPS, SETTINGS
from gptx.config.paths import CONF

_TARGET = re.compile(r"^\s*_target_:\s*([\w.]+)", re.MULTILINE)


def permitted(target: Any, path: str, allow: Collection[str] = ()) -> Callable:
    """The function or class that `target` names at the key `path` of a config. Raises ConfigError, before importing it,
    for all that neither the group offers nor `allow` trusts (packages from the command line, such as "mylib.")."""
    group = re.split(r"[.\[]", path, maxsplit=1)[0]
    library = getattr(GROUPS.get(group), "library", None)
    if not isinstance(target, str) or not re.fullmatch(r"\w+(\.\w+)+", target):
        raise ConfigError(f"{path}._target_: {target!r} is not the dotted name of a class or a function")
    if target in offered(group):
        return find_target(target, path)
    trusted = tuple(filter(None, allow))
    if target.startswith(trusted):
        found = find_target(target, path)
        if callable(found) and _home(found).startswith(trusted):
            return found
        target = _home(found)
    if known := _of_library(target, path, library):
        return known
    if target.startswith("gptx."):
        hint = nearest(target, offered(group))
        raise ConfigError(f"{path}._target_: {target} is nothing that conf/{group} offers{hint}")
    others = " or {}{} classes".format(*library) if library else ""
    line = f"{path}._target_: {target} is not in an allowed package (what conf/{group} names{others})"
    raise ConfigError(f"{line}; if you trust it, add allow_targets=[{target.split('.')[0]}.] to the command line")


@functools.cache
def offered(group: str) -> tuple[str, ...]:
    """The names that the files of conf/<group> build from, nested ones too."""
    files = sorted(Path(CONF, group).glob("*.yaml"))
    return tuple(dict.fromkeys(name for file in files for name in _TARGET.findall(file.read_text())))


def _of_library(target: str, path: str, library: tuple[str, str] | None) -> Callable | None:
    prefix, kind = library or ("", "")
    if not prefix or not target.startswith(prefix):
        return None
    found, base = find_target(target, path), getattr(importlib.import_module(prefix[:-1]), kind)
    return found if inspect.isclass(found) and issubclass(found, base) and _home(found).startswith(prefix) else None


def _home(found: Any) -> str:
    """What an object is, not the name that it was reached by: gptx.trainer.random.os.system is posix.system."""
    return f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"


def find_target(target: str, path: str) -> Any:
    """The object of that dotted name. Raises ConfigError where there is none."""
    parts = target.split(".")
    for split in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:split])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and not f"{module}.".startswith(f"{error.name}."):
                raise ConfigError(f"{path}._target_: {module} needs {error.name}, which is not installed") from None
            continue
        for name in parts[split:]:
            if not hasattr(found, name):
                public = [each for each in dir(found) if not each.startswith("_")]
                raise ConfigError(f"{path}._target_: {module} has no {name}{nearest(name, public)}")
            found = getattr(found, name)
        return found
    raise ConfigError(f"{path}._target_: no module {parts[0]}; is its folder on PYTHONPATH?")


def build(node: Any) -> Any:
    """The object that a checked node describes, with plain lists and dicts inside. Raises ConfigError if it refuses."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate
    from omegaconf import DictConfig, OmegaConf, errors

    if not isinstance(node, DictConfig):
        return node
    if "_target_" not in node:
        return {str(key): build(node[key]) for key in node}
    path = str(node._get_full_key(None))
    try:
        built = instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValueError | OSError):
            inside = re.search(r"full_key: (\S+)", str(error))
            path = inside[1] if inside else path
            raise refusal(path, cause, OmegaConf.select(node._get_root(), path, default=())) from cause
        raise cause from None
    except errors.OmegaConfBaseException as error:  # Hydra reads a resolved text once more
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}; a text with ${{ in it cannot be built") from None
    if isinstance(built, functools.partial):  # Hydra's own kind costs 0.2 ms a call
        return functools.partial(built.func, *built.args, **built.keywords)
    return built


def ingredients(cfg: Any, **given: Any) -> dict[str, Any]:
    """The arguments of a Trainer: what a checked config describes, with what is `given` in its place."""
    return {str(key): build(cfg[key]) for key in cfg if key not in SETTINGS and key not in given} | given
