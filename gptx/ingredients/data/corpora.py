"""The texts to choose from: one function, one file in conf/data; and `documents`, for a text of one's own."""

import hashlib
import json
import os
import re
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from gptx.ingredients.data.cache import cache_folder, keep, only_process, say
from gptx.ingredients.data.corpus import Windows
from gptx.ingredients.data.files import files_below, hashed, sha256_of, suffix, text_at, texts
from gptx.ingredients.data.rows import ABOUT, COLUMN, refuse_without, row_text, source_of_rows, table_rows, tables_meant
from gptx.ingredients.data.sources import Source, check_share, separated_files, text_files
from gptx.units.amounts import whole

_NOT_STANDARD = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
ADDRESS = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_SECONDS = 10  # without an answer of the hub
_HTTP = {"httpx", "httpcore", "aiohttp", "requests", "urllib3", "huggingface_hub"}  # what `datasets` may read with
_WITHOUT_NETWORK = "get the file elsewhere and name it with data.path=FILE, or use data=stdlib, which needs no network"


def documents(
    name: str, train: Callable[[], Iterable[str]], validation: Callable[[], Iterable[str]], *, tokenizer: str,
    context: int, seed: int, order: str, version: str = "",
) -> Windows:  # fmt: skip
    """A text of one's own: `train` and `validation` are functions that return an iterable of texts, each a document.

    They are called more than once and must give the same texts every time. The texts are read at every start, to see
    whether they are tokenised already; with `version`, which you change with the texts, only to be tokenised. Raises
    ValueError for a document that is no text, and for texts that differ between calls."""
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
    held = partial(rows, "validation")
    source = source_of_rows(name, name, digest=digest, train=partial(rows, "train"), validation=held, share=0)
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order)


def stdlib(*, tokenizer: str, context: int, seed: int, validation: float, order: str) -> Windows:
    """The source of the running Python's standard library without its tests, one document per file."""
    root = Path(sysconfig.get_path("stdlib"))
    modules = (path for path in files_below(root, without=_NOT_STANDARD) if path.suffix == ".py")
    # the build writes _sysconfigdata, with its own paths: without it the text depends on the version of Python alone
    files, left_out = texts(root, (path for path in modules if not path.name.startswith("_sysconfigdata")))
    if not files:
        raise FileNotFoundError(f"there is no source of the standard library in {root}; use data=text data.path=FILE")
    source = text_files("stdlib", f"the standard library in {root}", files, None, validation, left_out)
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order, apart=True)


def text(
    *, path: str, validation_path: str | None, column: str | None, tokenizer: str, context: int, seed: int,
    validation: float, order: str, separator: str | None = None,  # which earlier configs lack
) -> Windows:  # fmt: skip
    """Any local text: a document per file, text between separators or row of a table. Raises ValueError or OSError."""
    if separator == "":
        raise ValueError("data.separator is empty; null is none")
    kinds = {tables_meant(each, column) for each in (path, validation_path) if each is not None}
    if len(kinds) == 2:
        raise ValueError(f"data.path={path} and data.validation_path={validation_path}: one has tables, one other text")
    if kinds == {True}:
        source = table_rows(path, validation_path, column=column or COLUMN, share=validation)
    else:
        source = _local_text(path, validation_path, separator=separator, share=validation)
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order, apart=validation_path is None)


def _local_text(path: str, validation_path: str | None, *, separator: str | None, share: float) -> Source:
    files, left_out = text_at(path, separator)
    held, left_out_there = (None, []) if validation_path is None else text_at(validation_path, separator)
    where = " and ".join(filter(None, (path, validation_path)))
    _refuse_card(path, [file.path for file in files], left_out)
    left_out += left_out_there
    if separator and any(file.divided for file in files + (held or [])):
        return separated_files(where, files, held, separator, share, left_out)
    return text_files("text", where, files, held, share, left_out)


def _refuse_card(path: str, files: list[Path], left_out: list[str]) -> None:
    """Raise ValueError for the copy of a dataset whose rows are not read as such: in an archive, CSV or JSON."""
    about = [file for file in files if ABOUT.fullmatch(file.name)]
    rest = [file for file in files if file not in about]
    if left_out and not rest:
        line = f"the only text in '{path}' is about the rest, such as {files[0]}, and that is left out: {left_out[0]}"
        raise ValueError(f"{line}; unpack it, or name what to train on: data.path={files[0]}")
    if about and rest and {".csv", ".tsv", ".json"}.issuperset(map(suffix, rest)):  # tables that are text to gptx
        line = f"'{path}' holds {about[0].name} and {rest[0].name}, whose rows are not read; make it JSONL or Parquet"
        raise ValueError(f"{line}, or name what to train on as it is: data.path={rest[0]}")


def shakespeare(*, path: str | None, tokenizer: str, context: int, seed: int, validation: float, order: str) -> Windows:
    """Tiny Shakespeare, 1,115,394 characters (github.com/karpathy/char-rnn), from `path` or else downloaded once."""
    files, left_out = text_at(str(_downloaded_shakespeare()) if path is None else path)
    source = text_files("shakespeare", path or "tiny Shakespeare", files, None, validation, left_out)
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order)


def _downloaded_shakespeare() -> Path:
    import http.client
    import urllib.request

    file = cache_folder() / "downloads" / "tinyshakespeare.txt"
    with nullcontext() if _published(file) else only_process(file):
        if _published(file):
            return file
        say(f"data: downloading {ADDRESS} to {file}")
        try:
            with urllib.request.urlopen(ADDRESS, timeout=30) as answer:
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


def hub(
    *, dataset: str, config: str | None, revision: str | None, split: str, validation_split: str | None, column: str,
    tokens: int | str | None, tokenizer: str, context: int, seed: int, validation: float, order: str,
) -> Windows:  # fmt: skip
    """A dataset of the Hugging Face hub, or a local folder that `datasets` reads; each row is a document. The digest is
    of address and commit, so that what is tokenised needs no network. Raises ConnectionError or ValueError."""
    check_share(validation)
    local, limit = Path(dataset).is_dir(), number_of_tokens(tokens)
    commit = _digest_of(Path(dataset)) if local else _commit_of(dataset, revision)
    share = validation if validation_split is None else 0
    digest = hashed(None if local else dataset, config, commit, split, validation_split, column, limit, share)
    rows = partial(_rows, dataset, config, None if local else commit, column)
    source = source_of_rows(
        Path(dataset).name if local else dataset, f"dataset {dataset}" + (f" ({config})" if config else ""),
        digest=digest, train=partial(rows, split), share=validation, tokens=limit,
        validation=None if validation_split is None else partial(rows, validation_split),
    )  # fmt: skip
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order)


def number_of_tokens(tokens: int | str | None) -> int | None:
    """100M as 100,000,000; None for all there are. Raises ValueError for what is no number."""
    return None if tokens is None else whole("data.tokens", str(tokens), most=10**15, example="100M, or null for all")


def _digest_of(folder: Path) -> str:
    files = sorted(filter(Path.exists, files_below(folder)))
    facts = (json.dumps([path.relative_to(folder).as_posix(), sha256_of(path)]) for path in files)
    return hashlib.sha256("".join(facts).encode()).hexdigest()


def _commit_of(dataset: str, revision: str | None) -> str:
    """The commit that `revision` (null: the newest) named at its first use here: a run means the same data tomorrow."""
    if re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        return str(revision)
    file = cache_folder() / "commits" / re.sub(r"[^\w.-]+", "--", f"{dataset}@{revision or 'newest'}")
    if file.is_file() and re.fullmatch(r"[0-9a-f]{40}", commit := file.read_text().strip()):
        return commit
    commit = _newest_commit(dataset, revision)
    keep(file, f"{commit}\n".encode())
    return commit


def _newest_commit(dataset: str, revision: str | None) -> str:
    for limit in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
        os.environ.setdefault(limit, str(_SECONDS))
    from huggingface_hub import HfApi, errors

    try:
        return str(HfApi().dataset_info(dataset, revision=revision, timeout=_SECONDS).sha)
    except errors.HFValidationError as error:
        raise ValueError(f"data.dataset={dataset} is neither a folder here nor a name of the hub ({error})") from error
    except errors.GatedRepoError as error:
        raise ValueError(f"data.dataset={dataset}: accept its terms on the hub and set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"data.revision={revision}: dataset {dataset} has no such branch, tag or commit") from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(f"data.dataset={dataset}: the hub has no such dataset, or it is private") from error
    except Exception as error:  # of the HTTP library below; each means that there was no answer
        raise _unreachable(dataset, error) from error


def _unreachable(dataset: str, error: Exception) -> ConnectionError:
    cure = "give a local copy by data=text data.path=FOLDER, or use data=stdlib, which needs no network"
    return ConnectionError(f"dataset {dataset} cannot be fetched from the hub ({type(error).__name__}); {cure}")


def _rows(dataset: str, config: str | None, commit: str | None, column: str, split: str) -> Iterator[tuple[str, str]]:
    try:
        for number, row in enumerate(_table(dataset, config, commit, split)):
            refuse_without(column, f"dataset {dataset}", row)
            if text := row_text(row[column], f"data.column={column}: row {number + 1} of dataset {dataset}"):
                yield f"{split}:{number}", text
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in _HTTP:
            raise _unreachable(dataset, error) from error
        raise


def _table(dataset: str, config: str | None, revision: str | None, split: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    try:
        names = datasets.get_dataset_config_names(dataset, revision=revision)
        if config not in names and (config is not None or len(names) > 1):
            raise ValueError(f"data.config={config}: dataset {dataset} has {', '.join(names)}")
        splits = datasets.load_dataset(dataset, config, revision=revision, streaming=True)
    except FileNotFoundError as error:
        raise ValueError(f"data.dataset={dataset}: {' '.join(str(error).split())}") from error
    if split not in splits:
        raise ValueError(f"dataset {dataset} has no split '{split}'; its splits: {', '.join(splits)}")
    return splits[split]
