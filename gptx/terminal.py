"""A terminal that is closed while a command runs."""

import errno
import io
import sys


def outlive() -> None:
    """From now on what is printed to a terminal that is gone is lost, and no error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and stream.isatty():
            raw = Terminal(stream.fileno(), "w", closefd=False)
            buffer = io.BufferedWriter(raw)
            setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=True))


class Terminal(io.FileIO):
    """A terminal that may go away."""

    def write(self, text, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(text)
