"""The words of a command line of gptx.train: the configs of all jobs that they mean, or what is wrong, in one line."""

import difflib
import re
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from gptx.config.cells import cells, listed, without_lists
from gptx.config.compose import composed
from gptx.config.errors import ConfigError
from gptx.config.groups import GROUPS, Group
from gptx.config.keys import key_of, near, nodes, quoted
from gptx.config.paths import CONF, ROOT
from gptx.config.validate import check

_WITH_VALUE = {"--config-dir", "-cd", "--package", "-p", "--cfg", "-c"}
_REFUSED = ("--config-name", "-cn", "--config-path", "-cp", "--experimental-rerun")  # pass gptx by, or read a pickle


def prepared(words: list[str]) -> list[str]:
    """The words as Hydra needs them: options first, `from=FOLDER` in quotes. ConfigError for what gptx refuses."""
    options: list[str] = []
    overrides: list[str] = []
    for word in words:
        belongs = bool(options) and options[-1] in _WITH_VALUE
        (options if belongs or word.startswith("-") else overrides).append(word)
    _refuse_options(options, overrides)
    refuse_shadowed(words)
    overrides = [quoted_origin(word) for word in overrides]
    if (given := get_args_parser().parse_known_args(options)[0]).cfg:
        _refuse_unheard(_searched(given.config_dir, overrides))
    return [*options, *overrides]


def _refuse_unheard(words: list[str]) -> None:
    """Refuse a key that no file of the chosen options has, if a run of the words is refused, as --cfg begins none."""
    chosen = [word for word in words if word.startswith("hydra") or key_of(word) in (*GROUPS, "experiment")]
    known = nodes(OmegaConf.to_container(composed(chosen), resolve=False))
    if not {*known, *map(key_of, chosen)}.issuperset(map(key_of, words)):
        check(job := composed(words), allow=job.allow_targets)


def _refuse_options(options: list[str], overrides: list[str]) -> None:
    known = tuple(name for action in get_args_parser()._actions for name in action.option_strings)
    for before, word in zip(["", *options], options, strict=False):
        name = word.partition("=")[0]
        if name in _REFUSED:
            raise ConfigError(f"{word}: the primary config is gptx's; yours is an experiment or option in --config-dir")
        joined = name[1:2] != "-" and name.startswith(known)  # its value may follow without a space
        if before not in _WITH_VALUE and not joined and not any(each.startswith(name) for each in known):
            raise ConfigError(f"{name}: no such option; {_as_override(word, overrides)}")


def _as_override(option: str, overrides: list[str]) -> str:
    name, equals, text = option.strip("-").partition("=")
    name, keys = name.replace("-", "_"), nodes(OmegaConf.to_container(composed(), resolve=False))
    meant = re.search("'(.+)'", f"'{name}'" if name in keys else near(name, keys))
    given = text if equals else next((each for each in overrides if "=" not in each), "...")
    return f"write {meant[1]}={given}" if meant else "values are set by key=value, as in optim.lr=1e-3"


def quoted_origin(word: str) -> str:
    """from=FOLDER in quotes if it is there or a checkpoint of a run: names of runs have signs that Hydra reads."""
    name, _, folder = word.partition("=")
    is_origin = Path(folder).exists() or (folder.count("/checkpoints/") == 1 and folder[0] not in "'\"[")
    return f"from={quoted(folder)}" if name == "from" and folder and is_origin else word


def refuse_shadowed(words: list[str]) -> None:
    """Raise ConfigError for a file in --config-dir or hydra.searchpath with the name of one of gptx's or Hydra's."""
    folder = get_args_parser().parse_known_args(words)[0].config_dir
    paths = [word.partition("=")[2].strip("[]") for word in words if word.startswith("hydra.searchpath=")]
    folders = [part.strip(" '\"").removeprefix("file://") for path in paths for part in path.split(",")]
    for name, shipped in sorted(_shipped().items()):
        for mine in (Path(each, name) for each in filter(None, [folder, *folders])):
            if mine.exists() and not mine.samefile(shipped):
                raise ConfigError(f"{mine}: Hydra would take {shipped}, of the same name; give it another name")


def _shipped() -> dict[str, Path]:
    roots = Path(hydra.__file__).parent / "conf", Path(CONF)
    own = {path.relative_to(root).as_posix(): path for root in roots for path in root.rglob("*.yaml")}
    return own | {f"experiment/{file.parent.name}.yaml": file for file in ROOT.glob("experiments/*/experiment.yaml")}


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """`--config-dir FOLDER`, if it is there, and the other words."""
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--config-dir=") else [word])]
    at = words.index("--config-dir") if "--config-dir" in words else len(words)
    return words[at : at + 2], words[:at] + words[at + 2 :]


def examined_arms(
    words: list[str], examine: Callable[[DictConfig], object], *, whole: bool = False
) -> dict[str, DictConfig]:
    """The config of every job that the words mean, lists expanded as in a sweep, by what sets it apart ("" where there
    is one); `whole`: with the lists of an experiment. Raises ConfigError for words that mean none, and as `examine`."""
    found: dict[str, DictConfig] = {}
    name, overrides = "", words
    try:
        refuse_shadowed(words)
        option, words = split_overrides(words)
        words = _searched(option[-1] if option else None, words)
        words = listed(words, composed(without_lists(words), hydra=True)) if whole else words
        lines = [line for line, _ in cells(words)]
        shared = set.intersection(*map(set, lines))
        for overrides in lines:
            name = ", ".join(word for word in overrides if word not in shared)
            refuse_choices(overrides)
            examine(cfg := composed(overrides))
            found[name] = cfg
    except Exception as error:
        raise explained(error, overrides, name) from None
    return found


def _searched(folder: str | None, words: list[str]) -> list[str]:
    """The words with --config-dir as Hydra's own override, which composing without Hydra's main understands."""
    if folder and not Path(folder).is_dir():
        raise ConfigError(f"--config-dir {folder}: no such folder")
    return [*words, f"hydra.searchpath=[file://{Path(folder).resolve()}]"] if folder else words


def explained(error: Exception, words: list[str], name: str = "") -> Exception:
    """A mistake in the words of a command line as a ConfigError, after the `name` of its job; others unchanged."""
    parts = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts  # others raise ValueError too
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
        if "=" not in str(error.override):
            return f"{error.override!r} is no override; write key=value, such as steps=60"
        return f"{error.override!r} cannot be read ({complaint}); quote a value with special characters: key=\\'...\\'"
    text = f"{error.__cause__ or ''}\n{error}"
    if line := _without_its_key(text, error, words):
        return line
    if unknown := re.search(r"full_key: (\S+)", text) or re.search(r"Could not override '([^']+)'", text):
        return f"{unknown[1]}: no such key"
    if alone := re.search(r"Could not load '(\w+)/([^']+)'", text):
        return f"{alone[1]}=[{alone[2]}]: {_no_such_option(alone[2], _options(alone[1]))}"
    if missing := re.search(r"Could not find '([^']+)'\s+Available options in '([^']+)':\n((?:\t\S+\n?)+)", text):
        option = missing[1].removeprefix(f"{missing[2]}/")
        return f"{missing[2]}={option}: {_no_such_option(option, missing[3].split())}"
    return " ".join(str(error).split()) or type(error).__name__


def _without_its_key(text: str, error: Exception, words: list[str]) -> str:
    """The line for a complaint of Hydra's that does not say what is wrong with which key."""
    if "Config group override must be" in text:
        try:
            refuse_choices(words)
        except ConfigError as choice:
            return str(choice)
    if several := re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", text):
        key, values = several.groups()
        as_list = "" if key in GROUPS and not GROUPS[key].several else f", {key}=[{values}] is a list"
        return f"{key}={values}: several values; --multirun sweeps over them{as_list}"
    if "integer string conversion" in text:
        long = next((key_of(word) for word in words if re.search(r"\d{4300}", word)), "a value")
        return f"{long}: a number of more than 4,300 digits"
    broken, complaint = re.search(r"Error merging override [+~]*([^=]+)=", text), text.partition("\n")[0]
    if broken and re.match("no viable alternative|mismatched input|token recognition|extraneous input", complaint):
        return f"{broken[1]}: not an interpolation that can be read ({complaint})"
    return ""


def _options(group: str) -> list[str]:
    return sorted(file.stem for file in Path(CONF, group).glob("*.yaml"))


def _no_such_option(wrong: str, options: list[str]) -> str:
    close = difflib.get_close_matches(wrong, options, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ";"
    return f"no such option{hint} Options: {', '.join(sorted(options))}"


def refuse_choices(words: Iterable[str]) -> None:
    """Refuse overrides that Hydra takes for a group and that choose none of its options, or one of them twice."""
    for word in OverridesParser.create().parse_overrides(list(words)):
        if word.key_or_group in GROUPS and not word.is_delete() and not word.is_sweep_override():
            _refuse_choice(str(word.input_line), word.value(), GROUPS[word.key_or_group])


def _refuse_choice(word: str, chosen: Any, group: Group) -> None:
    names = chosen if isinstance(chosen, list) else [chosen]
    plain = all(isinstance(name, str) and re.fullmatch(r"[\w-]+", name) for name in names)
    if not plain or (isinstance(chosen, list) and not group.several):
        options, meant = _options(group.name), [Path(str(name)).stem for name in names]
        right = next(filter(meant.__contains__, options), options[0])
        example = f"{group.name}=[{right}]" if group.several else f"{group.name}={right}"
        line = f"the name of an option alone is needed, as in {example}; options: {', '.join(options)}"
        raise ConfigError(f"{word!r:.120}: {line}")
    if names.count(most := max(names, key=names.count, default="")) > 1:
        raise ConfigError(f"{group.name}=[{','.join(names)}]: {most} is there twice")
