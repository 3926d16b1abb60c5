"""How fast text becomes tokens, and in how much memory:  python -m gptx bench tokens file=book.txt."""

import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

from gptx.config import arguments
from gptx.ingredients.data.cache import available_cores, tokenised
from gptx.ingredients.data.sources import Documents, text_at

MB = 1_000_000


@dataclass(frozen=True)
class Repeated:
    """A Source that reads local text over and over, each time as new documents, until it has `bytes` bytes."""

    path: str
    bytes: int
    name: str = "repeated"
    digest: str = "0" * 64  # its cache is deleted after the measurement
    content: str = "0" * 64
    characters: None = None
    tokens: None = None
    left_out: list[str] = field(default_factory=list)

    @cached_property
    def where(self) -> str:
        return f"{self.path} over and over"

    def streams(self) -> Iterator[Documents]:
        """One stream; the validation text is its last document."""
        yield self.documents()

    def documents(self) -> Documents:
        files, _ = text_at(self.path)
        size = 0
        while size < self.bytes:
            for file in files:
                if size < self.bytes:
                    size += file.bytes
                    yield "train" if size < self.bytes else "validation", file.name, file.whole.pieces()


def bench_tokens(*, file: str, tokenizer: str = "gpt2", megabytes: int = 100, repeats: int = 3) -> None:
    """Tokenise the text of `file` (a file, folder or glob), repeated up to `megabytes`, with one worker and with one
    per core, each time in a process of its own.

    A core's speed is megabytes per second of processor time, which other programs of the machine disturb little; the
    median of `repeats` with the lowest and the highest in brackets. Memory is the largest resident size.
    """
    if megabytes < 1 or repeats < 1:
        raise ValueError(f"megabytes={megabytes} and repeats={repeats} must be at least 1")
    print(f"{tokenizer}, {megabytes} MB of {file}, {available_cores()} cores")
    print(f"{'workers':>7} {'MB/s of a core':>22} {'MB/s in all':>22} {'peak memory':>12}")
    for workers in sorted({1, available_cores()}):
        runs = [measured(file, tokenizer, megabytes, workers) for _ in range(repeats)]
        core, wall, memory = zip(*runs, strict=True)
        print(f"{workers:7} {spread(core):>22} {spread(wall):>22} {max(memory):9.0f} MB", flush=True)


def spread(values: tuple[float, ...]) -> str:
    """The median with the range."""
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


def measured(file: str, tokenizer: str, megabytes: int, workers: int) -> tuple[float, float, float]:
    """Megabytes per second of processor time and of the clock, and peak memory in megabytes."""
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=fresh) as process:
        return process.submit(measure, file, tokenizer, megabytes, workers, folder).result()


def measure(file: str, tokenizer: str, megabytes: int, workers: int, folder: str) -> tuple[float, float, float]:
    """What `measured` gives, of the process that calls it."""
    os.environ["GPTX_CACHE"] = folder
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of this process
    clock, processor = time.perf_counter(), time.process_time()
    tokenised(Repeated(file, megabytes * MB), tokenizer, workers=workers)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MB if sys.platform == "darwin" else 1000)
    return megabytes / processor, megabytes / clock, peak


if __name__ == "__main__":
    arguments.call(bench_tokens)
