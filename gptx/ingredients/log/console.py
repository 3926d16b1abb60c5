"""What a person sees of a run: one live line on a terminal, plain lines elsewhere, and `train.log` in either case."""

import contextlib
import logging
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from gptx.files import opened
from gptx.ingredients.log import RunInfo
from gptx.units.amounts import amount, clock
from gptx.units.printable import bare, printable, safe

messages = logging.getLogger(__name__)
CLOCK = "%Y-%m-%d %H:%M:%S"


class Console:
    """Shows loss, rate, norm, speed and time left: live at every step, as a plain line every `every` steps.

    Plain lines also come at the first step, at the last, and wherever there is validation or text to show. A terminal
    that went away, or a disk too full for `train.log`, is given up with a warning; training goes on.
    """

    bar: Any = None
    file: IO[str] | None = None

    def __init__(self, *, every: int) -> None:
        if every < 1:
            raise ValueError(f"log.console.every={every}: at least 1 update")
        self.every = every

    def open(self, run: RunInfo) -> None:
        """Start the bar at the step that the run was resumed from; lines are added to those of earlier starts."""
        self.run, self.updates, self.broken = run, 0, set[str]()
        self.file = opened(run.folder / "train.log", "a", buffering=1, encoding="utf-8")
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            from tqdm import tqdm

            self.bar = tqdm(
                total=run.steps, initial=run.start, desc=f"{run.start}/{run.steps}", bar_format="{bar:10}| {desc}",
                file=bare(sys.stdout), ncols=columns(), nrows=24, miniters=1,
            )  # fmt: skip

    def __call__(self, step: int, scalars: dict) -> None:
        run, here = self.run, f"{step:{len(str(self.run.steps))}}/{self.run.steps}"
        progress = [
            f"loss {scalars['train/loss']:.4f}",
            f"lr {scalars['train/lr']:.2e}",
            f"norm {scalars['train/grad_norm']:.3g}",
            f"{amount(scalars['train/tokens_per_second'])} tok/s",
            f"eta {clock(self.seconds_per_update() * (run.steps - step))}",
        ]
        notes = list(findings(scalars))
        if self.bar is not None:
            self.bar.ncols = columns()
            self.bar.set_description_str(" ".join([here, *progress]), refresh=False)
            self.attempt("the terminal", self.bar.update, step - self.bar.n)  # backwards after a rollback
        if notes or step % self.every == 0 or step in (run.start + 1, run.steps):
            self.line(f"step {here}  {'  '.join(progress)}", terminal=self.bar is None)
        for note in notes:
            self.line(f"step {here}  {note}", terminal=True)

    def event(self, step: int, kind: str, facts: dict) -> None:
        """Say what happened."""
        self.line(f"step {step:{len(str(self.run.steps))}}/{self.run.steps}  {kind}: {facts['text']}", terminal=True)

    def close(self, outcome: str) -> None:
        """Leave the bar as it stands and close the file."""
        if self.bar is not None:
            self.attempt("the terminal", self.bar.close)
        if self.file is not None:
            self.attempt("train.log", self.file.close)
        self.bar = self.file = None

    def seconds_per_update(self) -> float:
        """Mean time from one update to the next, all between them included; not known (NaN) at the first.

        It is counted from the end of this start's first update, which may have compiled the model.
        """
        now = time.perf_counter()
        if self.updates == 0:
            self.began = now
        self.updates += 1
        return (now - self.began) / (self.updates - 1) if self.updates > 1 else float("nan")

    def line(self, text: str, *, terminal: bool) -> None:
        """Write `text` to `train.log`, and on the terminal if asked."""
        text = safe(text)
        self.attempt("train.log", print, f"{time.strftime(CLOCK)} {text}", file=self.file)
        if terminal:
            self.attempt("the terminal", print_above, text)

    def attempt(self, output: str, write: Callable, *args: Any, **options: Any) -> None:
        """Write, unless this output failed before."""
        if output not in self.broken:
            try:
                write(*args, **options)
            except (OSError, ValueError) as error:  # the latter of a stream that is closed, or has few characters
                self.broken.add(output)
                messages.warning("no more lines to %s: %s; training goes on", output, getattr(error, "strerror", error))


def findings(scalars: dict) -> Iterator[str]:
    """What deserves lines of its own: validation, then every text."""
    texts = {key: value for key, value in scalars.items() if isinstance(value, str)}
    validation = {
        key.removeprefix("validation/"): value
        for key, value in scalars.items()
        if key.startswith("validation/") and key not in texts
    }
    if validation:
        yield "validation " + "  ".join(
            f"{name.replace('_per_', '/').replace('_', ' ')} {value:{'.2f' if name == 'perplexity' else '.4f'}}"
            for name, value in validation.items()
        )
    for key, text in texts.items():
        yield f"{key}\n{textwrap.indent(printable(text.expandtabs()), '    ')}"


def columns() -> int:
    """Width of the terminal now; 80 where it does not know, which tqdm's own way takes for 0."""
    return shutil.get_terminal_size().columns


def print_above(text: str) -> None:
    """Print on standard output, above the bar if there is one."""
    from tqdm import tqdm

    tqdm.write(safe(text), file=bare(sys.stdout))
    sys.stdout.flush()


@contextlib.contextmanager
def messages_to(folder: Path) -> Iterator[None]:
    """While it lasts, what is logged under `gptx` goes to the terminal, above the bar, and into `train.log`.

    It goes nowhere else: Hydra's own handlers would write through the bar. `train.log` has the debug messages too; the
    terminal keeps its level.
    """
    logger = logging.getLogger("gptx")
    terminal, file = AboveBar(), LogFile(folder / "train.log", encoding="utf-8", delay=True)
    terminal.setFormatter(Plain("%(message)s"))
    file.setFormatter(Plain("%(asctime)s %(message)s", CLOCK))
    terminal.setLevel(logger.getEffectiveLevel())
    before = logger.handlers, logger.propagate, logger.level
    logger.handlers, logger.propagate = [terminal, file], False
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.handlers, logger.propagate, logger.level = before
        with contextlib.suppress(OSError):  # a full disk
            file.close()


class AboveBar(logging.Handler):
    """Prints above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record; one that cannot be printed is lost."""
        with contextlib.suppress(OSError, ValueError):
            print_above(self.format(record))


class LogFile(logging.FileHandler):
    """A log file on a disk that may be full."""

    def _open(self):
        return opened(self.baseFilename, self.mode, encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:
        """Lose the record in silence: the terminal has it, and Python's own way is a page of traceback for each."""


class Plain(logging.Formatter):
    """The message as it is, but for what is not safe to show; from a warning upwards its level comes before it."""

    def format(self, record: logging.LogRecord) -> str:
        """The message and what belongs to it, such as a traceback."""
        return safe(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Put the level before the message."""
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)
