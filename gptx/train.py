"""Train one recipe, or a sweep of them:  python -m gptx.train optim=adamw schedule=cosine   (--help shows more)."""

import gc
import logging
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gptx import files, runs
from gptx.config import command_line, compose, mistakes, paths, recorded, validate
from gptx.config.errors import ConfigError, one_line, refusal
from gptx.config.keys import changes, key_of, options, recipe
from gptx.distributed.peers import PeerLost, Peers, first_to_say, together
from gptx.distributed.rank import job as submitted_job
from gptx.distributed.rank import rank, world_size
from gptx.ingredients.log import Run, now, shown
from gptx.ingredients.log.console import messages_to
from gptx.job import branching
from gptx.job.build import attach, trainer_of
from gptx.runs import metrics, provenance
from gptx.sweeps import preflight
from gptx.units.printable import streams

log = logging.getLogger("gptx")
URGENCY = "SIGUSR2", "SIGINT", "SIGUSR1", "SIGTERM", "SIGHUP"  # of several signals the first of these counts
EXPECTED = ConfigError, OSError, MemoryError, FloatingPointError  # told in one line; the last is a guard's diagnosis
compose.register()


def train(cfg: DictConfig, folder: Path) -> float:
    """Train the run of `cfg` in `folder`, from its newest checkpoint if it has one; the final validation loss."""
    validate.check(cfg, allow=cfg.allow_targets)
    runs.refuse_strangers(folder)
    runs.refuse_links(folder, overwrite=cfg.overwrite and not requeued(folder))
    with owned(folder), messages_to(folder) if rank() == 0 else silence():
        config = recorded.recorded(cfg)
        if cfg.overwrite and requeued(folder):
            cfg.overwrite = False  # what is there is its own
        record = None if cfg.overwrite else record_of(folder)
        if record and "recipe" in record:
            branching.refuse_other(folder, record, cfg)
            if record.get("state") == "finished":
                result, but = record.get("result", {}), branching.as_asked(folder, record, config)
                line = f"already finished: {spell(result)} in {shown(folder)}{but} (overwrite=true trains again)"
                log.log(logging.WARNING if but else logging.INFO, "%s", line)
                return result.get("validation/loss", math.nan)
        return begin(cfg, config, folder, record)


def record_of(folder: Path) -> dict | None:
    """The record of the run in the folder, if it holds one. Raises ConfigError, with the way on, if it is damaged."""
    try:
        return runs.read(folder)
    except ConfigError as error:
        raise ConfigError(f"{error}; overwrite=true starts afresh, or choose another name=") from None


def begin(cfg: DictConfig, config: dict, folder: Path, record: dict | None) -> float:
    """Build the trainer and run it, beside its peers."""
    prepare_process(cfg)
    trainer = trainer_of(cfg)
    with together(trainer.parallel, EXPECTED) as peers:
        return carry_out(trainer, peers, cfg, config, folder, record)


def carry_out(trainer, peers: Peers, cfg: DictConfig, config: dict, folder: Path, record: dict | None) -> float:
    """Resume the trainer, run it, and record how it ended."""
    from gptx.estimate.memory import prediction
    from gptx.estimate.meter import Meter, total
    from gptx.job import summary

    started = time.perf_counter()
    predicted = prediction(cfg, trainer.data.vocab_size) if rank() == 0 else ""
    meter = Meter(trainer.parallel.device)
    if record and "data" in record:
        branching.refuse(folder, runs.other_text(record["data"], trainer.data.identity))
    trainer.checkpoints.place(folder, recipe=recipe(config), data=trainer.data.identity)
    resumed = not cfg.overwrite and restore(trainer)
    branched = "" if resumed or cfg["from"] is None else branching.branch(trainer, Path(cfg["from"]), config)
    if len(set(trainer.parallel.gather(trainer.step))) > 1:
        raise ConfigError(
            f"{shown(folder)}: the processes see different checkpoints there; it must be on a shared disk"
        )
    attach(trainer)
    if cfg.overwrite:  # only now, when nothing can refuse the new run any more
        if rank() == 0:
            for link in runs.clear(folder):
                log.warning("%s was a symbolic link; the link is removed, what it points to is left", shown(link))
        trainer.parallel.gather(None)
    run = described(trainer, folder, cfg.name, config)
    outcome, handler, sinks = "failed", None, trainer.sinks if rank() == 0 else []
    try:
        if rank() == 0:
            record_start(trainer, run, record or {})
        for sink in sinks:
            sink.open(run)
        for line in summary.start(trainer, run, predicted):
            log.info("%s", line)
        say_origin(trainer, run, record or {}, resumed, branched)
        with peers.noticing(), meter.over(trainer.model, trainer.optimizer):
            handler = fit(trainer, folder)
        stopped = "interrupted" if trainer.stopped == "SIGINT" else "preempted"  # by a person, by a scheduler
        outcome = "finished" if trainer.finished else stopped
    except PeerLost:
        trainer.checkpoints.abandon(trainer.parallel.writers)
        raise
    except BaseException as error:
        outcome = "failed" if isinstance(error, Exception) else "interrupted"
        raise
    finally:
        close(sinks, outcome)
        if rank() == 0 and trainer.checkpoints.placed():
            memory = {"predicted": total(predicted, meter.device), "measured": meter.peak, "held": meter.held}
            facts = {"step": trainer.step, "reason": trainer.ended, "result": trainer.latest, "memory": memory}
            runs.write(folder, state=outcome, ended=now(), **facts)
        trainer.checkpoints.wait()  # where the run failed, a save may still be under way
    if rank() == 0:
        trainer.checkpoints.refuse_gone()
    if outcome != "finished":
        log.info("%s: stopped after update %d and saved; the same command continues", trainer.stopped, trainer.step)
        if handler:
            put_back(handler)
        raise SystemExit(128 + signal.Signals[trainer.stopped])
    seconds = time.perf_counter() - started
    conclude(trainer, folder, seconds, meter.compared_with(predicted))
    return trainer.latest.get("validation/loss", math.nan)


def say_origin(trainer, run: Run, record: dict, resumed: bool, branched: str) -> None:
    """Say where a run begins that has something before it, or a shorter one beside it."""
    if resumed:
        log.info("continues after update %d", trainer.step)
        if changed := provenance.changed_since(record, run.config):
            log.warning("the updates before were made by other code: %s changed since", changed)
    elif said := branched or (branching.shorter(run.folder, run.config) if alone() else ""):
        log.info("%s", said)


def close(sinks: list, outcome: str) -> None:
    """Close every sink. The run has ended, and one that cannot be closed changes nothing about that."""
    for sink in sinks:
        try:
            sink.close(outcome)
        except Exception as error:
            log.warning("log=%s: %s", type(sink).__name__.lower(), one_line(error))


def conclude(trainer, folder: Path, seconds: float, memory: str) -> None:
    """Say what came of a run. It is finished, and what goes wrong here changes nothing about that."""
    from gptx.job import summary

    try:
        for line in summary.end(trainer, shown(folder), spell(trainer.latest), seconds, memory):
            log.info("%s", line)
    except Exception as error:
        log.warning("finished; of the summary no more can be told: %s", one_line(error))


def described(trainer, folder: Path, group: str, config: dict) -> Run:
    """What the sinks and the record may know about the run."""
    from gptx.job import summary

    chosen = HydraConfig.get()
    choices = {k: str(v) for k, v in chosen.runtime.choices.items() if not k.startswith("hydra") and v is not None}
    overrides = recorded.typed(chosen.overrides.task)
    return Run(
        folder=folder,
        name=folder.name,
        group=group,
        steps=trainer.steps,
        start=trainer.step,
        config=config,
        choices=choices,
        overrides=overrides,
        git=provenance.git(),
        tags=changes(overrides),
        budget=summary.budget(trainer).record(),
    )


def restore(trainer) -> bool:
    """Continue from the newest whole checkpoint of the run; False if it has none yet.

    Raises ConfigError where none is whole, or the state in it is not all of it.
    """
    try:
        return trainer.checkpoints.restore(trainer)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def record_start(trainer, run: Run, before: dict) -> None:
    """Write into the run folder all that other commands need to know of the run; `before` is what it said so far."""
    from gptx.job import summary

    code, patch = provenance.code(run.config)
    codes = provenance.since(before.get("code", []), run.start, code)
    files.write_text(run.folder / "config.yaml", OmegaConf.to_yaml(run.config))
    files.write_text(run.folder / "overrides.yaml", OmegaConf.to_yaml(run.overrides))
    trainer.data.save_tokenizer(run.folder / "tokenizer.json")
    runs.write(
        run.folder,
        state="running",
        started=now(),
        recipe=recipe(run.config),
        data=trainer.data.identity,
        data_remarks=getattr(trainer.data, "remarks", []),
        choices=run.choices,
        overrides=run.overrides,
        options=recorded.typed(options(HydraConfig.get())),
        job=submitted_job(),
        git=run.git,
        code=codes,
        versions=runs.versions(),
        hardware=summary.hardware(trainer),
        parameters=summary.parameters(trainer),
        batch=summary.batch(trainer),
        budget=run.budget,
        better=metrics.declared(trainer.observers.values()),
        error="",
    )
    if patch and run.config["record_patch"] and codes[-1]["step"] == run.start:
        files.write_text(run.folder / f"code_{run.start:08d}.patch", patch)


@contextmanager
def owned(folder: Path):
    """Holds the run folder for this process alone; leaves none without a run. Raises ConfigError if it is held."""
    if rank() != 0:
        try:
            yield
        finally:
            runs.remove_empty(folder)  # which Hydra made anew after the first process removed it
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = files.lock(folder / ".lock")
    except files.Held as held:
        raise ConfigError(f"{shown(folder)} is in use by {held}; wait for it, or choose another name=") from None
    except OSError as error:
        raise refusal("", error) from None
    with lock:
        mine = files.identity(folder)
        try:
            yield
        finally:
            if files.identity(folder) == mine and not (folder / "run.json").exists():  # no run came of it
                runs.remove_beginnings(folder)


def prepare_process(cfg: DictConfig) -> None:
    """Set what is global in PyTorch; several runs of a sweep share one process, so nothing is left as it was."""
    import torch

    torch.set_num_threads(cfg.threads or threads_at_first())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic products on a GPU need it
    torch.use_deterministic_algorithms(cfg.deterministic)


@cache
def threads_at_first() -> int:
    """PyTorch's own choice, asked before any run of this process changed it."""
    import torch

    return torch.get_num_threads()


@contextmanager
def silence():
    """Drops what is logged by a process that is not the first: one log, whatever their number."""
    logger = logging.getLogger("gptx")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    yield
    logger.handlers, logger.propagate = before


def fit(trainer, folder: Path) -> Callable | None:
    """Train until the end or until a signal ends this start; the handler that puts the job back into the queue, if any.

    A scheduler with handlers of its own at work, as submitit has, decides about the end. Its SIGTERM may come long
    before the process is killed, or without that: the state is saved and training goes on. At its SIGUSR2 the job is
    put back, but only once everything is saved and closed.
    """
    while True:
        with stopping(trainer) as before:
            trainer.fit()
        if not trainer.stopped:
            return None
        asked, trainer.asked = trainer.asked, ""
        trainer.stopped = min(filter(None, trainer.parallel.gather(asked)), key=URGENCY.index)
        handler = before[signal.Signals[trainer.stopped]]
        if trainer.finished or trainer.stopped not in ("SIGTERM", "SIGUSR2") or not callable(handler):
            return None
        if trainer.stopped == "SIGUSR2":
            return handler
        log.info("SIGTERM: saved after update %d; training goes on until the job is ended", trainer.step)
        if rank() == 0:
            runs.write(folder, state="preempted", step=trainer.step)
        trainer.stopped = ""


def put_back(handler: Callable) -> None:
    """Have the first process put the job back into the queue, which ends it; the others wait to be ended with it."""
    if rank() == 0:
        handler(signal.SIGUSR2, None)
    time.sleep(60)
    raise SystemExit


@contextmanager
def stopping(trainer):
    """Ends the run after the update under way at a signal; gives the handlers that were there before.

    After the first signal, Ctrl-C ends the process at once. Others are only noted: a scheduler sends several. The
    end of the terminal is ignored where this process was started so, as by nohup.
    """
    before = {number: signal.getsignal(number) for number in (signal.Signals[name] for name in URGENCY)}

    def ask(number: int, frame) -> None:
        name = signal.Signals(number).name
        trainer.stop(min(name, trainer.asked or name, key=URGENCY.index))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if name == "SIGINT" and rank() == 0:
            with suppress(OSError):  # a terminal that is gone
                os.write(2, b"\nSIGINT: this update is finished and saved; Ctrl-C again leaves at once\n")

    for number, handler in before.items():
        if number != signal.SIGHUP or handler != signal.SIG_IGN:
            signal.signal(number, ask)
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def requeued(folder: Path) -> bool:
    """True if this same job of a scheduler began the run in the folder, before it was put back into the queue."""
    return bool(submitted_job()) and (runs.read(folder) or {}).get("job") == submitted_job()


def spell(result: dict) -> str:
    """The held-out numbers of a result, in words."""
    names = {
        "validation/loss": "validation loss",
        "validation/perplexity": "perplexity",
        "validation/bits_per_byte": "bits/byte",
    }
    found = [f"{words} {result[key]:.4f}" for key, words in names.items() if key in result]
    return ", ".join(found) or "no validation"


@hydra.main(version_base="1.3", config_path=paths.CONF, config_name="train")
def job(cfg: DictConfig) -> float:
    """One job of Hydra's: a lone run ends the process with its mistake in one line; in a sweep the others go on."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return train(cfg, folder)
    except PeerLost as lost:  # said already; a sweep has too few processes for its other cells
        note_failure(folder, lost)
        raise SystemExit(1) from None
    except Exception as error:
        with suppress(ConfigError, OSError):  # a damaged record, or a full disk, is not what is to be told
            note_failure(folder, error)
        if HydraConfig.get().mode == RunMode.RUN and isinstance(error, EXPECTED):
            raise SystemExit(complaint(error)) from None
        if not preflight.cells and not submitted_job():
            raise
        log.error("FAILED %s: %s", shown(folder), one_line(error))
        if not isinstance(error, EXPECTED):
            log.error("%s", "".join(traceback.format_exception(error)))
        if submitted_job():
            raise  # to gptx.sweeps.slurm.Cell, which makes it the failure of the job
        if world_size() > 1:
            raise SystemExit(1) from None  # the processes do not fail together, and the next cell would miss one
        traceback.clear_frames(error.__traceback__)  # they hold the model
        return math.nan
    finally:
        gc.collect()


def complaint(error: Exception) -> str:
    """A mistake of the user's, or what the machine refused, in one line."""
    if isinstance(error, ConfigError):
        return f"config error: {' '.join(str(error).splitlines())}"
    return f"error: {refusal('', error)}"


def alone() -> bool:
    """True for a run that a person started by itself, in the folder that its overrides name."""
    chosen = HydraConfig.get()
    placed = any(key_of(word) == "hydra.run.dir" for word in chosen.overrides.hydra)
    return chosen.mode == RunMode.RUN and not placed and not submitted_job()


def note_failure(folder: Path, error: Exception) -> None:
    """Say in the record why the run failed; a run that was refused, or a lone one that never began, leaves nothing, nor
    does one whose folder is gone.

    Nobody sees the refusal of a job in a queue, whose recipe changed while it waited: it is recorded too.
    """
    begun, lone = (folder / "run.json").exists(), not preflight.cells and not submitted_job()
    if begun and isinstance(error, ConfigError):
        told = bool(submitted_job()) and runs.state(folder) not in ("finished", "running")
    else:
        told = (begun or not lone) and not isinstance(error, files.Gone)
    if rank() == 0 and told:
        folder.mkdir(parents=True, exist_ok=True)
        runs.write(folder, state="failed", error=one_line(error), diverged=isinstance(error, FloatingPointError))


def table() -> int:
    """Print how every cell of the sweep ended; the number of those that did not finish."""
    unfinished = 0
    for folder, config in preflight.cells.items():
        try:
            record = (runs.read(folder) or {}) | {"state": runs.state(folder)}
            if other := runs.of_another(record, config):
                record |= {"state": "failed", "error": other}
        except ConfigError as error:
            record = {"state": "unreadable", "error": str(error)}
        unfinished += record["state"] != "finished"
        words = record.get("error") or (spell(record["result"]) if record.get("result") else "")
        print(f"{record['state']:12} {folder}  {words}")
    return unfinished


def main() -> None:
    """Train a recipe, or a sweep of recipes.

    A mistake is one line on stderr, of whichever process makes it first, and exit code 1.
    """
    streams(lasting=True)
    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, str) and not first_to_say(end.code):
            raise SystemExit(1) from None
        raise


def run() -> None:
    """The command, in this process."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands errors to us, and we say them in one line
    # Threads that wait for each other sleep: on a busy machine spinning ones made nano 12 times slower, on an idle one
    # they are 1.15 times faster. OMP_WAIT_POLICY=active is for the latter.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())  # a user's own classes, also from the console script
    try:
        sys.argv[1:] = command_line.prepared(sys.argv[1:])
        job()
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except (HydraException, ValueError) as error:
        if isinstance(told := mistakes.explained(error, sys.argv[1:]), ConfigError):
            raise SystemExit(complaint(told)) from None
        raise
    except (ConfigError, OSError) as error:
        raise SystemExit(complaint(error)) from None
    finally:
        unfinished = table() if preflight.cells else 0
    if unfinished:
        raise SystemExit(1)


if __name__ == "__main__":
    from gptx import train as command  # under its name, by which a submitted job finds it; __main__ would be copied

    command.main()
