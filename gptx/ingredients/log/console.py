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

_messages = logging.getLogger(__name__)
_CLOCK = "%Y-%m-%d %H:%M:%S"


class Console(Sink):
    """Shows loss, learning rate, norm, speed and time left: live at every step, as a plain line every `every` steps.

    Plain lines also come at the first step, at the last, and with validation or text. If the terminal is gone, or the
    disk too full for `train.log`, one warning says so; training goes on."""

    every: Count
    bar: Any = field(init=False, default=None)
    file: IO[str] | None = field(init=False, default=None)

    def open(self, run: RunInfo) -> None:
        """Start the bar at the step that the run was resumed from; lines are added to those of earlier starts."""
        self.run, self.made, self.broken = run, 0, set[str]()
        self.file = opened(run.folder / "train.log", "a", buffering=1, encoding="utf-8")
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            from tqdm import tqdm

            self.bar = tqdm(
                total=run.steps, initial=run.start, desc=f"{run.start}/{run.steps}", bar_format="{bar:10}| {desc}",
                file=bare(sys.stdout), ncols=shutil.get_terminal_size().columns, nrows=24, miniters=1,
            )  # fmt: skip

    def __call__(self, step: int, scalars: dict) -> None:
        run, here = self.run, self.place(step)
        progress = [
            f"loss {scalars['train/loss']:.4f}",
            f"lr {scalars['train/lr']:.2e}",
            f"norm {scalars['train/grad_norm']:.3g}",
            f"{amount(scalars['train/tokens_per_second'])} tok/s",
            f"eta {clock(self.seconds_per_step() * (run.steps - step))}",
        ]
        notes = list(_findings(scalars))
        if self.bar is not None:
            self.bar.ncols = shutil.get_terminal_size().columns  # 80 where it does not know; tqdm's own way says 0
            self.bar.set_description_str(" ".join([here, *progress]), refresh=False)
            self.attempt("the terminal", self.bar.update, step - self.bar.n)  # backwards after a rollback
        if notes or step % self.every == 0 or step in (run.start + 1, run.steps):
            self.line(f"step {here}  {'  '.join(progress)}", terminal=self.bar is None)
        for note in notes:
            self.line(f"step {here}  {note}")

    def event(self, step: int, kind: str, facts: dict) -> None:
        self.line(f"step {self.place(step)}  {kind}: {facts['text']}")

    def close(self, outcome: str) -> None:
        """Leave the bar as it stands and close the file."""
        if self.bar is not None:
            self.attempt("the terminal", self.bar.close)
        if self.file is not None:
            self.attempt("train.log", self.file.close)
        self.bar = self.file = None

    def place(self, step: int) -> str:
        return f"{step:{len(str(self.run.steps))}}/{self.run.steps}"

    def seconds_per_step(self) -> float:
        """Mean time per step since this start's first step, which may have compiled the model; NaN at the first."""
        now = time.perf_counter()
        if self.made == 0:
            self.began = now
        self.made += 1
        return (now - self.began) / (self.made - 1) if self.made > 1 else float("nan")

    def line(self, text: str, *, terminal: bool = True) -> None:
        """Write `text` to `train.log`, and on the terminal."""
        text = safe(text)
        self.attempt("train.log", print, f"{time.strftime(_CLOCK)} {text}", file=self.file)
        if terminal:
            self.attempt("the terminal", _print_above, text)

    def attempt(self, output: str, write: Callable, *args: Any, **options: Any) -> None:
        """Write, unless this output failed before."""
        if output not in self.broken:
            try:
                write(*args, **options)
            except (OSError, ValueError) as error:  # ValueError: a stream that is closed, or lacks a character
                self.broken.add(output)
                reason = error.strerror if isinstance(error, OSError) else error
                _messages.warning("no more lines to %s: %s; training goes on", output, reason)


def _findings(scalars: dict) -> Iterator[str]:
    """Lines of their own: validation, then every text."""
    texts = {key: value for key, value in scalars.items() if isinstance(value, str)}
    validation = {
        key.removeprefix("validation/"): scalars[key]
        for key in scalars
        if key.startswith("validation/") and key not in texts
    }
    if validation:
        yield "validation " + "  ".join(
            f"{name.replace('_per_', '/').replace('_', ' ')} {value:{'.2f' if name == 'perplexity' else '.4f'}}"
            for name, value in validation.items()
        )
    for key, text in texts.items():
        yield f"{key}\n{textwrap.indent(printable(text.expandtabs()), '    ')}"


def _print_above(text: str) -> None:
    """Print on standard output, above the bar if there is one."""
    from tqdm import tqdm

    tqdm.write(safe(text), file=bare(sys.stdout))
    sys.stdout.flush()


@contextlib.contextmanager
def messages_to(folder: Path) -> Iterator[None]:
    """What is logged under `gptx` goes to the terminal, above the bar, and into `train.log`, which has debug messages
    too; and nowhere else: handlers of Hydra's would write through the bar."""
    logger = logging.getLogger("gptx")
    terminal, file = _AboveBar(), _LogFile(folder / "train.log", encoding="utf-8", delay=True)
    terminal.setFormatter(Plain("%(message)s"))
    file.setFormatter(Plain("%(asctime)s %(message)s", _CLOCK))
    terminal.setLevel(logger.getEffectiveLevel())
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [terminal, file], False
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[:2]
        logger.setLevel(before[2])
        with contextlib.suppress(OSError):  # a full disk
            file.close()


class _AboveBar(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Print the record; one that cannot be printed is lost."""
        with contextlib.suppress(OSError, ValueError):
            _print_above(self.format(record))


class _LogFile(logging.FileHandler):
    def _open(self):
        return opened(self.baseFilename, self.mode, encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:
        """Lose the record in silence: the terminal has it, and Python's own way is a page of traceback for each."""


class Plain(logging.Formatter):
    """The message, made safe to show; from a warning upwards its level comes before it."""

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)
