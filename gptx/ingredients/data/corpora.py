"""The texts to choose from: one function, one file in conf/data."""

import hashlib
import sysconfig
from pathlib import Path

from gptx.files import in_one_step
from gptx.ingredients.data.cache import cache_folder, only_process, say, unwritable
from gptx.ingredients.data.corpus import Corpus
from gptx.ingredients.data.files import suffix, walk
from gptx.ingredients.data.hub import hub_rows, number_of_tokens
from gptx.ingredients.data.rows import ABOUT, COLUMN, tables, tables_meant
from gptx.ingredients.data.separated import Separated
from gptx.ingredients.data.sources import Source, TextFiles, held_out, text_at, texts

UNREAD = frozenset({".csv", ".tsv", ".json"})  # tables that are text to gptx
TESTS = frozenset({"test", "tests", "idle_test"})
NOT_STANDARD = frozenset({"site-packages", "dist-packages", "__pycache__"})

SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TIMEOUT = 30  # seconds without an answer
WITHOUT_NETWORK = "get the file elsewhere and name it with data.path=FILE, or use data=stdlib, which needs no network"


def stdlib(*, tokenizer: str, context: int, seed: int, validation: float, order: str) -> Corpus:
    """The source of the running Python's standard library without its tests, one document per file."""
    root = Path(sysconfig.get_path("stdlib"))
    modules = (path for path in walk(root, without=TESTS | NOT_STANDARD) if path.suffix == ".py")
    # the build writes _sysconfigdata, with its own paths: without it the text depends on the version of Python alone
    files, left_out = texts(root, (path for path in modules if not path.name.startswith("_sysconfigdata")))
    if not files:
        raise FileNotFoundError(f"there is no source of the standard library in {root}; use data=text data.path=FILE")
    source = held_out("stdlib", f"the standard library in {root}", files, share=validation, left_out=left_out)
    return Corpus(source, tokenizer=tokenizer, context=context, seed=seed, order=order, apart=True)


def text(
    *,
    path: str,
    validation_path: str | None,
    column: str | None,
    tokenizer: str,
    context: int,
    seed: int,
    validation: float,
    order: str,
    separator: str | None = None,
) -> Corpus:
    """Any local text: a file, a folder with its subfolders or a glob, one document per file, per text between
    separators, or per row of a table; raises ValueError or FileNotFoundError where there is none.

    Without `separator` it is what runs trained on whose config has none.
    """
    if separator == "":
        raise ValueError("data.separator is empty; null is none")
    kinds = {tables_meant(each, column) for each in (path, validation_path) if each is not None}
    if len(kinds) == 2:
        raise ValueError(f"data.path={path} and data.validation_path={validation_path}: one has tables, one other text")
    source: Source
    if kinds == {True}:
        source = tables(path, validation_path, column=column or COLUMN, share=validation)
    else:
        source = local_text(path, validation_path, separator=separator, share=validation)
    apart = validation_path is None
    return Corpus(source, tokenizer=tokenizer, context=context, seed=seed, order=order, apart=apart)


def local_text(path: str, validation_path: str | None, *, separator: str | None, share: float) -> Source:
    """The files of text at `path`, and for validation those at another path or a share of these."""
    files, left_out = text_at(path, separator)
    held, left_out_there = ([], []) if validation_path is None else text_at(validation_path, separator)
    where = path if validation_path is None else f"{path} and {validation_path}"
    refuse_card(path, [file.path for file in files], left_out)
    left_out += left_out_there
    if separator and any(file.divided for file in files + held):
        return Separated("text", where, files, None if validation_path is None else held, separator, share, left_out)
    if validation_path is None:
        return held_out("text", where, files, share=share, left_out=left_out)
    return TextFiles("text", where, [file.whole for file in files], [file.whole for file in held], left_out)


def refuse_card(path: str, files: list[Path], left_out: list[str]) -> None:
    """Raise ValueError for the copy of a dataset whose rows are not read as such: in an archive, or in UNREAD."""
    about = [file for file in files if ABOUT.fullmatch(file.name)]
    rest = [file for file in files if file not in about]
    if left_out and not rest:
        raise ValueError(
            f"the only text in '{path}' is about the rest, such as {files[0]}, and that is left out: {left_out[0]}; "
            f"unpack it, or name what to train on: data.path={files[0]}"
        )
    if about and rest and all(suffix(file) in UNREAD for file in rest):
        raise ValueError(
            f"'{path}' holds {about[0].name} and {rest[0].name}, whose rows are not read: make it JSONL or Parquet, or "
            f"name what to train on as it is: data.path={rest[0]}"
        )


def hub(
    *,
    dataset: str,
    config: str | None,
    revision: str | None,
    split: str,
    validation_split: str | None,
    column: str,
    tokens: int | str | None,
    tokenizer: str,
    context: int,
    seed: int,
    validation: float,
    order: str,
) -> Corpus:
    """A dataset of the Hugging Face hub, or a local folder that `datasets` reads, one document per row: as many
    tokens as asked for, read as a stream. Raises ConnectionError or ValueError that say what to do."""
    source = hub_rows(
        dataset, config, revision, split=split, validation_split=validation_split, column=column,
        tokens=number_of_tokens(tokens), share=validation,
    )  # fmt: skip
    return Corpus(source, tokenizer=tokenizer, context=context, seed=seed, order=order)


def shakespeare(*, path: str | None, tokenizer: str, context: int, seed: int, validation: float, order: str) -> Corpus:
    """Tiny Shakespeare, 1,115,394 characters (github.com/karpathy/char-rnn), from `path` or else downloaded once."""
    files, left_out = text_at(str(downloaded_shakespeare()) if path is None else path)
    source = held_out("shakespeare", path or "tiny Shakespeare", files, share=validation, left_out=left_out)
    return Corpus(source, tokenizer=tokenizer, context=context, seed=seed, order=order)


def downloaded_shakespeare() -> Path:
    """Return the downloaded file, fetching it where it is missing or not as it was published; raises ConnectionError
    that says what to do without a network."""
    file = cache_folder() / "downloads" / "tinyshakespeare.txt"
    if published(file):
        return file
    with only_process(file):
        if not published(file):
            say(f"data: downloading {SHAKESPEARE} to {file}")
            content = fetched(SHAKESPEARE)
            try:
                in_one_step(file, lambda part: part.write_bytes(content))
            except OSError as error:
                raise unwritable(file, error) from error
    return file


def published(file: Path) -> bool:
    """Whether the file is tiny Shakespeare to the last byte."""
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == SHAKESPEARE_SHA256


def fetched(url: str) -> bytes:
    """The content behind `url`, if it is what was published."""
    import http.client
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content: bytes = answer.read()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ConnectionError(f"{url} cannot be downloaded ({reason}); {WITHOUT_NETWORK}") from error
    if hashlib.sha256(content).hexdigest() != SHAKESPEARE_SHA256:
        raise ConnectionError(f"{url} answered with something else than tiny Shakespeare; {WITHOUT_NETWORK}")
    return content
