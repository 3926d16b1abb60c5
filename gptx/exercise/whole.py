"""Exercises 18, 19 and 20, about whole runs: the dashboard, resuming, everything together."""

import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from operator import itemgetter
from pathlib import Path
from statistics import median_high

import numpy

from gptx.exercise.answer import Answer, Number, of_each
from gptx.exercise.training import configs_of, record, run_training
from gptx.files import write_text
from gptx.ingredients.log.postmortem import incident
from gptx.report.panels import of_run
from gptx.runs.folder import RunFolder
from gptx.runs.metrics import Metrics, read_metrics
from gptx.runs.run import Run
from gptx.show.plots import Curve, Drawing, Panel, lines

_SIGNALS = "train/loss", "train/perplexity", "train/grad_norm", "train/lr", "updates/median"
_WITHOUT = {  # what a checkpoint can lack, as the state that stands in its place
    "moments": lambda state: {"optimizer": state["optimizer"] | {"state": {}}},
    "random states": lambda state: {"rng": []},
    "position": lambda state: {"cursor": 0},
}
_PRETRAINING = "experiment=gpt_10m", "observe=[validation,updates,samples]"
_SHORT = ("data=stdlib", "data.tokenizer=bytes", "model.context=128", "model.width=128", "model.depth=4",
         "model.heads=4", "model.dropout=0", "batch.tokens=2048", "batch.micro=16", "precision=fp32", "steps=400",
         "observe.validation.windows=160", "threads=1")  # fmt: skip
_WORDS = r"[A-Za-z]{4,}"
_COHERENT = {True: 0.8, False: 1 / 3}  # share of a sample's words, in full and shortened: small models spell half
_SEQUENCES = 20_000  # of the training text, in which the words are looked up


def dashboard(folder: Path, *overrides: str) -> Answer:
    """Loss, perplexity, gradient norm, learning rate and update/weight ratio of one run: are all five watched?"""
    run = run_training(folder / "run", "experiment=dashboard", *overrides)
    found = read_metrics(run)
    signals, whole = _signals(found)
    apart = float(numpy.abs(numpy.exp(found["train/loss"][1]) / found["train/perplexity"][1] - 1).max())
    measured = of_each(signals) | {
        "perplexity compared with exp(loss), largest relative difference": apart,
        "steps made": found.steps,
    }
    medians, balance = found["updates/median"][1], found["updates/equilibrium"][1]
    if len(medians):
        measured["update/weight ratio, first report"] = float(medians[0])
        measured["update/weight ratio, median of the last ten reports"] = float(numpy.median(medians[-10:]))
    if len(balance):
        measured["AdamW's equilibrium of that ratio, likewise"] = float(numpy.median(balance[-10:]))
    return Answer(
        f"gptx.train experiment=dashboard; all that was recorded is on the page of python -m gptx report {run}",
        measured,
        "all five are recorded over the whole run and finite, and perplexity is exp(loss)",
        whole and apart < 1e-6,
        _five(run),
        f"The five signals of {run}",
        '"a healthy value is around 1e-3"; where AdamW\'s decay balances growth it is sqrt(2 lr wd (1-b1)/(1+b1)).',
    )


def _signals(found: Metrics) -> tuple[dict[str, dict[str, Number]], bool]:
    """How often each of the five was recorded and its last value; True if all are finite and cover the whole run."""
    rows, whole = dict[str, dict[str, Number]](), True
    for key in _SIGNALS:
        steps, values = found[key]
        covered = max(steps, default=0) >= 0.9 * found.steps > 0 and numpy.isfinite(values).all()
        whole &= bool(covered) and (key.startswith("updates/") or len(values) == found.steps)
        rows[key] = {"values": len(values), "last": float(values[-1]) if len(values) else "none"}
    return rows, whole


def _five(run: Path) -> list[Drawing]:
    return [lines(panel) for panel in of_run(Run.of(run), smooth=20)[:5]]


def resuming(folder: Path, *overrides: str) -> Answer:
    """Is a run that was stopped and resumed the same, bit for bit, as one that was not?"""
    from gptx.ingredients.checkpoints import files, read_state

    recipe = "experiment=resume", *overrides
    whole = run_training(folder / "whole", *recipe)
    steps = record(whole)["step"]
    cut = run_training(folder / "cut", *recipe, stop_after=steps // 3)
    step, resumed = record(cut)["step"], {"resumed": cut}
    for name, lacking in _WITHOUT.items():
        control = resumed[f"without {name}"] = folder / f"without_{name.replace(' ', '_')}"
        shutil.copytree(cut, control, symlinks=True)
        checkpoint = files.saved(control / "checkpoints")[-1]
        state = read_state(checkpoint)
        files.prepare(checkpoint)
        files.put(checkpoint, state | lacking(state), writer=0, writers=1, about={"step": state["step"]})
    for run in resumed.values():
        run_training(run, *recipe)
    expected = read_metrics(whole)["train/loss"][1]
    apart = {name: abs(read_metrics(run)["train/loss"][1] - expected) for name, run in resumed.items()}
    needed = itemgetter("model", "optimizer", "scaler", "step", "cursor", "rng")  # what training goes on from
    runs = whole, *resumed.values()
    final, *others = (needed(read_state(files.saved(run / "checkpoints")[-1])) for run in runs)
    same = dict(zip(resumed, (equal(final, other) for other in others), strict=True))
    curves = tuple(
        Curve(name if difference.any() else f"{name}: 0 everywhere", range(1, steps + 1), difference, colour=place)
        for place, (name, difference) in enumerate(apart.items())
    )
    return Answer(
        f"gptx.train experiment=resume: once through; stopped by SIGTERM after step {step} and started again; resumed "
        "from checkpoints with something taken out",
        {
            "steps": steps,
            "stopped after step": step,
            "resumed: losses that differ": int((apart["resumed"] > 0).sum()),
            "resumed: weights, optimizer, counters and random states equal to the bit": same["resumed"],
        }
        | {f"control, {name}: largest difference of a loss": float(apart[name].max()) for name in [*apart][1:]},
        "every loss and the whole final state are equal to the bit, and each control ends in another state",
        same["resumed"] and not apart["resumed"].any() and sum(same.values()) == 1,
        [lines(Panel("Difference of the training loss from the uninterrupted run", "nats", curves, log=True))],
        f"Stopped after step {step} and resumed",
        "its checkpoint has no position in the data, without which it would not resume exactly, as a control shows.",
    )


def equal(one, other) -> bool:
    """True if two states are the same, every tensor to the bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def pretraining(folder: Path, *overrides: str, full: bool = False) -> Answer:
    """Pretrain a small GPT, log all signals, stop and resume it, get a coherent sample, write a post-mortem."""
    from gptx.config.build import build

    run, short, size = (Path("runs/exercise_20_full"), (), "the whole recipe") if full else (
        folder / "run", _SHORT, "SHORTENED to a few minutes: a smaller model on other text, as full=true is not",
    )  # fmt: skip
    recipe = *_PRETRAINING, *short, *overrides
    (cfg,) = configs_of(*recipe).values()
    if RunFolder(run).read() is None:  # else it was begun before, and stopped in whatever way
        run_training(run, *recipe, stop_after=cfg.steps // 3)
    run_training(run, *recipe)
    resumed = ", ".join(re.findall(r"continues after \w+ (\d+)", (run / "train.log").read_text())) or "never"
    sample, data, told = ["-m", "gptx", "sample", str(run), "length=1500"], build(cfg.data), record(run)
    print(f"$ python {' '.join(sample)}", flush=True)
    made = subprocess.run([sys.executable, *sample], capture_output=True, text=True)
    if made.returncode:
        raise ValueError(f"gptx sample: {made.stderr.strip()}")
    known = set(re.findall(_WORDS, data.encoding.decode(data(0, _SEQUENCES).inputs.flatten().tolist())))
    found = re.findall(_WORDS, made.stdout)
    shuffled = ["".join(random.Random(i).sample(word, len(word))) for i, word in enumerate(found)]
    share, control = (sum(map(known.__contains__, words)) / max(1, len(words)) for words in (found, shuffled))
    signals, whole = _signals(read_metrics(run))
    return Answer(
        f"gptx.train experiment=gpt_10m, {size}; stopped by SIGTERM on the way and continued by the same command, then "
        "python -m gptx sample with its defaults",
        {
            "parameters": told["parameters"]["total"],
            "steps": told["step"],
            "resumed after step": resumed,
            "validation loss": told["result"].get("validation/loss", float("nan")),
            "words of four letters or more in the sample": len(found),
            "share of them that the training text has": share,
            "control: the same words with their letters shuffled": control,
            **{f"{key}: values": numbers["values"] for key, numbers in signals.items()},
            "post-mortem": str(_postmortem(run, resumed)),
        },
        f"it was resumed, all five signals are whole, and {_COHERENT[full]:.0%} of the sample's words (four letters or "
        "more) are words of the training text",
        resumed != "never" and whole and share >= _COHERENT[full],
        _five(run),
        f"The five signals of {run}",
        details=("the sample:", *made.stdout.splitlines()),
    )


def _postmortem(run: Path, resumed: str) -> Path:
    """Write down what went wrong on the way, even if it was nothing; the file."""
    folder, file = RunFolder(run), run / "exercise_20.md"
    told, (steps, norms), losses = folder.record, folder.metrics["train/grad_norm"], folder.metrics["train/loss"][1]
    limit = folder.config.get("clip", {}).get("max_norm")
    clipped = f"; {(norms > limit).mean():.1%} of the steps were clipped at {limit:g}" if limit else ""
    trouble = Counter(event["event"] for event in folder.events if incident(event))
    story = "- the whole story, with the offending documents: [postmortem.md](postmortem.md)\n"
    write_text(
        file,
        f"# Post-mortem of {run}\n\n"
        f"{told['state']} after {told['step']:,} steps, validation loss {told['result'].get('validation/loss')}.\n\n"
        f"- instabilities: {', '.join(f'{count} {kind}' for kind, count in trouble.items()) or 'none was noticed'}\n"
        f"- largest gradient norm: {norms.max():.3g} at step {steps[norms.argmax()]:.0f}, median "
        f"{median_high(norms):.3g}{clipped}\n"
        f"- largest rise of the training loss from one step to the next: {numpy.diff(losses).max(initial=0.0):.3f}\n"
        f"- stopped and continued after step: {resumed}\n{story * (run / 'postmortem.md').exists()}",
    )
    return file
