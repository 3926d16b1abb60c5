"""The token cache: a source is tokenised once, by one process, completely or not at all."""

import json
import os
import shutil
import sys
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from gptx.data.sources import Document, Source
from gptx.data.tokenizers import END_OF_TEXT, construct, encoded, save_encoding

TOKENS = (
    "tokens-1"  # the number is raised when the files in it change, so that versions of gptx leave each other's alone
)
PARTIAL = ".partial"  # the name of a folder that is not finished
SPLITS = ("train", "validation")
CHECKED = 1 << 30  # bytes: larger files are checked by their size alone, since reading them would delay every start


def cache_folder() -> Path:
    """GPTX_CACHE if it is set, else the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("GPTX_CACHE") or platformdirs.user_cache_dir("gptx")).expanduser()


def tokenised(source: Source, tokenizer: str) -> Path:
    """Return the folder that holds `source` as tokens, after writing it where it is missing or damaged: per split
    `.tokens` (little-endian uint16 or uint32), `.starts.npy` (documents,) and `.names.jsonl`; and `tokenizer.json`.

    The folder is named after the digest of the source, so finding it costs one reading of the text. Raises OSError that
    names the cache where it cannot be written."""
    recipe = {"source": source.name, "tokenizer": tokenizer, "digest": source.digest}
    folder = cache_folder() / TOKENS / f"{source.name}-{tokenizer}-{source.digest[:16]}"
    if not fault(folder, recipe):
        return folder
    with only_process(folder):
        if complaint := fault(folder, recipe):  # else another process wrote it in the meantime
            if folder.exists():
                say(f"warning: the token cache {folder} is damaged ({complaint}) and is made anew")
            write(folder, source, tokenizer, recipe)
    return folder


def fault(folder: Path, recipe: dict[str, Any]) -> str:
    """Say what is wrong with a cache folder, by the sizes and CRC-32 of its files; empty where nothing is."""
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


def write(folder: Path, source: Source, tokenizer: str, recipe: dict[str, Any]) -> None:
    """Tokenise `source` beside `folder`, make it durable, and only then give it its name."""
    from tqdm import tqdm

    documents = source.train + source.validation
    characters = sum(document.stop - document.start for document in documents)
    say(f"data: tokenising {source.where} ({characters:,} characters, {tokenizer}) into {folder}")
    if source.left_out:
        say(f"data: {len(source.left_out)} files that are not text are left out; the first: {source.left_out[0]}")
    encoding = construct(tokenizer, (piece for document in documents for piece in document.pieces()))
    partial = folder.with_suffix(PARTIAL)
    try:
        partial.mkdir()
        # disable=None: no bar where stderr is a file, which would fill with it
        with tqdm(total=characters, unit="char", unit_scale=True, leave=False, disable=None) as bar:
            for split in SPLITS:
                write_split(partial / split, getattr(source, split), encoding, bar)
        save_encoding(encoding, partial / "tokenizer.json")
        files = {file.name: {"bytes": file.stat().st_size, "crc32": checksum(file)} for file in partial.iterdir()}
        (partial / "meta.json").write_text(json.dumps({"recipe": recipe, "files": files}, indent=2, sort_keys=True))
        for path in (*partial.iterdir(), partial):
            sync(path)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        sync(folder.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk shall not stay full because of it
        raise unwritable(folder, error) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_split(base: Path, documents: list[Document], encoding: Any, bar: Any) -> None:
    """Stream documents, each followed by one end of text, to `base`.tokens, with their starts and names beside it."""
    dtype = token_type(encoding.n_vocab)
    end = np.array([encoding.encode_single_token(END_OF_TEXT)], dtype=dtype).tobytes()
    starts, position = array("q"), 0
    with open(f"{base}.tokens", "wb") as tokens, open(f"{base}.names.jsonl", "w", encoding="utf-8") as names:
        for document in documents:
            starts.append(position)
            names.write(json.dumps(document.file.name) + "\n")
            for ids in encoded(encoding, counted(document.pieces(), bar)):
                tokens.write(ids.astype(dtype).tobytes())
                position += len(ids)
            tokens.write(end)
            position += 1
    np.save(f"{base}.starts.npy", np.asarray(starts, dtype=np.int64))


def counted(pieces: Iterator[str], bar: Any) -> Iterator[str]:
    """Pass pieces on and show them on the progress bar."""
    for piece in pieces:
        yield piece
        bar.update(len(piece))


def token_type(vocab_size: int) -> np.dtype:
    """The smallest of uint16 and uint32 that holds every token id."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Let one process at a time work on `folder`, and clear away what killed ones left unfinished beside it."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{folder}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"data: waiting for another process that prepares {folder}")
            lock.acquire()
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        for partial in folder.parent.glob(f"*{PARTIAL}"):
            theirs = lock if partial == folder.with_suffix(PARTIAL) else FileLock(partial.with_suffix(".lock"))
            with suppress(Timeout), theirs.acquire(timeout=0):  # free: whoever began it is no longer alive
                shutil.rmtree(partial, ignore_errors=True)
        yield
    finally:
        lock.release()


def unwritable(folder: Path, error: OSError) -> OSError:
    """The one line for a full or read-only disk."""
    return OSError(
        f"the token cache {folder} cannot be written ({error.strerror or error}); "
        "make room there, or set GPTX_CACHE to a folder that can be written"
    )


def checksum(path: Path) -> int:
    """CRC-32 of a file: enough against flipped bits, and a gigabyte takes less than a second."""
    crc = 0
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return crc


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def say(line: str) -> None:
    """Tell the user at once, apart from the results on stdout."""
    print(line, file=sys.stderr, flush=True)
