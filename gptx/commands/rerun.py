"""A run again from its folder, compared with the recorded one:  python -m gptx rerun RUN [overrides]"""

import itertools
import os
import shlex
from pathlib import Path

from gptx.compare.meaning import agreement, differences_in_meaning, place, single_run
from gptx.config.command_line import split_overrides
from gptx.config.keys import changes, key_of, quoted, slug, unquoted
from gptx.config.recorded import refuse_beyond
from gptx.runs import provenance
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run
from gptx.sweeps.pool import train_command, wait
from gptx.units.printable import streams


def rerun(run: str, /, *overrides: str, trust: bool = False) -> int:
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
    old = single_run(run)
    if not old.record.get("recipe"):
        raise ValueError(f"{run}: its record does not say how it was made, so it cannot be made again")
    RunFolder(old.folder).known("overrides"), RunFolder(old.folder).known("name", "config.yaml")
    recorded, machine = old.metrics, old.record.get("hardware", {})  # before anything is overwritten
    options, given = split_overrides(overrides)
    words = merged(old, given)
    folder = target(old, given, words)
    if folder.resolve() == old.folder.resolve() and "overwrite=true" not in words:
        raise ValueError(f"name: {folder} is the run itself; choose another name=, or overwrite=true to train it again")
    for warning in code_changes(old):
        print(f"warning: {warning}")
    options = options or old.record.get("options", [])
    tasks, threads = machine.get("processes", 1), machine.get("threads")
    if not trust:
        refuse_beyond(run, {*words, *options} - {*overrides})
    line = train_command([*words, *options, f"hydra.run.dir={quoted(str(folder))}"], tasks=tasks, threads=threads)
    print(shlex.join(["python", *line[1:]]))
    print(f"runs again in {folder}", flush=True)
    if code := wait(line, os.environ | {"OMP_NUM_THREADS": str(threads or 1)}, tasks):
        return code
    new = single_run(str(folder))
    if elsewhere := _unlike(*_circumstances(old, new)):
        print(f"warning: not as recorded: {elsewhere}")
    print(f"compared with {old.folder}: {agreement(recorded, new.metrics)}")
    return 0


def merged(old: Run, given: list[str]) -> list[str]:
    """The overrides of a run, of which those that are given replace its own with the same key, and a new name."""
    if wrong := [word for word in given if "=" not in word and not word.startswith("~")]:
        raise ValueError(f"{wrong[0]}: an override is key=value; besides these, only --config-dir FOLDER is accepted")
    given = _fixed(old) * all(key_of(word) != "steps" for word in given) + given
    named = {key_of(word) for word in given}
    name = [] if "name" in named else [f"name={quoted(old.config['name'] + '_again')}"]
    dropped = {*named, "name", "overwrite"}  # a run that replaced another one must not replace itself
    return [word for word in old.record["overrides"] if key_of(word) not in dropped] + given + name


def _fixed(old: Run) -> list[str]:
    """The steps that a run of five minutes has by its record, where the speed was measured."""
    return [f"steps={old.record['measured']['steps']}"] if "measured" in old.record else []


def target(old: Run, given: list[str], words: list[str]) -> Path:
    """The folder of the new run: its name is the old one's, unless the overrides change the recipe."""
    name = next(word.partition("=")[2] for word in reversed(words) if key_of(word) == "name")
    return Path("runs", unquoted(name), slug(words) if changes(given) else old.folder.resolve().name)


def code_changes(old: Run) -> list[str]:
    """What has changed since the run was made: a line about the code and one about the packages."""
    was, now = old.record.get("git", {}), provenance.git()
    code = _unlike(*({"commit": git.get("sha", "")[:12]} for git in (was, now)))
    packages = _unlike(old.record.get("versions", {}), provenance.versions())
    dirty = "the code had or has uncommitted changes, which no commit identifies"
    found = f"the code is not as recorded: {code}", dirty, f"the packages are not as recorded: {packages}"
    return list(itertools.compress(found, (code, was.get("dirty") or now.get("dirty"), packages)))


def _circumstances(old: Run, new: Run) -> list[dict[str, str]]:
    both = zip((old, new), provenance.of_both(old.record, new.record), strict=True)
    return [place(run) | {"data": str(run.record.get("data", {}).get("digest", ""))[:12]} | code for run, code in both]


def _unlike(old: dict[str, str], new: dict[str, str]) -> str:
    found = differences_in_meaning(old, new).items()
    return "; ".join(f"{name} was {was or 'not there'}, is {now or 'not there'}" for name, (was, now) in found)
