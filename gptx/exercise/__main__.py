"""Answer a code exercise:  python -m gptx exercise 14   (without a number they are listed)."""

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from gptx.config.errors import nearest
from gptx.exercise.answer import Answer, answer_lines, write_answer
from gptx.show import marked
from gptx.show.plots import save

_EXERCISES = dict(enumerate((  # functions whose docstring is the question
    "steps.schedules", "steps.decay_groups", "steps.clipping", "arms.without_warmup", "arms.precisions",
    "steps.accumulation", "arms.checkpointing", "whole.dashboard", "whole.resuming", "whole.pretraining",
), start=11))  # fmt: skip


def exercise(number: int = 0, /, *overrides: str, out: str = "", readme: str = "", full: bool = False) -> int:
    """Answer code exercise 11 to 20 of "Building a GPT from Scratch" with numbers and a figure.

      python -m gptx exercise
      python -m gptx exercise 14 steps=50

    Without a number the exercises are listed. The exit code is 1 if the answer fails. What is trained goes to
    runs/exercise_NN, which is emptied first.

    Options:
    number: 11 to 20
    out: the figure's file (.png, .svg) or folder; runs/exercise_NN if empty
    readme: an experiment's folder, such as experiments/resume, whose results.json, figure and page are written
    full: train the whole recipe of exercise 20 and not a few minutes of it; a stopped one is continued
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as gptx.train
    if not number:
        questions = (f"{each}  {_answer(each).__doc__}\n" for each in _EXERCISES)
        print(f"{''.join(questions)}\npython -m gptx exercise 14 answers one of them; --help shows more")
        return 0
    folder = Path(f"runs/exercise_{number}")
    figure = _figure(number, overrides, out or readme or str(folder), full)
    if readme:
        marked.parts(Path(readme) / "README.md", "exercise")  # refused before anything is computed
    if not full:
        shutil.rmtree(folder, ignore_errors=True)
    answer = _answer(number)
    question, found = str(answer.__doc__), answer(folder, *overrides, **{"full": True} if full else {})
    save(figure, found.title, *found.drawings, columns=min(3, len(found.drawings)))
    print("\n".join(answer_lines(found, number, question, figure)))
    for file in write_answer(found, number, question, figure, Path(readme)) if readme else ():
        print(f"{'written':12}{file}")
    return int(not found.passed)


def _figure(number: int, overrides: tuple[str, ...], out: str, full: bool) -> Path:
    """The figure's file. Raises ValueError for what no exercise takes."""
    if number not in _EXERCISES:
        raise ValueError(f"exercise {number}: 11 to 20 are answered here; 1 to 10 are for pen and paper")
    for word in overrides:
        if "=" not in word or word.startswith("-"):
            raise ValueError(f"{word!r} is no override of gptx.train{nearest(word, ['full=true', 'out=', 'readme='])}")
    if full and number != 20:
        raise ValueError(f"exercise {number} has no full form; only exercise 20 is shortened")
    if Path(out).suffix not in ("", ".png", ".svg"):
        raise ValueError(f"out={out}: a .png or .svg file, or a folder")
    return Path(out) if Path(out).suffix else Path(out, f"exercise_{number}.png")


def _answer(number: int) -> Callable[..., Answer]:
    module, _, function = _EXERCISES[number].partition(".")
    return getattr(importlib.import_module(f"gptx.exercise.{module}"), function)
