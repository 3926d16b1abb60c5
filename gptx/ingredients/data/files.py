"""Files on the disk: which ones a path means, the text in them, also where they are compressed, and hashes."""

import bz2
import codecs
import glob
import gzip
import hashlib
import io
import itertools
import json
import lzma
import os
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

CHUNK = 1 << 18  # bytes or characters at a time: memory stays flat however long a file is
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what a file that cannot be read or decompressed raises
_POINTER = b"version https://git-lfs.github.com/"  # how it begins


def _zstandard(path: Path) -> IO[bytes]:
    import pyarrow

    return io.BufferedReader(pyarrow.input_stream(path, compression="zstd"))


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
    """The files that `path` means, a file, a folder or a glob, after the folder to which their names are relative."""
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
    """What a pattern matches, perhaps twice; `**` is every folder once, where glob would follow cycles of links."""
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
    """Every file below `root`, also links to nothing, but what is hidden, a run's or below `without`."""
    for folder, names in _folders(root, without):
        visible = (folder / name for name in names if not name.startswith("."))
        yield from (path for path in visible if path.is_file() or not path.exists())


def _folders(root: Path, without: Collection[str] = ()) -> Iterator[tuple[Path, list[str]]]:
    """`root` and every such folder below it once, with the names of its files; those behind links last."""

    def fail(error: OSError) -> None:
        raise error

    seen, places = set(), deque([root])
    while places:
        for folder, inside, names in os.walk(places.popleft(), onerror=fail):  # which follows no links
            if (real := os.path.realpath(folder)) in seen:
                inside.clear()
                continue
            seen.add(real)
            hidden = {name for name in inside if name.startswith(".") or Path(folder, name, "run.json").exists()}
            inside[:] = sorted({*inside} - {*without} - hidden)
            places.extend(path for name in inside if (path := Path(folder, name)).is_symlink())
            yield Path(folder), names


class TextFile(NamedTuple):
    """A file of valid UTF-8, as it was when it was read through once."""

    name: str  # relative to the folder or pattern that was given, so that a corpus may move
    path: Path
    sha256: str  # of the text, decompressed
    characters: int
    bytes: int
    state: tuple[int, int]  # bytes on the disk and time of the last change
    start: int = 0  # 1 after a byte-order mark, which is no text
    divided: bool = False  # the separator of documents occurs in it

    @property
    def whole(self) -> "Document":
        return Document(self, self.start, self.characters)

    def passages(self, cuts: Iterable[tuple[int, int]]) -> Iterator[Iterator[str]]:
        """For each (start, stop), ascending, its characters in pieces of at most CHUNK, to be read before the next one.
        Raises ValueError if the file has changed."""
        place = 0

        def upto(stop: int) -> Iterator[str]:
            nonlocal place
            while place < stop and (piece := stream.read(min(CHUNK, stop - place))):
                place += len(piece)
                yield piece

        try:
            if state(self.path) != self.state:
                raise ValueError(f"{self.path} changed while it was being read; start again")
            with io.TextIOWrapper(decompressed(self.path), encoding="utf-8", newline="") as stream:
                for start, stop in cuts:
                    deque(upto(start), maxlen=0)
                    yield upto(stop)
        except DAMAGED as error:
            raise ValueError(str(unreadable(self.path, error))) from error


class Document(NamedTuple):
    """The characters `start` to `stop` of a file."""

    file: TextFile
    start: int
    stop: int

    def pieces(self) -> Iterator[str]:
        """The text in pieces of at most CHUNK characters; raises ValueError if the file has changed."""
        return itertools.chain.from_iterable(self.file.passages([(self.start, self.stop)]))


def text_at(path: str, separator: str | None = None) -> tuple[list[TextFile], list[str]]:
    """The text files that `path` means, and why others are left out as no text, which for a single file is raised."""
    root, paths = found(path)
    if paths == [Path(path).expanduser()]:
        return [text_file(paths[0], separator=separator)], []
    files, left_out = texts(root, paths, separator)
    if not files:
        raise ValueError(f"there is no text in '{path}'" + "".join(f"; {reason}" for reason in left_out[:1]))
    return files, left_out


def texts(root: Path, paths: Iterable[Path], separator: str | None = None) -> tuple[list[TextFile], list[str]]:
    """The files that hold text, in the order of their names below `root`, and why others are left out."""
    files, left_out = [], []
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        try:
            if not path.exists():
                raise ValueError(f"{path} is a link to nothing")
            if path.stat().st_size:
                files.append(text_file(path, name=name, separator=separator))
        except ValueError as reason:
            left_out.append(str(reason))
    return files, left_out


def text_file(path: Path, *, name: str | None = None, separator: str | None = None) -> TextFile:
    """Read a file through once; raises ValueError if it is empty or not text, OSError if it cannot be read."""
    sha256, decoder, size, characters = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0, 0
    sought, tail, start, divided = (separator or "").encode(), b"", 0, False
    try:
        refuse_pointer(path)
        before = state(path)
        with decompressed(path) as stream:
            while chunk := stream.read(CHUNK):
                if b"\0" in chunk:
                    raise ValueError(f"{path} is binary, not text: byte {size + chunk.index(0)} is NUL")
                text = decoder.decode(chunk)
                start = start if characters else int(text.startswith("\ufeff"))
                characters += len(text)
                sha256.update(chunk)
                size += len(chunk)
                tail += chunk
                divided |= bool(sought) and sought in tail
                tail = tail[len(tail) - len(sought) + 1 :]
        characters += len(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} after about byte {size + error.start})") from None
    except DAMAGED as error:
        raise unreadable(path, error) from None
    if characters == start:
        raise ValueError(f"{path} is empty")
    return TextFile(name or path.name, path, sha256.hexdigest(), characters, size, before, start, divided)


def hashed(*facts: Any) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash64(pieces: Iterable[bytes], order: Literal["big", "little"] = "big") -> int:
    """A hash of bytes in 64 bits."""
    digest = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        digest.update(piece)
    return int.from_bytes(digest.digest(), order)
