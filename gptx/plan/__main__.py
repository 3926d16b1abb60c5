"""Plan before you spend:  python -m gptx plan flops=1e19   or   model=gpt2_124m   (help shows more)."""

import difflib
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from gptx.config import arguments
from gptx.config.errors import nearest
from gptx.plan.question import QUANTITIES

SUBJECTS = "budget", "recipe", "schedule", "decay", "memory", "coordinates"  # a module, and a function in it
_BUDGET = {*QUANTITIES, "law", "vocab", "context", "out"}
_RECIPE = {"hardware", "devices", "price", "probe", "law", "vocab"}


def plan(*words: str) -> None:
    """Plan before you spend: what a budget is best spent on, what a recipe costs and means.

      python -m gptx plan flops=1e19
      python -m gptx plan params=175e9 tokens=300e9
      python -m gptx plan model=gpt2_124m vocab=50257 steps=2.5Btok hardware=h100
      python -m gptx plan schedule steps=100000 schedule.warmup=500,2000,5000 out=warmups.png
      python -m gptx plan memory model=gpt2_124m memory=store,recompute vocab=50257

    Quantities ask for a budget, overrides of gptx.train for a recipe; lists are arms, as in a sweep. A first word shows
    one aspect of a recipe: schedule, decay, memory or coordinates. `plan budget --help` and the help of recipe,
    schedule, decay, memory and coordinates show their options.

    Options:
    words: options of a budget, or overrides and options of a recipe
    """
    if not words:
        return arguments.call(plan, ["help"])
    refuse_misspelt(words)
    function = getattr(import_module(f"gptx.plan.{_subject(words)}"), _subject(words))
    places, named = arguments.parse(function, list(words))
    return function(*places, **named)


def _subject(words: Iterable[str]) -> str:
    """budget if one of the words is a quantity, or if all are a budget's and one is no recipe's."""
    keys = {word.partition("=")[0] for word in words}
    quantities = {*QUANTITIES} - {"served"}
    return "budget" if keys & quantities or (keys & {"served", "out"} and keys <= _BUDGET) else "recipe"


def refuse_misspelt(words: tuple[str, ...]) -> None:
    """Raise ValueError for a first word that is no override, a misspelt key, and a recipe's key in a budget."""
    for word in words:
        if word.startswith("="):
            raise ValueError(f"{word}: which key? flops=1e19, say")
    if "=" not in words[0] and words[0] not in QUANTITIES and not words[0].startswith(("-", "~")):
        raise ValueError(f"{words[0]}: nothing to plan of that name{nearest(words[0], SUBJECTS)}")
    own = [*QUANTITIES, *_RECIPE]
    for key in (word.partition("=")[0] for word in words):
        if _subject(words) == "budget" and key not in _BUDGET and _of_a_recipe(key):
            raise ValueError(
                f"{key}: belongs to a recipe, which flops=, params= and tokens= ask for; plan either a budget, or the "
                "recipe without them"
            )
        close = difflib.get_close_matches(key.lower(), own, n=1, cutoff=0.75)
        if _subject(words) == "recipe" and close and key not in own and not _of_a_recipe(key):
            raise ValueError(f"{key}: no such key; did you mean '{close[0]}'?")


def _of_a_recipe(key: str) -> bool:
    """True for the key of an override: a key with a dot, a group of conf/, or a key of the root."""
    from gptx.config import paths
    from gptx.config.groups import VALUES

    group = key.lstrip("+~").split(".")[0].split("/")[0].split("@")[0]
    return "." in key or Path(paths.CONF, group).is_dir() or group in (*VALUES, "experiment")
