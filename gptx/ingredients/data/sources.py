"""Where text comes from: files, their documents, and which of them are for validation."""

import codecs
import hashlib
import io
import json
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TextIO

from gptx.ingredients.data.files import DAMAGED, found, opened, reason, refuse_pointer, state

CHUNK = 1 << 18  # bytes or characters at a time: memory stays flat however long a file is
BYTE_ORDER_MARK = "\ufeff"  # what some editors begin a file with

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
        """Complaints about files that are there and not read."""

    def streams(self) -> Iterator[Documents]:
        """Yield the documents, each time anew."""


@dataclass(frozen=True)
class TextFile:
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
        """The file as one document."""
        return Document(self, self.start, self.characters)

    @contextmanager
    def text(self) -> Iterator[TextIO]:
        """The file, opened for reading; raises ValueError where it has changed."""
        try:
            if state(self.path) != self.state:
                raise ValueError(f"{self.path} changed while it was being read; start again")
            with io.TextIOWrapper(opened(self.path), encoding="utf-8", newline="") as stream:
                yield stream
        except DAMAGED as error:
            raise ValueError(f"{self.path} can no longer be read ({reason(error)})") from error

    def passages(self, cuts: Iterable[tuple[int, int]]) -> Iterator[Iterator[str]]:
        """For each (start, stop), in ascending order, its characters in pieces of at most CHUNK. The file is read once;
        a passage must be read before the next one is asked for."""
        with self.text() as stream:
            place = 0

            def upto(stop: int) -> Iterator[str]:
                nonlocal place
                while place < stop and (piece := stream.read(min(CHUNK, stop - place))):
                    place += len(piece)
                    yield piece

            for start, stop in cuts:
                deque(upto(start), maxlen=0)
                yield upto(stop)


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
        for text in self.file.passages([(self.start, self.stop)]):
            yield from text


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
    if they come to at least half of it; else, for one or few files, the last `share` of the characters of each. Where
    copies of the files that are trained on leave less than that half, copies are held out together or not at all."""
    check_share(share)
    ordered = sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file.name)).digest())
    copies = defaultdict(list)
    for file in ordered:
        copies[file.sha256].append(file)
    half = share * sum(file.bytes for file in files) / 2
    for groups in ([[file] for file in ordered], list(copies.values())):
        taken = fitting([sum(file.bytes for file in group) for group in groups], share)
        chosen = {file.name for group in taken for file in groups[group]}
        whole = (group for group in copies.values() if all(file.name in chosen for file in group))
        if sum(file.bytes for group in whole for file in group) >= half:
            break
    if chosen:
        train = [file.whole for file in files if file.name not in chosen]
        return TextFiles(name, where, train, [file.whole for file in files if file.name in chosen], left_out)
    # 1 - 0.1 is nanoGPT's 0.9
    heads = [Document(f, f.start, f.start + int((f.characters - f.start) * (1 - share))) for f in files]
    tails = [Document(head.file, head.stop, head.file.characters) for head in heads]
    heads = [head for head in heads if head.stop > head.start]
    if not heads:
        raise ValueError(f"{where} is too short to hold out a share of {share}")
    return TextFiles(name, where, heads, tails, left_out)


def fitting(sizes: Iterable[float], share: float) -> list[int]:
    """Which sizes, one after another, fit into `share` of their sum; none where they come to less than half of it."""
    sizes = list(sizes)
    room = budget = share * sum(sizes)
    taken = []
    for number, size in enumerate(sizes):
        if size <= room:
            taken.append(number)
            room -= size
    return taken if room <= budget / 2 else []


def check_share(share: float) -> None:
    """Raise ValueError unless `share` of a text can be held out."""
    if not 0 < share < 1:
        raise ValueError(f"validation={share} must be a share of the text above 0 and below 1, such as 0.1")


def text_at(path: str, separator: str | None = None) -> tuple[list[TextFile], list[str]]:
    """Read the text files that `path` means. Returns also the complaints about files left out as no text, which for a
    single file are raised."""
    root, paths = found(path)
    if paths == [Path(path).expanduser()]:
        return [text_file(paths[0], separator=separator)], []
    files, left_out = texts(root, paths, separator)
    if not files:
        raise ValueError(f"there is no text in '{path}'" + "".join(f"; {complaint}" for complaint in left_out[:1]))
    return files, left_out


def texts(root: Path, paths: Iterable[Path], separator: str | None = None) -> tuple[list[TextFile], list[str]]:
    """Read the files that hold text, in the order of their names below `root`; returns also complaints about others."""
    files, left_out = [], []
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        try:
            if not path.exists():
                raise ValueError(f"{path} is a link to nothing")
            if path.stat().st_size:
                files.append(text_file(path, name=name, separator=separator))
        except ValueError as complaint:
            left_out.append(str(complaint))
    return files, left_out


def text_file(path: Path, *, name: str = "", separator: str | None = None) -> TextFile:
    """Read a file through once; raises ValueError where it is empty or not text, OSError where it cannot be read."""
    sha256, decoder, size, characters = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0, 0
    sought, tail, start, divided = (separator or "").encode(), b"", 0, False
    try:
        refuse_pointer(path)
        found = state(path)
        with opened(path) as stream:
            while chunk := stream.read(CHUNK):
                if b"\0" in chunk:
                    raise ValueError(f"{path} is binary, not text: byte {size + chunk.index(0)} is NUL")
                text = decoder.decode(chunk)
                start = start if characters else int(text.startswith(BYTE_ORDER_MARK))
                characters += len(text)
                sha256.update(chunk)
                size += len(chunk)
                tail += chunk
                divided = divided or (bool(sought) and sought in tail)
                tail = tail[len(tail) - len(sought) + 1 :]
        characters += len(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} after about byte {size + error.start})") from None
    except DAMAGED as error:
        wrong = type(error) if isinstance(error, OSError) and error.strerror else ValueError
        raise wrong(f"{path} cannot be read: {reason(error)}") from None
    if characters == start:
        raise ValueError(f"{path} is empty")
    return TextFile(name or path.name, path, sha256.hexdigest(), characters, size, found, start, divided)
