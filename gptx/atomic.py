"""Files that are written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def in_one_step(file: Path, fill: Callable[[Path], object]) -> None:
    """Have `fill` write a file, which is there whole or as it was. Raises OSError that names it."""
    part = file.with_name(f".part.{os.getpid()}.{file.name}")  # another process may write the same file
    try:
        fill(part)
        os.replace(part, file)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(file)) from None
    finally:
        part.unlink(missing_ok=True)
