"""What the benchmarks share: trainers that save nothing, processes of their own, turns, medians with their range."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor

from gptx.config import validate
from gptx.config.compose import composed
from gptx.job.build import trainer_of
from gptx.show.table import Table, terminal


class Unsaved:
    """Stands in for checkpoints and saves nothing; with a `reason`, `fit` ends after each step."""

    def __init__(self, reason: str = ""):
        self.reason = reason

    def begin(self, trainer) -> None:
        trainer.stopped = ""

    def __call__(self, trainer) -> None:
        trainer.stopped = self.reason


def trainer(*words: str, noise: tuple[int, int] | None = None, sequences: int | None = None):
    """The Trainer of a recipe without sinks, on random tokens if `noise` says a size of vocabulary and a context."""
    cfg = composed(["schedule=constant", "log=[]", *words])
    if noise:
        target = "gptx.ingredients.data.corpus.RandomTokens"
        cfg.data = {"_target_": target, "vocab_size": noise[0], "context": noise[1]}
    if sequences:
        cfg.batch.micro = cfg.batch.tokens // cfg.model.context // sequences
    validate.check(cfg, allow=("gptx.ingredients.data.corpus.",))
    return trainer_of(cfg)


def process(initializer: Callable | None = None, *arguments) -> ProcessPoolExecutor:
    """A fresh process that runs one call at a time, after `initializer`."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer, arguments)


def clocked(work: Callable, times: list[float], clock: Callable[[], float] = time.perf_counter) -> Callable:
    """The function, which appends the seconds of every call to `times`."""

    def call(*arguments, **named):
        started = clock()
        try:
            return work(*arguments, **named)
        finally:
            times.append(clock() - started)

    return call


def seconds_of(work: Callable, *arguments, clock: Callable[[], float] = time.perf_counter) -> float:
    started = clock()
    work(*arguments)
    return clock() - started


def in_turns(works: dict[str, Callable], repeats: int) -> dict[str, list[float]]:
    """Seconds of each of the works, which take turns."""
    turns = [{name: seconds_of(work) for name, work in works.items()} for _ in range(repeats)]
    return {name: [turn[name] for turn in turns] for name in works}


def chosen(key: str, word: str, options: list[str]) -> list[str]:
    """The options that a word of the command line means. Raises ValueError for none of them."""
    if word not in (*options, "all"):
        raise ValueError(f"{key}={word} is unknown; one of {', '.join(options)}, all")
    return options if word == "all" else [word]


def spread(values: Iterable[float], digits: int = 3) -> str:
    """The median with the range: 1.00 [0.90, 1.20]."""
    found = list(values)
    return f"{statistics.median(found):.{digits}f} [{min(found):.{digits}f}, {max(found):.{digits}f}]"


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table whose first column names the rows."""
    print("\n".join(terminal(Table(title, tuple(columns), [tuple(row) for row in rows]))), flush=True)


def refuse_below_one(**values: int) -> None:
    """Raise ValueError for the first value below 1."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
