"""Where text comes from: files, their documents, and which of them are for validation."""

import codecs
import glob
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

CHUNK = 1 << 18  # bytes or characters at a time: memory stays flat however long a file is

Documents = Iterator[tuple[str, str, Iterable[str]]]  # split, name, and the text in pieces


class Source(Protocol):
    """A corpus before it is tokenised."""

    @property
    def name(self) -> str: ...

    @property
    def where(self) -> str:
        """What the user gave, for messages."""

    @property
    def digest(self) -> str:
        """A hash of all that a tokenizer makes token streams of; known without reading documents again."""

    @property
    def content(self) -> str:
        """The same without the names of files, which only label documents."""

    @property
    def characters(self) -> int | None:
        """How many there are in all, where that is known before they are read."""

    @property
    def tokens(self) -> int | None:
        """A stream is left after the document that brings a split to so many tokens; None reads all."""

    @property
    def left_out(self) -> list[str]:
        """Complaints about files in a folder that are not text."""

    def streams(self) -> Iterator[Documents]:
        """Yield the documents, each time anew."""


@dataclass(frozen=True)
class TextFile:
    """A file of valid UTF-8, as it was when it was read through once."""

    name: str  # relative to the folder or pattern that was given, so that a corpus may move
    path: Path
    sha256: str
    characters: int
    bytes: int
    modified: int  # nanoseconds

    @property
    def whole(self) -> "Document":
        """The file as one document."""
        return Document(self, 0, self.characters)


@dataclass(frozen=True)
class Document:
    """The characters `start` to `stop` of a file: they are packed together and one end of text follows."""

    file: TextFile
    start: int
    stop: int

    @property
    def content(self) -> tuple[str, int, int]:
        """What decides the text."""
        return self.file.sha256, self.start, self.stop

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces of at most CHUNK characters; raises ValueError where the file has changed."""
        try:
            with open(self.file.path, encoding="utf-8", newline="") as stream:
                state = os.fstat(stream.fileno())
                if (state.st_size, state.st_mtime_ns) != (self.file.bytes, self.file.modified):
                    raise ValueError(f"{self.file.path} changed while it was being read; start again")
                for left in chunks(self.start):
                    stream.read(left)
                for left in chunks(self.stop - self.start):
                    yield stream.read(left)
        except OSError as error:
            raise ValueError(f"{self.file.path} can no longer be read ({error.strerror})") from error


@dataclass(frozen=True)
class TextFiles:
    """A Source of local files: which documents, in which order, train and validate."""

    name: str
    where: str
    train: list[Document]
    validation: list[Document]
    left_out: list[str] = field(default_factory=list)
    tokens: int | None = None

    @property
    def characters(self) -> int:
        return sum(document.stop - document.start for document in self.train + self.validation)

    def streams(self) -> Iterator[Documents]:
        """The training text, then the validation text."""
        for split in ("train", "validation"):
            yield ((split, document.file.name, document.pieces()) for document in getattr(self, split))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the names, contents and cuts of all documents: all that a tokenizer makes a token stream of."""
        return self.hashed(lambda document: (document.file.name, *document.content))

    @cached_property
    def content(self) -> str:
        """SHA-256 of the contents and cuts of all documents."""
        return self.hashed(lambda document: document.content)

    def hashed(self, key: Callable[["Document"], tuple]) -> str:
        """SHA-256 of the documents by their keys."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation):
            digest.update(f"{len(split)}\n".encode())
            for document in split:
                digest.update(json.dumps(key(document)).encode() + b"\n")
        return digest.hexdigest()


def held_out(name: str, where: str, files: list[TextFile], *, share: float, left_out: list[str]) -> TextFiles:
    """Hold out `share` of the text for validation: whole files, in the order of a hash of their names, as many as fit,
    if they come to at least half of it; else, for one or few files, the last `share` of the characters of each."""
    check_share(share)
    budget = room = share * sum(file.bytes for file in files)
    chosen = set()
    for file in sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file.name)).digest()):
        if file.bytes <= room:
            chosen.add(file.name)
            room -= file.bytes
    if room <= budget / 2:
        train = [file.whole for file in files if file.name not in chosen]
        return TextFiles(name, where, train, [file.whole for file in files if file.name in chosen], left_out)
    heads = [Document(file, 0, int(file.characters * (1 - share))) for file in files]  # 1 - 0.1 is nanoGPT's 0.9
    if not any(head.stop for head in heads):
        raise ValueError(f"{where} is too short to hold out a share of {share}")
    tails = [Document(head.file, head.stop, head.file.characters) for head in heads]
    return TextFiles(name, where, [head for head in heads if head.stop], tails, left_out)


def check_share(share: float) -> None:
    """Raise ValueError unless `share` of a text can be held out."""
    if not 0 < share < 1:
        raise ValueError(f"validation={share} must be a share of the text above 0 and below 1, such as 0.1")


def found(path: str) -> tuple[Path, list[Path]]:
    """Find the files that `path` means: a file; all in a folder and its subfolders that are not hidden; or what a glob
    matches. Returns also the folder to which their names are relative."""
    place = Path(path).expanduser()
    if path and place.is_dir():
        return place, list(walk(place))
    if glob.has_magic(path) and not place.exists():
        plain = itertools.takewhile(lambda part: not glob.has_magic(part), place.parts)
        matches = [Path(match) for match in glob.glob(str(place), recursive=True) if os.path.isfile(match)]
        if not matches:
            raise FileNotFoundError(f"no file matches '{path}'")
        return Path(*plain), matches
    if place.is_file():
        return place.parent, [place]
    raise FileNotFoundError(f"there is no text file, folder or pattern of files '{path}'")


def text_at(path: str) -> tuple[list[TextFile], list[str]]:
    """Read the text files that `path` means. Returns also the complaints about files left out as no text, which for a
    single file are raised."""
    root, paths = found(path)
    if paths == [Path(path).expanduser()]:
        return [text_file(paths[0])], []
    files, left_out = texts(root, paths)
    if not files:
        raise ValueError(f"there is no text in '{path}'" + "".join(f"; {complaint}" for complaint in left_out[:1]))
    return files, left_out


def texts(root: Path, paths: Iterable[Path]) -> tuple[list[TextFile], list[str]]:
    """Read the files that hold text, in the order of their names below `root`; returns also complaints about others."""
    files, left_out = [], []
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        try:
            if path.stat().st_size:
                files.append(text_file(path, name=name))
        except ValueError as complaint:
            left_out.append(str(complaint))
    return files, left_out


def walk(root: Path, *, without: Collection[str] = ()) -> Iterator[Path]:
    """Yield every file below `root` that is not hidden, nor in a folder that is, is a run's or named in `without`."""

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(root, onerror=fail):
        folders[:] = [
            name
            for name in folders
            if name not in without and not name.startswith(".") and not Path(folder, name, "run.json").exists()
        ]
        visible = (Path(folder, name) for name in names if not name.startswith("."))
        yield from (path for path in visible if path.is_file())


def text_file(path: Path, *, name: str = "") -> TextFile:
    """Read a file through once; raises ValueError where it is empty or not text, OSError where it cannot be read."""
    sha256, decoder, size, characters = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0, 0
    try:
        with open(path, "rb") as stream:
            modified = os.fstat(stream.fileno()).st_mtime_ns
            while chunk := stream.read(CHUNK):
                if b"\0" in chunk:
                    raise ValueError(f"{path} is binary, not text: byte {size + chunk.index(0)} is NUL")
                characters += len(decoder.decode(chunk))
                sha256.update(chunk)
                size += len(chunk)
        characters += len(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} after about byte {size + error.start})") from None
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror}") from None
    if not size:
        raise ValueError(f"{path} is empty")
    return TextFile(name or path.name, path, sha256.hexdigest(), characters, size, modified)


def chunks(length: int) -> Iterator[int]:
    """Split `length` into parts of at most CHUNK."""
    return (min(CHUNK, length - start) for start in range(0, length, CHUNK))
