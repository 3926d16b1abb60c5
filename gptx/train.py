"""Train one recipe, or a sweep of them:  python -m gptx.train optim=adamw schedule=cosine   (--help shows more)."""

import gc
import logging
import math
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from gptx.config import command_line, compose, paths, recorded
from gptx.config.errors import ConfigError, one_line, refusal
from gptx.config.keys import key_of, options
from gptx.distributed.peers import PeerLost, first_to_say
from gptx.distributed.rank import job as submitted_job
from gptx.distributed.rank import world_size
from gptx.ingredients.log import shown
from gptx.units.printable import streams

log = logging.getLogger("gptx")


@hydra.main(version_base="1.3", config_path=paths.CONF, config_name="train")
def _job(cfg: DictConfig) -> float:
    """One job of Hydra's: a lone run ends the process with its mistake in one line; in a sweep the others go on."""
    from gptx.job.run import EXPECTED, Command, note_failure, train  # and PyTorch, which --help does without

    chosen = HydraConfig.get()
    folder, sweep = Path(chosen.runtime.output_dir), chosen.mode == RunMode.MULTIRUN
    try:
        return train(cfg, folder, Command(**_typed(chosen)))
    except PeerLost as lost:  # reported already; a sweep has too few processes for its other runs
        note_failure(folder, lost, sweep=sweep)
        raise SystemExit(1) from None
    except Exception as error:
        with suppress(ConfigError, OSError):  # a damaged record, or a full disk, is not the error to report
            note_failure(folder, error, sweep=sweep)
        if not sweep and isinstance(error, EXPECTED):
            raise SystemExit(_complaint(error)) from None
        if not sweep and not submitted_job():
            raise
        log.error("FAILED %s: %s", shown(folder), one_line(error))
        if not isinstance(error, EXPECTED):
            log.error("%s", "".join(traceback.format_exception(error)))
        if submitted_job():
            raise  # to gptx.sweeps.slurm, which makes it the failure of the job
        if world_size() > 1:
            raise SystemExit(1) from None  # the ranks do not fail together, and the next run would miss one
        traceback.clear_frames(error.__traceback__)  # they hold the model
        return math.nan
    finally:
        gc.collect()


def _typed(chosen) -> dict:
    """What was typed, from Hydra's own section of the config, for `Command`."""
    placed = any(key_of(word) == "hydra.run.dir" for word in chosen.overrides.hydra)
    choices = chosen.runtime.choices.items()
    return {
        "choices": {group: str(name) for group, name in choices if not group.startswith("hydra") and name is not None},
        "overrides": recorded.typed(chosen.overrides.task),
        "options": recorded.typed(options(chosen)),
        "lone": chosen.mode == RunMode.RUN and not placed and not submitted_job(),
    }


def _complaint(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return f"config error: {' '.join(str(error).splitlines())}"
    return f"error: {refusal('', error)}"


def main() -> None:
    """Train a recipe, or a sweep of recipes."""
    streams(lasting=True)
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra hands errors to us, and we report them in one line
    # Threads that wait for each other sleep: on a busy machine spinning ones made nano 12 times slower, on an idle one
    # they are 1.15 times faster. OMP_WAIT_POLICY=active is for the latter.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())  # a user's own classes, also from the console script
    try:
        _run()
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except SystemExit as end:
        if isinstance(end.code, str) and not first_to_say(end.code):  # another process has said the same
            raise SystemExit(1) from None
        raise


def _run() -> None:
    try:
        sys.argv[1:] = command_line.prepared(sys.argv[1:])
        compose.register()
        _job()
    except (ConfigError, HydraException, ValueError) as error:  # Hydra's are partly OSErrors too
        told = command_line.explained(error, sys.argv[1:])
        if not isinstance(told, ConfigError):
            raise
        raise SystemExit(_complaint(told)) from None
    except OSError as error:
        raise SystemExit(_complaint(error)) from None


if __name__ == "__main__":
    from gptx import train as command  # under its name, by which a submitted job finds it; __main__ would be copied

    command.main()
