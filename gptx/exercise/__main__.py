"""Answer a code exercise of the tutorial:  python -m gptx exercise 14   (without a number they are listed)."""

import importlib
import inspect
import os
import shutil
from pathlib import Path

from gptx.config import arguments
from gptx.config.errors import nearest
from gptx.exercise.readme import write
from gptx.report.readme import parts

EXERCISES = {
    11: "schedules",
    12: "decay_groups",
    13: "clipping",
    14: "warmup",
    15: "precisions",
    16: "accumulation",
    17: "recompute",
    18: "dashboard",
    19: "resuming",
    20: "pretraining",
}


def exercise(number: int = 0, /, *overrides: str, out: str = "", readme: str = "", full: bool = False) -> None:
    """Answer code exercise NUMBER, 11 to 20, with a number that passes or fails and a figure; exit code 1 if it fails.

    OVERRIDES are gptx.train's and change the recipe, such as steps=50. What is trained goes to runs/exercise_NN, which
    is emptied first. `out` is the figure's file (.png, .svg) or folder. `readme` is an experiment's folder, such as
    experiments/resume: its results.json, figure and the marked part of its README.md are written. Exercise 20 is
    shrunk to a few minutes; --full trains the whole recipe, and continues it where it was stopped.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as gptx.train
    if not number:
        for each, name in EXERCISES.items():
            print(f"{each}  {module(name).QUESTION}")
        print("\npython -m gptx exercise 14 answers one of them; --help shows more")
        return
    if number not in EXERCISES:
        raise ValueError(f"exercise {number}: 11 to 20 are answered here; 1 to 10 are for pen and paper")
    for word in overrides:
        if "=" not in word or word.startswith("-"):
            raise ValueError(f"{word!r} is no override of gptx.train{nearest(word, ['--full', 'out=', 'readme='])}")
    answer = module(EXERCISES[number]).answer
    accepted = inspect.signature(answer).parameters
    if full and "full" not in accepted:
        raise ValueError(f"exercise {number} has no --full form; only exercise 20 is shrunk")
    folder = Path(f"runs/exercise_{number}")
    figure = picture(out or readme, folder, number)
    if readme:
        parts(Path(readme) / "README.md", "exercise")  # refused before anything is computed
    if not full:
        shutil.rmtree(folder, ignore_errors=True)
    found = answer(folder, figure, *overrides, **{"full": True} if full else {})
    print("\n".join(found.told(number)))
    for file in write(found, number, Path(readme)) if readme else ():
        print(f"{'written':12}{file}")
    if not found.passed:
        raise SystemExit(1)


def module(name: str):
    """The module that answers an exercise."""
    return importlib.import_module(f"gptx.exercise.{name}")


def picture(out: str, folder: Path, number: int) -> Path:
    """The figure's file. Raises ValueError for a name that is no picture's."""
    given = Path(out) if out else folder
    if given.suffix in (".png", ".svg"):
        return given
    if given.suffix:
        raise ValueError(f"out={out}: a .png or .svg file, or a folder")
    return given / f"exercise_{number}.png"


if __name__ == "__main__":
    arguments.call(exercise)
