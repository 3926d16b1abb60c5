"""What a person sees of a run: one live line on a terminal, plain lines elsewhere, and `train.log` in either case."""

import contextlib
import logging
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path
from typing import IO, Any

from gptx.files import opened
from gptx.ingredients.log import RunInfo, Sink
from gptx.units.amounts import amount, clock
from gptx.units.options import Count
from gptx.units.printable import bare, printable, safe

_CLOCK = "%Y-%m-%d %H:%M:%S"


class Console(Sink):
    """Shows loss, learning rate, norm, speed and time left: live at every step, as a plain line every `every` steps, at
    the first, at the last, and with validation or text. Without terminal, or disk for `train.log`, training goes on."""

    every: Count
    bar: Any = field(init=False, default=None)
    file: IO[str] | None = field(init=False, default=None)

    def open(self, run: RunInfo) -> None:
        self.run, self.made, self.began = run, 0, 0.0
        self.file = opened(run.folder / "train.log", "a", buffering=1, encoding="utf-8")
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            from tqdm import tqdm

            self.bar = tqdm(
                total=run.steps, initial=run.start, desc=f"{run.start}/{run.steps}", bar_format="{bar:10}| {desc}",
                file=bare(sys.stdout), ncols=shutil.get_terminal_size().columns, nrows=24, miniters=1,
            )  # fmt: skip

    def __call__(self, step: int, scalars: dict) -> None:
        run, now = self.run, time.perf_counter()
        if not self.made:  # the first step of this start may have compiled the model: it predicts nothing
            self.began = now
        left = (now - self.began) / self.made * (run.steps - step) if self.made else float("nan")
        self.made += 1
        loss, lr, norm, speed = (scalars[f"train/{name}"] for name in ("loss", "lr", "grad_norm", "tokens_per_second"))
        progress = f"loss {loss:.4f}  lr {lr:.2e}  norm {norm:.3g}  {amount(speed)} tok/s  eta {clock(left)}"
        notes = list(_findings(scalars))
        if self.bar is not None:
            self.bar.ncols = shutil.get_terminal_size().columns  # 80 where it does not know; tqdm's own way says 0
            self.bar.set_description_str(f"{self.place(step)} {progress.replace('  ', ' ')}", refresh=False)
            self.attempt("the terminal", step, self.bar.update, step - self.bar.n)  # backwards after a rollback
        if notes or step % self.every == 0 or step in (run.start + 1, run.steps):
            self.line(step, progress, terminal=self.bar is None)
        for note in notes:
            self.line(step, note)

    def event(self, step: int, kind: str, facts: dict) -> None:
        self.line(step, f"{kind}: {facts['text']}")

    def close(self, outcome: str) -> None:
        for output in filter(None, (self.bar, self.file)):
            with contextlib.suppress(OSError, ValueError):
                output.close()
        self.bar = self.file = None

    def place(self, step: int) -> str:
        return f"{step:{len(str(self.run.steps))}}/{self.run.steps}"

    def line(self, step: int, text: str, *, terminal: bool = True) -> None:
        text = safe(f"step {self.place(step)}  {text}")
        self.attempt("train.log", step, print, f"{time.strftime(_CLOCK)} {text}", file=self.file)
        if terminal:
            self.attempt("the terminal", step, _print_above, text)


def _findings(scalars: dict) -> Iterator[str]:
    texts = {key: value for key, value in scalars.items() if isinstance(value, str)}
    validation = [
        f"{key.removeprefix('validation/').replace('_per_', '/')} {scalars[key]:.{2 if 'perplexity' in key else 4}f}"
        for key in scalars
        if key.startswith("validation/") and key not in texts
    ]
    if validation:
        yield f"validation {'  '.join(validation).replace('_', ' ')}"
    for key, text in texts.items():
        yield f"{key}\n{textwrap.indent(printable(text.expandtabs()), '    ')}"


def _print_above(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(safe(text), file=bare(sys.stdout))
    sys.stdout.flush()


@contextlib.contextmanager
def messages_to(folder: Path) -> Iterator[None]:
    """Messages of `gptx` go above the bar and, debug ones too, to `train.log`; Hydra's handlers would hit the bar."""

    def keep(text: str) -> None:
        with opened(folder / "train.log", "a", encoding="utf-8") as file:
            print(text, file=file)

    logger = logging.getLogger("gptx")
    before = logger.handlers, logger.propagate, logger.level
    terminal, file = _Printed(_print_above, "%(message)s"), _Printed(keep, "%(asctime)s %(message)s")
    terminal.setLevel(logger.getEffectiveLevel())
    logger.handlers, logger.propagate = [terminal, file], False
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])


class _Printed(logging.Handler):
    def __init__(self, write: Callable[[str], None], form: str):
        super().__init__()
        self.write = write
        self.setFormatter(Plain(form, _CLOCK))

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # one that cannot be printed is lost
            self.write(self.format(record))


class Plain(logging.Formatter):
    """The message, made safe to show; from a warning upwards its level comes before it."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)
