"""Documents that are the rows of a table: a JSON object a line, Parquet or Arrow."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptx.ingredients.data.files import DAMAGED, found, opened, reason, refuse_pointer, suffix
from gptx.ingredients.data.sources import CHUNK, Documents, check_share, text_file

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".arrow")  # of .json, files with a row a line
LONGEST = 1 << 24  # bytes of a line that is looked at to tell whether a .json has a row a line
# What lies beside tables and is no text of theirs: about a dataset, or what `datasets` writes with save_to_disk.
ABOUT = re.compile(r"(readme|licen[cs]e|copying|notice|citation|changelog|contributing|datasheet|dataset_infos?"
                   r"|dataset_dict|state)([._-].*)?", re.IGNORECASE)  # fmt: skip
COLUMN = "text"  # what nearly every dataset calls it
ROWS = 256  # of Parquet that are in memory at a time

Row = tuple[str, str]  # its name and its text


@dataclass(frozen=True)
class Rows:
    """A Source of tables; without `validation`, a row is held out if a hash of its text falls below `share`."""

    name: str
    where: str
    digest: str
    content: str
    train: Callable[[], Iterator[Row]]
    validation: Callable[[], Iterator[Row]] | None
    share: float
    tokens: int | None = None
    left_out: list[str] = field(default_factory=list)
    characters: None = None

    def streams(self) -> Iterator[Documents]:
        """The rows with text, those of both splits as they come where they are of one table."""
        if self.validation is not None:
            yield (("validation", name, (text,)) for name, text in self.validation())
        yield ((self.split(text), name, (text,)) for name, text in self.train())

    def split(self, text: str) -> str:
        """Where a row of the training table belongs: the same text never in both splits."""
        if self.validation is not None:
            return "train"
        place = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")
        return "validation" if place < self.share * 2**64 else "train"


@dataclass(frozen=True)
class Table:
    """A file of rows, as it was when it was read through once."""

    name: str
    path: Path
    sha256: str
    modified: int  # nanoseconds


def tables_meant(path: str, column: str | None) -> bool:
    """Whether `path` means tables: a column is asked for, or there are some and no text that is not about them. Raises
    ValueError where it may mean either."""
    if column is not None:
        return True
    root, paths = found(path)
    rows = sorted(file for file in paths if is_table(file))
    if rows and (text := next(filter(is_text, sorted({*paths} - {*rows})), None)):
        raise ValueError(
            f"'{path}' holds tables, such as {rows[0].relative_to(root)}, and other text, such as "
            f"{text.relative_to(root)}: data.column={COLUMN} takes the rows of the tables alone, a pattern such as "
            f"'data.path=\"{root}/**/*{text.suffix}\"' other text"
        )
    return bool(rows)


def is_text(path: Path) -> bool:
    """Whether the file is text that may be meant to be trained on."""
    try:
        return path.exists() and not ABOUT.fullmatch(path.name) and bool(text_file(path))
    except ValueError:
        return False


def tables(path: str, validation_path: str | None, *, column: str, share: float) -> Rows:
    """The rows of all tables of `path`; raises ValueError where there is none, or none with that column."""
    check_share(share)
    train, left_out = tables_at(path, column)
    held, left_out_there = (None, []) if validation_path is None else tables_at(validation_path, column)

    def hashed(key: Callable[[Table], Any]) -> str:
        parts = ([key(table) for table in part] for part in (train, held or []))
        return hashlib.sha256(json.dumps([column, share if held is None else None, *parts]).encode()).hexdigest()

    return Rows(
        name="text",
        where=path if validation_path is None else f"{path} and {validation_path}",
        digest=hashed(lambda table: (table.name, table.sha256)),
        content=hashed(lambda table: table.sha256),
        train=lambda: rows_of(train, column),
        validation=None if held is None else lambda: rows_of(held, column),
        share=share,
        left_out=left_out + left_out_there,
    )


def tables_at(path: str, column: str) -> tuple[list[Table], list[str]]:
    """Read the tables that `path` means, and see that they have the column. Returns also complaints about other
    files."""
    root, paths = found(path)
    chosen = sorted((file.relative_to(root).as_posix(), file) for file in paths if is_table(file))
    if not chosen:
        raise ValueError(f"data.column={column}: there is no table ({', '.join(SUFFIXES)}) in '{path}'")
    for _, file in chosen:
        for _ in texts_of(file, column):
            break
    left_out = [f"{file} is no table" for file in sorted({*paths} - {file for _, file in chosen})]
    return [Table(name, file, sha256_of(file), file.stat().st_mtime_ns) for name, file in chosen], left_out


def is_table(path: Path) -> bool:
    """Whether a file is a table by its name, a .json by its first lines; not what `datasets` keeps of its own work."""
    kind = suffix(path)
    if kind == ".json":
        return rows_a_line(path)
    return kind in SUFFIXES and not (kind == ".arrow" and path.name.startswith("cache-"))


def rows_a_line(path: Path) -> bool:
    """Whether the first two lines of a file that are not blank are a JSON object each."""
    try:
        with opened(path) as stream:
            lines = filter(bytes.strip, iter(lambda: stream.readline(LONGEST), b""))
            return all(isinstance(json.loads(next(lines, b"")), dict) for _ in range(2))
    except (ValueError, RecursionError, *DAMAGED):
        return False


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def rows_of(tables: Iterable[Table], column: str) -> Iterator[Row]:
    """Yield the rows of all tables that have text."""
    for table in tables:
        if table.path.stat().st_mtime_ns != table.modified:
            raise ValueError(f"{table.path} changed while it was being read; start again")
        for number, text in enumerate(texts_of(table.path, column)):
            if text:
                yield f"{table.name}:{number}", text


def texts_of(path: Path, column: str) -> Iterator[str | None]:
    """Yield one column of a table, in flat memory; raises ValueError that names the file and what is wrong with it."""
    try:
        refuse_pointer(path)
        for number, value in enumerate(FORMATS.get(suffix(path), jsonl)(path, column)):
            yield checked(value, column, f"row {number + 1} of {path}")
    except DAMAGED as error:
        raise ValueError(f"{path} cannot be read ({reason(error)})") from error


def checked(value: Any, column: str, place: str) -> str | None:
    """The text of a row, with U+FFFD for half a surrogate pair, None where it has none; raises ValueError where it is
    something else."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"data.column={column}: {place} holds {type(value).__name__}, not text")


def jsonl(path: Path, column: str) -> Iterator[Any]:
    """Yield a column of a file with one JSON object a line."""
    with opened(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path} line {number} is not JSON that can be read ({error})") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path} line {number} is {type(row).__name__}, not an object with columns")
            if column not in row:
                raise no_column(column, f"{path} line {number}", row)
            yield row[column]


def parquet(path: Path, column: str) -> Iterator[Any]:
    """Yield a column of a Parquet file."""
    import pyarrow.parquet

    with whole(path), pyarrow.parquet.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            raise no_column(column, str(path), file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=ROWS, columns=[column]):
            yield from batch.column(0).to_pylist()


def arrow(path: Path, column: str) -> Iterator[Any]:
    """Yield a column of a stream of Arrow batches, as `datasets` saves them, or of a file of them."""
    import pyarrow.ipc

    with whole(path), pyarrow.memory_map(str(path)) as file:
        if file.read(6) == b"ARROW1":
            reader = pyarrow.ipc.open_file(file)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            file.seek(0)
            reader = batches = pyarrow.ipc.open_stream(file)
        if column not in reader.schema.names:
            raise no_column(column, str(path), reader.schema.names)
        for batch in batches:
            yield from batch.column(column).to_pylist()


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """Say in one line what Arrow finds wrong with a file."""
    import pyarrow.lib

    try:
        yield
    except pyarrow.lib.ArrowException as error:
        raise ValueError(
            f"{path} is not a whole {suffix(path)[1:].capitalize()} file ({' '.join(str(error).split())})"
        ) from error


FORMATS: dict[str, Callable[[Path, str], Iterator[Any]]] = {".parquet": parquet, ".arrow": arrow}


def no_column(column: str, place: str, columns: Iterable[str]) -> ValueError:
    """The one line for a column that is not there."""
    return ValueError(f"data.column={column}: {place} has no such column; its columns: {', '.join(columns)}")
