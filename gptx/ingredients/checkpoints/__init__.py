"""Full-state checkpoints that a crash at any instant cannot spoil, and that training hardly waits for.

A save copies the state in memory (`shadow`) and writes the copy in a thread (`writing`); `files` is what is on the
disk, `kept` which of it stays.
"""

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

from torch import Tensor, strided

from gptx.files import Gone
from gptx.files import identity as run_identity
from gptx.ingredients.checkpoints import files
from gptx.ingredients.checkpoints.files import load, number, saved
from gptx.ingredients.checkpoints.kept import best_of, kept
from gptx.ingredients.checkpoints.shadow import Shadow
from gptx.ingredients.checkpoints.writing import Writing
from gptx.units.lengths import Length

__all__ = ["Checkpoints", "chosen", "fill", "load", "refuse_other", "refuse_without_optimizer", "take"]

log = logging.getLogger("gptx.ingredients.checkpoints")


class Checkpoints:
    """Saves the trainer every `every` updates and after the last one.

    The newest `keep` stay, the first in each `keep_every` updates, the best one if `keep_best`, and the last one from
    before the guard's lookback with all after it. The best one has the lowest validation loss of those saved after an
    update that was validated; where a save by `every` was not, the next update that is validated is saved too.
    """

    def __init__(self, *, every: Length, keep: int, keep_every: Length | None, keep_best: bool):
        if keep < 1 or every < 1:
            raise ValueError(f"checkpoints.keep={keep} and checkpoints.every={every} must be at least 1")
        if keep_every is not None and keep_every < 1:
            raise ValueError(f"checkpoints.keep_every={keep_every}: at least 1 update, or null for none")
        self.every, self.keep, self.keep_every, self.keep_best = every, keep, keep_every, keep_best
        self.folder, self.identity = Path("checkpoints"), dict[str, dict]()
        self.run: tuple[int, int] | None = None  # the identity of the run folder
        self.shadow = Shadow()
        self.writing: Writing | None = None  # the save under way, if there is one
        self.reserved = False  # memory for the copies
        self.told = False  # that the disk is slower than `every`
        self.unrated = False  # the last save by `every` has no validation loss, and `keep_best` waits for one

    def place(self, run: Path, **identity: dict) -> None:
        """Save below the run folder; `identity`, plain values that say whose state it is, is saved with the state."""
        self.folder, self.identity, self.run = run / "checkpoints", identity, run_identity(run)

    def placed(self) -> bool:
        """True while the run folder is the one that it was, and has the record of the run where a run holds it."""
        found = run_identity(self.folder.parent)
        return found in (self.run, None) and (self.run is None or (self.folder.parent / "run.json").exists())

    def refuse_gone(self) -> None:
        """Raise Gone if the run folder was deleted, emptied or moved: nothing of this run belongs there any more."""
        if not self.placed():
            raise Gone(f"{self.folder.parent} was deleted, emptied or moved while its run trained; the run ends here")

    def begin(self, trainer) -> None:
        """Clear away what a killed run left; save at the start too where the guard may want to go back there."""
        self.wait()
        if trainer.parallel.rank == 0 and self.saved():
            files.tidy(self.folder)
            self.prune(self.safe(trainer))
        if trainer.guard.lookback and not trainer.parallel.gather(len(self.saved()))[0]:
            self.save(trainer, wait=True)

    def __call__(self, trainer) -> None:
        """Save if this update is one to save after. Raises OSError if the run ends here and cannot be saved."""
        if self.writing and not self.writing.is_alive():
            self.wait()  # for nothing but its result
        ends = trainer.finished or bool(trainer.stopped)
        if self.due(trainer) or ends:
            self.save(trainer, wait=ends)
        elif self.ahead(trainer) and not self.reserved:
            self.shadow.reserve(trainer.parallel.part(trainer.state_dict()) or {})
            self.reserved = True

    def due(self, trainer) -> bool:
        """True of an update to save after by `every`, and of the first that is validated after one that was not."""
        rated, waits = "validation/loss" in trainer.latest, self.unrated
        if trainer.step % self.every == 0:
            self.unrated = self.keep_best and not rated
            return True
        self.unrated = waits and not rated
        return waits and rated

    def ahead(self, trainer) -> bool:
        """True if there will be a save that is not the last."""
        return (trainer.step // self.every + 1) * self.every < trainer.steps

    def saved(self) -> list[Path]:
        """Checkpoints in the folder, oldest first."""
        return saved(self.folder)

    def save(self, trainer, *, wait: bool = False) -> None:
        """Copy the state and write the copy while training goes on; a save that fails is warned about, and leaves
        those before it. With `wait` return when the state is on the disk; raises OSError if it cannot be."""
        if self.writing and self.writing.is_alive() and not wait and not self.told:
            log.warning("the last checkpoint is still being written: checkpoints.every is too short for this disk")
            self.told = True
        self.wait()
        parallel, final = trainer.parallel, self.folder / f"step_{trainer.step:08d}"
        if parallel.rank == 0:
            self.refuse_gone()
        refusal = files.prepare(final) if parallel.rank == 0 else None
        # Every process takes part, since random states are gathered; none is past it before the folder is there.
        part = parallel.part(trainer.state_dict() | self.identity)
        if part is None:
            return
        about = {"step": trainer.step, "validation/loss": trainer.latest.get("validation/loss")}
        copy = part if wait else self.shadow(part)  # nothing changes a state that is waited for
        safe = self.safe(trainer)
        self.writing = Writing(partial(self.write, final, refusal, copy, parallel.rank, parallel.writers, about, safe))
        if wait:
            self.wait(strict=True)

    def safe(self, trainer) -> int:
        """The last update to save after that lies the guard's lookback behind: what was saved since then stays."""
        return max(0, trainer.step - trainer.guard.lookback) // self.every * self.every

    def write(
        self, final: Path, refusal: OSError | None, part: dict, writer: int, writers: int, about: dict, safe: int
    ):
        """Put the part on the disk; the first process then removes what need not stay. Raises OSError in words."""
        try:
            if refusal:
                raise refusal
            files.put(final, part, writer, writers, about)
            if writer == 0:
                self.prune(safe)
        except OSError as error:
            raise OSError(
                f"cannot save a checkpoint after update {number(final)} in {self.folder}: {error.strerror or error}"
            ) from None

    def prune(self, safe: int) -> None:
        """Point to the best checkpoint, and remove those that need not stay."""
        losses = files.losses(self.folder)
        stay = kept(losses, newest=self.keep, every=self.keep_every, best=self.keep_best, safe=safe)
        if self.keep_best:
            self.point()
        for checkpoint in self.saved():
            if number(checkpoint) not in stay:
                files.remove(checkpoint)

    def point(self) -> None:
        """Make `best` a link to the best checkpoint, in one step; none where there is none."""
        link, part = self.folder / "best", self.folder / "best.part"
        with suppress(OSError):  # not every disk has links; `chosen` does without
            part.unlink(missing_ok=True)
            for step in best_of(files.losses(self.folder)):
                part.symlink_to(f"step_{step:08d}")
                part.replace(link)
                return
            link.unlink(missing_ok=True)

    def wait(self, *, strict: bool = False) -> None:
        """Return when nothing is being written; warn, or if `strict` raise OSError, if what was could not be."""
        writing, self.writing = self.writing, None
        if writing and (failure := writing.result()):
            if strict:
                raise failure
            log.warning("%s; those saved before stay", failure)

    def abandon(self, writers: int) -> None:
        """Give up a save that waits for the part of a process which is gone."""
        files.abandon(self.folder, writers)

    def drop_after(self, trainer, step: int) -> None:
        """Remove what was saved after update `step`, the states of a run that went astray, unless all of it was."""
        self.wait()
        if trainer.parallel.rank != 0:
            return
        astray = [checkpoint for checkpoint in self.saved() if number(checkpoint) > step]
        for checkpoint in astray if len(astray) < len(self.saved()) else []:
            files.remove(checkpoint)
        if self.keep_best:
            self.point()

    def restore(self, trainer, before: int | None = None) -> bool:
        """Load the newest checkpoint that is whole into the trainer; False if there is none.

        With `before`, one saved on schedule and before that update: what a signal saved by the way does not count, so
        that an interrupted run goes back to where an uninterrupted one would. Without such a one the oldest: of a run
        that branched off, or changed `every`, it is from before all that can still be noticed. Raises ValueError
        where checkpoints are there and none is whole, or where the optimizer's state is missing.
        """
        self.wait()
        trainer.parallel.gather(None)  # no process looks before the first one has written
        state = self.newest(before)
        if state is None:
            if before is None and (there := self.saved()):
                raise ValueError(
                    f"{self.folder}: none of {len(there)} checkpoints is whole, and the run is not begun again over "
                    "them; overwrite=true deletes it and starts afresh, another name= leaves it"
                )
            return False
        refuse_without_optimizer(state, self.folder)
        take(trainer, state, self.folder)
        return True

    def newest(self, before: int | None = None) -> dict | None:
        """The state of the newest checkpoint that is whole; one that is not is named in a warning."""
        self.wait()
        there = self.saved()
        if before is not None:
            there = [c for c in there if number(c) < before and number(c) % self.every == 0] or there[:1]
        return files.newest(there, log.warning)


def refuse_without_optimizer(state: dict, where: Path) -> None:
    """Raise ValueError for weights alone: with fresh moments the run would have a second cold start."""
    refuse_foreign(state, where)
    if "optimizer" not in state:
        raise ValueError(
            f"{where}: the checkpoint holds no optimizer state; to start from its weights alone, "
            "python -m gptx export them and give the file as from=FILE.safetensors"
        )


def chosen(run: Path, checkpoint: str) -> dict:
    """The state of a run's `checkpoint`: newest (that is whole), best (by validation loss), or the name of one.

    Raises ValueError if there is none, or if the one named is damaged.
    """
    folder = run / "checkpoints"
    if checkpoint == "newest":
        state = files.newest(saved(folder), log.warning)
        if state is None:
            raise ValueError(f"{run}: no whole checkpoint in {folder}; let the run reach its first one")
        return refuse_foreign(state, folder)
    named = {path.name: path for path in saved(folder)}
    best = [f"step_{step:08d}" for step in best_of(files.losses(folder))]
    name = best[0] if checkpoint == "best" and best else checkpoint
    if name not in named:
        raise ValueError(f"checkpoint={checkpoint}: not in {folder}; there: {', '.join(['newest', *named])}")
    return refuse_foreign(load(named[name]), named[name])


def take(trainer, state: dict, where: Path) -> None:
    """Load a whole state into the trainer. Raises ValueError where it is not one of its recipe and version."""
    refuse_other(state, trainer.model, where)
    try:
        trainer.load_state_dict(state)
    except KeyError as missing:
        raise ValueError(f"{where}: saved by another version of gptx: {missing} is not in it; continue with that one, "
                         "or export the weights") from None  # fmt: skip
    except (TypeError, AttributeError, IndexError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"{where}: its state is not one of this recipe ({line})") from None


def fill(model, state: dict, where: Path) -> None:
    """Give a model the weights of a state. Raises ValueError where they are another model's."""
    refuse_other(state, model, where)
    model.load_state_dict(state["model"])


def refuse_other(state: dict, model, where: Path) -> None:
    """Raise ValueError that names the first tensor that the model lacks, or the state, or that has another shape."""
    own, there = model.state_dict(), state["model"]
    for name in [*own, *there]:
        shapes = [tuple(each[name].shape) if name in each else None for each in (there, own)]
        if shapes[0] != shapes[1]:
            said = ["missing" if shape is None else f"of shape {shape}" for shape in shapes]
            raise ValueError(f"{where}: {name} is {said[0]} in the checkpoint and {said[1]} in the config's model")


def refuse_foreign(state: dict, where: Path) -> dict:
    """The state. Raises ValueError where a part of it is not of its kind."""
    facts = state if isinstance(state, dict) else {}
    kinds = dict.fromkeys(("model", "observers", "optimizer", "recipe", "data"), dict) | {"judged": list | None}
    wrong = [] if "model" in facts else ["model"]
    wrong += [name for name, kind in kinds.items() if name in facts and not isinstance(facts[name], kind)]
    wrong += ["step"] * ("optimizer" in facts and type(facts.get("step")) is not int)
    tensors = [*facts["model"].values(), *(facts.get("judged") or [])] if not wrong else []
    if wrong or not all(isinstance(tensor, Tensor) and tensor.layout is strided for tensor in tensors):
        raise ValueError(f"{where}: {wrong[0] if wrong else 'model'} is not what a run saves")
    return state
