"""Files on the disk: which ones a path means, and what is in them where they are compressed."""

import bz2
import glob
import gzip
import itertools
import lzma
import os
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what a file that cannot be read or decompressed raises


def zstandard(path: Path) -> IO[bytes]:
    """Open a Zstandard file."""
    import pyarrow

    return BufferedReader(pyarrow.input_stream(path, compression="zstd"))


POINTER = b"version https://git-lfs.github.com/"  # how it begins
OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstandard}


def opened(path: Path) -> IO[bytes]:
    """Open a file to read its bytes, decompressed where its name says that it is compressed."""
    opener = OPENERS.get(path.suffix.lower())
    return opener(path) if opener else open(path, "rb")


def refuse_pointer(path: Path) -> None:
    """Raise ValueError for what a clone without Git LFS has in the place of a large file."""
    with open(path, "rb") as stream:
        if stream.read(len(POINTER)) == POINTER:
            raise ValueError(f"{path} is a pointer of Git LFS, not the file; 'git lfs pull' fetches it")


def suffix(path: Path) -> str:
    """The suffix of the name in small letters, without that of the compression: .jsonl of rows.JSONL.gz."""
    name = Path(path.name.lower())
    return (name.with_suffix("") if name.suffix in OPENERS else name).suffix


def found(path: str) -> tuple[Path, list[Path]]:
    """Find the files that `path` means: a file; all in a folder and its subfolders that are not hidden; or what a glob
    matches. Returns also the folder to which their names are relative."""
    place = Path(path).expanduser()
    if path and place.is_dir():
        return place, once(walk(place))
    if glob.has_magic(path) and not place.exists():
        plain = itertools.takewhile(lambda part: not glob.has_magic(part), place.parts)
        matches = [match for match in map(Path, matching(*place.parts)) if match.is_file()]
        if not matches:
            raise FileNotFoundError(f"no file matches '{path}'")
        return Path(*plain), once(sorted(matches, key=lambda match: (len(match.parts), match)))
    if place.is_file():
        return place.parent, [place]
    raise FileNotFoundError(f"there is no text file, folder or pattern of files '{path}'")


def matching(*parts: str) -> Iterator[str]:
    """Yield what a pattern matches, perhaps twice; of a part `**` every folder once, where glob would follow links that
    lead back for ever."""
    if "**" not in parts:
        yield from glob.iglob(os.path.join(*parts))
        return
    deep = parts.index("**")
    for head in filter(os.path.isdir, glob.iglob(os.path.join(*parts[:deep])) if deep else ["."]):
        for folder, _ in folders(Path(head)):
            yield from matching(glob.escape(str(folder)), *(parts[deep + 1 :] or ["*"]))


def once(paths: Iterable[Path]) -> list[Path]:
    """Each file once, however many links and patterns lead to it: by the first path, if possible of no link."""
    files: dict[str, Path] = {}
    for path in sorted(paths, key=os.path.islink):
        files.setdefault(os.path.realpath(path), path)
    return list(files.values())


def walk(root: Path, *, without: Collection[str] = ()) -> Iterator[Path]:
    """Yield every file below `root` that is not hidden, nor in a folder that is, is a run's or named in `without`; also
    links to nothing. What is behind links to folders comes last."""
    for folder, names in folders(root, without):
        visible = (folder / name for name in names if not name.startswith("."))
        yield from (path for path in visible if path.is_file() or not path.exists())


def folders(root: Path, without: Collection[str] = ()) -> Iterator[tuple[Path, list[str]]]:
    """Yield `root` and every such folder below it once, with the names of its files; those behind links last."""

    def fail(error: OSError) -> None:
        raise error

    seen, places = set(), deque([root])
    while places:
        for folder, inside, names in os.walk(places.popleft(), onerror=fail):
            real = os.path.realpath(folder)
            kept = sorted(
                Path(folder, name)
                for name in inside
                if name not in without and not name.startswith(".") and not Path(folder, name, "run.json").exists()
            )
            inside[:] = [path.name for path in kept if not path.is_symlink() and real not in seen]
            if real not in seen:
                seen.add(real)
                places += [path for path in kept if path.is_symlink()]
                yield Path(folder), names


def state(path: Path) -> tuple[int, int]:
    """Size and time of the last change of a file, in nanoseconds."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def reason(error: Exception) -> str:
    """What the disk or a decompressor says."""
    return getattr(error, "strerror", None) or str(error)
