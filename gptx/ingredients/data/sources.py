"""A corpus before it is tokenised: which documents of text train, and which are for validation."""

import hashlib
import json
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gptx.ingredients.data.files import Document, TextFile, hash64, hashed

Documents = Iterator[tuple[str, str, Iterable[str]]]  # split, name, and the text in pieces


class Source(NamedTuple):
    """A corpus before it is tokenised."""

    name: str
    where: str  # what the user gave, for messages
    digest: str  # a hash of all that a tokenizer makes tokens of; known without reading the documents again
    content: str  # the same without the names of files, which only label documents
    streams: Callable[[], Iterator[Documents]]  # the documents, from the first one at every call
    characters: int | None = None  # in all, if that is known before they are read
    tokens: int | None = None  # of a split, after which a stream ends with the document; None reads all
    left_out: Sequence[str] = ()  # files that are there and not read, each with the reason


def text_files(
    name: str, where: str, files: list[TextFile], held: list[TextFile] | None, share: float = 0,
    left_out: Sequence[str] = (),
) -> Source:  # fmt: skip
    """A source of local files, each one document; without those to validate with, a `share` is held out."""
    if held is None:
        train, validation = held_out(where, files, share=share)
    else:
        train, validation = ([file.whole for file in part] for part in (files, held))

    def digest(*labels: str) -> str:
        sha = hashlib.sha256()
        for split in (train, validation):
            sha.update(f"{len(split)}\n".encode())
            for each in split:
                key = [*(getattr(each.file, label) for label in labels), each.start, each.stop]
                sha.update(json.dumps(key).encode() + b"\n")
        return sha.hexdigest()

    def streams() -> Iterator[Documents]:
        yield (("train", each.file.name, each.pieces()) for each in train)
        yield (("validation", each.file.name, each.pieces()) for each in validation)

    characters = sum(each.stop - each.start for each in train + validation)
    return Source(name, where, digest("name", "sha256"), digest("sha256"), streams, characters, left_out=left_out)


def held_out(where: str, files: list[TextFile], *, share: float) -> tuple[list[Document], list[Document]]:
    """Documents for training and validation: as many whole files as fit into `share`, ordered by a hash of their names,
    or if that is less than half of it, the last `share` of each. Raises ValueError if nothing is left to train on."""
    check_share(share)
    if chosen := _held_files(files, share):
        train, held = ([file.whole for file in files if (file.name in chosen) == out] for out in (False, True))
        return train, held
    cuts = [(file, file.start + int((file.characters - file.start) * (1 - share))) for file in files]  # nanoGPT's 0.9
    heads = [Document(file, file.start, cut) for file, cut in cuts if cut > file.start]
    if not heads:
        raise ValueError(f"{where} is too short to hold out a share of {share}")
    return heads, [Document(file, cut, file.characters) for file, cut in cuts]


def _held_files(files: list[TextFile], share: float) -> set[str]:
    """Names of files to hold out; copies together, if those of what is trained on leave less than half the share."""
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


def separated_files(
    where: str, train: list[TextFile], validation: list[TextFile] | None, separator: str, share: float,
    left_out: Sequence[str],
) -> Source:  # fmt: skip
    """A source of documents between separators, without line breaks at their ends. Without `validation` as many as fit
    into `share` are held out, ordered by a hash of their text; if that is less than half of it, the end of each one."""
    check_share(share)
    given = validation or []

    def digest(*labels: str) -> str:
        parts = [[*map(attrgetter(*labels), part)] for part in (train, given)]
        return hashed("separated", separator, share if validation is None else None, *parts)

    def streams() -> Iterator[Documents]:
        """The documents in their order; of those that the share cuts, the training text first."""
        found = [_documents(file, separator) for file in train]
        cuts = _divided(train, found, share) if validation is None else [each[:, [0, 1, 1]] for each in found]
        yield from map(_read, train, cuts)
        yield from (_read(file, _documents(file, separator)[:, [0, 0, 1]]) for file in given)

    characters, named = sum(file.characters for file in train + given), digest("name", "sha256", "start")
    return Source("text", where, named, digest("sha256", "start"), streams, characters, left_out=left_out)


def _documents(file: TextFile, separator: str) -> NDArray[np.int64]:
    """Where the documents of a file begin and end, in characters, (documents, 2)."""
    if not file.divided:
        return np.array([(file.start, file.characters)])
    found, place, start, stop = array("q"), file.start, -1, -1
    for piece, ends in split_pieces(file.whole.pieces(), separator):
        if text := piece.strip("\r\n"):
            first = place + piece.index(text)
            start = first if start < 0 else start
            stop = first + len(text)
        place += len(piece)
        if ends:
            found.extend((start, stop) if start >= 0 else ())
            start, place = -1, place + len(separator)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def split_pieces(pieces: Iterable[str], separator: str) -> Iterator[tuple[str, bool]]:
    """The text between separators in pieces, and whether its end is reached."""
    rest, kept = "", len(separator) - 1  # characters that may be the beginning of a separator
    for piece in pieces:
        *whole, rest = (rest + piece).split(separator)
        yield from ((text, True) for text in whole)
        yield rest[: max(0, len(rest) - kept)], False
        rest = rest[max(0, len(rest) - kept) :]
    yield rest, True


def _divided(files: list[TextFile], found: list[NDArray[np.int64]], share: float) -> list[NDArray[np.int64]]:
    """The documents of each file as (start, middle, stop): from the middle on their text is held out."""
    start, stop = np.concatenate(found).T
    hashes = (hash64(map(str.encode, pieces)) for file, each in zip(files, found, strict=True)
              for pieces in file.passages(each))  # fmt: skip
    kinds, kind = np.unique(np.fromiter(hashes, np.uint64, len(start)), return_inverse=True)
    held = fitting(np.bincount(kind, stop - start, len(kinds)).tolist(), share)
    middle = np.where(np.isin(kind, held), start, stop) if held else start + ((stop - start) * (1 - share)).astype(int)
    return np.split(np.stack([start, middle, stop], axis=1), np.cumsum([len(each) for each in found])[:-1])


def _read(file: TextFile, cuts: NDArray[np.int64]) -> Documents:
    """The documents of a file, each up to its middle for training and from there for validation."""
    parts = cuts[:, [0, 1, 1, 2]].reshape(-1, 2)
    for number, text in enumerate(file.passages(parts)):
        if parts[number, 0] < parts[number, 1]:
            yield ("train", "validation")[number % 2], f"{file.name}:{number // 2}", text
