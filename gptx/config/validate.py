"""Checks a composed config before anything is built; the schema are the signatures of what it names."""

import inspect
import re
import typing
from collections.abc import Callable, Collection

from omegaconf import DictConfig, ListConfig, OmegaConf, errors, open_dict

from gptx.config.build import offered, permitted
from gptx.config.errors import ConfigError, nearest
from gptx.config.groups import GROUPS, ROWS, VALUES, Group
from gptx.config.keys import FACTORS, near, nodes, stated, under
from gptx.config.model_size import model_size, vocabulary
from gptx.config.presets import elsewhere
from gptx.config.values import refuse_text, typed_value
from gptx.units.lengths import TIMES, Length, in_steps, of_a_run, rounded

_FUNCTIONS = {row.name for row in ROWS if row.builds == "function"}


def check(cfg: DictConfig, *, allow: Collection[str] = ()) -> None:
    """Raise ConfigError for the first unknown or missing key, wrong type or forbidden target; lengths become steps.
    `allow` names packages that the command line trusts, and nothing that was read from a folder."""
    _refuse_root(cfg)
    _count_steps(cfg, allow)
    for key, hint in VALUES.items():
        _convert(cfg, key, key, hint, cfg)
    if cfg.steps < 1:
        raise ConfigError(f"steps={cfg.steps}: a run makes at least 1 step")
    if any(part in ("", ".", "..") or part != part.strip() for part in cfg.name.split("/")):
        raise ConfigError(f"name={cfg.name!r}: a folder below runs/, such as warmup or warmup/first")
    _refuse_question(cfg)
    for group in GROUPS.values():
        check_group(cfg, group, allow)


def _refuse_question(cfg: DictConfig) -> None:
    """Of what a report would refuse after the training: a key of the question, or a factor that no config has."""
    try:
        asked, known = stated(cfg.question), nodes(OmegaConf.to_container(cfg, resolve=False))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    for key in FACTORS:
        for name in asked.get(key, ()):
            if name not in known and not elsewhere(name):
                raise ConfigError(f"question.{key}={name}: no such key{near(name, known)}")


def check_group(cfg: DictConfig, group: Group, allow: Collection[str]) -> None:
    """The same for what one group builds, which nobody may build before."""
    for path, node in _objects(cfg, group):
        walk(node, path, allow, cfg)


def time_asked(cfg: DictConfig) -> float | None:
    """Seconds of a run whose length is a time (5min, 2h); None for another length."""
    number, unit = of_a_run(cfg.steps if "steps" in cfg else None) or (0.0, "")
    return number * TIMES[unit] if unit in TIMES else None


def _count_steps(cfg: DictConfig, allow: Collection[str]) -> None:
    """Put steps in place of tokens per parameter and of FLOPs, which depend on model and data alone."""
    length = value(cfg, "steps", "steps")
    if not (found := of_a_run(length)):
        return
    number, unit = found
    if unit in TIMES:
        line = "a time becomes steps by the speed that is measured where a run begins"
        raise ConfigError(f"steps={length}: {line}; here write steps (500), 10Mtok, 20x or 1e15flop")
    tokens, trial = _tokens(length, "steps", cfg), cfg.copy()
    trial.steps = 1
    for group in ("model", "data"):
        for path, node in _objects(trial, GROUPS[group]):
            walk(node, path, allow, trial)
    parameters, flops = model_size(trial, vocabulary(trial))
    try:
        cfg.steps = rounded(number * (parameters if unit == "x" else 1 / max(1, flops)) / tokens, length)
    except ValueError as error:
        raise ConfigError(f"steps: {error}") from None


def _refuse_root(cfg: DictConfig) -> None:
    known = {row.name: row for row in ROWS}
    for key in map(str, cfg):
        if key not in known:
            others = [each for each in nodes(OmegaConf.to_container(cfg, resolve=False)) if not under(each, (key,))]
            raise ConfigError(f"{key}: no such key{near(key, others) or nearest(key, known)}")
    for key, row in known.items():
        if key not in cfg and not row.several:
            raise ConfigError(f"{key}: required and not set")


def _objects(cfg: DictConfig, group: Group) -> list[tuple[str, typing.Any]]:
    """Path and node of everything that a group builds: one object, or any number, by name."""
    whole = value(cfg, group.name, group.name) if group.name in cfg else None
    found = [(group.name, whole)]
    if group.several and isinstance(whole, DictConfig | None):
        found = [(path, node) for path, node in _children(whole, group.name) if node is not None]
    for path, node in found:
        refuse_text(path.removeprefix("observe."), "a name")
        if not isinstance(node, DictConfig) or "_target_" not in node:
            below = ", which stands below a name of its own, such as `mine:`" if group.several else ""
            cure = elsewhere(path, dict(found)) or f"; choose an option of conf/{group.name}{below}"
            raise ConfigError(f"{path}: expected an object with a _target_, got {node!r:.80}{cure}")
        if group.builds != "function":
            _refuse_partial(node, path)
    return found


def walk(node: typing.Any, path: str, allow: Collection[str], root: DictConfig) -> None:
    """Check every object at and below `node`, whose path begins with the name of its group."""
    if isinstance(node, DictConfig) and "_target_" in node:
        _check_call(node, path, allow, root)
    for where, child in _children(node, path):
        walk(child, where, allow, root)


def checked(config: dict, groups: Collection[str], allow: Collection[str]) -> DictConfig:
    """A config that was read from a folder, with these of its groups checked."""
    cfg = OmegaConf.create(config)
    for group in groups:
        walk(cfg[group], group, allow, cfg)
    return cfg


def _check_call(node: DictConfig, path: str, allow: Collection[str], root: DictConfig) -> None:
    for key in ("_args_", "_convert_", "_recursive_"):
        if key in node:
            raise ConfigError(f"{path}.{key}: gptx builds objects by the names of their arguments; leave it out")
    if type(partial := node.get("_partial_", False)) is not bool:
        raise ConfigError(f"{path}._partial_={partial!r:.80}: true or false")
    function = permitted(value(node, "_target_", f"{path}._target_"), path, allow)
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    keys = [str(key) for key in node if key not in ("_target_", "_partial_")]
    _refuse_unknown(function, keys, node._target_, path)
    _refuse_lacking(function, keys, node._target_, path, partial=partial)
    for key in keys:
        _convert(node, key, f"{path}.{key}", hints.get(key, typing.Any), root)


def _refuse_unknown(function: Callable, keys: list[str], target: str, path: str) -> None:
    taken, parameters = arguments(function), inspect.signature(function).parameters.values()
    unknown = next((f"{path}.{key}" for key in keys if key not in taken), "")
    if unknown and not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        shipped = target in offered(path.partition(".")[0])
        meant = (shipped and elsewhere(unknown)) or near(unknown, [f"{path}.{name}" for name in taken])
        raise ConfigError(f"{unknown}: no such key{meant or f'; {target} has ' + ', '.join(taken)}")


def _refuse_lacking(function: Callable, keys: list[str], target: str, path: str, *, partial: bool) -> None:
    """Refuse the lack of an argument that the target needs, unless gptx gives it when it calls the partial."""
    for name, taken in arguments(function).items():
        if name in keys or taken.default is not taken.empty:
            continue
        by_gptx = taken.kind != taken.KEYWORD_ONLY or name == "vocab_size"  # known once the text has been read
        if by_gptx and not partial and path in _FUNCTIONS:
            raise ConfigError(f"{path}: {target} needs '{name}', which gptx gives it later; add _partial_: true")
        if not (by_gptx and partial):
            raise ConfigError(f"{path}.{name}: required by {target} and not set")


def arguments(function: Callable) -> dict[str, inspect.Parameter]:
    """The arguments that a function or class takes by name."""
    parameters = inspect.signature(function).parameters
    return {name: p for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _convert(node: DictConfig, key: str, path: str, hint: typing.Any, root: DictConfig) -> None:
    """Check the type of one value; put in its place what it means (a length: steps; '3' for an int: 3)."""
    given = value(node, key, path)
    if isinstance(given, DictConfig) and "_target_" in given:
        if inspect.isclass(hint) and hint is not Callable:
            _refuse_partial(given, path)
        return
    plain = OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given
    source = re.fullmatch(r"\$\{(\w[\w.]*)\}", str(node._get_node(key)._value()))  # type: ignore[union-attr]
    meant = _meant(plain, hint, source[1] if source else path, root)  # the key that the value is taken from
    if meant != plain or type(meant) is not type(plain):
        with open_dict(node):
            node[key] = meant


def _meant(plain: typing.Any, hint: typing.Any, path: str, root: DictConfig) -> typing.Any:
    if isinstance(plain, str) and plain.strip().lower() == "none" and type(None) in typing.get_args(hint):
        raise ConfigError(f"{path}={plain}: write null")
    if hint is not Length and (hint != Length | None or plain is None):
        return typed_value(plain, hint, path)
    tokens = _tokens(plain, path, root) if isinstance(plain, str) else 1
    try:
        return in_steps(plain, steps=0 if path == "steps" else root.steps, tokens=tokens)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _tokens(length: str, path: str, root: DictConfig) -> typing.Any:
    batch: typing.Any = root.get("batch") if isinstance(root.get("batch"), DictConfig) else {}
    tokens = batch.get("tokens")
    if path == "steps" and length.endswith("%"):
        raise ConfigError(f"steps: {length} of what? write steps (500) or tokens (10Mtok)")
    if batch.get("doublings") and (length.endswith("tok") or (path == "steps" and of_a_run(length))):
        other = "steps" if path == "steps" else "steps or a share (2%)"
        raise ConfigError(f"{path}={length}: tokens are no clock for a batch that grows; give {other}")
    if not isinstance(tokens, int | float) or not tokens > 0 or tokens % 1:  # 2e3 is whole
        raise ConfigError(f"batch.tokens={tokens}: a number of tokens, at least 1, since {path}={length} depends on it")
    return tokens


def _refuse_partial(node: DictConfig, path: str) -> None:
    if node.get("_partial_", False):
        raise ConfigError(f"{path}._partial_=true: an object is needed here, not a function; leave it out")


def value(node: DictConfig, key: str, path: str) -> typing.Any:
    """The value of `key`, interpolations resolved. Raises ConfigError if it is mandatory and missing, or broken."""
    try:
        return node[key]
    except errors.OmegaConfBaseException as error:
        missing = f"a value is needed; set {path}=..." if isinstance(error, errors.MissingMandatoryValue) else ""
        raise ConfigError(f"{path}: {missing or str(error).splitlines()[0]}") from None


def _children(node: typing.Any, path: str) -> list[tuple[str, typing.Any]]:
    if isinstance(node, DictConfig):
        return [(f"{path}.{key!s}", value(node, str(key), f"{path}.{key!s}")) for key in node]
    if isinstance(node, ListConfig):
        return [(f"{path}[{i}]", item) for i, item in enumerate(node)]
    return []
