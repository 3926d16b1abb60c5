"""How fast text becomes tokens, and in how much memory."""

import os
import sys
import tempfile
import time
from itertools import cycle

from gptx.bench.frame import print_table, process, refuse_below_one, spread
from gptx.ingredients.data.cache import tokenised
from gptx.ingredients.data.files import text_at
from gptx.ingredients.data.sources import Source, text_files
from gptx.units.hardware import cores, peak_memory

_MB = 1_000_000


def repeated_text(path: str, size: int) -> Source:
    """Local text again and again, each time as new documents, up to `size` bytes; the last one is for validation."""
    documents = []
    for file in cycle(text_at(path)[0]):
        documents.append(file.whole)
        size -= file.bytes
        if size <= 0:
            break
    return text_files("repeated", path, documents[:-1], documents[-1:])


def bench_tokens(*, file: str, tokenizer: str = "gpt2", megabytes: int = 100, repeats: int = 3) -> None:
    """Measure how fast text is tokenised, with one worker and with one per core.

      python -m gptx bench tokens file=book.txt

    Each measurement is a process of its own. Speed per core is megabytes per second of processor time, which other
    programs disturb little; the median with the range in brackets. Memory is the largest resident size.

    Options:
    file: text to tokenise, again and again: a file, folder or glob
    tokenizer: gpt2, bytes, chars or bpe:SIZE
    megabytes: text to tokenise in one measurement
    repeats: measurements for each number of workers
    """
    refuse_below_one(megabytes=megabytes, repeats=repeats)
    rows = []
    for workers in sorted({1, cores()}):
        found = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder, process() as fresh:
                found.append(fresh.submit(_measure, file, tokenizer, megabytes, workers, folder).result())
        per_core, wall, memory = zip(*found, strict=True)
        rows.append((str(workers), spread(per_core, 1), spread(wall, 1), f"{max(memory):.0f} MB"))
    title = f"{tokenizer}, {megabytes} MB of {file}, {cores()} cores"
    print_table(title, ("workers", "MB/s per core", "MB/s in all", "peak memory"), rows)


def _measure(file: str, tokenizer: str, megabytes: int, workers: int, folder: str) -> tuple[float, float, float]:
    """Megabytes per second of processor time and of the clock, and peak memory in megabytes, of this process."""
    os.environ["GPTX_CACHE"] = folder
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of this process
    clock, processor = time.perf_counter(), time.process_time()
    tokenised(repeated_text(file, megabytes * _MB), tokenizer, workers=workers)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return megabytes / processor, megabytes / clock, peak_memory() / _MB
