"""Every command of gptx:  python -m gptx   lists them, python -m gptx COMMAND --help says what one takes.

A command is a function: its signature and docstring are its command line and its help (gptx.config.arguments).
"""

import os
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path

from gptx.config import arguments
from gptx.config.arguments import HELP
from gptx.config.errors import nearest

_GROUPS = {  # title -> command -> module:function
    "train": {
        "train": "gptx.train:main",
        "study": "gptx.sweeps.search:study",
        "rerun": "gptx.commands.rerun:rerun",
        "confirm": "gptx.commands.confirm:confirm",
        "status": "gptx.sweeps.status:status",
    },
    "look at runs": {
        "report": "gptx.report.__main__:report",
        "sample": "gptx.commands.sample:sample",
        "diff": "gptx.commands.diff:diff",
        "forensics": "gptx.commands.forensics:forensics",
        "export": "gptx.commands.sample:export",
        "upload": "gptx.report.upload:upload",
    },
    "plan before a run": {
        "plan": "gptx.plan.__main__:plan",
        "plan budget": "gptx.plan.budget:plan_budget",
        "plan recipe": "gptx.plan.recipe:plan_recipe",
        "plan sweep": "gptx.plan.sweep:plan_sweep",
        "plan schedule": "gptx.plan.schedule:plan_schedule",
        "plan decay": "gptx.plan.parts:plan_decay",
        "plan memory": "gptx.plan.parts:plan_memory",
        "plan coordinates": "gptx.plan.coordinates:plan_coordinates",
    },
    "fit to finished runs": {
        "fit scaling": "gptx.fit.scaling:scaling",
        "fit critical_batch": "gptx.fit.critical_batch:critical_batch",
        "fit lr_range": "gptx.fit.lr_range:lr_range",
    },
    "tools": {
        "exercise": "gptx.exercise.__main__:exercise",
        "formats": "gptx.commands.formats:formats",
        "reference": "gptx.commands.reference:reference",
        "pages": "gptx.commands.pages:pages",
        "bench": "gptx.bench.steps:bench_steps",
        "bench saves": "gptx.bench.storage:bench_saves",
        "bench tokens": "gptx.bench.storage:bench_tokens",
        "bench observers": "gptx.bench.recording:bench_observers",
        "bench wandb": "gptx.bench.recording:bench_wandb",
    },
}
COMMANDS = {name: target for group in _GROUPS.values() for name, target in group.items()}
_OLD = {"sweep": "status", "cost": "bench observers", "cost_wandb": "bench wandb"}  # how commands were called before


def main() -> None:
    """Run the command that the first words name."""
    words = sys.argv[1:]
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else " ".join(words[:1])
    rest = words[len(name.split()) :]
    if HELP.issuperset(words[:1]):  # no word, or a call for help
        arguments.show(_listing(COMMANDS))
    elif name in _OLD:
        raise SystemExit(f"error: {name}: now python -m gptx {_OLD[name]}; python -m gptx lists the commands")
    elif name in COMMANDS:
        _run(name, rest)
    else:
        subjects = [other for other in COMMANDS if other.startswith(f"{name} ")]
        if not subjects or not HELP.issuperset(rest[:1]):
            wrong = " ".join(words[: 1 + bool(subjects)])
            raise SystemExit(f"error: {wrong}: no such command{nearest(wrong, subjects or COMMANDS)}")
        arguments.show(_listing(subjects))


def _run(name: str, words: list[str]) -> None:
    """Run a command, or show its help without importing it."""
    if HELP & {*words} and name != "train":
        arguments.show(arguments.help_page(*source(name)))
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as gptx.train, before PyTorch is loaded
    if name.startswith("fit "):  # before numpy is loaded: threads that wait for each other are ten times as slow
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    module, _, function = COMMANDS[name].partition(":")
    command = getattr(import_module(module), function)
    sys.argv = [f"gptx {name}", *words]  # without the name of the command, which some commands record
    if name == "train":  # which reads its words itself
        command()
    else:
        arguments.call(command, words)


def source(name: str) -> tuple[Path, str]:
    """The file and the name of a command's function."""
    module, _, function = COMMANDS[name].partition(":")
    return Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py"), function


def _listing(names: Collection[str]) -> str:
    """Commands by group, one line each: the first sentence of their docstrings."""
    lines = []
    for title, commands in _GROUPS.items():
        if shown := [name for name in commands if name in names]:
            sentences = (arguments.described(*source(name))[0].partition("\n\n")[0].split() for name in shown)
            told = zip(shown, sentences, strict=True)
            lines += [f"{title}:", *(f"  {name:20}{' '.join(words).rstrip('.')}" for name, words in told), ""]
    return "\n".join([*lines, "python -m gptx COMMAND --help shows an example and every option"])


if __name__ == "__main__":
    main()
