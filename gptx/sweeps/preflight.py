"""Before anything is written or submitted: every job of the command is composed and checked, whole."""

import atexit
import math
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write

from gptx.config.command_line import explained, jobs, refuse_choices
from gptx.config.errors import ConfigError, one_line, refusal
from gptx.config.groups import decides
from gptx.config.keys import flat, key_of, slug
from gptx.config.recorded import recorded
from gptx.config.rules import examine, job_of, refuse_format
from gptx.distributed.rank import rank, world_size
from gptx.estimate import capacity
from gptx.files import refuse_link
from gptx.ingredients.checkpoints.files import saved
from gptx.ingredients.log import now, typed_command
from gptx.job.resume import count_steps, record_of
from gptx.runs.folder import RunFolder
from gptx.runs.manifest import note
from gptx.sweeps import status


class Preflight(Callback):
    """Hydra callback; a refusal is a SystemExit, because Hydra turns an exception in a callback into a warning."""

    def __init__(self) -> None:
        self.runs: dict[Path, dict] = {}  # folder and config of each run of the sweep

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _or_end():
            chosen = config.hydra.runtime.choices.get("hydra/launcher")
            if chosen not in ("basic", "local"):
                raise ConfigError(f"hydra/launcher={chosen} needs --multirun, also for one run")
            refuse_choices(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))  # type: ignore[arg-type]
            _examine_job(job_of(config), {}, Path(config.hydra.run.dir))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        remove_hydras_file(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with _or_end():
            _find_launcher(config)
            if any(key_of(word) == "hydra.run.dir" for word in config.hydra.overrides.hydra):
                raise ConfigError("hydra.run.dir is of a single run; a sweep goes to hydra.sweep.dir")
            if config.hydra.sweeper._target_.endswith("BasicSweeper"):  # another one chooses its jobs as it goes
                self.runs = _examine_sweep(config)
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


def begun(job: DictConfig, folder: Path) -> bool:
    """True if the run there is finished or has checkpoints of its own. Raises ConfigError for a damaged record."""
    if job.overwrite:
        return False
    record_of(RunFolder(folder))
    return bool(saved(folder / "checkpoints")) or RunFolder(folder).state == "finished"


def _examine_job(job: DictConfig, launcher: Mapping, folder: Path) -> None:
    """Examine one job for the processes and the machine that a launcher, if any, will give it. Raises ConfigError."""
    RunFolder(folder).refuse_links(overwrite=job.overwrite)
    world = launcher.get("nodes", 1) * (launcher.get("tasks_per_node", 1) if world_size() == 1 else world_size())
    local = launcher.get("_target_", "gptx.Local").endswith(("BasicLauncher", "gptx.Local"))
    count_steps(job, RunFolder(folder), afresh=job.overwrite)
    room = capacity.this_machine if local else partial(capacity.asked, launcher)
    examine(job, world, capacity.within_room(room, world), begun=begun(job, folder))
    if launcher and local:
        refuse_format(job)


def _examine_sweep(config: DictConfig) -> dict[Path, dict]:
    """The config of each run of a sweep by its folder, examined. SystemExit with a table of those that cannot run."""
    loader = GlobalHydra.instance().config_loader()
    problems, recipes = list[str](), dict[Path, dict]()  # the recipe of each job by its folder
    params = config.hydra.sweeper.get("params") or {}
    words = list(OmegaConf.to_container(config.hydra.overrides.task))  # type: ignore[arg-type]
    named = {key_of(word) for word in words}
    lines = jobs([*(f"{name}={values}" for name, values in params.items() if name not in named), *words])
    name_folders(config, lines)
    for number, overrides in enumerate(lines):
        try:
            refuse_choices(overrides)
            composed = loader.load_sweep_config(config, overrides)
            folder = Path(composed.hydra.sweep.dir) / composed.hydra.sweep.subdir
            if folder in recipes:
                raise ConfigError(f"has the same folder {folder} as job {list(recipes).index(folder)}")
            recipes[folder], job = {}, job_of(composed)
            _examine_job(job, config.hydra.launcher, folder)
            recipes[folder] = recorded(job)
        except Exception as error:  # composing can fail in many ways; each is a line of the table
            problems.append(f"  job {number}: {' '.join(overrides)}\n    {one_line(explained(error, overrides))}")
    if problems:
        told = "\n".join(problems)
        raise SystemExit(f"{len(problems)} of {len(lines)} jobs cannot run, so nothing was started:\n{told}")
    if rank() == 0:
        note_sweep(Path(config.hydra.sweep.dir), list(recipes), lines)
        said = [f"{len(recipes)} runs in {config.hydra.sweep.dir}", kinship(list(recipes.values()))]
        print("\n".join(filter(None, said)), file=sys.stderr)
    return recipes


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
    if not launcher._target_.startswith("hydra_plugins.gptx."):
        return
    if find_spec("hydra_plugins") is None:  # where no plugin is installed
        sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
    try:
        name = "Slurm" if launcher._target_.endswith("Slurm") else "Local"
        module = sys.modules["hydra_plugins.gptx"] = import_module(f"gptx.sweeps.{name.lower()}")
        Plugins.instance().register(getattr(module, name))  # Hydra finds it by its name, in hydra_plugins only
    except ModuleNotFoundError as missing:
        cure = 'pip install -c constraints.txt "gptx[slurm]"'
        raise ConfigError(f"hydra/launcher={choice} needs the package {missing.name}: {cure}") from None
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


def note_sweep(folder: Path, cells: list[Path], lines: list[list[str]]) -> None:
    """Record what the sweep consists of, for `python -m gptx status`."""
    about = {"command": typed_command("train", *sys.argv[1:]), "when": now()}
    refuse_link(folder / "multirun.yaml")  # which Hydra writes there
    each = zip(cells, lines, strict=True)
    note(folder, [{"folder": str(cell.relative_to(folder)), "overrides": line, **about} for cell, line in each])


def name_folders(config: DictConfig, lines: list[list[str]]) -> None:
    """Have every job name its folder after the keys in which the jobs differ, by an override that each takes along."""
    every = [{key_of(override): override for override in line} for line in lines]
    swept = sorted(k for k in every[0] if len({line.get(k) for line in every}) > 1)
    if swept:
        alike = len({slug(line, tuple(swept)) for line in lines}) < len(lines)  # paths with the same last part
        resolver = "gptx.whole_slug" if alike else "gptx.slug"
        with read_write(config.hydra.overrides):
            config.hydra.overrides.hydra.append(f"hydra.sweep.subdir=${{{resolver}:{','.join(swept)}}}")


def kinship(configs: list[dict]) -> str:
    """A sentence about runs of the same seed: what they share, and which keys make the rest differ."""
    seeds = defaultdict[int, list[dict]](list)
    for config in map(flat, configs):
        seeds[config["seed"]].append(config)
    same = [each for each in seeds.values() if len(each) > 1]
    if not same:
        return ""
    found = {"initial weights": _differing(same, "weights"), "batches": _differing(same, "batches")}
    kept = " and ".join(what for what, keys in found.items() if not keys) or "neither weights nor batches"
    lost = (f"; not {what}, because of {', '.join(keys)}" for what, keys in found.items() if keys)
    return f"runs with the same seed share {kept}" + "".join(lost)


def _differing(same: list[list[dict]], what: str) -> list[str]:
    """The keys that decide it and differ within a seed; only the config group if three or more of its keys do."""
    groups = defaultdict[str, list[str]](list)
    for key in dict.fromkeys(chain.from_iterable(chain.from_iterable(same))):
        if decides(key, what) and any(len({repr(config.get(key)) for config in configs}) > 1 for configs in same):
            groups[key.split(".")[0]].append(key)
    return [word for group, keys in groups.items() for word in (keys if len(keys) < 3 else [group])]
