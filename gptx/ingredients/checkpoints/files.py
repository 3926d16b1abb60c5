"""One checkpoint on the disk, a folder that is whole or not there; and which of them stay.

`state.pt` holds the state, `state.sha256` its checksum (`state_0of2.pt` and so on if several processes each save a
part), and `about.json` says what it is. The folder is named .part until all of it is on the disk."""

import hashlib
import logging
import math
import pickle
import re
import time
from contextlib import suppress
from pathlib import Path

import torch

from gptx.distributed.shards import joined_shards
from gptx.files import delete, flush, from_json, sync, to_json, write_text

log = logging.getLogger("gptx.ingredients.checkpoints")
WAITING = 600.0  # seconds that the first process waits for the parts of the others


def saved(folder: Path) -> list[Path]:
    """The checkpoints below `folder`, oldest first; one that a kill left half replaced is the old one."""
    found = [*folder.glob("step_*.old"), *folder.glob("step_*[0-9]")]
    return [path for _, path in sorted({step_of(path): path for path in found}.items())]


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("step_"))


def saved_losses(folder: Path) -> dict[int, float]:
    """The steps saved below `folder`, with the validation loss of each; NaN if it was not validated."""
    losses = {}
    for checkpoint in saved(folder):
        losses[step_of(checkpoint)] = math.nan
        with suppress(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            losses[step_of(checkpoint)] = float(from_json((checkpoint / "about.json").read_bytes())["validation/loss"])
    return losses


def kept(losses: dict[int, float], *, newest: int, every: int | None, best: bool, safe: int) -> set[int]:
    """The steps whose checkpoints stay: the `newest`, the first in each `every` steps after the first `every`, the
    best if `best`, and the last up to step `safe` with all after it: trouble found now may have begun there."""
    steps = sorted(losses)
    last_safe = max((step for step in steps if step <= safe), default=0)
    first_of_each = {step // every: step for step in reversed(steps)} if every else {}
    stay = {step for number, step in first_of_each.items() if number}
    stay.update(steps[-newest:], best_of(losses) if best else (), [step for step in steps if step >= last_safe])
    return stay


def best_of(losses: dict[int, float]) -> list[int]:
    """The step with the lowest loss, if any; the earliest of several: an earlier version copied it to later ones."""
    finite = [(loss, step) for step, loss in losses.items() if math.isfinite(loss)]
    return [step for _, step in sorted(finite)[:1]]


def _names(writers: int) -> list[str]:
    return ["state"] if writers == 1 else [f"state_{i}of{writers}" for i in range(writers)]


def prepare(final: Path) -> OSError | None:
    """Make an empty folder to write in, before any process writes; what the disk refused is returned."""
    try:
        tidy(final.parent)
        Path(f"{final}.part").mkdir(parents=True)
    except OSError as refusal:
        return refusal
    return None


def tidy(folder: Path) -> None:
    """Remove what a killed run left half done, and put back what it was about to replace."""
    for old in folder.glob("step_*.old"):
        final = old.with_suffix("")
        remove(old) if final.exists() else old.rename(final)
    for leftover in folder.glob("step_*.part"):
        delete(leftover)
    for leftover in folder.glob("step_*.gone"):
        with suppress(OSError):  # one that is still read may stay on a disk of the network
            delete(leftover)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint: at no instant is a part of it left under its name. Several processes may ask."""
    gone = checkpoint.with_name(checkpoint.name + ".gone")
    with suppress(FileNotFoundError):  # another process was faster
        checkpoint.rename(gone)
        with suppress(OSError):
            delete(gone)


def put(final: Path, part: dict, writer: int, writers: int, about: dict) -> None:
    """Write this process's part of the checkpoint; the first process ends it. An OSError leaves nothing of it."""
    folder, name, old = Path(f"{final}.part"), _names(writers)[writer], Path(f"{final}.old")
    try:
        if writer == 0:
            write_text(folder / "about.json", to_json(about))
        with (folder / f"{name}.pt").open("wb") as file:
            sha = write_state(part, file)
        write_text(folder / f"{name}.sha256", sha)
        if writer == 0:
            _await_parts(folder, writers)
            sync(folder)
            if final.exists():  # of the same step, made again after a resume or a rollback
                final.rename(old)
            folder.rename(final)
            sync(final.parent)
            remove(old)
    except OSError as failure:
        remove(folder)  # renamed first: by this the others see immediately that a part will not come
        if writers > 1 and isinstance(failure, FileNotFoundError):
            raise OSError("another process could not write its part") from None
        raise


def _await_parts(folder: Path, writers: int) -> None:
    """Wait for the parts of all processes, which do not communicate: training uses the network meanwhile."""
    end = time.monotonic() + WAITING
    while missing := [name for name in _names(writers) if not (folder / f"{name}.sha256").exists()]:
        if not folder.exists():
            raise OSError("another process could not write its part")
        if time.monotonic() > end:
            raise OSError(f"{missing[0]}.pt was not written within {WAITING:.0f} s")
        time.sleep(0.02)


def abandon(folder: Path, writers: int) -> None:
    """End a save below `folder` that waits for parts which will not come, since processes are gone."""
    for part in folder.glob("step_*.part") if writers > 1 else ():
        if not all((part / f"{name}.sha256").exists() for name in _names(writers)):
            remove(part)  # renamed first, or the writer could finish what is left of it


def read_state(checkpoint: Path) -> dict:
    """The state saved there, on the CPU, plain values and tensors only. Raises ValueError that names the file if one is
    missing, torn or altered, or holds what could run code."""
    counts = {int(found[1]) for file in checkpoint.glob("state_*.pt") if (found := re.search(r"of(\d+)$", file.stem))}
    names = _names(max(counts, default=1))
    parts = [_read(checkpoint / f"{name}.pt", mmap=len(names) > 1) for name in names]
    try:
        return joined_shards(parts) if len(parts) > 1 else parts[0]
    except Exception as missing:
        raise ValueError(f"{checkpoint} is not a whole checkpoint: {missing!r}") from None


def _read(file: Path, *, mmap: bool) -> dict:
    """The content of a whole file; with `mmap` its tensors come from the disk when they are used."""
    try:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        expected = file.with_suffix(".sha256").read_bytes()
    except OSError as error:
        raise ValueError(f"{file.parent} is not a whole checkpoint: {error}") from None
    if found.encode() != expected:
        raise ValueError(f"{file} is damaged: its SHA-256 is not the one written with it")
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError:
        reason = "more than weights and plain values; it could run code and is not read"
    except Exception as error:  # a file that is no archive, or a strange one, ends in errors of every kind
        reason = f"no state that can be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    raise ValueError(f"{file} holds {reason}")


def newest(checkpoints: list[Path]) -> dict | None:
    """The state of the last one that is whole; each that is not is named in a warning."""
    for checkpoint in reversed(checkpoints):
        try:
            return read_state(checkpoint)
        except ValueError as damage:
            log.warning("%s; it is skipped", damage)
    return None


def write_state(state: dict, file) -> str:
    """Write the state into an open file, flush it to the disk, and return its SHA-256. Raises OSError."""
    digest = Digest(file)
    try:
        torch.save(state, digest)  # type: ignore[arg-type]
        flush(file)
    except RuntimeError as error:  # torch hides what the disk said behind its own complaint
        raise digest.failure or error from error
    return digest.sha.hexdigest()


class Digest:
    """A file opened for writing that hashes what goes through it, and keeps the error of a disk that refused."""

    def __init__(self, file):
        self.file, self.sha, self.flush = file, hashlib.sha256(), file.flush
        self.failure: OSError | None = None

    def write(self, data) -> int:
        self.sha.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.failure = error
            raise
