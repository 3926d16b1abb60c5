"""The token cache: a source is tokenised once, by one process, completely or not at all."""

import json
import os
import shutil
import sys
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gptx.files import Held, delete, in_one_step, lock, sync
from gptx.ingredients.data.files import CHUNK
from gptx.ingredients.data.sources import Documents, Source
from gptx.ingredients.data.tokenizers import END_OF_TEXT, construct, encoder, limited, save_encoding, text_parts
from gptx.units.hardware import cores
from gptx.units.printable import bare

_Part = tuple[str, str, str]  # split and name of a document, and a part of its text; empty is its end
_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
FORMAT = "tokens-1"  # raised when the files below it change, so that versions of gptx leave each other's alone
_PARTIAL = ".partial"  # the end of the name of a folder that is not finished
SPLITS = ("train", "validation")
CHECKED = 1 << 30  # bytes: larger files are checked by their size alone, since reading them would delay every start


def cache_folder() -> Path:
    """GPTX_CACHE if it is set, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("GPTX_CACHE") or platformdirs.user_cache_dir("gptx")).expanduser()


def tokenised(source: Source, tokenizer: str, *, workers: int | None = None) -> Path:
    """The folder that holds `source` as tokens, written (by `workers` threads, else one per core) if it is missing or
    damaged: per split `.tokens` (little-endian uint16 or uint32), `.starts.npy` (documents,) and `.names.jsonl`; and
    `tokenizer.json`. Raises OSError that names the cache if it cannot be written."""
    recipe = {"source": source.name, "tokenizer": tokenizer, "digest": source.digest}
    folder = cache_folder() / FORMAT / f"{source.name}-{tokenizer.replace(':', '-')}-{source.digest[:16]}"
    if _fault(folder, recipe):
        with only_process(folder):
            if fault := _fault(folder, recipe):  # else another process wrote it in the meantime
                if folder.exists():
                    say(f"warning: the token cache {folder} is damaged ({fault}) and is written again")
                _write(folder, source, tokenizer, recipe, workers or cores())
    return folder


def _fault(folder: Path, recipe: dict[str, Any]) -> str:
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        if meta["recipe"] != recipe:
            return "meta.json is of another source"
        for name, expected in meta["files"].items():
            size = (folder / name).stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size:,} bytes instead of {expected['bytes']:,}"
            if size <= CHECKED and checksum(folder / name) != expected["crc32"]:
                return f"{name} has another checksum"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "meta.json is unreadable"
    return ""


def _write(folder: Path, source: Source, tokenizer: str, recipe: dict[str, Any], workers: int) -> None:
    """Tokenise `source` next to `folder`, make it durable, and only then give it its name."""
    from tqdm import tqdm

    total = source.characters
    size = f"{total:,} characters" if total else f"{source.tokens:,} tokens" if source.tokens else "all of it"
    say(f"data: tokenising {source.where} ({size}, {tokenizer}) into {folder}")
    texts = (chain.from_iterable(pieces for *_, pieces in stream) for stream in source.streams())
    enough = (limited(text, source.tokens or sys.maxsize) for text in texts)
    encoding = construct(tokenizer, chain.from_iterable(enough))
    partial = folder.with_name(folder.name + _PARTIAL)
    try:
        partial.mkdir()
        # disable=None: no bar where stderr is a file, which would fill with it
        with tqdm(total=total, unit="char", unit_scale=True, leave=False, disable=None, file=bare(sys.stderr)) as bar:
            _write_splits(partial, source, encoding, bar, workers)
        save_encoding(encoding, partial / "tokenizer.json")
        files = {file.name: {"bytes": file.stat().st_size, "crc32": checksum(file)} for file in partial.iterdir()}
        (partial / "meta.json").write_text(json.dumps({"recipe": recipe, "files": files}, indent=2, sort_keys=True))
        for path in (*partial.iterdir(), partial):
            sync(path)
        delete(folder)
        partial.rename(folder)
        sync(folder.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)  # so that it does not keep a full disk full
        if isinstance(error, OSError) and not isinstance(error, ConnectionError):  # which is the source's
            raise unwritable(folder, error) from error
        raise


def _write_splits(folder: Path, source: Source, encoding: Any, bar: Any, workers: int) -> None:
    """Tokenise in `workers` threads (tiktoken computes outside Python's lock), an end of text after each document."""
    dtype, encode, limit = token_type(encoding.n_vocab), encoder(encoding), source.tokens or sys.maxsize
    end = np.array([encoding.encode_single_token(END_OF_TEXT)], dtype=dtype).tobytes()
    starts, sizes, within = {"train": array("q"), "validation": array("q")}, dict.fromkeys(SPLITS, 0), False

    def encoded(job: list[_Part]) -> list[tuple[_Part, bytes]]:
        return [(part, encode(part[2]).astype(dtype).tobytes() if part[2] else end) for part in job]

    with ExitStack() as stack:
        tokens = {split: stack.enter_context(open(folder / f"{split}.tokens", "wb")) for split in SPLITS}
        names = {split: stack.enter_context(open(folder / f"{split}.names.jsonl", "w")) for split in SPLITS}
        for stream in source.streams():
            with closing(in_order(encoded, _jobs(encoding, stream), workers)) as results:
                for (split, name, text), ids in chain.from_iterable(results):
                    if not within:
                        starts[split].append(sizes[split] // dtype.itemsize)
                        names[split].write(json.dumps(name) + "\n")
                    sizes[split] += tokens[split].write(ids)
                    within = bool(text)
                    bar.update(len(text))
                    if not within and sizes[split] >= limit * dtype.itemsize:
                        break
    for split, found in starts.items():
        np.save(folder / f"{split}.starts.npy", np.asarray(found, dtype=np.int64))


def _jobs(encoding: Any, documents: Documents) -> Iterator[list[_Part]]:
    """The parts of all documents in lists of about CHUNK characters, however short or long documents are."""
    job, size = list[_Part](), 0
    for split, name, pieces in documents:
        for text in chain(filter(None, text_parts(encoding, pieces)), [""]):
            job.append((split, name, text))
            size += len(text)
            if size >= CHUNK:
                yield job
                job, size = [], 0
    yield job


def in_order(function: Callable[[_Job], _Result], jobs: Iterable[_Job], workers: int) -> Generator[_Result, None, None]:
    """Yield function(job) for every job, in order, computed in `workers` threads that are never far ahead."""
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[_Result]] = deque()
        for job in jobs:
            ahead.append(pool.submit(function, job))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        yield from (future.result() for future in ahead)


def token_type(vocab_size: int) -> np.dtype:
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Let one process at a time work on `folder`, and remove what killed ones left unfinished next to it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        own = lock(Path(f"{folder}.lock"), lambda held: say(f"data: waiting for {held} to prepare {folder}"))
    except OSError as error:
        raise unwritable(Path(error.filename or folder), error) from error
    with own:
        for partial in folder.parent.glob(f"*{_PARTIAL}"):
            with suppress(Held, OSError):  # another user's is left alone; free if the process that began it is gone
                with nullcontext() if partial.stem == folder.name else lock(partial.with_suffix(".lock")):
                    delete(partial)
        yield


def unwritable(folder: Path, error: OSError) -> OSError:
    """The error in one line for a full or read-only disk."""
    line = f"the token cache {folder} cannot be written ({error.strerror or error})"
    return OSError(f"{line}; make room there, or set GPTX_CACHE to a folder that can be written")


def keep(file: Path, content: bytes) -> None:
    """Write a file below the cache folder in one step. Raises OSError that says what to do."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        in_one_step(file, lambda part: part.write_bytes(content))
    except OSError as error:
        raise unwritable(file, error) from error


def checksum(path: Path) -> int:
    """CRC-32 of a file: enough against flipped bits, and a gigabyte takes less than a second."""
    crc = 0
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return crc


def say(line: str) -> None:
    """Print a line immediately, to stderr: stdout is for results."""
    print(line, file=sys.stderr, flush=True)
