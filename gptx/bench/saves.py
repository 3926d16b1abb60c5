"""How long training waits for a checkpoint."""

import tempfile
from pathlib import Path

from gptx.bench.frame import in_turns, print_table, refuse_below_one, spread, trainer
from gptx.units.phrases import count


def bench_saves(
    *, model: str = "gpt2_124m", folder: str | None = None, repeats: int = 5, context: int = 64, device: str = "cpu"
) -> None:
    """Measure how long training waits for a checkpoint, written at once or in the background.

      python -m gptx bench saves model=gpt2_124m repeats=5

    Saves a model with its AdamW state in turns: while training waits for the disk, and in the background, where it
    waits for a copy in memory; then makes steps during a write and without one. Ratios are taken within each turn. It
    takes twice the state in main memory, and a third more for gradients and activations.

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
        megabytes = sum(file.stat().st_size for file in saves.saved()[-1].iterdir()) / 1e6
    _, waited, behind, during, rest = found.values()
    found["until it is on the disk"] = list(map(sum, zip(behind, during, rest, strict=True)))
    rows = [(name, f"{spread(times)} s") for name, times in (found | first).items()]
    ratios = spread(b / w for b, w in zip(behind, waited, strict=True))
    where = f"{model} on {made.parallel.device}, a checkpoint of {megabytes:,.0f} MB in {place}"
    rows.append(("background over synchronous, within a turn", ratios))
    print_table(f"{where}, {count(repeats, 'turn')}", ("", "median [range]"), rows)
