"""Datasets of the Hugging Face hub as documents, read as streams."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gptx.ingredients.data.cache import cache_folder, keep
from gptx.ingredients.data.corpus import Windows
from gptx.ingredients.data.files import files_below, hashed, sha256_of
from gptx.ingredients.data.rows import refuse_without, row_text, source_of_rows
from gptx.ingredients.data.sources import check_share
from gptx.units.amounts import whole

_SECONDS = 10  # without an answer of the hub
_HTTP = {"httpx", "httpcore", "aiohttp", "requests", "urllib3", "huggingface_hub"}  # what `datasets` may read with


def hub(
    *, dataset: str, config: str | None, revision: str | None, split: str, validation_split: str | None, column: str,
    tokens: int | str | None, tokenizer: str, context: int, seed: int, validation: float, order: str,
) -> Windows:  # fmt: skip
    """A dataset of the Hugging Face hub, or a local folder that `datasets` reads, one document per row: as many
    tokens as asked for, read as a stream. The digest is of the address with the commit, so that what is tokenised
    already needs no network. Raises ConnectionError or ValueError that say what to do."""
    check_share(validation)
    local, limit = Path(dataset).is_dir(), number_of_tokens(tokens)
    commit = _digest_of(Path(dataset)) if local else _commit_of(dataset, revision)
    digest = hashed(None if local else dataset, config, commit, split, validation_split, column, limit,
                    validation if validation_split is None else 0)  # fmt: skip
    rows = partial(_streamed, dataset, config, None if local else commit, column)
    source = source_of_rows(
        re.sub(r"[^\w.-]+", "-", Path(dataset).name if local else dataset),
        f"dataset {dataset}" + (f" ({config})" if config else ""), digest=digest, content=digest,
        train=partial(rows, split), validation=None if validation_split is None else partial(rows, validation_split),
        share=validation, tokens=limit,
    )  # fmt: skip
    return Windows(source, tokenizer=tokenizer, context=context, seed=seed, order=order)


def number_of_tokens(tokens: int | str | None) -> int | None:
    """100M as 100,000,000; None for all there are. Raises ValueError for what is no number."""
    return None if tokens is None else whole("data.tokens", str(tokens), most=10**15, example="100M, or null for all")


def _digest_of(folder: Path) -> str:
    files = sorted(path for path in files_below(folder) if path.exists())
    facts = (json.dumps([path.relative_to(folder).as_posix(), sha256_of(path)]) for path in files)
    return hashlib.sha256("".join(facts).encode()).hexdigest()


def _commit_of(dataset: str, revision: str | None) -> str:
    """The commit that `revision` named when it was first used here; null is the newest at that time. Kept in the cache,
    so that a run means the same data tomorrow and without a network."""
    if re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        return str(revision)
    file = cache_folder() / "commits" / re.sub(r"[^\w.-]+", "--", f"{dataset}@{revision or 'newest'}")
    if file.is_file() and re.fullmatch(r"[0-9a-f]{40}", commit := file.read_text().strip()):
        return commit
    commit = _newest_commit(dataset, revision)
    keep(file, f"{commit}\n".encode())
    return commit


def _newest_commit(dataset: str, revision: str | None) -> str:
    """The commit that the hub has for a revision. Raises ValueError if it has none, ConnectionError without it."""
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
    return ConnectionError(
        f"dataset {dataset} cannot be fetched from the hub ({type(error).__name__}); give a local copy by data=text "
        "data.path=FOLDER, or use data=stdlib, which needs no network"
    )


def _streamed(
    dataset: str, config: str | None, revision: str | None, column: str, split: str
) -> Iterator[tuple[str, str]]:
    """The rows that have text. Raises ValueError that names what there is instead of what was asked for."""
    try:
        for number, row in enumerate(_table(dataset, config, revision, split)):
            refuse_without(column, f"dataset {dataset}", row)
            if text := row_text(row[column], f"data.column={column}: row {number + 1} of dataset {dataset}"):
                yield f"{split}:{number}", text
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in _HTTP:
            raise _unreachable(dataset, error) from error
        raise


def _table(dataset: str, config: str | None, revision: str | None, split: str) -> Any:
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
    if split not in splits:
        raise ValueError(f"dataset {dataset} has no split '{split}'; its splits: {', '.join(splits)}")
    return splits[split]
