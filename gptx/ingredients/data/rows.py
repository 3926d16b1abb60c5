"""Documents that are rows with a text: of JSONL, Parquet and Arrow files, or of any iterator."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gptx.ingredients.data import files
from gptx.ingredients.data.files import DAMAGED, decompressed, found, hash64, hashed, suffix
from gptx.ingredients.data.sources import Documents, Source, check_share

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".arrow")  # of .json, files with a row a line
_LONGEST = 1 << 24  # bytes of a line that is looked at to find out whether a .json has a row a line
# What lies next to tables and is no text of theirs: about a dataset, or what `datasets` writes with save_to_disk.
ABOUT = re.compile(r"(readme|licen[cs]e|copying|notice|citation|changelog|contributing|datasheet|dataset_infos?"
                   r"|dataset_dict|state)([._-].*)?", re.IGNORECASE)  # fmt: skip
COLUMN = "text"  # what nearly every dataset calls it
_BATCH = 256  # rows of Parquet that are in memory at a time
Rows = Callable[[], Iterator[tuple[str, str]]]  # names and texts, from the first one at every call


def source_of_rows(
    name: str, where: str, *, digest: str, content: str = "", train: Rows, validation: Rows | None, share: float,
    tokens: int | None = None, left_out: Sequence[str] = (),
) -> Source:  # fmt: skip
    """A source of rows, each a document. Without `validation` a hash of the text decides: no text is in both splits."""

    def split(text: str) -> str:
        falls = validation is None and hash64([text.encode("utf-8", "replace")]) < share * 2**64
        return "validation" if falls else "train"

    def streams() -> Iterator[Documents]:
        if validation is not None:
            yield (("validation", name, (text,)) for name, text in validation())
        yield ((split(text), name, (text,)) for name, text in train())

    name = re.sub(r"[^\w.-]+", "-", name)
    return Source(name, where, digest, content or digest, streams, tokens=tokens, left_out=left_out)


def tables_meant(path: str, column: str | None) -> bool:
    """True for tables: a column is asked for, or there is no text but about them. Raises ValueError for both."""
    if column is not None:
        return True
    root, paths = found(path)
    rows = sorted(filter(_is_table, paths))
    for other in sorted({*paths} - {*rows}) if rows else ():
        if not ABOUT.fullmatch(other.name) and files.texts(root, [other])[0]:
            line = f"'{path}' holds tables, such as {rows[0].relative_to(root)}, and text, {other.relative_to(root)}"
            pattern = f"'data.path=\"{root}/**/*{other.suffix}\"'"
            raise ValueError(f"{line}: data.column={COLUMN} takes the rows, a pattern such as {pattern} the text")
    return bool(rows)


class _Table(NamedTuple):
    name: str
    path: Path
    sha256: str
    modified: int  # nanoseconds


def table_rows(path: str, validation_path: str | None, *, column: str, share: float) -> Source:
    """The rows of all tables of `path`; raises ValueError if there is none, or one without that column."""
    check_share(share)
    train, left_out = _tables_at(path, column)
    held, left_out_there = (None, []) if validation_path is None else _tables_at(validation_path, column)

    def digest(key: Callable[[_Table], Any]) -> str:
        parts = ([key(table) for table in part] for part in (train, held or []))
        return hashed(column, share if held is None else None, *parts)

    return source_of_rows(
        "text", " and ".join(filter(None, (path, validation_path))), left_out=left_out + left_out_there,
        digest=digest(lambda table: (table.name, table.sha256)), content=digest(lambda table: table.sha256),
        train=partial(_rows_of, train, column), share=share,
        validation=None if held is None else partial(_rows_of, held, column),
    )  # fmt: skip


def _tables_at(path: str, column: str) -> tuple[list[_Table], list[str]]:
    root, paths = found(path)
    chosen = sorted((file.relative_to(root).as_posix(), file) for file in paths if _is_table(file))
    if not chosen:
        raise ValueError(f"data.column={column}: there is no table ({', '.join(_SUFFIXES)}) in '{path}'")
    for _, file in chosen:
        next(_texts_of(file, column), None)
    left_out = [f"{file} is no table" for file in sorted({*paths} - {file for _, file in chosen})]
    return [_Table(name, file, files.sha256_of(file), file.stat().st_mtime_ns) for name, file in chosen], left_out


def _is_table(path: Path) -> bool:
    """True by its name, or for a .json whose first two lines are JSON objects; not for the cache of `datasets`."""
    if (kind := suffix(path)) != ".json":
        return kind in _SUFFIXES and not (kind == ".arrow" and path.name.startswith("cache-"))
    try:
        with decompressed(path) as stream:
            lines = filter(bytes.strip, iter(lambda: stream.readline(_LONGEST), b""))
            return all(isinstance(json.loads(next(lines, b"")), dict) for _ in range(2))
    except (ValueError, RecursionError, *DAMAGED):
        return False


def _rows_of(tables: Iterable[_Table], column: str) -> Iterator[tuple[str, str]]:
    for table in tables:
        if table.path.stat().st_mtime_ns != table.modified:
            raise ValueError(f"{table.path} changed while it was being read; start again")
        for number, text in enumerate(_texts_of(table.path, column)):
            if text:
                yield f"{table.name}:{number}", text


def _texts_of(path: Path, column: str) -> Iterator[str | None]:
    try:
        files.refuse_pointer(path)
        reader = _column if suffix(path) in (".parquet", ".arrow") else jsonl
        for number, value in enumerate(reader(path, column)):
            yield row_text(value, f"data.column={column}: row {number + 1} of {path}")
    except DAMAGED as error:
        raise ValueError(str(files.unreadable(path, error))) from error


def row_text(value: Any, place: str) -> str | None:
    """The text of a row, with U+FFFD for half a surrogate pair, or None. Raises ValueError for anything else."""
    if value is None or isinstance(value, str):
        return value and value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    raise ValueError(f"{place} holds {type(value).__name__}, not text")


def jsonl(path: Path, column: str) -> Iterator[Any]:
    """A column of a file with one JSON object a line."""
    with decompressed(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path} line {number} is not JSON that can be read ({error})") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path} line {number} is {type(row).__name__}, not an object with columns")
            refuse_without(column, f"{path} line {number}", row)
            yield row[column]


def _column(path: Path, column: str) -> Iterator[Any]:
    """A column of a Parquet file, or of a stream (which `datasets` saves) or a file of Arrow batches."""
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        with pyarrow.memory_map(str(path)) as stream:
            kind = stream.read(6)
            stream.seek(0)
            if suffix(path) == ".parquet":
                table = pyarrow.parquet.ParquetFile(stream)
                schema, batches = table.schema_arrow, table.iter_batches(batch_size=_BATCH, columns=[column])
            elif kind == b"ARROW1":
                table = pyarrow.ipc.open_file(stream)
                schema, batches = table.schema, map(table.get_batch, range(table.num_record_batches))
            else:
                batches = pyarrow.ipc.open_stream(stream)
                schema = batches.schema
            refuse_without(column, str(path), schema.names)
            for batch in batches:
                yield from batch.column(column).to_pylist()
    except pyarrow.lib.ArrowException as error:
        line = " ".join(str(error).split())
        raise ValueError(f"{path} is not a whole {suffix(path)[1:].capitalize()} file ({line})") from error


def refuse_without(column: str, place: str, columns: Iterable[str]) -> None:
    """Raise ValueError unless the column is one of those there."""
    if column not in columns:
        raise ValueError(f"data.column={column}: {place} has no such column; its columns: {', '.join(columns)}")
