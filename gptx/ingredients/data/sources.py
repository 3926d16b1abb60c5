"""Where text comes from: files, their documents, and which of them are for validation."""

import codecs
import hashlib
import io
import json
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gptx.ingredients.data.files import CHUNK, DAMAGED, decompressed, found, refuse_pointer, state, unreadable

_BYTE_ORDER_MARK = "\ufeff"  # what some editors begin a file with

Documents = Iterator[tuple[str, str, Iterable[str]]]  # split, name, and the text in pieces


@dataclass(frozen=True, kw_only=True)
class Source:
    """A corpus before it is tokenised."""

    name: str
    where: str  # what the user gave, for messages
    digest: str  # a hash of all that a tokenizer makes tokens of; known without reading the documents again
    content: str  # the same without the names of files, which only label documents
    streams: Callable[[], Iterator[Documents]]  # the documents, from the first one at every call
    characters: int | None = None  # in all, if that is known before they are read
    tokens: int | None = (
        None  # a stream ends after the document that brings a split to that many tokens; None reads all
    )
    left_out: Sequence[str] = ()  # files that are there and not read, each with the reason


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
    def _text(self) -> Iterator[TextIO]:
        try:
            if state(self.path) != self.state:
                raise ValueError(f"{self.path} changed while it was being read; start again")
            with io.TextIOWrapper(decompressed(self.path), encoding="utf-8", newline="") as stream:
                yield stream
        except DAMAGED as error:
            raise ValueError(str(unreadable(self.path, error))) from error

    def passages(self, cuts: Iterable[tuple[int, int]]) -> Iterator[Iterator[str]]:
        """For each (start, stop), in ascending order, its characters in pieces of at most CHUNK. The file is read once;
        a passage must be read before the next one is asked for. Raises ValueError if the file has changed."""
        with self._text() as stream:
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
    """The characters `start` to `stop` of a file."""

    file: TextFile
    start: int
    stop: int

    def pieces(self) -> Iterator[str]:
        """The text in pieces of at most CHUNK characters; raises ValueError if the file has changed."""
        for text in self.file.passages([(self.start, self.stop)]):
            yield from text


def text_files(
    name: str, where: str, train: list[Document], validation: list[Document], left_out: Sequence[str] = ()
) -> Source:
    """A source of local files: the documents that train and validate, in their order."""
    splits = {"train": train, "validation": validation}

    def digest(*labels: str) -> str:
        sha = hashlib.sha256()
        for split in splits.values():
            sha.update(f"{len(split)}\n".encode())
            for each in split:
                key = [*(getattr(each.file, label) for label in labels), each.start, each.stop]
                sha.update(json.dumps(key).encode() + b"\n")
        return sha.hexdigest()

    def streams() -> Iterator[Documents]:
        for split, documents in splits.items():
            yield ((split, each.file.name, each.pieces()) for each in documents)

    characters = sum(each.stop - each.start for each in train + validation)
    return Source(name=name, where=where, digest=digest("name", "sha256"), content=digest("sha256"), streams=streams,
                  characters=characters, left_out=left_out)  # fmt: skip


def held_out(where: str, files: list[TextFile], *, share: float) -> tuple[list[Document], list[Document]]:
    """Documents for training and for validation: whole files are held out, in the order of a hash of their names, as
    many as fit into `share`, if they come to at least half of it; else, for one or few files, the last `share` of the
    characters of each. Raises ValueError if nothing would be left to train on."""
    check_share(share)
    if chosen := _held_files(files, share):
        parts: tuple[list[Document], list[Document]] = [], []
        for file in files:
            parts[file.name in chosen].append(file.whole)
        return parts
    cuts = [(file, file.start + int((file.characters - file.start) * (1 - share))) for file in files]  # nanoGPT's 0.9
    heads = [Document(file, file.start, cut) for file, cut in cuts if cut > file.start]
    if not heads:
        raise ValueError(f"{where} is too short to hold out a share of {share}")
    return heads, [Document(file, cut, file.characters) for file, cut in cuts]


def _held_files(files: list[TextFile], share: float) -> set[str]:
    """Names of the files to hold out; empty if they come to less than half the share. If copies of files that are
    trained on leave less than that half, copies are held out together or not at all."""
    ordered = sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file.name)).digest())
    copies = defaultdict(list)
    for file in ordered:
        copies[file.sha256].append(file)
    chosen: set[str] = set()
    for groups in ([[file] for file in ordered], list(copies.values())):
        chosen = {file.name for group in fitting([*map(_size, groups)], share) for file in groups[group]}
        apart = [group for group in copies.values() if chosen.issuperset(file.name for file in group)]
        if sum(map(_size, apart)) >= share * _size(files) / 2:
            break
    return chosen


def _size(files: list[TextFile]) -> int:
    return sum(file.bytes for file in files)


def fitting(sizes: list[float], share: float) -> list[int]:
    """Which sizes, one after another, fit into `share` of their sum; none if they come to less than half of it."""
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
    """Read the text files that `path` means. Returns also why files are left out as no text, which for a single file
    is raised."""
    root, paths = found(path)
    if paths == [Path(path).expanduser()]:
        return [text_file(paths[0], separator=separator)], []
    files, left_out = texts(root, paths, separator)
    if not files:
        raise ValueError(f"there is no text in '{path}'" + "".join(f"; {reason}" for reason in left_out[:1]))
    return files, left_out


def texts(root: Path, paths: Iterable[Path], separator: str | None = None) -> tuple[list[TextFile], list[str]]:
    """Read the files that hold text, in the order of their names below `root`; returns also why others are left out."""
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
        found = state(path)
        with decompressed(path) as stream:
            while chunk := stream.read(CHUNK):
                if b"\0" in chunk:
                    raise ValueError(f"{path} is binary, not text: byte {size + chunk.index(0)} is NUL")
                text = decoder.decode(chunk)
                start = start if characters else int(text.startswith(_BYTE_ORDER_MARK))
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
    return TextFile(name or path.name, path, sha256.hexdigest(), characters, size, found, start, divided)
