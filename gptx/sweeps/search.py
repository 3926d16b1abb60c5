"""A search for good values of a recipe, by Optuna:  python -m gptx study name=lr optim.lr=log:1e-4..1e-1"""

import importlib.util
import math
import re
import shlex
import sys
import warnings
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

from gptx import files
from gptx.compare.outcomes import METRIC
from gptx.config.command_line import split_overrides
from gptx.config.errors import ConfigError
from gptx.config.keys import NAME_BYTES, quoted, slug
from gptx.ingredients.log import now, typed_command
from gptx.runs import manifest, metrics
from gptx.runs.folder import RunFolder
from gptx.sweeps import pool
from gptx.units.hardware import cores
from gptx.units.printable import streams, without_credentials

_KINDS = "log:1e-4..1e-1, float:0..0.3, int:2..8 or choice:0,5%"
_TOLD = {"finished": "COMPLETE", "pruned": "PRUNED", "diverged": "PRUNED", "FAILED": "FAIL"}  # what Optuna calls it


def study(*words: str, name: str, trials: int = 20, parallel: int | None = None, prune: bool = True,
          metric: str = METRIC, better: str = "") -> int:  # fmt: skip
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
    if importlib.util.find_spec("optuna") is None:
        raise ValueError('python -m gptx study needs the package optuna: pip install -c constraints.txt "gptx[study]"')
    space, fixed = parse_space(list(words))
    options, overrides = split_overrides(fixed)
    threads, at_once = checked_space(space, [*overrides, f"name={name}"], options, parallel and min(parallel, trials))
    folder = Path("runs", name)
    with alone(folder):
        asked = [*map(without_credentials, words), f"metric={metric}", *["better=higher"] * (way == "higher")]
        found = _opened(folder, asked, space, prune)
        made = sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in found.trials)
        print(f"{folder}: {made} of {trials} trials made; {at_once} at a time with threads={threads}", flush=True)
        search = Search(found, space, [*overrides, f"name={quoted(name)}", *options], folder, metric, threads)
        stopped = search.run(max(0, trials - made), at_once)
        print("\n".join(search.summary()))
    return 130 if stopped else int(search.failed > 0)


def alone(folder: Path) -> AbstractContextManager:
    """The lock of the study in `folder`, held. Raises ValueError if another process makes its trials."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return files.lock(folder / "study.lock")
    except files.Held as held:
        raise ValueError(f"{folder}: {held} makes the trials of this study; choose another name=") from None


def parse_space(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The distribution of each searched key, and the other words. Raises ConfigError for none, or an invalid range."""
    space, rest = {}, []
    for word in words:
        if match := re.fullmatch(r"([^=]+)=(log|float|int|choice):(.*)", word):
            space[match[1]] = _distribution(*match.groups())
        else:
            rest.append(word)
    if not space:
        raise ConfigError(f"nothing to search: give a key as {_KINDS}, such as optim.lr=log:1e-4..1e-1")
    return space, rest


def _distribution(key: str, kind: str, text: str) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if kind == "choice":
        choices = tuple(filter(None, map(str.strip, text.split(","))))
        if len(set(choices)) < 2:
            raise ConfigError(f"{key}=choice:{text}: at least two different values, such as choice:0,5%")
        return CategoricalDistribution(choices)
    try:
        low, high = map(float, text.split(".."))
    except ValueError:
        raise ConfigError(f"{key}={kind}:{text}: a range is written LOW..HIGH, such as {_KINDS}") from None
    if not -math.inf < low < high < math.inf or (kind == "log" and low <= 0):
        line = "the first number must be below the second" + ", and above 0" * (kind == "log")
        raise ConfigError(f"{key}={kind}:{text}: {line}")
    if kind == "int" and (low % 1, high % 1) != (0, 0):
        raise ConfigError(f"{key}=int:{text}: whole numbers")
    return IntDistribution(int(low), int(high)) if kind == "int" else FloatDistribution(low, high, log=kind == "log")


def space_text(value: Any) -> str:
    """A value as in overrides; numbers have four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def corners(distribution: Any) -> list[str]:
    """The lowest and the highest value, or all choices, as in overrides."""
    return list(map(space_text, getattr(distribution, "choices", None) or (distribution.low, distribution.high)))


def checked_space(space: dict, overrides: list[str], options: list[str], parallel: int | None) -> tuple[int, int]:
    """Threads of a trial, and trials at a time. Raises ConfigError if an end of the space is no valid recipe."""
    from gptx.estimate.capacity import examined

    configs: list = []
    ends = {key: corners(distribution) for key, distribution in space.items()}
    for i in range(max(map(len, ends.values()))):
        words = [*overrides, *(f"{key}={values[min(i, len(values) - 1)]}" for key, values in ends.items())]
        configs += examined([*options, *words], here=True).values()
    at_once = parallel or min(pool.room(configs * cores(), 1), pool.runs_in_memory(configs))
    return pool.threads_of(configs, at_once), at_once


def _opened(folder: Path, words: list[str], space: dict[str, Any], prune: bool):
    """The study in the folder, new or continued. Raises ValueError if it searches something else."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

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
    # another seed at each start: else the first start's draws would come again
    found.sampler = optuna.samplers.TPESampler(seed=len(found.trials), n_startup_trials=max(5, 2 * len(space)))
    found.pruner = optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner()
    return found


@dataclass
class Trial(pool.Job):
    """A trial of Optuna's that is trained as a run."""

    trial: Any = None
    reported: set[int] = field(default_factory=set)  # steps
    pruned: bool = False


@dataclass
class Search:
    """Trains trials, several at a time, and reports what they recorded to Optuna."""

    study: Any
    space: dict[str, Any]
    words: list[str]  # overrides that all trials have
    folder: Path
    metric: str
    threads: int
    failed: int = 0  # trials that have no result

    def run(self, count: int, at_once: int) -> bool:
        """Make `count` trials, first those that were begun and have not ended; True if stopped."""
        import optuna

        ids = [trial._trial_id for trial in self.study.trials if trial.state.name == "RUNNING"]
        begun = (optuna.trial.Trial(self.study, number) for number in ids)
        jobs = map(self.prepared, islice(chain(begun, map(self.study.ask, repeat(self.space))), count))
        return pool.train_all(jobs, at_once, ended=self.tell, watch=self.look, look=1.0)

    def prepared(self, trial) -> Trial:
        """A trial with a folder of its own, noted in sweep.jsonl."""
        chosen, prefix = [f"{key}={space_text(trial.params[key])}" for key in self.space], f"{trial.number:03d},"
        folder = self.folder / (prefix + slug(chosen, tuple(self.space), room=NAME_BYTES - len(prefix)))
        words = [*self.words, *chosen]
        if not (folder / "run.json").exists():
            about = {"command": typed_command("study", *sys.argv[1:]), "when": now()}
            manifest.note(self.folder, [{"folder": folder.name, "overrides": words, **about}])
        known = set(self.study.trials[trial.number].intermediate_values)
        return Trial(folder, words, self.threads, trial=trial, reported=known)

    def look(self, each: Trial) -> None:
        """Report what a trial recorded since the last look; end it if the median of others was better at that step."""
        for step, value in zip(*metrics.read_metrics(each.folder)[self.metric], strict=True):
            if int(step) not in each.reported and math.isfinite(value):
                each.reported.add(int(step))
                each.trial.report(float(value), int(step))
        if not each.pruned and each.trial.should_prune() and each.process.poll() is None:
            each.pruned = each.asked = True
            pool.ask_to_end(each.process)

    def tell(self, each: Trial) -> None:
        """Tell Optuna and the terminal how a trial ended; one that was stopped, or is held elsewhere, goes on later."""
        from optuna.trial import TrialState

        pool.note_end(each.folder, each.process.returncode, asked=each.asked)
        self.look(each)
        label, details, value = self._outcome(each)
        if label == "finished":
            details = f"{self.metric} {value:.4f}"
        if label in _TOLD:
            self.study.tell(each.trial, value if label == "finished" else None, state=TrialState[_TOLD[label]])
        self.failed += label in ("FAILED", "running")
        print(f"{label:12} {each.folder}  {details}".rstrip(), flush=True)

    def _outcome(self, each: Trial) -> tuple[str, str, float | None]:
        """Label, details and result of a trial whose process has ended."""
        run, made = RunFolder(each.folder), metrics.read_metrics(each.folder)
        record, state = run.record, run.state
        finished = state == "finished"
        value = made.end(self.metric) if finished else made.last(self.metric)
        finite = None if value is None else math.isfinite(value)
        taken = finished and each.process.returncode != 0  # by another command
        why = record.get("error") or (f"recorded no {self.metric}" if finished else state)
        outcomes = (  # the first one that is true
            (taken, "FAILED", f"not of this trial: {pool.last_words(pool.log(each.folder))}"),
            (finished and finite, state, ""),
            (state == "running", state, "in another process; the same command goes on with it afterwards"),
            (each.pruned, "pruned", ""),
            (record.get("diverged") or finite is False, "diverged", ""),
            (each.asked, state, ""),
            (True, "FAILED", why),
        )
        return next((label, details, value) for true, label, details in outcomes if true)

    def summary(self) -> list[str]:
        """How the trials ended, the best one and how to repeat it, and which keys mattered."""
        import optuna

        ended = Counter(trial.state.name.lower() for trial in self.study.trials)
        counts = ", ".join(map("{} {}".format, ended.values(), ended))
        if not ended["complete"]:
            return [f"no trial is complete: {counts or 'none was made'}"]
        best = self.study.best_trial
        values = {key: f"{key}={space_text(best.params[key])}" for key in self.space}
        where = min(self.folder.glob(f"{best.number:03d},*"))
        lines = [
            f"trials       {counts}",
            f"best         {self.metric} {best.value:.4f} with {', '.join(values.values())}",
            f"compare      {typed_command('report', str(self.folder))}",
            f"again        {typed_command('rerun', str(where))}",
        ]
        if ends := [values[key] for key, searched in self.space.items() if at_end(searched, best.params[key])]:
            lines.append(f"edge         {', '.join(ends)}: near an end of its range; a better one may lie beyond it")
        if len(self.space) > 1 and ended["complete"] >= 10:
            shares = optuna.importance.get_param_importances(self.study)
            told = ", ".join(map("{} {:.0%}".format, shares, shares.values()))
            lines.append(f"importance   {told} (PED-ANOVA over {ended['complete']} trials)")
        return lines


def at_end(distribution: Any, value: Any) -> bool:
    """True within 5 % of an end of the range, beyond which a better value may lie."""
    if hasattr(distribution, "choices"):
        return False
    ends = distribution.low, distribution.high, value
    low, high, at = map(math.log, ends) if distribution.log else ends
    return min(at - low, high - at) <= 0.05 * (high - low)
