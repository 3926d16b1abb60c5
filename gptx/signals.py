"""What comes from outside while a command runs: a request to end before there is anything to save, a terminal that
closes."""

import errno
import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def leave(number: int, frame) -> None:
    """Ends the process in order; the same signal again ends it at once."""
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)


@contextmanager
def leaving() -> Iterator[None]:
    """Has a scheduler's request to end, and the end of the terminal, clean up as Ctrl-C does, unless they are ignored
    or somebody else answers them."""
    taken = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def outlive_terminal() -> None:
    """From now on what is printed to a terminal that is gone is lost, and no error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.isatty():
            raw = Terminal(stream.fileno(), "w", closefd=False)
            settings = {"encoding": stream.encoding, "errors": stream.errors, "line_buffering": True}
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), **settings))


class Terminal(io.FileIO):
    """A terminal that may go away."""

    def write(self, text, /) -> int | None:
        try:
            return super().write(text)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(text)
