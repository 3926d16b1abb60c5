"""What Hydra says about a wrong command line, in one line with the cure."""

import difflib
import re
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf

from gptx.config.build import permitted
from gptx.config.compose import composed
from gptx.config.errors import ConfigError, nearest
from gptx.config.groups import GROUPS
from gptx.config.keys import key_of, near, nodes
from gptx.config.paths import CONF
from gptx.config.validate import arguments
from gptx.units.phrases import joined


def explained(error: Exception, words: list[str], name: str = "") -> Exception:
    """A mistake in the words of a command line as a ConfigError, after the `name` of its job; other errors as they are.

    Hydra, and the logging that it sets up, raise a bare ValueError for a few mistakes.
    """
    parts = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    if isinstance(error, ConfigError):
        line = str(error)
    elif isinstance(error, HydraException) or "hydra" in parts[-4:] or parts[-2:] == ("logging", "config.py"):
        line = _line(error, [word for word in words if "=" in word and not word.startswith("-")])
    else:
        return error
    return ConfigError(f"{name}: {line}" if name else line)


def _line(error: Exception, words: list[str]) -> str:
    """The complaint of Hydra's composition or grammar as one line, with the nearest right word where there is one."""
    if isinstance(error, OverrideParseException):
        complaint = error.message.splitlines()[0]
        return f"{error.override!r} cannot be read ({complaint}); quote a value with special characters: key=\\'...\\'"
    text = f"{error.__cause__ or ''}\n{error}"
    if "Config group override must be" in text:  # which names no group
        try:
            refuse_choices(words)
        except ConfigError as choice:
            return str(choice)
    if "integer string conversion" in text:
        long = next((key_of(word) for word in words if re.search(r"\d{4300}", word)), "a value")
        return f"{long}: a number of more than 4,300 digits"
    if broken := re.search(r"Error merging override [+~]*([^=]+)=", text):
        complaint = str(error.__cause__).splitlines()[0]
        if re.match("no viable alternative|mismatched input|token recognition|extraneous input", complaint):
            return f"{broken[1]}: not an interpolation that can be read ({complaint})"
    if unknown := re.search(r"full_key: (\S+)", text) or re.search(r"Could not override '([^']+)'", text):
        return f"{unknown[1]}: {_no_such_key(unknown[1], words)}"
    if alone := re.search(r"Could not load '(\w+)/([^']+)'", text):
        options = [path.stem for path in Path(CONF, alone[1]).glob("*.yaml")]
        return f"{alone[1]}=[{alone[2]}]: no such option{nearest(alone[2], options)}"
    if missing := re.search(r"Could not find '([^']+)'\s+Available options in '([^']+)':\n((?:\t\S+\n?)+)", text):
        group, options = missing[2], missing[3].split()
        option = missing[1].removeprefix(f"{group}/")
        close = difflib.get_close_matches(option, options, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ";"
        return f"{group}={option}: no such option{hint} Options: {', '.join(options)}"
    return " ".join(str(error).split())


def _no_such_key(wrong: str, words: list[str]) -> str:
    """What is the matter with a key that the config has not, and what is probably meant; `wrong` is its known part."""
    try:
        cfg = composed([word for word in words if "," not in word and not key_of(word).startswith(wrong)], hydra=True)
    except Exception:  # another word of the command is wrong as well; it will be told next time
        return "no such key"
    choices, plain = cfg.hydra.runtime.choices, dict[str, Any](OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
    del plain["hydra"]
    (group, *names), (parent, _, last) = wrong.split("."), wrong.rpartition(".")
    taken = _taken(OmegaConf.select(cfg, f"{parent}._target_") if parent else None, parent, cfg.allow_targets)
    if last in taken:
        return f"not in the file of {group}={choices.get(group)}; to set it, write +{wrong}=..."
    if names and names[0] not in plain.get(group, {}) and (offering := _offering(group, names[0])):
        if GROUPS[group].several:
            chosen = ",".join(plain[group])
            return f"{group}=[{chosen}] has no {names[0]}; add {group}=[{','.join([*plain[group], offering[0]])}]"
        return f"{group}={choices.get(group)} has no {names[0]}; add {group}={joined(offering, 'or')}"
    return f"no such key{near(wrong, dict.fromkeys([*nodes(plain), *(f'{parent}.{name}' for name in taken)]))}"


def _taken(target: Any, path: str, allow: Collection[str]) -> list[str]:
    """The arguments that a config may give what `target` names."""
    try:
        given = arguments(permitted(target, path, allow)) if target else {}
    except ConfigError:  # which is told once the key is right
        return []
    return [name for name, parameter in given.items() if parameter.default is not parameter.empty]


def _offering(group: str, name: str) -> list[str]:
    """The options of a group whose files have the key; where some of them need a value for it, these."""
    files = {path.stem: yaml.safe_load(path.read_text()) or {} for path in sorted(Path(CONF, group).glob("*.yaml"))}
    found = {option: content[name] for option, content in files.items() if name in content}
    return [option for option, given in found.items() if given == "???"] or list(found)


def refuse_choices(words: Iterable[str]) -> None:
    """Refuse overrides that Hydra takes for a group and that choose none of its options, or one of them twice."""
    for override in OverridesParser.create().parse_overrides(list(words)):
        group, chosen = override.key_or_group, override.value()
        if override.is_delete() or override.is_sweep_override() or group not in GROUPS:
            continue
        several = GROUPS[group].several
        names = chosen if isinstance(chosen, list) else [chosen]
        plain = several or not isinstance(chosen, list)
        if plain and all(isinstance(name, str) and re.fullmatch(r"[\w-]+", name) for name in names):
            if twice := next((name for name in names if names.count(name) > 1), ""):
                raise ConfigError(f"{group}=[{','.join(map(str, names))}]: {twice} is there twice")
            continue
        options = sorted(file.stem for file in Path(CONF, group).glob("*.yaml"))
        meant = [Path(str(name)).stem for name in names]
        right = next((option for option in options if option in meant), options[0])
        right = f"{group}=[{right}]" if several else f"{group}={right}"
        line = f"the name of an option alone is needed, as in {right}; options: {', '.join(options)}"
        raise ConfigError(f"{override.input_line!r:.120}: {line}")
