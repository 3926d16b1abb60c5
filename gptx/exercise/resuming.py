"""Exercise 19: a resumed run continues bit for bit."""

import shutil
from pathlib import Path

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import record, stopped, train
from gptx.runs import metrics
from gptx.show import figures

QUESTION = "Is a run that was stopped and resumed the same, bit for bit, as one that was not?"


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """Losses and final state of both, and of runs resumed with something missing, which must differ."""
    from gptx.show.curves import Curve, Panel

    recipe = "experiment=resume", *overrides
    whole = train(folder / "whole", *recipe)
    cut = folder / "cut"
    steps = record(whole)["step"]
    step = stopped(cut, *recipe, after=steps // 3)
    controls = {name: folder / f"without_{name.replace(' ', '_')}" for name in WITHOUT}
    for name, control in controls.items():
        shutil.copytree(cut, control, symlinks=True)
        maim(control, name)
    train(cut, *recipe)
    for control in controls.values():
        train(control, *recipe)

    expected = metrics.read(whole)["train/loss"][1]
    apart = {}
    for name, run in {"resumed": cut, **{f"without {name}": run for name, run in controls.items()}}.items():
        apart[name] = abs(metrics.read(run)["train/loss"][1] - expected)
    same = equal(final(whole), final(cut))
    measured: dict[str, Number] = {
        "updates": steps,
        "stopped after update": step,
        "resumed: losses that differ": int((apart["resumed"] > 0).sum()),
        "resumed: weights, optimizer, counters and random states equal to the bit": same,
        **{
            f"control, {name}: largest difference of a loss": float(d.max()) for name, d in apart.items() if "w" in name
        },
    }
    missed = [name for name, run in controls.items() if equal(final(whole), final(run))]
    curves = tuple(
        Curve(name if difference.any() else f"{name}: 0 everywhere", range(1, steps + 1), difference, colour=i)
        for i, (name, difference) in enumerate(apart.items())
    )
    panel = Panel("Difference of the training loss from the uninterrupted run", "nats", curves, log=True)
    figures.save(figure, f"Stopped after update {step} and resumed", figures.lines(panel))
    return Answer(
        QUESTION,
        f"gptx.train experiment=resume once through; once stopped by SIGTERM after update {step} and started again by "
        "the same command; and resumed from checkpoints with something taken out",
        measured,
        "every loss and the whole final state are equal to the bit, and each control ends in another state",
        same and not apart["resumed"].any() and not missed,
        figure,
        "its checkpoint has weights, optimizer and PyTorch's random state; without the position in the data, which is "
        "one of the controls, it would not resume exactly either.",
    )


def maim(run: Path, name: str) -> None:
    """Take something out of the newest checkpoint of a run, and write it as if that were all."""
    from gptx.ingredients.checkpoints import files, load

    checkpoint = files.saved(run / "checkpoints")[-1]
    state = load(checkpoint)
    WITHOUT[name](state)
    files.prepare(checkpoint)
    files.put(checkpoint, state, writer=0, writers=1, about={"step": state["step"]})


def no_moments(state: dict) -> None:
    state["optimizer"] = state["optimizer"] | {"state": {}}


def no_random_states(state: dict) -> None:
    state["rng"] = []


def no_position(state: dict) -> None:
    state["cursor"] = 0


WITHOUT = {"moments": no_moments, "random states": no_random_states, "position": no_position}


def final(run: Path) -> dict:
    """What the last checkpoint of a run holds that training goes on from."""
    from gptx.ingredients.checkpoints import files, load

    state = load(files.saved(run / "checkpoints")[-1])
    return {key: state[key] for key in ("model", "optimizer", "scaler", "step", "cursor", "rng")}


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
