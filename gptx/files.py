"""Files on the disk: written whole or not at all, never through a symbolic link, and locked; and JSON, which is strict.

This is the only module that replaces files, waits for the disk, asks for a lock, or writes numbers as JSON.
"""

import errno
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from filelock import AcquireReturnProxy, FileLock, SoftFileLock, Timeout

NO_LOCKS = {
    errno.ENOLCK,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.EINVAL,
}  # how a disk without flock says so
LOOK = 0.1  # seconds between two looks at a lock that is waited for
NONFINITE = "nonfinite"  # the key beside a null that says what number it was


def in_one_step(file: Path, fill: Callable[[Path], object]) -> None:
    """Have `fill` write a file, which is there whole or as it was. Raises OSError that names it, also for a link."""
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
    """Write a text file in one step, as UTF-8; what is no character, as in a file name of other bytes, becomes `?`."""
    in_one_step(file, lambda part: part.write_text(text, encoding="utf-8", errors="replace"))


def to_json(value: Any, **options: Any) -> str:
    """The value as JSON, which has neither NaN nor infinity: such a number is null, and beside it stands which it was.

    >>> to_json({"loss": math.inf, "step": 3})
    '{"loss": null, "step": 3, "nonfinite": {"loss": "inf"}}'
    >>> from_json(to_json({"loss": [1.5, -math.inf]}))
    {'loss': [1.5, -inf]}
    """
    try:
        return json.dumps(value, allow_nan=False, default=float, **options)
    except ValueError:
        return json.dumps(without_nonfinite(value)[0], allow_nan=False, **options)


def from_json(text: str | bytes, **options: Any) -> Any:
    """What JSON says, with the numbers that `to_json` wrote as null, or an earlier version as NaN and Infinity."""
    value = json.loads(text, **options)
    marked = NONFINITE in text if isinstance(text, str) else NONFINITE.encode() in text
    return with_nonfinite(value) if marked else value


def without_nonfinite(value: Any) -> tuple[Any, Any]:
    """The value with null in place of NaN and infinity, and the word for each, in a list of its shape for a list."""
    if isinstance(value, dict):
        pairs = {key: without_nonfinite(child) for key, child in value.items()}
        words = {key: word for key, (_, word) in pairs.items() if word}
        return {key: plain for key, (plain, _) in pairs.items()} | ({NONFINITE: words} if words else {}), None
    if isinstance(value, list | tuple):
        each = [without_nonfinite(child) for child in value]
        return [plain for plain, _ in each], [word for _, word in each] if any(word for _, word in each) else None
    if value is None or isinstance(value, str | int):
        return value, None
    number = float(value)
    return (number, None) if math.isfinite(number) else (None, str(number))


def with_nonfinite(value: Any, word: Any = None) -> Any:
    """The reverse, of a value and the word for it; a word that fits no null says nothing."""
    if isinstance(value, dict):
        words = value.get(NONFINITE)
        if not isinstance(words, dict):
            return {key: with_nonfinite(child) for key, child in value.items()}
        return {key: with_nonfinite(child, words.get(key)) for key, child in value.items() if key != NONFINITE}
    if isinstance(value, list):
        words = word if isinstance(word, list) and len(word) == len(value) else [None] * len(value)
        return [with_nonfinite(child, each) for child, each in zip(value, words, strict=True)]
    return float(word) if value is None and word in ("nan", "inf", "-inf") else value


def opened(file: Path | str, mode: str, **options: Any) -> IO[Any]:
    """The built-in `open` for a file that is written. Raises OSError that names it where it is a symbolic link."""
    return open(file, mode, opener=descriptor, **options)


def descriptor(file: Path | str, flags: int) -> int:
    """As `os.open`, but raises OSError that names the file where it is a symbolic link."""
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
    """The folder that was written to is there no more, or is another one."""


def identity(folder: Path) -> tuple[int, int] | None:
    """Tells a folder whose lock is held from one that was made later in its place; None where nobody locked it."""
    for name in (".lock", ".lock.pid"):
        with suppress(OSError):
            found = (folder / name).stat()
            return found.st_dev, found.st_ino  # of a file that is open, which no other one gets
    return None


class Held(Exception):
    """The lock is held, by what the text says: "another process", with number and host where these are known."""


def lock(file: Path, waiting: Callable[[Held], None] | None = None) -> AcquireReturnProxy:
    """Hold the lock `file` for this process alone, until the end of the `with` that this is given to.

    Raises Held if it is another's; with `waiting`, calls that once and waits for the lock. Raises OSError that names
    the file if it cannot be written, and the folder if nothing can be locked there.
    """
    told = False
    while True:
        try:
            return at_once(file)
        except Held as held:
            if waiting is None:
                raise
            if not told:
                waiting(held)
            told = True
        time.sleep(LOOK)


def at_once(file: Path) -> AcquireReturnProxy:
    """The lock, of the kernel's kind if the disk has that, else a marker beside it. Raises Held or OSError."""
    refuse_link(file)
    try:
        return FileLock(file, fallback_to_soft=False).acquire(blocking=False)
    except Timeout:
        raise Held("another process") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise OSError(error.errno, error.strerror, str(file)) from None
        return marked(file.with_name(f"{file.name}.pid"), error)


def marked(marker: Path, lacking: OSError, *, again: bool = True) -> AcquireReturnProxy:
    """A lock that is a file with the process and its host; one that a process of this host left is taken over."""
    refuse_link(marker)
    try:
        return SoftFileLock(marker).acquire(blocking=False)
    except Timeout:
        pid, host = holder(marker)
        if again and gone(pid, host):
            marker.unlink(missing_ok=True)
            return marked(marker, lacking, again=False)
        raise Held(f"process {pid} on {host} (if that has ended, remove {marker})") from None
    except OSError as error:
        raise OSError(f"{marker.parent}: nothing can be locked there ({lacking.strerror}), and no file can take the "
                      f"place of a lock ({error.strerror}); use a folder on another disk") from None  # fmt: skip


def holder(marker: Path) -> tuple[str, str]:
    """Process and host in a marker; question marks where it holds none, as one that is just being made."""
    with suppress(OSError, ValueError):
        pid, host = marker.read_text().split()[:2]
        if pid.isdecimal() and host.isprintable():
            return pid, host
    return "?", "?"


def gone(pid: str, host: str) -> bool:
    """True if that process is one of this host that has ended. Filelock asks too, but removes no marker on a disk that
    cannot exchange two names, and disks without locks are often of that kind."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return host == socket.gethostname()
    except (OSError, ValueError, OverflowError):
        return False
    return False
