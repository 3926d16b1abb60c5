"""Before anything is written or submitted: every job of the command is composed and checked, whole."""

import atexit
import math
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gptx.config.command_line import explained, refuse_choices
from gptx.config.errors import ConfigError, refusal
from gptx.config.keys import key_of, under
from gptx.config.rules import job_of
from gptx.config.values import typed_value
from gptx.runs.folder import RunFolder
from gptx.sweeps import listing, status
from gptx.sweeps.jobs import examine_job, examine_sweep

_PLACE = "threads", "device"  # decide at most the last digits, and are often the machine's


class Preflight(Callback):
    """Hydra callback; a refusal is a SystemExit, because Hydra turns an exception in a callback into a warning."""

    def __init__(self) -> None:
        self.runs: dict[Path, dict] = {}  # folder and config of each run of the sweep

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _or_end():
            chosen = config.hydra.runtime.choices.get("hydra/launcher")
            if chosen not in ("basic", "local"):
                raise ConfigError(f"hydra/launcher={chosen} needs --multirun, also for one run")
            words = list(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))  # type: ignore[arg-type]
            refuse_choices(words)
            placed = any(key_of(word) == "hydra.run.dir" for word in config.hydra.overrides.hydra)  # a run of a sweep
            if swept := [word for word in words if under(key_of(word), ("sweep",)) and not placed]:
                raise ConfigError(f"{swept[0]} needs --multirun: it says how the runs of a sweep differ")
            examine_job(job_of(config), {}, Path(config.hydra.run.dir))
            if config.dry_run:
                state = RunFolder(Path(config.hydra.run.dir)).state
                print(f"{state:12} {config.hydra.run.dir}\ndry_run=true: nothing is trained")
                raise SystemExit

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        remove_hydras_file(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _or_end():
            _find_launcher(config)
            if any(key_of(word) == "hydra.run.dir" for word in config.hydra.overrides.hydra):
                raise ConfigError("hydra.run.dir is of a single run; a sweep goes to hydra.sweep.dir")
            if config.hydra.sweeper._target_.endswith("BasicSweeper"):  # another one chooses its jobs as it goes
                typed_value(config.dry_run, bool, "dry_run")
                self.runs = examine_sweep(config)
                if config.dry_run:
                    print("\n".join(listing.dry_run(self.runs)))
                    print(_script(config), end="")
                    raise SystemExit
                if config.hydra.launcher.get("wait", True):  # else the jobs end long after this process
                    atexit.register(status.table, self.runs)  # also after Ctrl-C, or an error that ends the sweep

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self.runs and config.hydra.launcher.get("wait", True):
            atexit.unregister(status.table)
            if status.table(self.runs):
                raise SystemExit(1)


@contextmanager
def _or_end() -> Iterator[None]:
    """Make a SystemExit of what goes wrong; Hydra would make a warning of it, and train."""
    try:
        yield
    except OSError as error:
        raise SystemExit(f"error: {refusal('', error)}") from None
    except Exception as error:
        if isinstance(told := explained(error, sys.argv[1:]), ConfigError):
            raise SystemExit(f"config error: {told}") from None
        traceback.print_exc()
        raise SystemExit(1) from None


def _script(config: DictConfig) -> str:
    """The batch script that hydra/launcher=slurm would submit; "" for another launcher."""
    module: Any = sys.modules.get("hydra_plugins.gptx")
    limits = {str(key): value for key, value in config.hydra.launcher.items() if key != "_target_"}
    return module.Slurm(**limits).script() if hasattr(module, "Slurm") else ""


def remove_hydras_file(config: DictConfig) -> None:
    """Remove the config of a whole sweep, which Hydra writes as it was typed, with credentials."""
    if config.hydra.mode == RunMode.MULTIRUN:
        (Path(config.hydra.sweep.dir) / "multirun.yaml").unlink(missing_ok=True)


def _find_launcher(config: DictConfig) -> None:
    """Make Hydra know the launcher of the sweep if it is one of gptx's. Raises ConfigError if it could not work."""
    launcher, choice = config.hydra.launcher, config.hydra.runtime.choices["hydra/launcher"]
    if choice.startswith("submitit"):  # the plugin's own, which know nothing of runs that are finished
        own = "slurm" if "slurm" in choice else "local"
        raise ConfigError(f"hydra/launcher={choice}: gptx has its own, hydra/launcher={own}")
    if find_spec("hydra_plugins") is None:  # where no plugin is installed
        sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    try:
        name = "Slurm" if launcher._target_.endswith("Slurm") else "Local"
        module = sys.modules["hydra_plugins.gptx"] = import_module(f"gptx.sweeps.{name.lower()}")
        for plugin in (getattr(module, name), module.Planned):  # Hydra finds it by its name, in hydra_plugins only
            Plugins.instance().register(plugin)
    except ModuleNotFoundError as missing:
        cure = 'pip install -c constraints.txt "gptx[slurm]"'
        raise ConfigError(f"hydra/launcher={choice} needs the package {missing.name}: {cure}") from None
    if launcher._target_.startswith("hydra_plugins.gptx."):
        _refuse_limits(launcher)


def _refuse_limits(launcher: DictConfig) -> None:
    """Refuse what is no count, and a time in which no run can save or after which it is not put back into the queue."""
    optional = "parallel", "gpus_per_node", "cpus_per_task", "mem_gb"
    for name in ("timeout_min", "tasks_per_node", "nodes", "array_parallelism", *optional):
        count = launcher.get(name, 1)
        if (count is not None or name not in optional) and (type(count) is not int or not 1 <= count <= 10**6):
            raise ConfigError(f"hydra.launcher.{name}={count!r:.80} must be a whole number from 1 to 10^6")
    minutes = launcher.get("timeout_min", math.inf)
    limit = f"hydra.launcher.timeout_min={minutes}"
    if minutes * 60 <= launcher.get("signal_delay_s", 0):
        delay = f"the {launcher.signal_delay_s} s in which the run saves (hydra.launcher.signal_delay_s)"
        raise ConfigError(f"{limit} is not more than {delay}")
    if minutes <= 12 and not launcher.get("max_num_timeout", 1):  # submitit counts from 10 min to the end
        line = "below 13 minutes a preemption counts as a time-out, which max_num_timeout=0 does not allow"
        raise ConfigError(f"{limit}: {line}; raise one of them")
