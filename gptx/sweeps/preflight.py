"""Before anything is written or submitted: every job of the command is composed and checked, whole."""

import atexit
import math
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gptx.config.build import build
from gptx.config.command_line import cells, explained, refuse_choices
from gptx.config.errors import ConfigError, one_line, refusal
from gptx.config.groups import decides
from gptx.config.keys import flat, key_of, quoted, slug, under
from gptx.config.presets import CONF, load_preset
from gptx.config.recorded import recorded
from gptx.config.rules import examine, job_of, refuse_format
from gptx.distributed.rank import rank, world_size
from gptx.estimate import capacity
from gptx.files import refuse_link, to_json
from gptx.ingredients.checkpoints.files import saved
from gptx.ingredients.log import now, typed_command
from gptx.job.resume import count_steps, record_of
from gptx.runs.folder import RunFolder
from gptx.runs.manifest import note
from gptx.runs.run import Run
from gptx.sweeps import listing, status

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
            _examine_job(job_of(config), {}, Path(config.hydra.run.dir))
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
                self.runs = _examine_sweep(config)
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
    made = [(_kept(config, words), cell) for words, cell in cells(_words(config), config)]
    name_folders(config, [line for line, _ in made])
    known = _there(Path(config.hydra.sweep.dir))
    for number, (overrides, cell) in enumerate(made):
        try:
            refuse_choices(overrides)
            job = job_of(composed := loader.load_sweep_config(config, overrides))
            folder = Path(composed.hydra.sweep.dir)
            _examine_job(job, config.hydra.launcher, folder / composed.hydra.sweep.subdir)
            recipe = recorded(job)
            name = listing.short_name(cell) if cell and cell.arm is not None else composed.hydra.sweep.subdir
            folder /= known.get(_identity(recipe)) or _free(folder, name, recipe, overrides)
            _refuse_equal(folder, recipe, recipes, cell)
            recipes[folder] = recipe
            overrides.append(f"hydra.sweep.subdir={quoted(folder.name)}")
        except Exception as error:  # composing can fail in many ways; each is a line of the table
            problems.append(f"  job {number}: {' '.join(overrides)}\n    {one_line(explained(error, overrides))}")
    if problems:
        told = "\n".join(problems)
        raise SystemExit(f"{len(problems)} of {len(made)} jobs cannot run, so nothing was started:\n{told}")
    _hand_over(config, [line for line, _ in made])
    if rank() == 0:
        print("\n".join(listing.runs(Path(config.hydra.sweep.dir), made, recipes)), file=sys.stderr)
        if not config.dry_run:
            note_sweep(Path(config.hydra.sweep.dir), list(recipes), made, build(config.sweep).design)
    return recipes


def _words(config: DictConfig) -> list[str]:
    """What was typed, after the lists of the experiment's YAML for other keys."""
    params = config.hydra.sweeper.get("params") or {}
    words = list(OmegaConf.to_container(config.hydra.overrides.task))  # type: ignore[arg-type]
    named = {key_of(word) for word in words}
    return [*(f"{name}={values}" for name, values in params.items() if name not in named), *words]


def _there(sweep: Path) -> dict[str, str]:
    """The folder of every run in a sweep's folder by what it is."""
    files = sorted(sweep.glob("*/run.json"))
    return {_identity(run.config): run.folder.name for run in (Run.of(file.parent) for file in files) if run.config}


def _identity(config: dict) -> str:
    """What makes a run another one, where it runs and with how many threads aside."""
    decided = {k: v for k, v in flat(config).items() if decides(k, "result", "digits") and k not in _PLACE}
    return to_json(sorted(decided.items()))


def _free(sweep: Path, name: str, config: dict, overrides: list[str]) -> str:
    """The name of a new run's folder: with all that makes it another one, where another run has the short name."""
    there = Run.of(sweep / name).config if (sweep / name / "run.json").exists() and not config["overwrite"] else {}
    return slug(overrides) if there and _identity(there) != _identity(config) else name


def _refuse_equal(folder: Path, config: dict, recipes: dict[Path, dict], cell: Any) -> None:
    if folder in recipes:
        raise ConfigError(f"has the same folder {folder} as job {list(recipes).index(folder)}")
    same = next((other for other, known in recipes.items() if _identity(known) == _identity(config)), None)
    if same and cell is not None:
        raise ConfigError(f"{cell.arm or 'the base'} changes nothing: it is the run {same.name}")


def _kept(config: DictConfig, words: list[str]) -> list[str]:
    """A job's words; unless something else was asked for, it keeps one checkpoint."""
    usual = load_preset(CONF / "checkpoints/newest.yaml")
    asked = any(under(key_of(word), ("checkpoints",)) for word in words) or dict(config.checkpoints) != usual
    return [*words, *["checkpoints.keep=1", "checkpoints.keep_best=false"] * (not asked)]


def _script(config: DictConfig) -> str:
    """The batch script that hydra/launcher=slurm would submit; "" for another launcher."""
    module: Any = sys.modules.get("hydra_plugins.gptx")
    limits = {str(key): value for key, value in config.hydra.launcher.items() if key != "_target_"}
    return module.Slurm(**limits).script() if hasattr(module, "Slurm") else ""


def _hand_over(config: DictConfig, lines: list[list[str]]) -> None:
    """Have Hydra's sweeper launch these jobs."""
    with open_dict(config.hydra):
        size = config.hydra.sweeper.get("max_batch_size")
        config.hydra.sweeper = {"_target_": "hydra_plugins.gptx.Planned", "max_batch_size": size, "lines": lines}


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


def note_sweep(folder: Path, cells: list[Path], made: list[tuple[list[str], Any]], design: str = "") -> None:
    """Record what the sweep consists of, for `python -m gptx status` and `report`."""
    about = {"command": typed_command("train", *sys.argv[1:]), "when": now()}
    refuse_link(folder / "multirun.yaml")  # which Hydra writes there
    lines = []
    for path, (words, cell) in zip(cells, made, strict=True):
        line = {"folder": str(path.relative_to(folder)), "overrides": _own(words), **about}
        swept = cell is not None and cell.arm is not None
        lines.append(line | ({"design": design, "arm": cell.arm, "length": float(cell.length)} if swept else {}))
    note(folder, lines)


def _own(words: list[str]) -> list[str]:
    return [word for word in words if not key_of(word).startswith("hydra.")]


def name_folders(config: DictConfig, lines: list[list[str]]) -> None:
    """Have every job name its folder after the keys in which the jobs differ, by an override that each takes along."""
    every = [{key_of(override): override for override in line} for line in lines]
    swept = sorted(k for k in every[0] if len({line.get(k) for line in every}) > 1)
    if swept:
        alike = len({slug(line, tuple(swept)) for line in lines}) < len(lines)  # paths with the same last part
        resolver = "gptx.whole_slug" if alike else "gptx.slug"
        with read_write(config.hydra.overrides):
            config.hydra.overrides.hydra.append(f"hydra.sweep.subdir=${{{resolver}:{','.join(swept)}}}")
