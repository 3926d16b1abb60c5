"""Plan before you spend:  python -m gptx plan flops=1e19   or   model=gpt2_124m   (help shows more)."""

import difflib
import os
import sys
from importlib import import_module

from gptx.plan.question import QUANTITIES, asks_for_a_budget, of_a_recipe
from gptx.units.printable import streams

PAGE = """Plan before you spend: what a budget is best spent on, what a recipe costs and means, before it runs.

  python -m gptx plan flops=1e19              parameters and tokens for so many operations, by every law
  python -m gptx plan params=124M             or for a size; tokens=2.5B for a text; two of them are priced as given
      served=1e12                             tokens that the model will serve: the size that is cheapest with them
      law=besiroglu                           who judges: hoffmann_rounded, hoffmann_tex, besiroglu or a fit's law.json
      vocab=50257 context=1024                of the shape that is proposed
      out=chart.html                          draws loss over operations by every law; .png, .svg: by the judge

  python -m gptx plan [overrides]             what a recipe costs and may reach: operations, memory, time, price
      hardware=h100 devices=8 price=2.5       on what, how many, and what an hour of one costs
      probe=true                              measures this machine for some seconds
      law=... vocab=50257

  One aspect of it, for every override of gptx.train, lists as in a sweep too:

  python -m gptx plan decay [overrides]       which parameters are decayed, by name, with counts
  python -m gptx plan schedule [overrides]    the learning rate at chosen updates, and what looks odd about it
      at=1,500,50%                            the updates; every tenth of the run if not given
      out=warmups.png                         draws the curves on one figure (.png or .svg)
  python -m gptx plan memory [overrides]      bytes of weights, gradients, moments and activations
  python -m gptx plan coordinates [overrides] trains a few updates at several widths: does a rate carry over?
      widths=64,128,256 updates=4             the standard parametrization beside muP, based on the first width

  vocab=50257 stands for the data's vocabulary, which is else asked of the data (recipe, decay, memory).

  python -m gptx plan params=175e9 tokens=300e9
  python -m gptx plan model=gpt2_124m vocab=50257 batch.tokens=524288 steps=2.5Btok hardware=h100
  python -m gptx plan schedule steps=100000 schedule.warmup=500,2000,5000 out=warmups.png
  python -m gptx plan memory model=gpt2_124m memory=store,recompute vocab=50257
"""
SUBJECTS: dict[str, tuple[str, ...]] = {  # a function and its module, with the keys that are its own, not overrides
    "decay": ("vocab",),
    "schedule": ("at", "out"),
    "memory": ("vocab",),
    "coordinates": ("widths", "updates"),
}
RECIPE = ("hardware", "devices", "price", "probe", "law", "vocab")  # where no subject is named


def main(words: list[str] | None = None) -> None:
    """The command: a quantity asks for a budget, else overrides compose a recipe as gptx.train would, and a first word
    that is none says which aspect of it to show."""
    streams()
    try:
        print(answer(sys.argv[1:] if words is None else words), flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def answer(words: list[str]) -> str:
    """What the command prints. A mistake is a SystemExit with one line."""
    if not words or words[0] in ("help", "-h", "--help"):
        return PAGE
    if words[0] in SUBJECTS:
        return of_recipe(words[0], words[1:], SUBJECTS[words[0]])
    refuse_misspelt(words)
    return of_budget(words) if asks_for_a_budget(words) else of_recipe("recipe", words, RECIPE)


def of_budget(words: list[str]) -> str:
    """What a budget is best spent on."""
    from gptx.plan.budget import budget

    try:
        return "\n".join(budget(words))
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from None


def of_recipe(subject: str, words: list[str], keys: tuple[str, ...]) -> str:
    """What is planned of the recipe that the overrides compose; words with one of the keys are the subject's own."""
    from gptx.config.errors import ConfigError, refusal
    from gptx.estimate.capacity import examined

    show = getattr(import_module(f"gptx.plan.{subject}"), subject)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as gptx.train
    given = [word.split("=", 1) for word in words if "=" in word and word.split("=")[0] in keys]
    own = dict(given)
    if "--multirun" in words or "-m" in words:
        raise SystemExit("error: --multirun: a plan takes lists as they are, such as schedule=constant,cosine")
    if twice := [key for key in own if sum(key == other for other, _ in given) > 1]:
        raise SystemExit(f"error: {twice[0]}: is given twice")
    rest = [word for word in words if word.split("=")[0] not in own]
    try:
        return "\n".join(show(examined(rest), **own))
    except (ConfigError, ValueError, OSError) as error:
        raise SystemExit(f"config error: {refusal('', error)}") from None


def refuse_misspelt(words: list[str]) -> None:
    """SystemExit for a first word that is neither an override nor a subject, and for a key of the plan misspelt."""
    if any(word.startswith("=") for word in words):
        raise SystemExit(f"error: {next(word for word in words if word.startswith('='))}: which key? flops=1e19, say")
    if "=" not in words[0] and words[0] not in QUANTITIES and not words[0].startswith(("-", "~")):
        from gptx.config.errors import nearest

        raise SystemExit(f"error: {words[0]}: nothing to plan of that name{nearest(words[0], SUBJECTS)}")
    own = (*QUANTITIES, *RECIPE)
    for key in () if asks_for_a_budget(words) else (word.partition("=")[0] for word in words):
        close = difflib.get_close_matches(key.lower(), own, n=1, cutoff=0.75)
        if close and key not in own and not of_a_recipe(key):
            raise SystemExit(f"error: {key}: no such key; did you mean '{close[0]}'?")


if __name__ == "__main__":
    main()
