"""The texts to choose from: one function, one file in conf/data; and `documents`, for a text of one's own."""

import hashlib
import re
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from gptx.ingredients.data.cache import cache_folder, keep, only_process, say
from gptx.ingredients.data.corpus import Windows
from gptx.ingredients.data.files import files_below, hashed, sha256_of, suffix, text_at, texts
from gptx.ingredients.data.hub import hub as hub
from gptx.ingredients.data.rows import ABOUT, COLUMN, row_text, source_of_rows, table_rows, tables_meant
from gptx.ingredients.data.sources import Source, held_out, separated_files, text_files

_UNREAD = frozenset({".csv", ".tsv", ".json"})  # tables that are text to gptx
_NOT_STANDARD = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})

ADDRESS = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_TIMEOUT = 30  # seconds without an answer
_WITHOUT_NETWORK = "get the file elsewhere and name it with data.path=FILE, or use data=stdlib, which needs no network"


def documents(
    name: str, train: Callable[[], Iterable[str]], validation: Callable[[], Iterable[str]], *, tokenizer: str,
    context: int, seed: int, order: str, version: str = "",
) -> Windows:  # fmt: skip
    """A text of one's own: `train` and `validation` are functions that return an iterable of texts, each a document.

    They are called more than once and must give the same texts every time. The texts are read at every start, to see
    whether they are tokenised already; with `version`, which you change with the texts, only to be tokenised. Raises
    ValueError for a document that is no text, and for texts that differ between calls.
    """
    functions, digests = {"train": train, "validation": validation}, dict[str, str]()

    def rows(split: str) -> Iterator[tuple[str, str]]:
        given = functions[split]() if callable(functions[split]) else None
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise ValueError(f"data {name}: {split} must be a function that returns an iterable of texts")
        digest = hashlib.sha256()
        for number, value in enumerate(given):
            if text := row_text(value, f"data {name}: {split} document {number + 1}"):
                digest.update(f"{len(text)} {text}".encode())
                yield f"{split}:{number}", text
        if digests.setdefault(split, digest.hexdigest()) != digest.hexdigest():
            raise ValueError(f"data {name}: {split}() gave other texts the second time; it must give the same ones")

    for split in () if version else functions:
        deque(rows(split), maxlen=0)
    digest = hashed(name, version) if version else hashed(digests)
    source = source_of_rows(
        re.sub(r"[^\w.-]+", "-", name), name, digest=digest, content=digest, train=partial(rows, "train"),
        validation=partial(rows, "validation"), share=0,
    )  # fmt: skip
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order)


def stdlib(*, tokenizer: str, context: int, seed: int, validation: float, order: str) -> Windows:
    """The source of the running Python's standard library without its tests, one document per file."""
    root = Path(sysconfig.get_path("stdlib"))
    modules = (path for path in files_below(root, without=_NOT_STANDARD) if path.suffix == ".py")
    # the build writes _sysconfigdata, with its own paths: without it the text depends on the version of Python alone
    files, left_out = texts(root, (path for path in modules if not path.name.startswith("_sysconfigdata")))
    if not files:
        raise FileNotFoundError(f"there is no source of the standard library in {root}; use data=text data.path=FILE")
    where = f"the standard library in {root}"
    source = text_files("stdlib", where, *held_out(where, files, share=validation), left_out)
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order, apart=True)


def text(
    *, path: str, validation_path: str | None, column: str | None, tokenizer: str, context: int, seed: int,
    validation: float, order: str, separator: str | None = None,
) -> Windows:  # fmt: skip
    """Any local text: a file, a folder with its subfolders or a glob, one document per file, per text between
    separators, or per row of a table. Raises ValueError or FileNotFoundError. Earlier configs have no `separator`."""
    if separator == "":
        raise ValueError("data.separator is empty; null is none")
    kinds = {tables_meant(each, column) for each in (path, validation_path) if each is not None}
    if len(kinds) == 2:
        raise ValueError(f"data.path={path} and data.validation_path={validation_path}: one has tables, one other text")
    if kinds == {True}:
        source = table_rows(path, validation_path, column=column or COLUMN, share=validation)
    else:
        source = _local_text(path, validation_path, separator=separator, share=validation)
    apart = validation_path is None
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order, apart=apart)


def _local_text(path: str, validation_path: str | None, *, separator: str | None, share: float) -> Source:
    files, left_out = text_at(path, separator)
    held, left_out_there = (None, []) if validation_path is None else text_at(validation_path, separator)
    where = " and ".join(filter(None, (path, validation_path)))
    _refuse_card(path, [file.path for file in files], left_out)
    left_out += left_out_there
    if separator and any(file.divided for file in files + (held or [])):
        return separated_files(where, files, held, separator, share, left_out)
    if held is None:
        return text_files("text", where, *held_out(where, files, share=share), left_out)
    return text_files("text", where, [file.whole for file in files], [file.whole for file in held], left_out)


def _refuse_card(path: str, files: list[Path], left_out: list[str]) -> None:
    """Raise ValueError for the copy of a dataset whose rows are not read as such: in an archive, or in _UNREAD."""
    about = [file for file in files if ABOUT.fullmatch(file.name)]
    rest = [file for file in files if file not in about]
    if left_out and not rest:
        raise ValueError(
            f"the only text in '{path}' is about the rest, such as {files[0]}, and that is left out: {left_out[0]}; "
            f"unpack it, or name what to train on: data.path={files[0]}"
        )
    if about and rest and _UNREAD.issuperset(map(suffix, rest)):
        raise ValueError(
            f"'{path}' holds {about[0].name} and {rest[0].name}, whose rows are not read: make it JSONL or Parquet, or "
            f"name what to train on as it is: data.path={rest[0]}"
        )


def shakespeare(*, path: str | None, tokenizer: str, context: int, seed: int, validation: float, order: str) -> Windows:
    """Tiny Shakespeare, 1,115,394 characters (github.com/karpathy/char-rnn), from `path` or else downloaded once."""
    files, left_out = text_at(str(_downloaded_shakespeare()) if path is None else path)
    where = path or "tiny Shakespeare"
    source = text_files("shakespeare", where, *held_out(where, files, share=validation), left_out)
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order)


def _downloaded_shakespeare() -> Path:
    """The file, downloaded if it is missing or not as it was published. Raises ConnectionError that says what to do."""
    import http.client
    import urllib.request

    file = cache_folder() / "downloads" / "tinyshakespeare.txt"
    if _published(file):
        return file
    with only_process(file):
        if _published(file):
            return file
        say(f"data: downloading {ADDRESS} to {file}")
        try:
            with urllib.request.urlopen(ADDRESS, timeout=_TIMEOUT) as answer:
                content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ConnectionError(f"{ADDRESS} cannot be downloaded ({reason}); {_WITHOUT_NETWORK}") from error
        if hashlib.sha256(content).hexdigest() != SHAKESPEARE_SHA256:
            raise ConnectionError(f"{ADDRESS} has something other than tiny Shakespeare; {_WITHOUT_NETWORK}")
        keep(file, content)
    return file


def _published(file: Path) -> bool:
    return file.is_file() and sha256_of(file) == SHAKESPEARE_SHA256
