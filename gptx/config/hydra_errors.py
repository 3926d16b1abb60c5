"""What Hydra says about a wrong command line, in one line that helps."""

import difflib
import re
import traceback
from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from gptx.config import paths, rules
from gptx.config.keys import flat, key_of
from gptx.config.validate import nearest


def of_composition(error: Exception) -> bool:
    """True if the error comes from Hydra, or from the logging that it sets up, which raise a bare ValueError for a few
    mistakes."""
    parts = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    return isinstance(error, HydraException) or "hydra" in parts[-4:] or parts[-2:] == ("logging", "config.py")


def explain(error: Exception, words: list[str]) -> str:
    """The complaint of Hydra's composition or grammar as one line, with the nearest right word where there is one."""
    if isinstance(error, OverrideParseException):
        complaint = error.message.splitlines()[0]
        return f"{error.override!r} cannot be read ({complaint}); quote a value with special characters: key=\\'...\\'"
    text = str(error.__cause__ or "") + "\n" + str(error)
    if "Config group override must be" in text:  # which names no group
        try:
            rules.refuse_choices(word for word in words if "=" in word and not word.startswith("-"))
        except ValueError as choice:
            return str(choice)
    if "integer string conversion" in text:
        long = next((key_of(word) for word in words if re.search(r"\d{4300}", word)), "a value")
        return f"{long}: a number of more than 4,300 digits"
    if broken := re.search(r"Error merging override [+~]*([^=]+)=", text):
        complaint = str(error.__cause__).splitlines()[0]
        if re.match("no viable alternative|mismatched input|token recognition|extraneous input", complaint):
            return f"{broken[1]}: not an interpolation that can be read ({complaint})"
    if unknown := re.search(r"full_key: (\S+)", text) or re.search(r"Could not override '([^']+)'", text):
        return f"{unknown[1]}: no such key{near_key(unknown[1], words)}"
    if alone := re.search(r"Could not load '(\w+)/([^']+)'", text):
        options = [path.stem for path in Path(paths.CONF, alone[1]).glob("*.yaml")]
        return f"{alone[1]}=[{alone[2]}]: no such option{nearest(alone[2], options)}"
    if missing := re.search(r"Could not find '([^']+)'\s+Available options in '([^']+)':\n((?:\t\S+\n?)+)", text):
        group, options = missing[2], missing[3].split()
        option = missing[1].removeprefix(f"{group}/")
        close = difflib.get_close_matches(option, options, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ";"
        return f"{group}={option}: no such option{hint} Options: {', '.join(options)}"
    return " ".join(str(error).split())


def near_key(wrong: str, words: list[str]) -> str:
    """The end of a sentence that names the nearest key of the config as it is without the wrong override."""
    kept = [word for word in words if "=" in word and not word.startswith("-") and not key_of(word).startswith(wrong)]
    GlobalHydra.instance().clear()
    try:
        import hydra

        with hydra.initialize_config_dir(paths.CONF, version_base="1.3"):
            composed = compose("train", [word for word in kept if "," not in word])
    except Exception:  # another word of the command is wrong as well; it will be told next time
        return ""
    plain = OmegaConf.to_container(composed, resolve=False)
    parent, _, _ = wrong.rpartition(".")
    node = OmegaConf.select(composed, parent) if parent else composed
    if isinstance(node, DictConfig):
        siblings = {f"{parent}.{name!s}".lstrip("."): None for name in node}
        if close := difflib.get_close_matches(wrong, siblings, n=1):
            return f"; did you mean '{close[0]}'?"
    return nearest(wrong, flat(plain)) if difflib.get_close_matches(wrong, flat(plain), n=1) else ""
