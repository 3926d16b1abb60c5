"""Texts in which a separator stands between documents, such as <|endoftext|> between stories."""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptx.ingredients.data.sources import Documents, TextFile, check_share, fitting

BREAKS = "\r\n"


@dataclass(frozen=True)
class Separated:
    """A Source of text files, each document of which ends where the separator stands; line breaks at its ends are left
    out. A file without the separator is one document, as it is.

    Without `validation`, documents are held out in the order of a hash of their text, as many as fit into `share`, so
    that equal ones stay together; where few and long ones do not come to half of it, the end of each one.
    """

    name: str
    where: str
    train: list[TextFile]
    validation: list[TextFile] | None
    separator: str
    share: float
    left_out: list[str] = field(default_factory=list)
    tokens: None = None

    def __post_init__(self) -> None:
        check_share(self.share)

    @property
    def characters(self) -> int:
        return sum(file.characters for file in self.train + (self.validation or []))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the names and contents of all files, and of how they are cut."""
        return self.hashed(lambda file: (file.name, file.sha256, file.start))

    @cached_property
    def content(self) -> str:
        """The same without the names."""
        return self.hashed(lambda file: (file.sha256, file.start))

    def hashed(self, key: Callable[[TextFile], Any]) -> str:
        """SHA-256 of the separator, the share, and the files by their keys."""
        share = self.share if self.validation is None else None
        parts = [[key(file) for file in part] for part in (self.train, self.validation or [])]
        return hashlib.sha256(json.dumps(["separated", self.separator, share, *parts]).encode()).hexdigest()

    def streams(self) -> Iterator[Documents]:
        """The documents in their order; of those that the share cuts, the training text first."""
        found = [documents(file, self.separator) for file in self.train]
        if self.validation is None:
            yield from map(read, self.train, divided(self.train, found, self.share))
            return
        yield from (read(file, each[:, [0, 1, 1]]) for file, each in zip(self.train, found, strict=True))
        yield from (read(file, documents(file, self.separator)[:, [0, 0, 1]]) for file in self.validation)


def documents(file: TextFile, separator: str) -> NDArray[np.int64]:
    """Where the documents of a file begin and end, in characters, (documents, 2)."""
    if not file.divided:
        return np.array([(file.start, file.characters)])
    found, place, start, stop = array("q"), file.start, -1, -1
    for piece, ends in between(file.whole.pieces(), separator):
        if text := piece.strip(BREAKS):
            first = place + piece.index(text)
            start = first if start < 0 else start
            stop = first + len(text)
        place += len(piece)
        if ends:
            found.extend((start, stop) if start >= 0 else ())
            start, place = -1, place + len(separator)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def between(pieces: Iterable[str], separator: str) -> Iterator[tuple[str, bool]]:
    """The text between separators in pieces, and whether its end is reached."""
    rest, kept = "", len(separator) - 1  # characters that may be the beginning of a separator
    for piece in pieces:
        *whole, rest = (rest + piece).split(separator)
        yield from ((text, True) for text in whole)
        yield rest[: max(0, len(rest) - kept)], False
        rest = rest[max(0, len(rest) - kept) :]
    yield rest, True


def contents(file: TextFile, cuts: NDArray[np.int64]) -> Iterator[int]:
    """A number for the text of each document, the same for the same text."""
    for pieces in file.passages(cuts):
        digest = hashlib.blake2b(digest_size=8)
        for piece in pieces:
            digest.update(piece.encode())
        yield int.from_bytes(digest.digest(), "big")


def divided(files: list[TextFile], found: list[NDArray[np.int64]], share: float) -> list[NDArray[np.int64]]:
    """The documents of each file as (start, middle, stop): from the middle on their text is held out."""
    start, stop = np.concatenate(found).T
    every = (content for file, each in zip(files, found, strict=True) for content in contents(file, each))
    kinds, kind = np.unique(np.fromiter(every, np.uint64, len(start)), return_inverse=True)
    held = fitting(np.bincount(kind, stop - start, len(kinds)).tolist(), share)
    middle = np.where(np.isin(kind, held), start, stop) if held else start + ((stop - start) * (1 - share)).astype(int)
    return np.split(np.stack([start, middle, stop], axis=1), np.cumsum([len(each) for each in found])[:-1])


def read(file: TextFile, cuts: NDArray[np.int64]) -> Documents:
    """The documents of a file, each up to its middle as training text, and from there as validation text."""
    parts = cuts[:, [0, 1, 1, 2]].reshape(-1, 2)
    for number, text in enumerate(file.passages(parts)):
        if parts[number, 0] < parts[number, 1]:
            yield ("train", "validation")[number % 2], f"{file.name}:{number // 2}", text
