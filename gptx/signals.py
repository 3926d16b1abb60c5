"""Requests to end that come before there is anything to save."""

import signal
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
