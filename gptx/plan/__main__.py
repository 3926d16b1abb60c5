"""Plan before you spend:  python -m gptx plan flops=1e19   or   model=gpt2_124m   (help shows more)."""

import difflib
from importlib import import_module
from pathlib import Path

from gptx.config import arguments
from gptx.config.errors import nearest
from gptx.plan.budget import QUANTITIES

_SUBJECTS = "budget", "recipe", "sweep", "schedule", "decay", "memory", "coordinates"  # a module, and a function in it
_BUDGET = {*QUANTITIES, "law", "vocab", "context", "out"}
_RECIPE = {"hardware", "devices", "price", "probe", "law", "vocab"}


def plan(*words: str) -> None:
    """Plan before you spend: what a budget is best spent on, what a recipe costs and means.

      python -m gptx plan flops=1e19
      python -m gptx plan params=175e9 tokens=300e9
      python -m gptx plan model=gpt2_124m vocab=50257 steps=2.5Btok hardware=h100
      python -m gptx plan sweep optim=adamw,muon seed=0,1,2
      python -m gptx plan schedule steps=100000 schedule.warmup=500,2000,5000 out=warmups.png
      python -m gptx plan memory model=gpt2_124m memory=store,recompute vocab=50257

    Quantities ask for a budget, overrides of gptx.train for a recipe; lists are arms, as in a sweep. A first word shows
    one aspect of a recipe: schedule, decay, memory or coordinates; or what a whole sweep needs and can show: sweep.
    `plan budget --help` and the help of recipe, sweep, schedule, decay, memory and coordinates show their options.

    Options:
    words: options of a budget, or overrides and options of a recipe
    """
    if not words:
        return arguments.call(plan, ["help"])
    first, keys = words[0], [word.partition("=")[0] for word in words]
    if "" in keys:
        raise ValueError(f"{words[keys.index('')]}: which key? flops=1e19, say")
    if "=" not in first and first not in QUANTITIES and not first.startswith(("-", "~")):
        raise ValueError(f"{first}: nothing to plan of that name{nearest(first, _SUBJECTS)}")
    quantities = {*keys} & {*QUANTITIES} - {"served"}
    subject = "budget" if quantities or ({"served", "out"} & {*keys} and _BUDGET.issuperset(keys)) else "recipe"
    _refuse_misspelt({*keys}, subject)
    function = getattr(import_module(f"gptx.plan.{subject}"), f"plan_{subject}")
    places, named = arguments.parse(function, list(words))
    return function(*places, **named)


def _refuse_misspelt(keys: set[str], subject: str) -> None:
    """Raise ValueError for a recipe's key in a budget, and for a misspelt key of a plan."""
    from gptx.config.groups import VALUES
    from gptx.config.paths import CONF

    own = _BUDGET if subject == "budget" else {*QUANTITIES, *_RECIPE}
    for key in keys - own:
        group = key.lstrip("+~").split(".")[0].split("/")[0].split("@")[0]
        recipes = "." in key or Path(CONF, group).is_dir() or group in (*VALUES, "experiment")
        close = difflib.get_close_matches(key.lower(), own, n=1, cutoff=0.75)
        if subject == "budget" and recipes:
            raise ValueError(f"{key}: belongs to a recipe, which goes without flops=, params= and tokens= of a budget")
        if subject == "recipe" and close and not recipes:
            raise ValueError(f"{key}: no such key; did you mean '{close[0]}'?")
