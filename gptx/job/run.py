"""One run, from its config to its result, in four stages: prepare, resume, run, close."""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gptx import files
from gptx.config import recorded
from gptx.config.errors import ConfigError, one_line
from gptx.config.keys import changes, recipe
from gptx.config.validate import check
from gptx.distributed.peers import PeerLost, Peers, together
from gptx.distributed.rank import job as submitted_job
from gptx.distributed.rank import rank
from gptx.estimate.memory import Meter, predicted_peak, prediction
from gptx.estimate.speed import configure
from gptx.ingredients.checkpoints.files import abandon
from gptx.ingredients.log import RunInfo, now, shown
from gptx.ingredients.log.console import messages_to
from gptx.job import resume, summary
from gptx.job.build import trainer_of
from gptx.job.signals import train_until_stopped
from gptx.runs import metrics, provenance
from gptx.runs.folder import RunFolder

log = logging.getLogger("gptx")
_THREADS = torch.get_num_threads()  # PyTorch's own choice, before any run of this process changes it
EXPECTED = ConfigError, OSError, MemoryError, FloatingPointError  # reported in one line; the last is a guard's


@dataclass(frozen=True)
class Command:
    """What was typed to start a run."""

    choices: dict[str, str] = field(default_factory=dict)  # option of each config group
    overrides: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)  # for Hydra itself
    lone: bool = False  # True if a person started this run alone, in the folder that its overrides name


def train(cfg: Any, path: Path, command: Command = Command()) -> float:
    """Train the run in `path`, or go on with it; its final validation loss. SystemExit (128 + signal) if stopped."""
    folder = RunFolder(path)
    measured = resume.count_steps(cfg, folder, afresh=cfg.overwrite and not _requeued(folder))
    check(cfg, allow=cfg.allow_targets)
    folder.refuse_strangers()
    folder.refuse_links(overwrite=cfg.overwrite and not _requeued(folder))
    with ExitStack() as owned:
        if rank() == 0:  # which holds the folder for all ranks
            owned.enter_context(folder.own())
        else:  # Hydra makes the folder again after rank 0 removed it
            owned.callback(folder.remove_empty)
        owned.enter_context(messages_to(path) if rank() == 0 else _silence())
        config = recorded.recorded(cfg)
        cfg.overwrite = cfg.overwrite and not _requeued(folder)  # else what is there is its own
        record = {} if cfg.overwrite else resume.record_of(folder) or {}
        if "recipe" in record:
            resume.refuse_other(folder, record, cfg)
            if record.get("state") == "finished":
                return _already(folder, record, config)
        job = _Job(cfg, config, folder, record, command, measured)
        with together(job.trainer.parallel, EXPECTED) as peers:
            job.resume()
            return job.close(job.run(peers))


def _already(folder: RunFolder, record: dict, config: dict) -> float:
    result, but = record.get("result", {}), resume.as_asked(folder, record, config)
    line = f"already finished: {metrics.validation_words(result)} in {folder}{but} (overwrite=true trains again)"
    log.log(logging.WARNING if but else logging.INFO, "%s", line)
    return result.get("validation/loss", math.nan)


class _Job:
    """One start of a run, in a process that owns its folder."""

    def __init__(self, cfg: Any, config: dict, folder: RunFolder, record: dict, command: Command, measured: dict):
        """Prepare: build the trainer. Runs can share a process, so all that is global in PyTorch is set again."""
        self.cfg, self.config, self.folder, self.record, self.command = cfg, config, folder, record, command
        self.measured = measured
        configure(threads=cfg.threads or _THREADS, deterministic=cfg.deterministic)
        self.trainer = trainer_of(cfg)
        self.started = time.perf_counter()
        self.predicted = prediction(cfg, self.trainer.data.vocab_size) if rank() == 0 else ""
        self.meter = Meter(self.trainer.parallel.device)

    def resume(self) -> None:
        """Load the newest checkpoint, or the state to branch from; with overwrite=true, remove the old run."""
        trainer, cfg, folder = self.trainer, self.cfg, self.folder
        if "data" in self.record:
            resume.refuse_other_text(folder, self.record, trainer.data.identity, cfg)
        trainer.checkpoints.place(folder.path, recipe=recipe(self.config), data=trainer.data.identity)
        with resume.refused():  # if checkpoints are there, and none is whole
            self.resumed = not cfg.overwrite and trainer.checkpoints.restore(trainer)
        origin = None if self.resumed else cfg["from"]
        self.branched = "" if origin is None else resume.branch(trainer, Path(origin), self.config)
        if len(set(trainer.parallel.gather(trainer.step))) > 1:
            raise ConfigError(f"{folder}: the ranks see different checkpoints there; it must be on a shared disk")
        with resume.refused():  # if an observer has nothing to observe
            trainer.attach()
        if cfg.overwrite:  # only now, when nothing can refuse the new run any more
            for link in folder.clear() if rank() == 0 else ():
                log.warning("%s was a symbolic link; the link is removed, what it points to is left", shown(link))
            trainer.parallel.gather(None)

    def run(self, peers: Peers) -> Callable | None:
        """Train until done or stopped. Return the scheduler's handler if the job must be requeued."""
        trainer, command, outcome = self.trainer, self.command, "failed"
        info = RunInfo(
            folder=self.folder.path, name=self.folder.path.name, group=self.cfg.name, steps=trainer.steps,
            start=trainer.step, config=self.config, choices=command.choices, overrides=command.overrides,
            git=provenance.git(), tags=changes(command.overrides), budget=summary.budget(trainer).record(),
        )  # fmt: skip
        sinks = trainer.sinks if rank() == 0 else []
        try:
            if rank() == 0:
                self._record_start(info)
            for sink in sinks:
                sink.open(info)
            self._announce(info)
            with peers.noticing(), self.meter.over(trainer.model, trainer.optimizer):
                handler = train_until_stopped(trainer, self.folder)
            stopped = "interrupted" if trainer.stopped == "SIGINT" else "preempted"  # by a person, by a scheduler
            outcome = "finished" if trainer.finished else stopped
            return handler
        except PeerLost:
            abandon(trainer.checkpoints.folder, trainer.parallel.writers)
            raise
        except BaseException as error:
            outcome = "failed" if isinstance(error, Exception) else "interrupted"
            raise
        finally:
            self._record_end(sinks, outcome)

    def close(self, handler: Callable | None) -> float:
        """Report the end. Return the final validation loss, or leave the process if a signal stopped the run."""
        trainer, seconds = self.trainer, time.perf_counter() - self.started
        if rank() == 0:
            trainer.checkpoints.refuse_gone()
        if not trainer.finished:
            log.info("%s: stopped after step %d and saved; the same command continues", trainer.stopped, trainer.step)
            if handler:
                if rank() == 0:
                    handler(signal.SIGUSR2, None)  # puts the job back into the queue, and ends it on all ranks
                time.sleep(60)
                raise SystemExit
            raise SystemExit(128 + signal.Signals[trainer.stopped])
        try:
            for line in summary.end(trainer, shown(self.folder.path), seconds, self.predicted, self.meter):
                log.info("%s", line)
            log.debug("memory     %s", self.meter.compared_with(self.predicted))
        except Exception as error:  # the run is finished; a failure of the summary changes nothing about that
            log.warning("finished, but the summary failed: %s", one_line(error))
        return trainer.latest.get("validation/loss", math.nan)

    def _record_start(self, info: RunInfo) -> None:
        folder, trainer = self.folder.path, self.trainer
        code, patch = provenance.code_of(self.config)
        codes = provenance.since(self.record.get("code", []), info.start, code)
        files.write_text(folder / "config.yaml", recorded.as_yaml(self.config))
        files.write_text(folder / "overrides.yaml", recorded.as_yaml(info.overrides))
        trainer.data.save_tokenizer(folder / "tokenizer.json")
        self.folder.write(
            state="running", started=now(), recipe=recipe(self.config), data=trainer.data.identity,
            data_remarks=getattr(trainer.data, "remarks", []), choices=info.choices, overrides=info.overrides,
            options=self.command.options, job=submitted_job(), git=info.git, code=codes,
            versions=provenance.versions(), **summary.run_facts(trainer),
            better=metrics.declared(trainer.observers.values()), error="",
            **{"measured": self.measured} if self.measured else {},
        )  # fmt: skip
        if patch and self.config["record_patch"] and codes[-1]["step"] == info.start:
            files.write_text(folder / f"code_{info.start:08d}.patch", patch)

    def _announce(self, info: RunInfo) -> None:
        """Print what is trained; details go to train.log alone."""
        for line in summary.start(self.trainer, info, self.predicted, self.measured):
            log.info("%s", line)
        for line in summary.details(self.trainer, self.predicted):
            log.debug("%s", line)
        for line in summary.warnings(self.trainer, info):
            log.warning("%s", line)
        if self.resumed and (changed := provenance.changed_since(self.record, self.config)):
            log.warning("the steps before were made by other code: %s changed since", changed)
        lone = self.command.lone and not self.resumed
        if line := self.branched or (resume.shorter(self.folder, self.config) if lone else ""):
            log.info("%s", line)

    def _record_end(self, sinks: list, outcome: str) -> None:
        trainer, meter = self.trainer, self.meter
        for sink in sinks:
            try:
                sink.close(outcome)
            except Exception as error:  # the run has ended; a sink that cannot be closed changes nothing about that
                log.warning("log=%s: %s", type(sink).__name__.lower(), one_line(error))
        if rank() == 0 and trainer.checkpoints.placed():
            peak = predicted_peak(self.predicted, meter.device)
            memory = {"predicted": peak, "measured": meter.peak, "held": meter.held}
            self.folder.write(state=outcome, ended=now(), step=trainer.step, reason=trainer.ended,
                              result=trainer.latest, memory=memory)  # fmt: skip
        trainer.checkpoints.wait()  # if the run failed, a save may still be under way


def note_failure(path: Path, error: Exception, *, sweep: bool) -> None:
    """Write into the record why the run failed. A run that was refused, or a lone one that never began, leaves nothing,
    nor does one whose folder is gone. A submitted job that was refused is recorded, since nobody sees its output."""
    folder, submitted = RunFolder(path), bool(submitted_job())
    noted = (folder.holds_run or sweep or submitted) and not isinstance(error, files.Gone)
    if folder.holds_run and isinstance(error, ConfigError):
        noted = submitted and folder.state not in ("finished", "running")
    if rank() == 0 and noted:
        path.mkdir(parents=True, exist_ok=True)
        folder.write(state="failed", error=one_line(error), diverged=isinstance(error, FloatingPointError))


def _requeued(folder: RunFolder) -> bool:
    """True if this same job of a scheduler began the run in the folder, before it was put back into the queue."""
    return bool(submitted_job()) and (folder.read() or {}).get("job") == submitted_job()


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what the ranks other than 0 log: one log, whatever their number."""
    before = log.handlers, log.propagate
    log.handlers, log.propagate = [logging.NullHandler()], False
    yield
    log.handlers, log.propagate = before
