"""Checks a composed config against the signatures of what it names, before anything is built; then builds it.

A Python signature is the schema: names, types and what is required are written once, there.
"""

import functools
import inspect
import os
import typing
from collections.abc import Callable, Collection

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, errors, open_dict

from gptx.config import rules
from gptx.config.errors import ConfigError, nearest
from gptx.config.keys import differences, flat
from gptx.config.targets import permitted
from gptx.config.values import refuse_none, refuse_text, typed
from gptx.units.lengths import Length, updates

__all__ = ["ConfigError", "build", "check", "nearest", "trainer", "walk"]
HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}
TRAINER_GIVES = {"vocab_size"}  # to a partial: known once the text has been read


# The root keys that are no ingredient: where a run is kept and where it computes or begins, never what.
SETTINGS: dict[str, typing.Any] = {
    "name": str, "device": str, "threads": int | None, "deterministic": bool, "overwrite": bool,
    "allow_targets": list[str], "from": str | None, "record_patch": bool,
}  # fmt: skip


def check(cfg: DictConfig, *, allow: Collection[str] = ()) -> None:
    """Raise ConfigError for the first unknown or missing key, wrong type or forbidden target; lengths become updates.

    `allow` names the packages that the command line trusts: `cfg.allow_targets` of a config that Hydra composed, and
    never what was read from a folder.
    """
    for key, hint in (SETTINGS | {"seed": int, "steps": Length}).items():  # before PyTorch is imported
        if key not in cfg:
            raise ConfigError(f"{key}: required and not set")
        convert(cfg, key, key, hint, cfg)
    check_settings(cfg)
    from gptx.trainer import Trainer

    trainer = inspect.signature(Trainer).parameters
    known = [*trainer, *SETTINGS]
    for given in map(str, cfg):
        if given not in known:
            raise ConfigError(f"{given}: no such key{nearest(given, known)}")
    for key in known:
        if key not in cfg and trainer[key].default is inspect.Parameter.empty:
            raise ConfigError(f"{key}: required and not set")
    for group in (name for name in known if name not in SETTINGS and name not in ("steps", "seed")):
        node = value(cfg, group, group) if group in cfg else None
        several = trainer[group].default is None  # observe and log: any number of objects, by name
        for path, child in children(node, group) if several and isinstance(node, DictConfig) else [(group, node)]:
            obey(refuse_text, path.removeprefix("observe."), "a name")
            if child is None and several:
                continue
            if not isinstance(child, DictConfig) or "_target_" not in child:
                raise ConfigError(
                    f"{path}: expected an object with a _target_, got {child!r:.80}; choose an option of conf/{group}"
                )
            walk(child, path, allow, cfg)
            if several or group in rules.OBJECTS:
                obey(rules.refuse_partial, child, path)
    obey(rules.refuse_optimizer, cfg.optim)


def check_settings(cfg: DictConfig) -> None:
    """Raise ConfigError for root values that are of the right type and still make no sense."""
    if cfg.steps < 1:
        raise ConfigError(f"steps={cfg.steps}: a run makes at least 1 update")
    parts = cfg.name.split("/")
    if any(part in ("", ".", "..") or part != part.strip() for part in parts):
        raise ConfigError(f"name={cfg.name!r}: a folder below runs/, such as warmup or warmup/first")


def walk(node, path: str, allow: Collection[str], root: DictConfig) -> None:
    """Check every object at and below `node`, whose path begins with the name of its group."""
    if isinstance(node, DictConfig) and "_target_" in node:
        check_call(node, path, allow, root)
    for where, child in children(node, path):
        if isinstance(child, DictConfig | ListConfig):
            walk(child, where, allow, root)


def check_call(node: DictConfig, path: str, allow: Collection[str], root: DictConfig) -> None:
    """Check one object's keys and values against the signature of its target."""
    obey(rules.refuse_hydra_keys, node, path)
    target = value(node, "_target_", f"{path}._target_")
    function = permitted(target, path, allow)
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    names = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    keys = [str(key) for key in node if key not in HYDRA_KEYS]
    if not any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
        for key in keys:
            if key not in names:
                raise ConfigError(f"{path}.{key}: {target} has no '{key}'{nearest(key, names)}")
    partial = node.get("_partial_", False)
    for name in names:
        later = partial and (parameters[name].kind != inspect.Parameter.KEYWORD_ONLY or name in TRAINER_GIVES)
        if name not in keys and parameters[name].default is inspect.Parameter.empty and not later:
            raise ConfigError(f"{path}.{name}: required by {target} and not set")
    for key in keys:
        convert(node, key, f"{path}.{key}", hints.get(key, typing.Any), root)


def convert(node: DictConfig, key: str, path: str, hint, root: DictConfig) -> None:
    """Check the type of one value; put in its place what it means (a length: updates; '3' for an int: 3)."""
    given = value(node, key, path)
    if isinstance(given, DictConfig) and "_target_" in given:
        if inspect.isclass(hint) and hint is not Callable:
            obey(rules.refuse_partial, given, path)
        return
    plain = OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given
    path = rules.origin(node, key) or path
    obey(refuse_none, plain, hint, path)
    length = hint is Length or (hint == Length | None and plain is not None)
    meant = counted(plain, path, root) if length else obey(typed, plain, hint, path)
    if meant != plain or type(meant) is not type(plain):
        with open_dict(node):
            node[key] = meant


def counted(length, path: str, root: DictConfig) -> int:
    """A length in updates. Raises ConfigError if it is none."""
    if path == "steps" and isinstance(length, str) and length.endswith("%"):
        raise ConfigError(f"steps: {length} of what? write updates (500) or tokens (10Mtok)")
    batch = root.get("batch") if isinstance(root.get("batch"), DictConfig) else {}
    tokens: typing.Any = batch.get("tokens")
    if isinstance(tokens, float) and tokens.is_integer():  # 2e3
        tokens = int(tokens)
    if isinstance(length, str) and length.endswith("tok") and batch.get("doublings"):
        raise ConfigError(
            f"{path}={length}: tokens are no clock for a batch that grows; give updates (500) or a share (2%)"
        )
    if isinstance(length, str) and not (isinstance(tokens, int) and tokens > 0):
        raise ConfigError(f"batch.tokens={tokens}: a number of tokens, at least 1, since {path}={length} depends on it")
    try:
        return updates(length, steps=0 if path == "steps" else root.steps, tokens=tokens)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def obey(rule: Callable, *arguments):
    """What one of the rules returns. Raises ConfigError where it is broken."""
    try:
        return rule(*arguments)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def value(node: DictConfig, key: str, path: str):
    """The value of `key`, interpolations resolved. Raises ConfigError if it is mandatory and missing, or broken."""
    try:
        return node[key]
    except errors.MissingMandatoryValue:
        raise ConfigError(f"{path}: a value is needed; set {path}=...") from None
    except errors.OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from None


def children(node, path: str) -> list[tuple[str, typing.Any]]:
    """Path and value of everything directly in a dict or list node."""
    if isinstance(node, DictConfig):
        return [(f"{path}.{key!s}", value(node, str(key), f"{path}.{key!s}")) for key in node]
    if isinstance(node, ListConfig):
        return [(f"{path}[{i}]", item) for i, item in enumerate(node)]
    return []


def build(node):
    """The object that a checked node describes, with plain lists and dicts inside.

    Raises ConfigError if its own rules refuse the values.
    """
    if isinstance(node, DictConfig) and "_target_" not in node:
        return {str(key): build(node[key]) for key in node}
    if not isinstance(node, DictConfig):
        return node
    path = str(node._get_full_key(None))
    try:
        built = instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValueError | OSError):
            raise refusal(path, cause) from cause
        raise cause from None
    except errors.OmegaConfBaseException as error:  # Hydra reads a resolved text once more
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}; a text with ${{ in it cannot be built") from None
    if isinstance(built, functools.partial):  # Hydra's own kind costs 0.2 ms a call
        return functools.partial(built.func, *built.args, **built.keywords)
    return built


def refusal(path: str, cause: Exception) -> ConfigError:
    """A library's or an ingredient's complaint as one line that names the key."""
    text = str(cause).strip() or type(cause).__name__
    if isinstance(cause, OSError) and cause.filename and cause.errno:
        text = f"{cause.filename}: {os.strerror(cause.errno)}"
    line = " ".join(text.split())
    return ConfigError(line if line.startswith((f"{path}.", f"{path}=")) or not path else f"{path}: {line}")


def trainer(cfg: DictConfig):
    """The Trainer that a checked config describes. Raises ConfigError if an ingredient refuses its values, or if the
    processes would train different things."""
    from gptx.trainer import Trainer

    arguments = {str(key): build(cfg[key]) for key in cfg if key not in SETTINGS}
    agree(cfg, arguments["parallel"], arguments["data"])
    try:
        return Trainer(**arguments)
    except (ValueError, TypeError) as error:  # what a partial was given is judged when it is called
        if isinstance(error, TypeError) and "argument" not in str(error):
            raise
        raise refusal("", error) from error


def agree(cfg: DictConfig, parallel, data) -> None:
    """Raise ConfigError, in every process, if not all of them composed the same config and found the same data."""
    from gptx.config.recorded import recorded

    own = flat({**recorded(cfg), "data found": data.identity})
    first, *others = parallel.gather(own)
    for number, other in enumerate(others, start=1):
        if found := differences(first, other):
            raise ConfigError(
                f"{'; '.join(found[:3])}: the first is rank 0's, the second rank {number}'s; every process needs the "
                "same command, environment and files"
            )


def attach(trainer) -> None:
    """Let the observers attach to a trainer that is to run. Raises ConfigError if one cannot."""
    try:
        trainer.attach()
    except ValueError as error:
        raise refusal("", error) from error
