"""Exercise 20: everything together."""

import random
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

from gptx import runs
from gptx.exercise import dashboard
from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import composed, record, stopped, train
from gptx.files import write_text
from gptx.runs import metrics
from gptx.runs.folder import RunFolder

QUESTION = "Pretrain a small GPT, log all signals, stop and resume it, get a coherent sample, write a post-mortem."
RECIPE = "experiment=gpt_10m", "observe=[validation,updates,samples]"
SHRUNK = (
    "data=stdlib",
    "data.tokenizer=bytes",
    "model.context=128",
    "model.width=128",
    "model.depth=4",
    "model.heads=4",
    "model.dropout=0",
    "batch.tokens=2048",
    "batch.micro=16",
    "precision=fp32",
    "steps=400",
    "observe.validation.windows=160",
    "threads=1",
)
WORDS = r"[A-Za-z]{4,}"
COHERENT = {True: 0.8, False: 1 / 3}  # of the words of a sample, in full and shrunk: a small model spells half of them


def answer(folder: Path, figure: Path, *overrides: str, full: bool = False) -> Answer:
    """A run that was stopped and resumed, its signals, its sample and its post-mortem."""
    recipe = *RECIPE, *(() if full else SHRUNK), *overrides
    run = Path("runs/exercise_20_full") if full else folder / "run"
    cfg = next(iter(composed(*recipe).values()))
    if runs.read(run) is None:  # else it was begun before, and stopped in whatever way
        stopped(run, *recipe, after=cfg.steps // 3)
    train(run, *recipe)
    resumed = re.findall(r"continues after update (\d+)", (run / "train.log").read_text())

    text = sample(run)
    known = vocabulary(cfg)
    found = re.findall(WORDS, text)
    share = sum(word in known for word in found) / max(1, len(found))
    shuffled = ["".join(random.Random(i).sample(word, len(word))) for i, word in enumerate(found)]
    control = sum(word in known for word in shuffled) / max(1, len(found))
    written = postmortem(run, resumed)
    signals, whole = dashboard.signals(metrics.read(run))
    dashboard.draw(run, figure)
    told = record(run)
    measured: dict[str, Number] = {
        "parameters": told["parameters"]["total"],
        "updates": told["step"],
        "resumed after update": ", ".join(resumed) or "never",
        "validation loss": told["result"].get("validation/loss", float("nan")),
        "words of four letters or more in the sample": len(found),
        "share of them that the training text has": share,
        "control: the same words with their letters shuffled": control,
        **{name: value for name, value in signals.items() if name.endswith("values")},
        "post-mortem": str(written),
    }
    size = (
        "the whole recipe" if full else "SHRUNK to a few minutes: a smaller model on other text; --full is the recipe"
    )
    return Answer(
        QUESTION,
        f"gptx.train experiment=gpt_10m, {size}; stopped by SIGTERM on the way and continued by the same command, "
        "then gptx.commands.sample with its defaults",
        measured,
        f"it was resumed, all five signals are whole, and {COHERENT[full]:.0%} of the sample's words (four letters or "
        "more) are words of the training text",
        bool(resumed) and whole and share >= COHERENT[full],
        figure,
        details=("the sample:", *text.splitlines()),
    )


def sample(run: Path) -> str:
    """What the trained model writes unprompted. Raises ValueError where it cannot."""
    words = ["-m", "gptx", "sample", str(run), "length=1500"]
    print(f"$ python {' '.join(words)}", flush=True)
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"gptx sample: {done.stderr.strip()}")
    return done.stdout


def vocabulary(cfg, sequences: int = 20_000) -> set[str]:
    """The words of that many sequences of the training text."""
    from gptx.config.build import build

    data = build(cfg.data)
    return set(re.findall(WORDS, data.encoding.decode(data(0, sequences).inputs.flatten().tolist())))


def postmortem(run: Path, resumed: list[str]) -> Path:
    """Write down what went wrong on the way, also where it was nothing; the file, beside the run's own one if it has
    one."""
    from gptx.ingredients.log.postmortem import incident

    folder = RunFolder(run)
    found, told, events = folder.metrics, record(run), folder.events
    steps, norms = found["train/grad_norm"]
    limit = folder.config.get("clip", {}).get("max_norm")
    clipped = f"; {(norms > limit).mean():.1%} of the updates were clipped at {limit:g}" if limit else ""
    trouble = Counter(event["event"] for event in events if incident(event))
    loss = found["train/loss"][1]
    rise = max((after - before for before, after in pairwise(loss)), default=0.0)
    lines = [
        f"# Post-mortem of {run}",
        "",
        f"{told['state']} after {told['step']:,} updates, validation loss {told['result'].get('validation/loss')}.",
        "",
        "- instabilities: " + (", ".join(f"{count} {kind}" for kind, count in trouble.items()) or "none was noticed"),
        f"- largest gradient norm: {norms.max():.3g} at update {steps[norms.argmax()]:.0f}, median "
        f"{sorted(norms)[len(norms) // 2]:.3g}{clipped}",
        f"- largest rise of the training loss from one update to the next: {rise:.3f}",
        f"- stopped and continued after update: {', '.join(resumed) or 'never'}",
    ]
    if (run / "postmortem.md").exists():
        lines.append("- the whole story, with the offending documents: [postmortem.md](postmortem.md)")
    file = run / "exercise_20.md"
    write_text(file, "\n".join(lines) + "\n")
    return file
