"""A search for good values, by Optuna:  python -m gptx study name=lr trials=20 optim.lr=log:1e-4..1e-1"""

import math
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gptx import files, runs
from gptx.compare.outcomes import METRIC
from gptx.config.keys import NAME_BYTES, quoted, slug
from gptx.ingredients.log import now, typed
from gptx.runs import metrics
from gptx.sweeps import machine, processes, status
from gptx.sweeps.space import Dimension, distributions, parse
from gptx.units.hardware import cores
from gptx.units.printable import streams, without_credentials

LOOK = 1.0  # seconds between two looks at the runs
STOPPED = "no other trial is started; those at work save and end, and the same command goes on with them"


@dataclass
class Running:
    """A trial that is at work."""

    trial: object
    folder: Path
    process: subprocess.Popen
    reported: set[int] = field(default_factory=set)
    pruned: bool = False


def study(*words: str, name: str, trials: int = 20, parallel: int | None = None, prune: bool = True,
          metric: str = METRIC, better: str = "") -> None:  # fmt: skip
    """Search for the best values of a recipe: trials that learn from each other (Optuna's TPE).

      python -m gptx study name=lr trials=20 optim.lr=log:1e-4..1e-1 schedule.warmup=choice:0,5% steps=200

    Each trial is a run in runs/NAME, which `python -m gptx report` reads like any other. The same command again
    continues the trials that were stopped and makes those that are missing; a failed one is replaced by another.

    Options:
    words: what to search (log:1e-4..1e-1, float:0..0.3, int:2..8, choice:0,5%) and fixed overrides of gptx.train
    name: name of the study; its runs are in runs/NAME
    trials: trials in all
    parallel: trials at a time; by default one per core or per GPU
    prune: stop a trial that is worse than the median of earlier ones at the same step
    metric: the metric to optimise
    better: higher or lower, for a metric of your own
    """
    streams(lasting=True)
    if trials < 1 or (parallel is not None and parallel < 1):
        raise ValueError(f"trials={trials} and parallel={parallel} must be at least 1")
    way = metrics.better(metric, better)
    space, fixed = parse(list(words))
    options, overrides = with_config_dir(fixed)
    threads, at_once = checked(space, [*overrides, f"name={name}"], options, parallel and min(parallel, trials))
    folder = Path("runs", name)
    with alone(folder):
        asked = [*map(without_credentials, words), f"metric={metric}", *["better=higher"] * (way == "higher")]
        found = opened(folder, asked, space, prune)
        left = trials - sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in found.trials)
        print(
            f"{folder}: {trials - left} of {trials} trials made; {at_once} at a time with threads={threads}", flush=True
        )
        search = Search(found, space, [*overrides, f"name={quoted(name)}", *options], folder, metric, at_once, threads)
        failed = search.run(max(0, left))
        print("\n".join(summary(found, space, folder, metric)))
    if failed or search.stopped:
        raise SystemExit(130 if search.stopped else 1)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the study in `folder`, whose begun trials are this process's to go on with. Raises ValueError if another
    process does."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = files.lock(folder / "study.lock")
    except files.Held as held:
        raise ValueError(f"{folder}: {held} makes the trials of this study; choose another name=") from None
    with lock:
        yield


def with_config_dir(words: list[str]) -> tuple[list[str], list[str]]:
    """`--config-dir FOLDER`, if it is there, and the overrides."""
    at = words.index("--config-dir") if "--config-dir" in words else len(words)
    return words[at : at + 2], words[:at] + words[at + 2 :]


def checked(space: list[Dimension], overrides: list[str], options: list[str], parallel: int | None) -> tuple[int, int]:
    """Threads of a trial, and how many run at once. Raises ConfigError if an end of the space is no recipe."""
    from gptx.estimate.capacity import examined

    configs: list = []
    for i in range(max(len(each.corners) for each in space)):
        words = [*overrides, *(f"{each.key}={each.corners[min(i, len(each.corners) - 1)]}" for each in space)]
        configs += examined([*options, *words], here=True).values()
    at_once = parallel or min(machine.room(configs * cores(), 1), machine.fit(configs))
    return machine.threads_asked(configs, max(1, cores() // at_once)), at_once


def opened(folder: Path, words: list[str], space: list[Dimension], prune: bool):
    """The study in the folder, begun or taken up. Raises ValueError if Optuna is missing, or it searches otherwise."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ModuleNotFoundError as missing:
        raise ValueError(
            f'gptx.sweeps.study needs the package {missing.name}: pip install -c constraints.txt "gptx[study]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    files.refuse_link(folder / "study.log")
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "study.log")))
    way = optuna.study.StudyDirection["MAXIMIZE" if "better=higher" in words else "MINIMIZE"]
    found = optuna.create_study(storage=storage, study_name="study", direction=way, load_if_exists=True)
    before = found.user_attrs.get("words")
    if before not in (None, sorted(words)):
        raise ValueError(f"{folder} holds another study: {shlex.join(before)}; choose another name=")
    found.set_user_attr("words", sorted(words))
    # a seed for each start: the first one's draws would come again
    found.sampler = optuna.samplers.TPESampler(seed=len(found.trials), n_startup_trials=max(5, 2 * len(space)))
    found.pruner = optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner()
    return found


class Search:
    """Trials as processes, several at a time; what they recorded is told to Optuna as it comes."""

    def __init__(self, found, space, words: list[str], folder: Path, metric: str, at_once: int, threads: int):
        self.study, self.space, self.words, self.folder, self.metric = found, space, words, folder, metric
        self.at_once, self.threads = at_once, threads
        self.stopped = False

    def run(self, count: int) -> int:
        """Make so many trials, those first that were begun and not ended; how many of them failed."""
        import optuna

        begun = [
            optuna.trial.Trial(self.study, old._trial_id) for old in self.study.trials if old.state.name == "RUNNING"
        ]
        running: dict[int, Running] = {}
        failed = made = 0
        with processes.requests_to_end() as came:
            try:
                while running or (made < count and not self.stopped):
                    if came():
                        again, self.stopped, count = self.stopped, True, made
                        for each in running.values():
                            processes.ask_to_end(each.process, again=again)
                        print(STOPPED, flush=True)
                    for place in [place for place in range(self.at_once) if place not in running][: count - made]:
                        trial = begun.pop(0) if begun else self.study.ask(distributions(self.space))
                        running[place] = self.start(trial, place)
                        made += 1
                    time.sleep(LOOK)
                    for place, each in list(running.items()):
                        self.look(each)
                        if each.process.poll() is not None:
                            failed += self.tell(running.pop(place))
            finally:
                for each in running.values() if not self.stopped else ():  # nobody waits for them any more
                    processes.ask_to_end(each.process)
        return failed

    def start(self, trial, place: int) -> Running:
        """Start a trial in a folder of its own."""
        chosen = [f"{each.key}={each.spelled(trial.params[each.key])}" for each in self.space]
        prefix, keys = f"{trial.number:03d},", tuple(each.key for each in self.space)
        folder = self.folder / (prefix + slug(chosen, keys, room=NAME_BYTES - len(prefix)))
        if not (folder / "run.json").exists():
            about = {"command": typed("study", *sys.argv[1:]), "when": now()}
            status.note(self.folder, [{"folder": folder.name, "overrides": [*self.words, *chosen], **about}])
        known = set(self.study.trials[trial.number].intermediate_values)
        process = processes.start(
            [*self.words, *chosen], folder, place=place, places=self.at_once, threads=self.threads
        )
        return Running(trial, folder, process, known)

    def look(self, running: Running) -> None:
        """Tell Optuna what a trial recorded since the last look; end it if others were better at that update."""
        trial: object = running.trial
        steps, values = metrics.read(running.folder)[self.metric]
        for step, value in zip(steps, values, strict=True):
            if int(step) not in running.reported and math.isfinite(value):
                running.reported.add(int(step))
                trial.report(float(value), int(step))  # type: ignore[attr-defined]
        if not running.pruned and trial.should_prune() and running.process.poll() is None:  # type: ignore[attr-defined]
            running.pruned = True
            processes.ask_to_end(running.process)

    def tell(self, running: Running) -> bool:
        """Tell Optuna and the terminal how a trial ended; True if it failed, or is not made yet.

        One that was stopped is not ended, nor is one that another process holds, as after a kill of its study.
        """
        from optuna.trial import TrialState

        folder = running.folder
        processes.note_end(folder, running.process.returncode, asked=self.stopped or running.pruned)
        self.look(running)
        record, state = runs.read(folder) or {}, runs.state(folder)
        made = metrics.read(folder)
        value = made.end(self.metric) if state == "finished" else made.last(self.metric)
        taken = state == "finished" and running.process.returncode != 0  # by another command
        if state == "finished" and not taken and value is not None and math.isfinite(value):
            self.study.tell(running.trial, value)
            print(f"finished     {folder}  {self.metric} {value:.4f}", flush=True)
        elif state == "running":
            print(f"{state:12} {folder}  in another process; the same command goes on with it afterwards", flush=True)
            return True
        elif running.pruned or record.get("diverged") or (value is not None and not math.isfinite(value)):
            self.study.tell(running.trial, state=TrialState.PRUNED)
            print(f"{'pruned' if running.pruned else 'diverged':12} {folder}", flush=True)
        elif self.stopped:
            print(f"{state:12} {folder}", flush=True)
        else:
            self.study.tell(running.trial, state=TrialState.FAIL)
            why = record.get("error") or (f"recorded no {self.metric}" if state == "finished" else state)
            why = f"not of this trial: {processes.last_words(processes.log(folder))}" if taken else why
            print(f"FAILED       {folder}  {why}", flush=True)
            return True
        return False


def summary(found, space: list[Dimension], folder: Path, metric: str) -> list[str]:
    """The best trial, how to make it again, what mattered, and how the trials ended."""
    import optuna

    ended = [trial.state.name.lower() for trial in found.trials]
    counts = ", ".join(f"{ended.count(state)} {state}" for state in dict.fromkeys(ended))
    complete = [trial for trial in found.trials if trial.state.name == "COMPLETE"]
    if not complete:
        return [f"no trial is complete: {counts or 'none was made'}"]
    best = found.best_trial
    chosen = ", ".join(f"{each.key}={each.spelled(best.params[each.key])}" for each in space)
    where = next(iter(sorted(folder.glob(f"{best.number:03d},*"))))
    lines = [f"trials       {counts}", f"best         {metric} {best.value:.4f} with {chosen}",
             f"again        {typed('rerun', str(where))}"]  # fmt: skip
    values = {each.key: each.spelled(best.params[each.key]) for each in space if each.at_end(best.params[each.key])}
    if values:
        ends = ", ".join(f"{key}={value}" for key, value in values.items())
        lines.append(f"edge         {ends}: near an end of its range, beyond which a better one may lie")
    if len(space) > 1 and len(complete) >= 10:
        shares = optuna.importance.get_param_importances(found)
        told = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        lines.append(f"importance   {told} (PED-ANOVA over {len(complete)} trials)")
    return lines
