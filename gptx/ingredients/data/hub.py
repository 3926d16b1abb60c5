"""Datasets of the Hugging Face hub as documents, read as streams."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gptx.files import write_text
from gptx.ingredients.data.cache import cache_folder, unwritable
from gptx.ingredients.data.files import walk
from gptx.ingredients.data.rows import Row, Rows, checked, no_column, sha256_of
from gptx.ingredients.data.sources import check_share

SECONDS = 10  # without an answer of the hub
SCALE = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
HTTP = {
    "httpx",
    "httpcore",
    "aiohttp",
    "requests",
    "urllib3",
    "huggingface_hub",
}  # libraries that `datasets` may read by
WITHOUT_NETWORK = "give a local copy by data=text data.path=FOLDER, or use data=stdlib, which needs no network"


def hub_rows(
    dataset: str,
    config: str | None,
    revision: str | None,
    *,
    split: str,
    validation_split: str | None,
    column: str,
    tokens: int | None,
    share: float,
) -> Rows:
    """The rows of one column. Their digest is of their address, the commit included, so that what is tokenised already
    needs no network."""
    check_share(share)
    commit = content_of(Path(dataset)) if Path(dataset).is_dir() else commit_of(dataset, revision)
    where = f"dataset {dataset}" + (f" ({config})" if config else "")
    name = re.sub(r"[^\w.-]+", "-", Path(dataset).name if Path(dataset).is_dir() else dataset)
    address = None if Path(dataset).is_dir() else dataset
    key = [address, config, commit, split, validation_split, column, tokens, share if validation_split is None else 0]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()

    def rows(chosen: str) -> Callable[[], Iterator[Row]]:
        return lambda: streamed(dataset, config, None if address is None else commit, chosen, column)

    return Rows(
        name=name,
        where=where,
        digest=digest,
        content=digest,
        train=rows(split),
        validation=None if validation_split is None else rows(validation_split),
        share=share,
        tokens=tokens,
    )


def number_of_tokens(tokens: int | str | None) -> int | None:
    """100M as 100,000,000; None for all there are. Raises ValueError for what is no number."""
    if tokens is None:
        return None
    amount = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)([kMBT]?)", str(tokens))
    count = round(float(amount[1]) * SCALE[amount[2]]) if amount else 0
    if count < 1:
        raise ValueError(f"data.tokens={tokens} is not a number of tokens; write 100M, 100000000, or null for all")
    return count


def content_of(folder: Path) -> str:
    """A hash of the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in walk(folder) if path.exists()):
        digest.update(json.dumps([path.relative_to(folder).as_posix(), sha256_of(path)]).encode())
    return digest.hexdigest()


def commit_of(dataset: str, revision: str | None) -> str:
    """The commit that `revision` named when it was first used here; null the newest at that time. Kept in the cache, so
    that a run means the same data tomorrow and without a network."""
    if re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        return str(revision)
    name = re.sub(r"[^\w.-]+", "--", f"{dataset}@{revision or 'newest'}")
    file = cache_folder() / "commits" / name
    if file.is_file() and re.fullmatch(r"[0-9a-f]{40}", commit := file.read_text().strip()):
        return commit
    commit = asked(dataset, revision)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, commit + "\n")
    except OSError as error:
        raise unwritable(file, error) from error
    return commit


def asked(dataset: str, revision: str | None) -> str:
    """Ask the hub for the commit of a revision; raises ValueError where it knows none, ConnectionError without it."""
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(SECONDS))
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(SECONDS))
    from huggingface_hub import HfApi, errors

    try:
        return str(HfApi().dataset_info(dataset, revision=revision, timeout=SECONDS).sha)
    except errors.HFValidationError as error:
        raise ValueError(f"data.dataset={dataset} is neither a folder here nor a name of the hub ({error})") from error
    except errors.GatedRepoError as error:
        raise ValueError(f"data.dataset={dataset}: accept its terms on the hub and set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"data.revision={revision}: dataset {dataset} has no such branch, tag or commit") from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(f"data.dataset={dataset}: the hub has no such dataset, or it is private") from error
    except Exception as error:  # of whichever HTTP library is below; all mean that there was no answer
        raise unreachable(dataset, error) from error


def unreachable(dataset: str, error: Exception) -> ConnectionError:
    """The one line for no network."""
    return ConnectionError(
        f"dataset {dataset} cannot be fetched from the hub ({type(error).__name__}); {WITHOUT_NETWORK}"
    )


def of_network(error: Exception) -> bool:
    """Whether the error is of a connection: an OSError, or of an HTTP library whose errors are none."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in HTTP


def streamed(dataset: str, config: str | None, revision: str | None, split: str, column: str) -> Iterator[Row]:
    """Yield the rows that have text; raises ValueError that names what there is instead of what was asked for."""
    table = opened(dataset, config, revision, split)
    number = -1
    try:
        for number, row in enumerate(table):
            if column not in row:
                raise no_column(column, f"dataset {dataset}", row)
            if text := checked(row[column], column, f"row {number + 1} of dataset {dataset}"):
                yield f"{split}:{number}", text
    except Exception as error:
        raise (unreachable(dataset, error) if of_network(error) else error) from error


def opened(dataset: str, config: str | None, revision: str | None, split: str) -> Any:
    """A split as a stream of rows."""
    import datasets

    datasets.disable_progress_bars()
    try:
        names = datasets.get_dataset_config_names(dataset, revision=revision)
        if config not in names and (config is not None or len(names) > 1):
            raise ValueError(f"data.config={config}: dataset {dataset} has {', '.join(names)}")
        splits = datasets.load_dataset(dataset, config, revision=revision, streaming=True)
    except FileNotFoundError as error:
        raise ValueError(f"data.dataset={dataset}: {' '.join(str(error).split())}") from error
    except Exception as error:
        raise (unreachable(dataset, error) if of_network(error) else error) from error
    if split not in splits:
        raise ValueError(f"dataset {dataset} has no split '{split}'; its splits: {', '.join(splits)}")
    return splits[split]
