"""All that replaces, syncs or locks files: written whole or not at all, never through a symbolic link; strict JSON."""

import errno
import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from filelock import AcquireReturnProxy, FileLock, SoftFileLock, Timeout

NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}  # without flock
_LOOK = 0.1  # seconds between two looks at a lock that is waited for
_NONFINITE = "nonfinite"  # the key next to a null that says which number it was


def in_one_step(file: Path, fill: Callable[[Path], object]) -> None:
    """Have `fill` write a file: afterwards it is whole, or as it was. Raises OSError that names it, also for a link."""
    refuse_link(file)
    part = file.with_name(f".part.{os.getpid()}.{file.name}")  # another process may write the same file
    try:
        part.unlink(missing_ok=True)  # of a killed process that had the same number
        part.open("xb").close()  # a new file, so that `fill` writes through no link
        fill(part)
        sync(part)
        os.replace(part, file)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(file)) from None
    finally:
        with suppress(OSError):
            part.unlink()


def write_text(file: Path, text: str) -> None:
    """Write a text file in one step, as UTF-8; bytes of a file name that are no character become `?`."""
    in_one_step(file, lambda part: part.write_text(text, encoding="utf-8", errors="replace"))


def to_json(value: Any, **options: Any) -> str:
    """The value as JSON, which has neither NaN nor infinity: such a number is null, with its name next to it.

    >>> to_json({"loss": math.inf, "step": 3})
    '{"loss": null, "step": 3, "nonfinite": {"loss": "inf"}}'
    >>> from_json(to_json({"loss": [1.5, -math.inf]}))
    {'loss': [1.5, -inf]}
    """
    try:
        return json.dumps(value, allow_nan=False, default=float, **options)
    except ValueError:
        return json.dumps(_without_nonfinite(value)[0], allow_nan=False, **options)


def from_json(text: str | bytes, **options: Any) -> Any:
    """The value of a JSON text, with the numbers that `to_json` wrote as null, or an earlier version as NaN."""
    value = json.loads(text, **options)
    marked = _NONFINITE in text if isinstance(text, str) else _NONFINITE.encode() in text
    return _with_nonfinite(value) if marked else value


def _without_nonfinite(value: Any) -> tuple[Any, Any]:
    """The value with null in place of NaN and infinity, and the word for each, in a list of its shape for a list."""
    if isinstance(value, dict):
        plain, words = _without_nonfinite(list(value.values()))
        named = {_NONFINITE: {key: word for key, word in zip(value, words, strict=True) if word}} if words else {}
        return dict(zip(value, plain, strict=True)) | named, None
    if isinstance(value, list | tuple):
        plain, words = map(list, zip(*map(_without_nonfinite, value), strict=True)) if value else ([], [])
        return plain, words if any(words) else None
    if isinstance(value, str | int | None):
        return value, None
    number = float(value)
    return (number, None) if math.isfinite(number) else (None, str(number))


def _with_nonfinite(value: Any, word: Any = None) -> Any:
    """The reverse, of a value and the word for it; a word without a null is left out."""
    if isinstance(value, dict):
        words = value.pop(_NONFINITE) if isinstance(value.get(_NONFINITE), dict) else {}
        return {key: _with_nonfinite(child, words.get(key)) for key, child in value.items()}
    if isinstance(value, list):
        words = word if isinstance(word, list) and len(word) == len(value) else [None] * len(value)
        return [_with_nonfinite(child, each) for child, each in zip(value, words, strict=True)]
    return float(word) if value is None and word in ("nan", "inf", "-inf") else value


def opened(file: Path | str, mode: str, **options: Any) -> IO[Any]:
    """The built-in `open` for a file that is written. Raises OSError that names it where it is a symbolic link."""
    return open(file, mode, opener=descriptor, **options)


def descriptor(file: Path | str, flags: int) -> int:
    """As `os.open`, but raises OSError that names the file if it is a symbolic link."""
    try:
        return os.open(file, flags | os.O_NOFOLLOW, 0o666)
    except OSError:
        refuse_link(Path(file))
        raise


def refuse_link(file: Path) -> None:
    """Raise OSError if a symbolic link stands there."""
    if file.is_symlink():
        raise OSError(f"{file} is a symbolic link, and nothing is written through one; remove it")


def delete(entry: Path) -> None:
    """Remove a file, a folder with all in it, or a symbolic link but not what it points to."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def flush(file: IO[Any]) -> None:
    """Return once the disk has the bytes of an open file."""
    file.flush()
    os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Return once the disk has a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Gone(OSError):
    """The folder that was written to is gone, or is another one."""


def identity(folder: Path) -> tuple[int, int] | None:
    """Differs between a folder whose lock is held and one that was made later in its place; None without a lock."""
    for name in (".lock", ".lock.pid"):
        with suppress(OSError):
            found = (folder / name).stat()
            return found.st_dev, found.st_ino  # of a file that is open, which no other one gets
    return None


class Held(Exception):
    """The lock is held, by what the text says: "another process", with number and host if these are known."""


def lock(file: Path, waiting: Callable[[Held], None] | None = None) -> AcquireReturnProxy:
    """Hold the lock `file` for this process alone, until the end of a `with`. Raises Held if another process holds it;
    with `waiting`, calls that once and waits. Raises OSError if the file cannot be written or nothing locked there."""
    try:
        return _lock(file)
    except Held as held:
        if waiting is None:
            raise
        waiting(held)
    while True:
        time.sleep(_LOOK)
        with suppress(Held):
            return _lock(file)


def _lock(file: Path) -> AcquireReturnProxy:
    """The kernel's lock if the disk has that, else a marker next to the file. Raises Held or OSError."""
    refuse_link(file)
    try:
        return FileLock(file, fallback_to_soft=False).acquire(blocking=False)
    except Timeout:
        raise Held("another process") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise OSError(error.errno, error.strerror, str(file)) from None
        return _marker(file.with_name(f"{file.name}.pid"), error)


def _marker(marker: Path, lacking: OSError, *, again: bool = True) -> AcquireReturnProxy:
    """A lock that is a file with the process and its host; if that process of this host has ended, it is taken over."""
    refuse_link(marker)
    try:
        return SoftFileLock(marker).acquire(blocking=False)
    except Timeout:
        pid, host = "?", "?"  # of a marker that holds none, or is just being made
        with suppress(OSError, ValueError):
            ((pid, host),) = re.findall(r"\A([0-9]{1,10})\s+([\w.-]+)(?!\S)", marker.read_text())
        if again and host == socket.gethostname() and _ended(int(pid)):
            marker.unlink(missing_ok=True)
            return _marker(marker, lacking, again=False)
        raise Held(f"process {pid} on {host} (if that has ended, remove {marker})") from None
    except OSError as error:
        raise OSError(f"{marker.parent}: nothing can be locked there ({lacking.strerror}), and no file can take the "
                      f"place of a lock ({error.strerror}); use a folder on another disk") from None  # fmt: skip


def _ended(pid: int) -> bool:
    """True for a process that has ended. Filelock asks too, but removes no marker where names cannot be exchanged."""
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError) as error:
        return isinstance(error, ProcessLookupError)
    return False
