"""Every command of gptx:  python -m gptx   lists them, python -m gptx COMMAND --help says what one takes.

A command is a function: its signature and docstring are its command line and its help (gptx.config.arguments). Two
read their words themselves, as Hydra overrides: train and plan.
"""

import sys
from importlib import import_module
from pathlib import Path

GROUPS = {  # title -> command -> module:function
    "train": {
        "train": "gptx.train:main",
        "study": "gptx.sweeps.study:study",
        "rerun": "gptx.commands.rerun:rerun",
        "status": "gptx.commands.status:status",
    },
    "look at runs": {
        "report": "gptx.report.__main__:report",
        "sample": "gptx.commands.sample:sample",
        "diff": "gptx.commands.diff:diff",
        "forensics": "gptx.commands.forensics:forensics",
        "export": "gptx.commands.export:export",
        "upload": "gptx.commands.upload:upload",
    },
    "plan before a run": {
        "plan": "gptx.plan.__main__:main",
        "plan schedule": "gptx.plan.schedule:schedule",
        "plan decay": "gptx.plan.decay:decay",
        "plan memory": "gptx.plan.memory:memory",
        "plan coordinates": "gptx.plan.coordinates:coordinates",
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
        "pages": "gptx.report.readme:readme",
        "bench": "gptx.bench.steps:bench",
        "bench saves": "gptx.bench.saves:bench_saves",
        "bench tokens": "gptx.bench.tokens:bench_tokens",
        "bench observers": "gptx.bench.observers:cost",
        "bench wandb": "gptx.bench.wandb:mirror",
    },
}
COMMANDS = {name: target for group in GROUPS.values() for name, target in group.items()}
OLD = {"sweep": "status", "sweep status": "status", "cost": "bench observers", "cost_wandb": "bench wandb"}
HELP = ("-h", "--help", "help")


def main() -> None:
    """Run the command that the first words name."""
    words = sys.argv[1:]
    if not words or words[0] in HELP:
        print(listing())
        return
    name, rest = split(words)
    if name in OLD:
        raise SystemExit(f"error: {name}: now python -m gptx {OLD[name]}; python -m gptx lists the commands")
    if subjects := [other for other in COMMANDS if other.startswith(f"{name} ")] if name not in COMMANDS else []:
        if rest and rest[0] not in HELP:
            refuse(f"{name} {rest[0]}", subjects)
        print(listing(subjects))
        return
    if name not in COMMANDS:
        refuse(name, COMMANDS)
    run(name, rest)


def split(words: list[str]) -> tuple[str, list[str]]:
    """The command, of one word or two, and the words that are left for it."""
    two = " ".join(words[:2])
    return (two, words[2:]) if two in COMMANDS or two in OLD else (words[0], words[1:])


def run(name: str, words: list[str]) -> None:
    """Run a command, or show its help without importing it."""
    from gptx.config import arguments

    if name == "train":
        from gptx.train import main

        sys.argv = ["gptx train", *words]
        main()
    elif any(word in HELP for word in words) and name != "plan":
        print(arguments.page(*source(COMMANDS[name])))
    elif name.startswith("plan"):
        from gptx.plan import __main__

        __main__.main([*name.split()[1:], *words])
    else:
        module, _, function = COMMANDS[name].partition(":")
        arguments.call(getattr(import_module(module), function), words)


def source(target: str) -> tuple[Path, str]:
    """The file of a `module:function`, and the function's name."""
    module, _, function = target.partition(":")
    return Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py"), function


def listing(names: list[str] | None = None) -> str:
    """The commands by group, one line each: the first sentence of each docstring, read without an import."""
    from gptx.config.arguments import sentence

    lines = []
    for title, commands in GROUPS.items():
        shown = [name for name in commands if names is None or name in names]
        lines += ["", f"{title}:"] * bool(shown)
        lines += [f"  {name:20}{sentence(*source(COMMANDS[name]))}" for name in shown]
    return "\n".join([*lines[1:], "", "python -m gptx COMMAND --help shows an example and every option"])


def refuse(word: str, known) -> None:
    """SystemExit with the nearest command."""
    from gptx.config.errors import nearest

    raise SystemExit(f"error: {word}: no such command{nearest(word, known)}")


if __name__ == "__main__":
    main()
