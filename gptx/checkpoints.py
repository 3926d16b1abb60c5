"""Full-state checkpoints that a crash at any instant cannot spoil.

One checkpoint is one folder, `step_00000100/`, with `state.pt` and the SHA-256 of it beside.
"""

import hashlib
import logging
import os
import shutil
from pathlib import Path

import torch

from gptx.lengths import Length

log = logging.getLogger("gptx.checkpoints")


class Checkpoints:
    """Saves the trainer every `every` updates and after the last one, and keeps the newest `keep`."""

    def __init__(self, *, every: Length, keep: int):
        if keep < 1 or every < 1:
            raise ValueError(f"checkpoints.keep={keep} and checkpoints.every={every} must be at least 1")
        self.every, self.keep, self.folder = every, keep, Path("checkpoints")

    def place(self, run: Path) -> None:
        """Save below the run folder."""
        self.folder = run / "checkpoints"

    def begin(self, trainer) -> None:
        """Save before the first update too where the guard may want to go back there."""
        if trainer.step == 0 and trainer.guard.lookback and (failure := self.save(trainer)):
            raise failure

    def __call__(self, trainer) -> None:
        """Save if this update is one to save after. Raises OSError if the run ends here and cannot be saved."""
        ends = trainer.finished or bool(trainer.stopped)
        if (ends or trainer.step % self.every == 0) and (failure := self.save(trainer)):
            if ends:
                raise failure
            log.warning("%s; training goes on", failure)

    def saved(self) -> list[Path]:
        """Checkpoints in the folder, oldest first."""
        return sorted(self.folder.glob("step_*[0-9]"))

    def save(self, trainer) -> OSError | None:
        """Write aside, flush to the disk, rename; what fails leaves the checkpoints before it, and is returned."""
        state = trainer.state_dict()  # on every process, since their random states are gathered
        if trainer.parallel.rank != 0:
            return None
        final = self.folder / f"step_{trainer.step:08d}"
        aside = final.with_name(final.name + ".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob("*.part"):
                shutil.rmtree(leftover)
            aside.mkdir()
            with (aside / "state.pt").open("wb") as file:
                sha = write(state, file)
            with (aside / "state.sha256").open("w") as file:
                file.write(sha)
                flush(file)
            if final.exists():  # the same update, made again after a resume from an earlier checkpoint
                shutil.rmtree(final)
            aside.rename(final)
            flush_folder(self.folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            return OSError(f"cannot save a checkpoint after update {trainer.step} in {self.folder}: {error.strerror}")
        kept = self.saved()[-self.keep :]
        safe = [folder for folder in self.saved() if number(folder) <= max(0, trainer.step - trainer.guard.lookback)]
        for old in set(self.saved()) - {*kept, *safe[-1:]}:
            shutil.rmtree(old)
        return None

    def drop_after(self, step: int) -> None:
        """Remove what was saved after update `step`: the states of a run that went astray."""
        for folder in self.saved():
            if number(folder) > step:
                shutil.rmtree(folder)

    def restore(self, trainer, before: int | None = None) -> bool:
        """Load the newest checkpoint that is whole into the trainer; False if there is none.

        With `before`, one saved on schedule and before that update: what a signal saved by the way does not count, so
        that an interrupted run goes back to where an uninterrupted one would.
        """
        state = self.newest(before)
        if state is not None:
            trainer.load_state_dict(state)
        return state is not None

    def newest(self, before: int | None = None) -> dict | None:
        """The state of the newest checkpoint that is whole; one that is not is named in a warning."""
        for folder in reversed(self.saved()):
            if before is not None and (number(folder) >= before or number(folder) % self.every):
                continue
            try:
                return load(folder)
            except ValueError as damage:
                log.warning("%s; the checkpoint before it is used", damage)
        return None


def number(folder: Path) -> int:
    """The update after which that checkpoint was saved."""
    return int(folder.name.removeprefix("step_"))


def load(folder: Path) -> dict:
    """The state saved in `folder`, on the CPU, plain values and tensors only.

    Raises ValueError that names the file if it is missing, torn or altered.
    """
    file = folder / "state.pt"
    try:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        expected = (folder / "state.sha256").read_text()
    except OSError as error:
        raise ValueError(f"{folder} is not a whole checkpoint: {error}") from None
    if found != expected:
        raise ValueError(f"{file} is damaged: its SHA-256 is not the one written with it")
    return torch.load(file, map_location="cpu", weights_only=True)


def write(state: dict, file) -> str:
    """Write the state into an open file, flush it to the disk, and return its SHA-256. Raises OSError."""
    digest = Digest(file)
    try:
        torch.save(state, digest)  # type: ignore[arg-type]
        flush(file)
    except RuntimeError as error:  # torch hides what the disk said behind its own complaint
        raise digest.failure or error from error
    return digest.sha.hexdigest()


class Digest:
    """A file opened for writing that hashes what goes through it, and remembers what the disk said if it refused."""

    def __init__(self, file):
        self.file, self.sha = file, hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, data) -> int:
        self.sha.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.file.flush()


def flush(file) -> None:
    """Return once the disk has the file's bytes."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Return once the disk has the folder's names."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
