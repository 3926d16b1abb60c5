"""Files on the disk: which ones a path means, their bytes where they are compressed, and hashes."""

import bz2
import glob
import gzip
import hashlib
import itertools
import json
import lzma
import os
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal

CHUNK = 1 << 18  # bytes or characters at a time: memory stays flat however long a file is
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what a file that cannot be read or decompressed raises
_POINTER = b"version https://git-lfs.github.com/"  # how it begins


def _zstandard(path: Path) -> IO[bytes]:
    import pyarrow

    return BufferedReader(pyarrow.input_stream(path, compression="zstd"))


_OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _zstandard}


def decompressed(path: Path) -> IO[bytes]:
    """Open a file to read its bytes, decompressed if its name says that it is compressed."""
    return _OPENERS.get(path.suffix.lower(), partial(open, mode="rb"))(path)


def suffix(path: Path) -> str:
    """The suffix of the name in small letters, without that of the compression: .jsonl of rows.JSONL.gz."""
    name = Path(path.name.lower())
    return (name.with_suffix("") if name.suffix in _OPENERS else name).suffix


def refuse_pointer(path: Path) -> None:
    """Raise ValueError for the small file that a clone without Git LFS has in place of a large one."""
    with open(path, "rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise ValueError(f"{path} is a pointer of Git LFS, not the file; 'git lfs pull' fetches it")


def unreadable(path: Path, error: Exception) -> Exception:
    """The error in one line: a ValueError, but what the disk refused stays an OSError of its kind."""
    reason = getattr(error, "strerror", None)
    return (type(error) if reason else ValueError)(f"{path} cannot be read: {reason or error}")


def state(path: Path) -> tuple[int, int]:
    """Size, and time of the last change in nanoseconds."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def found(path: str) -> tuple[Path, list[Path]]:
    """The files that `path` means: a file; all in a folder and its subfolders that are not hidden; or what a glob
    matches. Returns also the folder to which their names are relative."""
    place = Path(path).expanduser()
    if path and place.is_dir():
        return place, _once(files_below(place))
    if glob.has_magic(path) and not place.exists():
        plain = itertools.takewhile(lambda part: not glob.has_magic(part), place.parts)
        matches = [match for match in map(Path, _matching(*place.parts)) if match.is_file()]
        if not matches:
            raise FileNotFoundError(f"no file matches '{path}'")
        return Path(*plain), _once(sorted(matches, key=lambda match: (len(match.parts), match)))
    if place.is_file():
        return place.parent, [place]
    raise FileNotFoundError(f"there is no text file, folder or pattern of files '{path}'")


def _matching(*parts: str) -> Iterator[str]:
    """What a pattern matches, perhaps twice; `**` means every folder once, where glob would follow cycles of links."""
    if "**" not in parts:
        yield from glob.iglob(os.path.join(*parts))
        return
    deep = parts.index("**")
    for head in filter(os.path.isdir, glob.iglob(os.path.join(*parts[:deep])) if deep else ["."]):
        for folder, _ in _folders(Path(head)):
            yield from _matching(glob.escape(str(folder)), *(parts[deep + 1 :] or ["*"]))


def _once(paths: Iterable[Path]) -> list[Path]:
    """Each file once, however many links and patterns lead to it: by the first path, if possible of no link."""
    files: dict[str, Path] = {}
    for path in sorted(paths, key=os.path.islink):
        files.setdefault(os.path.realpath(path), path)
    return list(files.values())


def files_below(root: Path, *, without: Collection[str] = ()) -> Iterator[Path]:
    """Every file below `root`, also links to nothing, that is neither hidden nor in a folder that is hidden, is a run's
    or is named in `without`. What is behind links to folders comes last."""
    for folder, names in _folders(root, without):
        visible = (folder / name for name in names if not name.startswith("."))
        yield from (path for path in visible if path.is_file() or not path.exists())


def _folders(root: Path, without: Collection[str] = ()) -> Iterator[tuple[Path, list[str]]]:
    """`root` and every such folder below it once, with the names of its files; those behind links last."""

    def fail(error: OSError) -> None:
        raise error

    seen, places = set(), deque([root])
    while places:
        for folder, inside, names in os.walk(places.popleft(), onerror=fail):
            meant = [path for name in sorted(inside) if _is_meant(path := Path(folder, name), without)]
            inside.clear()
            if (real := os.path.realpath(folder)) not in seen:
                seen.add(real)
                inside.extend(path.name for path in meant if not path.is_symlink())
                places.extend(path for path in meant if path.is_symlink())
                yield Path(folder), names


def _is_meant(folder: Path, without: Collection[str]) -> bool:
    return folder.name not in without and not folder.name.startswith(".") and not (folder / "run.json").exists()


def hashed(*facts: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash64(pieces: Iterable[bytes], order: Literal["big", "little"] = "big") -> int:
    """A hash of bytes in 64 bits."""
    digest = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        digest.update(piece)
    return int.from_bytes(digest.digest(), order)
