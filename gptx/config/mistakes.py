"""What Hydra says about a wrong command line, in one line with the cure."""

import difflib
import re
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from gptx.config.build import permitted
from gptx.config.compose import composed
from gptx.config.errors import ConfigError
from gptx.config.groups import GROUPS, Group
from gptx.config.keys import key_of, near, nodes
from gptx.config.paths import CONF
from gptx.config.rules import job_of
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
    if line := _without_its_key(text, error, words):
        return line
    if unknown := re.search(r"full_key: (\S+)", text) or re.search(r"Could not override '([^']+)'", text):
        return f"{unknown[1]}: {_no_such_key(unknown[1], words)}"
    if alone := re.search(r"Could not load '(\w+)/([^']+)'", text):
        options = [file.stem for file in Path(CONF, alone[1]).glob("*.yaml")]
        return f"{alone[1]}=[{alone[2]}]: {_no_such_option(alone[2], options)}"
    if missing := re.search(r"Could not find '([^']+)'\s+Available options in '([^']+)':\n((?:\t\S+\n?)+)", text):
        option = missing[1].removeprefix(f"{missing[2]}/")
        return f"{missing[2]}={option}: {_no_such_option(option, missing[3].split())}"
    return " ".join(str(error).split())


def _without_its_key(text: str, error: Exception, words: list[str]) -> str:
    """The line for a complaint of Hydra's that does not say what is wrong with which key."""
    if "Config group override must be" in text:
        try:
            refuse_choices(words)
        except ConfigError as choice:
            return str(choice)
    if "integer string conversion" in text:
        long = next((key_of(word) for word in words if re.search(r"\d{4300}", word)), "a value")
        return f"{long}: a number of more than 4,300 digits"
    broken, complaint = re.search(r"Error merging override [+~]*([^=]+)=", text), text.partition("\n")[0]
    if broken and re.match("no viable alternative|mismatched input|token recognition|extraneous input", complaint):
        return f"{broken[1]}: not an interpolation that can be read ({complaint})"
    return ""


def _no_such_option(wrong: str, options: list[str]) -> str:
    close = difflib.get_close_matches(wrong, options, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    return f"no such option{hint} Options: {', '.join(sorted(options))}"


def _no_such_key(wrong: str, words: list[str]) -> str:
    """What is the matter with a key that the config has not, and what is probably meant; `wrong` is its known part."""
    try:
        cfg = composed(_others(words, wrong), hydra=True)
    except Exception:  # another word of the command is wrong as well; the next start reports it
        return "no such key"
    plain: dict[str, Any] = OmegaConf.to_container(job_of(cfg), resolve=False)  # type: ignore[assignment]
    (group, _, name), (parent, _, last) = wrong.partition("."), wrong.rpartition(".")
    chosen, keys, offering = cfg.hydra.runtime.choices.get(group), nodes(plain), _offering(group, name)
    hint = near(wrong, [key for key in keys if key.rpartition(".")[0] == parent])
    if parent and not offering and "did you mean" in hint:  # nothing need be imported
        return f"no such key{hint}"
    taken = _taken(cfg, parent)
    if last in taken:
        return f"not in the file of {group}={chosen}; to set it, write +{wrong}=..."
    if offering:
        return _of_another(group, name, offering, list(plain[group]), chosen)
    return f"no such key{near(wrong, dict.fromkeys([*keys, *(f'{parent}.{name}' for name in taken)]))}"


def _others(words: list[str], wrong: str) -> list[str]:
    return [word for word in words if "," not in word and not key_of(word).startswith(wrong)]


def _of_another(group: str, key: str, offering: list[str], present: list[str], chosen: str) -> str:
    """That other options of the group have the key."""
    if GROUPS[group].several:
        return f"{group}=[{','.join(present)}] has no {key}; add {group}=[{','.join([*present, offering[0]])}]"
    return f"{group}={chosen} has no {key}; add {group}={joined(offering, 'or')}"


def _taken(cfg: DictConfig, path: str) -> list[str]:
    """The arguments that a config may give to what it builds at a path."""
    try:
        target = OmegaConf.select(cfg, f"{path}._target_") if path else None
        given = arguments(permitted(target, path, cfg.allow_targets)) if target else {}
    except ConfigError:  # which is reported once the key is right
        return []
    return [name for name, parameter in given.items() if parameter.default is not parameter.empty]


def _offering(group: str, name: str) -> list[str]:
    """The options of a group whose files have the key at their top; where some of them need a value for it, these."""
    files = {path.stem: yaml.safe_load(path.read_text()) or {} for path in sorted(Path(CONF, group).glob("*.yaml"))}
    found = {option: content[name] for option, content in files.items() if name in content}
    return [option for option, given in found.items() if given == "???"] or list(found)


def refuse_choices(words: Iterable[str]) -> None:
    """Refuse overrides that Hydra takes for a group and that choose none of its options, or one of them twice."""
    for override in OverridesParser.create().parse_overrides(list(words)):
        if override.key_or_group in GROUPS and not override.is_delete() and not override.is_sweep_override():
            _refuse_choice(override, GROUPS[override.key_or_group])


def _refuse_choice(override: Override, group: Group) -> None:
    chosen: Any = override.value()
    names = chosen if isinstance(chosen, list) else [chosen]
    plain = all(isinstance(name, str) and re.fullmatch(r"[\w-]+", name) for name in names)
    if not plain or (isinstance(chosen, list) and not group.several):
        raise ConfigError(f"{override.input_line!r:.120}: {_as_in(group.name, names)}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{group.name}=[{','.join(names)}]: {twice[0]} is there twice")


def _as_in(group: str, names: list) -> str:
    options = sorted(file.stem for file in Path(CONF, group).glob("*.yaml"))
    meant = [Path(str(name)).stem for name in names]
    right = next((option for option in options if option in meant), options[0])
    right = f"{group}=[{right}]" if GROUPS[group].several else f"{group}={right}"
    return f"the name of an option alone is needed, as in {right}; options: {', '.join(options)}"
