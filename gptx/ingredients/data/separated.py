"""Texts in which a separator stands between documents, such as <|endoftext|> between stories."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from gptx.ingredients.data.files import hash64, hashed
from gptx.ingredients.data.sources import Documents, Source, TextFile, check_share, fitting

_BREAKS = "\r\n"


def separated_files(
    where: str, train: list[TextFile], validation: list[TextFile] | None, separator: str, share: float,
    left_out: Sequence[str],
) -> Source:  # fmt: skip
    """A source of text files, each document of which ends where the separator stands; line breaks at its ends are left
    out. A file without the separator is one document, as it is.

    Without `validation`, documents are held out in the order of a hash of their text, as many as fit into `share`, so
    that equal ones stay together; if these are few and long and come to less than half of it, the end of each one.
    """
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

    return Source(
        name="text", where=where, digest=digest("name", "sha256", "start"), content=digest("sha256", "start"),
        streams=streams, characters=sum(file.characters for file in train + given), left_out=left_out,
    )  # fmt: skip


def _documents(file: TextFile, separator: str) -> NDArray[np.int64]:
    """Where the documents of a file begin and end, in characters, (documents, 2)."""
    if not file.divided:
        return np.array([(file.start, file.characters)])
    found, place, start, stop = array("q"), file.start, -1, -1
    for piece, ends in split_pieces(file.whole.pieces(), separator):
        if text := piece.strip(_BREAKS):
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
    """The documents of a file, each up to its middle as training text, and from there as validation text."""
    parts = cuts[:, [0, 1, 1, 2]].reshape(-1, 2)
    for number, text in enumerate(file.passages(parts)):
        if parts[number, 0] < parts[number, 1]:
            yield ("train", "validation")[number % 2], f"{file.name}:{number // 2}", text
