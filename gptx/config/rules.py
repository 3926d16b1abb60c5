"""Rules for objects and for what is chosen. Every function raises ValueError with one line that starts with the key."""

import re
from collections.abc import Iterable
from pathlib import Path

from gptx.config import paths
from gptx.config.values import GREATEST, SMALLEST

OBJECTS = ("data", "batch", "precision", "parallel", "guard", "checkpoints")  # groups that are no functions
OPTIMIZER = {  # what these words mean in every optimizer: the lowest value, the limit, and both in words
    "lr": (0, GREATEST, "0 or more"),
    "weight_decay": (0, GREATEST, "0 or more"),
    "eps": (SMALLEST, GREATEST, "above 0: a weight without a gradient would become 0/0"),
    "momentum": (0, 1, "from 0 to below 1"),
    "betas": (0, 1, "from 0 to below 1"),
}


def refuse_hydra_keys(node, path: str) -> None:
    """Refuse what would have Hydra build an object otherwise than its signature says."""
    for key in ("_args_", "_convert_", "_recursive_"):
        if key in node:
            raise ValueError(f"{path}.{key}: gptx builds objects by the names of their arguments; leave it out")
    if type(node.get("_partial_", False)) is not bool:
        raise ValueError(f"{path}._partial_={node._partial_!r:.80}: true or false")


def origin(node, key: str) -> str:
    """The key that a value is taken from, where it is that of another: batch.tokens for ${batch.tokens}."""
    found = re.fullmatch(r"\$\{(\w[\w.]*)\}", str(node._get_node(key)._value()))
    return found[1] if found else ""


def refuse_partial(node, path: str) -> None:
    """Refuse a function where an object is needed."""
    if node.get("_partial_", False):
        raise ValueError(f"{path}._partial_=true: an object is needed here, not a function; leave it out")


def refuse_optimizer(optim) -> None:
    """Refuse a value of an optimizer, whichever it is, outside the range of its word."""
    for name, (least, limit, words) in OPTIMIZER.items():
        given = optim.get(name)
        numbers = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
        if any(isinstance(number, int | float) and not least <= number < limit for number in numbers):
            raise ValueError(f"optim.{name}={given}: {words}")


def refuse_choices(words: Iterable[str]) -> None:
    """Refuse overrides that Hydra takes for a group and that choose none of its options, or one of them twice."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for override in OverridesParser.create().parse_overrides(list(words)):
        group, chosen = override.key_or_group, override.value()
        if override.is_delete() or override.is_sweep_override() or not Path(paths.CONF, group).is_dir():
            continue
        several = group in ("observe", "log")
        names = chosen if isinstance(chosen, list) else [chosen]
        plain = several or not isinstance(chosen, list)
        if plain and all(isinstance(name, str) and re.fullmatch(r"[\w-]+", name) for name in names):
            if twice := next((name for name in names if names.count(name) > 1), ""):
                raise ValueError(f"{group}=[{','.join(map(str, names))}]: {twice} is there twice")
            continue
        options = sorted(file.stem for file in Path(paths.CONF, group).glob("*.yaml"))
        meant = [Path(str(name)).stem for name in names]
        right = next((option for option in options if option in meant), options[0])
        raise ValueError(
            f"{override.input_line!r:.120}: the name of an option alone is needed, as in "
            f"{group}={f'[{right}]' if several else right}; options: {', '.join(options)}"
        )
