"""Full-state checkpoints that no crash can spoil: `shadow` copies the state, `files` writes it in a thread."""

from contextlib import suppress
from dataclasses import field
from pathlib import Path

from torch import strided

from gptx.files import Gone
from gptx.files import identity as run_identity
from gptx.ingredients.checkpoints import files
from gptx.ingredients.checkpoints.files import best_of, kept, log, read_state, saved, saved_losses, step_of
from gptx.ingredients.checkpoints.shadow import Shadow, Writing
from gptx.units.options import Configured, Count, Steps


class Checkpoints(Configured):
    """Saves the trainer every `every` steps and after the last; `files.kept` says which stay. Best is the lowest loss
    of those saved after a validation; if a save by `every` is of no validated step, the next such step is saved too."""

    every: Steps
    keep: Count
    keep_every: Steps | None
    keep_best: bool
    folder: Path = field(init=False, default=Path("checkpoints"))
    identity: dict[str, dict] = field(init=False, default_factory=dict)
    run: tuple[int, int] | None = field(init=False, default=None)  # the identity of the run folder
    shadow: Shadow = field(init=False, default_factory=Shadow)
    writing: Writing = field(init=False, default_factory=Writing)  # the latest save
    reserved = False  # memory for the copies
    warned = False  # that the disk is slower than `every`
    unvalidated = False  # the last save by `every` has no validation loss, and `keep_best` waits for one

    def place(self, run: Path, **identity: dict) -> None:
        """Save below the run folder; `identity`, plain values that say whose state it is, is saved with the state."""
        self.folder, self.identity, self.run = run / "checkpoints", identity, run_identity(run)

    def placed(self) -> bool:
        """True while the run folder is the one that it was, and has its run's record if a run holds it."""
        here = self.folder.parent
        return run_identity(here) in (self.run, None) and (self.run is None or (here / "run.json").exists())

    def refuse_gone(self) -> None:
        """Raise Gone if the run folder was deleted, emptied or moved: nothing of this run belongs there any more."""
        if not self.placed():
            raise Gone(f"{self.folder.parent} was deleted, emptied or moved while its run trained; the run ends here")

    def begin(self, trainer) -> None:
        """Remove what a killed run left; save at the start too if the guard may want to go back there."""
        self.wait()
        if trainer.parallel.rank == 0 and self.saved():
            files.tidy(self.folder)
            self.prune(self.safe(trainer))
        if trainer.guard.lookback and not trainer.parallel.gather(len(self.saved()))[0]:
            self.save(trainer, wait=True)

    def __call__(self, trainer) -> None:
        """Save after a step of `every`, the first validated after one that was not, and the last (OSError)."""
        if not self.writing.is_alive():
            self.wait()  # returns immediately, and warns of a failure
        ends = trainer.finished or bool(trainer.stopped)
        validated, waits, left = "validation/loss" in trainer.latest, self.unvalidated, -trainer.step % self.every
        self.unvalidated = (waits if left else self.keep_best) and not validated
        if any((ends, not left, waits and validated)):
            self.save(trainer, wait=ends)
        elif not self.reserved and trainer.step + left < trainer.steps:  # a save before the last
            self.shadow.reserve(trainer.parallel.part(trainer.state_dict()))
            self.reserved = True

    def saved(self) -> list[Path]:
        return saved(self.folder)

    def save(self, trainer, *, wait: bool = False) -> None:
        """Copy the state and write the copy while training goes on; a failure is a warning, earlier saves stay. With
        `wait` return when the state is on the disk, or raise OSError."""
        if self.writing.is_alive() and not wait and not self.warned:
            self.warned = True
            log.warning("the last checkpoint is still being written: checkpoints.every is too short for this disk")
        self.wait()
        parallel, final, refusal = trainer.parallel, self.folder / f"step_{trainer.step:08d}", None
        if parallel.rank == 0:
            self.refuse_gone()
            refusal = files.prepare(final)
        # Every process takes part, since random states are gathered; none is past it before the folder is there.
        part = parallel.part(trainer.state_dict() | self.identity)
        if part is None:
            return
        about = {"step": trainer.step, "validation/loss": trainer.latest.get("validation/loss")}
        copy = part if wait else self.shadow(part)  # nothing changes a state that is waited for
        safe = self.safe(trainer)

        def write() -> None:
            try:
                if refusal:
                    raise refusal
                files.put(final, copy, parallel.rank, parallel.writers, about)
                if parallel.rank == 0:
                    self.prune(safe)
            except OSError as error:
                said = f"cannot save a checkpoint after step {about['step']} in {self.folder}"
                raise OSError(f"{said}: {error.strerror or error}") from None

        self.writing = Writing(write)
        if wait:
            self.wait(strict=True)

    def safe(self, trainer) -> int:
        """The last step to save after that lies the guard's lookback behind: what was saved since then stays."""
        return max(0, trainer.step - trainer.guard.lookback) // self.every * self.every

    def prune(self, safe: int) -> None:
        """Point to the best checkpoint, and remove those that need not stay."""
        stay = kept(saved_losses(self.folder), newest=self.keep, every=self.keep_every, best=self.keep_best, safe=safe)
        self.point()
        for checkpoint in self.saved():
            if step_of(checkpoint) not in stay:
                files.remove(checkpoint)

    def point(self) -> None:
        """With `keep_best`, make `best` a link to the best checkpoint in one step, or remove it if there is none."""
        if not self.keep_best:
            return
        link, part = self.folder / "best", self.folder / "best.part"
        with suppress(OSError):  # not every disk has links; `chosen_state` does without
            part.unlink(missing_ok=True)
            for step in best_of(saved_losses(self.folder)):
                part.symlink_to(f"step_{step:08d}")
                part.replace(link)
                return
            link.unlink(missing_ok=True)

    def wait(self, *, strict: bool = False) -> None:
        """Return when nothing is being written; warn, or if `strict` raise OSError, if what was could not be."""
        try:
            self.writing.finish()
        except OSError as failure:
            if strict:
                raise
            log.warning("%s; those saved before stay", failure)

    def drop_after(self, trainer, step: int) -> None:
        """Remove what was saved after `step`, the states of a run that diverged, unless all of it was."""
        self.wait()
        if trainer.parallel.rank == 0:
            there = self.saved()
            dropped = [checkpoint for checkpoint in there if step_of(checkpoint) > step]
            for checkpoint in dropped if len(dropped) < len(there) else []:
                files.remove(checkpoint)
            self.point()

    def restore(self, trainer, before: int | None = None) -> bool:
        """Load the newest checkpoint that is whole into the trainer; False if there is none.

        With `before`, one saved on schedule (not by a signal: an interrupted run goes back to where any other would)
        before that step, or the oldest: of a run that branched off, or changed `every`, it is from before all that can
        still be noticed. Raises ValueError if none is whole, or if it has no optimizer state."""
        self.wait()
        trainer.parallel.gather(None)  # no process looks before the first one has written
        if (state := self.newest(before)) is not None:
            refuse_without_optimizer(state, self.folder)
            take(trainer, state, self.folder)
        elif before is None and (there := self.saved()):
            line = f"{self.folder}: none of {len(there)} checkpoints is whole, and the run does not start over"
            raise ValueError(f"{line}; overwrite=true deletes it and starts again, another name= leaves it")
        return state is not None

    def newest(self, before: int | None = None) -> dict | None:
        self.wait()
        there = self.saved()
        if before is not None:
            there = [c for c in there if step_of(c) < before and step_of(c) % self.every == 0] or there[:1]
        return files.newest(there)


def refuse_without_optimizer(state: dict, where: Path) -> None:
    """Raise ValueError for weights alone: with fresh moments the run would have a second cold start."""
    if "optimizer" not in _own(state, where):
        cure = "to start from its weights alone, python -m gptx export them and give the file as from=FILE.safetensors"
        raise ValueError(f"{where}: the checkpoint holds no optimizer state; {cure}")


def chosen_state(run: Path, checkpoint: str) -> dict:
    """The state of a run's `checkpoint`: the newest whole one, the best validated, or a name. Raises ValueError."""
    folder = run / "checkpoints"
    if checkpoint == "newest":
        if (state := files.newest(saved(folder))) is not None:
            return _own(state, folder)
        raise ValueError(f"{run}: no whole checkpoint in {folder}; let the run reach its first one")
    named = {path.name: path for path in saved(folder)}
    best = [f"step_{step:08d}" for step in best_of(saved_losses(folder))]
    name = best[0] if checkpoint == "best" and best else checkpoint
    if name not in named:
        raise ValueError(f"checkpoint={checkpoint}: not in {folder}; there: {', '.join(['newest', *named])}")
    return _own(read_state(named[name]), named[name])


def take(trainer, state: dict, where: Path) -> None:
    """Load a whole state into the trainer. Raises ValueError if it is not one of its recipe and version."""
    refuse_other_model(state, trainer.model, where)
    try:
        trainer.load_state_dict(state)
    except KeyError as missing:
        line = f"{where}: saved by another version of gptx: {missing} is not in it"
        raise ValueError(f"{line}; continue with that one, or export the weights") from None
    except (TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise ValueError(f"{where}: its state is not one of this recipe ({' '.join(str(error).split())})") from None


def refuse_other_model(state: dict, model, where: Path) -> None:
    """Raise ValueError that names the first tensor that the model or the state lacks, or that has another shape."""
    own, there = model.state_dict(), state["model"]
    for name in [*own, *there]:
        shapes = [tuple(each[name].shape) if name in each else None for each in (there, own)]
        if shapes[0] != shapes[1]:
            said = ["missing" if shape is None else f"of shape {shape}" for shape in shapes]
            raise ValueError(f"{where}: {name} is {said[0]} in the checkpoint and {said[1]} in the config's model")


def _own(state: dict, where: Path) -> dict:
    kinds = {"model": dict, "observers": dict, "optimizer": dict, "recipe": dict, "data": dict, "judged": list | None}
    facts = {"model": None, "judged": None} | (state if isinstance(state, dict) else {})
    wrong = [name for name, kind in kinds.items() if name in facts and not isinstance(facts[name], kind)]
    wrong += ["step"] * ("optimizer" in facts and type(facts.get("step")) is not int)
    if not wrong:
        tensors = [*facts["model"].values(), *(facts["judged"] or [])]  # none may be sparse
        wrong += ["model"] * any(getattr(each, "layout", None) is not strided for each in tensors)
    if wrong:
        raise ValueError(f"{where}: {wrong[0]} is not what a run saves")
    return state
