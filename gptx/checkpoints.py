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
    """Saves the trainer into `folder` every `every` updates and at the end, and keeps the newest `keep`."""

    def __init__(self, *, every: Length, keep: int, folder: str | None = None):
        if keep < 1 or every < 1:
            raise ValueError(f"checkpoints.keep={keep} and checkpoints.every={every} must be at least 1")
        self.every, self.keep = every, keep
        self.named, self.folder = folder, Path(folder or "checkpoints")

    def place(self, run: Path) -> None:
        """Save below the run folder, unless another folder was named."""
        if not self.named:
            self.folder = run / "checkpoints"

    def __call__(self, trainer) -> None:
        """Save if this update is one to save after."""
        if trainer.step % self.every == 0 or trainer.step == trainer.steps or trainer.stopped:
            self.save(trainer)

    def saved(self) -> list[Path]:
        """Checkpoints in the folder, oldest first."""
        return sorted(self.folder.glob("step_*[0-9]"))

    def save(self, trainer) -> None:
        """Write aside, flush to the disk, rename; a save that fails warns, keeps what was there and goes on."""
        state = trainer.state_dict()  # on every process, since their random states are gathered
        if trainer.parallel.rank != 0:
            return
        final = self.folder / f"step_{trainer.step:08d}"
        aside = final.with_name(final.name + ".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob("*.part"):
                shutil.rmtree(leftover)
            aside.mkdir()
            with (aside / "state.pt").open("wb") as file:
                digest = Digest(file)
                torch.save(state, digest)  # type: ignore[arg-type]
                flush(file)
            with (aside / "state.sha256").open("w") as file:
                file.write(digest.sha.hexdigest())
                flush(file)
            if final.exists():  # the same update, made again after a resume from an earlier checkpoint
                shutil.rmtree(final)
            aside.rename(final)
            flush_folder(self.folder)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            log.warning(
                "cannot save a checkpoint at step %d in %s: %s; training goes on", trainer.step, self.folder, error
            )
            shutil.rmtree(aside, ignore_errors=True)
            return
        for old in self.saved()[: -self.keep]:
            shutil.rmtree(old)

    def restore(self, trainer) -> bool:
        """Load the newest checkpoint that is whole into the trainer; False if there is none."""
        state = self.newest()
        if state is not None:
            trainer.load_state_dict(state)
        return state is not None

    def newest(self) -> dict | None:
        """The state of the newest checkpoint that is whole; one that is not is named in a warning."""
        for folder in reversed(self.saved()):
            try:
                return load(folder)
            except ValueError as damage:
                log.warning("%s; the checkpoint before it is used", damage)
        return None


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


class Digest:
    """A file opened for writing that hashes what goes through it."""

    def __init__(self, file):
        self.file, self.sha = file, hashlib.sha256()

    def write(self, data) -> int:
        self.sha.update(data)
        return self.file.write(data)

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
