"""Makes a run again from its folder, and tells whether the same comes out:  python -m gptx rerun RUN [overrides]"""

import os
import re
import shlex
from pathlib import Path

from gptx import runs
from gptx.commands.diff import agreement, find
from gptx.compare import meaning
from gptx.config.keys import changes, key_of, quoted, slug, under, unquoted
from gptx.runs import provenance
from gptx.runs.cells import Cell
from gptx.runs.folder import RunFolder
from gptx.sweeps.processes import command, wait
from gptx.units.printable import streams

BEYOND = "hydra", "allow_targets"  # keys of an override that are no recipe's


def rerun(run: str, /, *overrides: str, trust: bool = False) -> None:
    """Train a run again from its record, in a new folder, and compare the two.

      python -m gptx rerun runs/default/base
      python -m gptx rerun runs/schedules/schedule=cosine,seed=0 name=check steps=500

    One run of a sweep is trained alone. Its own overrides are used, then those that are given. The new folder is named
    NAME_again unless name= is given; the same command continues a run that was stopped. Threads and processes are the
    recorded ones, because the last digits of a CPU's results depend on them. Changes of code, packages, data or machine
    since then are shown as warnings.

    Options:
    trust: allow a record that asks for more than a recipe (allow_targets, hydra.*, --config-dir, ${oc.env:NAME}): it
    could run code of its author, or read your environment
    """
    streams(lasting=True)
    old = find(run)
    if not old.record.get("recipe"):
        raise ValueError(f"{run}: its record says nothing of how it was made, so it cannot be made again")
    RunFolder(old.folder).known("overrides"), RunFolder(old.folder).chosen("name")
    recorded, machine = old.metrics, old.record.get("hardware", {})  # before anything is overwritten
    options, given = split(list(overrides))
    words = merged(old, given)
    folder = target(old, given, words)
    if folder.resolve() == old.folder.resolve() and "overwrite=true" not in words:
        raise ValueError(f"name: {folder} is the run itself; choose another name=, or overwrite=true to train it anew")
    for warning in changed_since(old):
        print(f"warning: {warning}")
    options = options or old.record.get("options", [])
    tasks, threads = machine.get("processes", 1), machine.get("threads")
    if not trust:
        refuse_beyond(run, [word for word in [*words, *options] if word not in overrides])
    line = command([*words, *options, f"hydra.run.dir={quoted(str(folder))}"], tasks=tasks, threads=threads)
    print(shlex.join(["python", *line[1:]]))
    print(f"runs again in {folder}", flush=True)
    code = wait(line, os.environ | {"OMP_NUM_THREADS": str(threads or 1)}, tasks)
    if code:
        raise SystemExit(code if code > 0 else 128 - code)
    new = find(str(folder))
    if elsewhere := unlike(*circumstances(old, new)):
        print(f"warning: not as recorded: {elsewhere}")
    print(f"beside {old.folder}: {agreement(recorded, new.metrics)}")


def refuse_beyond(run: str, recorded: list[str]) -> None:
    """Raise ValueError for words of a record that could have the command build or read what no recipe of gptx does."""
    beyond = [word for word in recorded if goes_beyond(word)]
    if beyond:
        raise ValueError(
            f"{run}: its record asks for more than a recipe: {shlex.join(beyond)}; trust=true runs it if you trust "
            "whoever wrote that folder"
        )


def goes_beyond(word: str) -> bool:
    """True for an option, a key of Hydra's or of trust, and a look-up; `${steps}`, without a colon, is none."""
    looks_up = re.search(r"\$\{.*:", word, re.DOTALL)
    return bool(looks_up) or word.startswith("-") or under(key_of(word).replace("/", "."), BEYOND)


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """`--config-dir FOLDER`, if it is there, and the overrides. Raises ValueError for anything else."""
    at = words.index("--config-dir") if "--config-dir" in words else len(words)
    options, given = words[at : at + 2], words[:at] + words[at + 2 :]
    for word in given:
        if "=" not in word and not word.startswith("~"):
            raise ValueError(f"{word}: an override is key=value; beside these there may be --config-dir FOLDER")
    return options, given


def merged(old: Cell, given: list[str]) -> list[str]:
    """The overrides of a run, with those that are given in place of its own for the same keys, and a new name."""
    named = {key_of(word) for word in given}
    name = [] if "name" in named else [f"name={quoted(old.config['name'] + '_again')}"]
    dropped = {*named, "name", "overwrite"}  # a run that was to replace another is not to replace itself
    return [word for word in old.record["overrides"] if key_of(word) not in dropped] + given + name


def target(old: Cell, given: list[str], words: list[str]) -> Path:
    """The folder for a run with these overrides: of the same name as the old one's, unless something else is run."""
    name = next(word.partition("=")[2] for word in reversed(words) if key_of(word) == "name")
    return Path("runs", unquoted(name), slug(words) if changes(given) else old.folder.resolve().name)


def changed_since(old: Cell) -> list[str]:
    """What is not as it was when the run was made: a line about the code and one about the packages."""
    was, now = old.record.get("git", {}), provenance.git()
    code = {"commit": was.get("sha", "")[:12]}, {"commit": now.get("sha", "")[:12]}
    found = [f"the code is not as recorded: {unlike(*code)}"] if code[0] != code[1] else []
    if was.get("dirty") or now.get("dirty"):
        found.append("the code had or has uncommitted changes, which no commit names")
    packages = unlike(old.record.get("versions", {}), runs.versions())
    return found + ([f"the packages are not as recorded: {packages}"] if packages else [])


def circumstances(old: Cell, new: Cell) -> tuple[dict[str, str], dict[str, str]]:
    """Where, from which text and with what code two runs were made; of the code what both tell."""
    code = provenance.of_both(old.record, new.record)
    one, other = (meaning.place(cell) | data_of(cell) | facts for cell, facts in zip((old, new), code, strict=True))
    return one, other


def data_of(cell: Cell) -> dict[str, str]:
    """The text of a run: its digest decides whether it is the same."""
    return {"data": str(cell.record.get("data", {}).get("digest", ""))[:12]}


def unlike(old: dict[str, str], new: dict[str, str]) -> str:
    """What differs between two dicts of facts, in a phrase each."""
    found = meaning.differences(old, new)
    return "; ".join(f"{name} was {was or 'not there'}, is {now or 'not there'}" for name, (was, now) in found.items())
