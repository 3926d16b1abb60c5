"""How fast text becomes tokens on the disk, and how long training waits for a checkpoint to get there."""

import os
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

from gptx.bench.frame import in_turns, print_table, process, refuse_below_one, spread, trainer
from gptx.ingredients.data.cache import tokenised
from gptx.ingredients.data.files import TextFile, text_at
from gptx.ingredients.data.sources import Source, text_files
from gptx.units.hardware import cores, peak_memory
from gptx.units.phrases import count

_MB = 1_000_000


def repeated_text(path: str, size: int) -> Source:
    """Local text again and again, each time as new documents, up to `size` bytes; the last one is for validation."""
    files: list[TextFile] = []
    for file in cycle(text_at(path)[0]):
        files.append(file)
        size -= file.bytes
        if size <= 0:
            break
    return text_files("repeated", path, files[:-1], files[-1:])


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


def bench_saves(
    *, model: str = "gpt2_124m", folder: str | None = None, repeats: int = 5, context: int = 64, device: str = "cpu"
) -> None:
    """Measure how long training waits for a checkpoint, written at once or in the background.

      python -m gptx bench saves model=gpt2_124m repeats=5

    Saves a model with its AdamW state in turns: while training waits for the disk, and in the background, where it
    waits for a copy; then makes steps during a write and without one. It takes 2.3 times the state in main memory.

    Options:
    model: preset of the model, see conf/model/
    folder: folder on the disk to measure; null is the machine's own for temporary files
    repeats: number of turns
    context: tokens of a sequence
    device: cpu or cuda
    """
    refuse_below_one(repeats=repeats)
    made = trainer(f"model={model}", f"device={device}", f"batch.tokens={context}", "batch.micro=1", "observe=[]",
                   "steps=1000000", "checkpoints.every=1000", "checkpoints.keep=1", "checkpoints.keep_best=false",
                   noise=(50_257, context))  # fmt: skip
    saves, step = made.checkpoints, made.step_once
    step()  # the optimizer has its state
    saves(made)  # which looks for the memory that copies will need
    step()
    works = {
        "a step, without a write": step,
        "training waits, synchronous save": lambda: saves.save(made, wait=True),
        "training waits, background save": lambda: saves.save(made),
        "a step, during a write": step,
        "until it is on the disk": lambda: saves.wait(strict=True),
    }
    with tempfile.TemporaryDirectory(dir=folder) as place:
        saves.place(Path(place))
        first = in_turns({"training waits, first background save": works["training waits, background save"]}, 1)
        found = in_turns(works, repeats)
        megabytes = sum(file.stat().st_size for file in saves.saved()[-1].iterdir()) / _MB
    _, waited, behind, during, rest = found.values()
    found["until it is on the disk"] = list(map(sum, zip(behind, during, rest, strict=True)))
    rows = [(name, f"{spread(times)} s") for name, times in (found | first).items()]
    ratios = (b / w for b, w in zip(behind, waited, strict=True))
    rows.append(("background over synchronous, within a turn", spread(ratios)))
    where = f"{model} on {made.parallel.device}, a checkpoint of {megabytes:,.0f} MB in {place}"
    print_table(f"{where}, {count(repeats, 'turn')}", ("", "median [range]"), rows)
