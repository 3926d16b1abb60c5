"""Before anything is written or submitted: every job of the command is composed and checked, whole."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from gptx.config import capacity, hydra_errors, rules
from gptx.config.jobs import jobs
from gptx.config.keys import key_of, slug
from gptx.config.recorded import recorded
from gptx.config.targets import find
from gptx.config.validate import ConfigError, build, check, obey, refusal, value
from gptx.distributed.rank import rank, world_size
from gptx.files import refuse_link
from gptx.ingredients.log import now, typed
from gptx.runs import refuse_links, state
from gptx.sweeps.shared import kinship
from gptx.sweeps.status import note
from gptx.units.printable import masked

WHOLE_MATRICES = ("gptx.ingredients.optim.muon.Muon", "torch.optim.Muon", "torch.optim.Adafactor")
cells: dict[Path, dict] = {}  # folder and config of each run of the sweep that this process started; none of a lone run


class Preflight(Callback):
    """Hydra callback; a refusal is a SystemExit, because Hydra turns an exception in a callback into a warning."""

    def on_run_start(self, config: DictConfig, **kwargs) -> None:
        with or_end():
            refuse_launcher(config)
            obey(rules.refuse_choices, OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
            job = job_of(config)
            examine(job, world_size(), capacity.here(job.device), Path(config.hydra.run.dir))

    def on_job_start(self, config: DictConfig, **kwargs) -> None:
        remove_hydras_file(config)

    def on_multirun_start(self, config: DictConfig, **kwargs) -> None:
        with or_end():
            find_launcher(config)
            if any(key_of(word) == "hydra.run.dir" for word in config.hydra.overrides.hydra):
                raise ConfigError("hydra.run.dir is of a single run; a sweep goes to hydra.sweep.dir")
            if config.hydra.sweeper._target_.endswith("BasicSweeper"):  # another one chooses its jobs as it goes
                examine_sweep(config)


@contextmanager
def or_end() -> Iterator[None]:
    """Makes a SystemExit of what goes wrong; Hydra would make a warning of it, and train."""
    try:
        yield
    except ConfigError as error:
        raise SystemExit(f"config error: {error}") from None
    except OSError as error:
        raise SystemExit(f"error: {refusal('', error)}") from None
    except Exception as error:
        if hydra_errors.of_composition(error):
            raise SystemExit(f"config error: {hydra_errors.explain(error, sys.argv[1:])}") from None
        traceback.print_exc()
        raise SystemExit(1) from None


def examine_sweep(config: DictConfig) -> None:
    """Examine every job of a sweep and write down what it consists of; SystemExit with a table of the jobs that cannot
    run."""
    loader = GlobalHydra.instance().config_loader()
    problems: list[str] = []
    recipes: dict[Path, dict] = {}  # of each job, by its folder
    lines = lines_of(config)
    name_folders(config, lines)
    for number, overrides in enumerate(lines):
        try:
            obey(rules.refuse_choices, overrides)
            composed = loader.load_sweep_config(config, overrides)
            folder = Path(composed.hydra.sweep.dir) / composed.hydra.sweep.subdir
            if folder in recipes:
                raise ConfigError(f"has the same folder {folder} as job {list(recipes).index(folder)}")
            recipes[folder], job = {}, job_of(composed)
            examine_job(job, config.hydra.launcher, folder)
            recipes[folder] = recorded(job)
        except Exception as error:  # composing can fail in many ways; each is a line of the table
            told = hydra_errors.explain(error, overrides) if hydra_errors.of_composition(error) else one_line(error)
            problems.append(f"  job {number}: {' '.join(overrides)}\n    {told}")
    if problems:
        found = "\n".join(problems)
        raise SystemExit(f"{len(problems)} of {len(lines)} jobs cannot run, so nothing was started:\n{found}")
    if rank() == 0:
        note_sweep(Path(config.hydra.sweep.dir), list(recipes), lines)
        print(f"{len(recipes)} runs in {config.hydra.sweep.dir}", file=sys.stderr)
        if said := kinship(list(recipes.values())):
            print(said, file=sys.stderr)
    cells.update(recipes)


def examine_job(job: DictConfig, launcher: DictConfig, folder: Path) -> None:
    """Examine one job for the processes and the machine that the launcher will give it. Raises ConfigError."""
    refuse_links(folder, overwrite=job.overwrite)
    tasks = launcher.get("tasks_per_node", 1) if world_size() == 1 else world_size()
    local = launcher._target_.endswith(("BasicLauncher", "gptx.Local"))
    room = capacity.here(job.device) if local else capacity.asked(launcher, job.device)
    examine(job, launcher.get("nodes", 1) * tasks, room, folder)
    if local:
        refuse_format(job)


def remove_hydras_file(config: DictConfig) -> None:
    """Remove the config of a whole sweep, which Hydra writes as it was typed, with credentials; sweep.jsonl says all
    that is needed of it."""
    if config.hydra.mode == RunMode.MULTIRUN:
        (Path(config.hydra.sweep.dir) / "multirun.yaml").unlink(missing_ok=True)


def find_launcher(config: DictConfig) -> None:
    """Make Hydra know the launcher of the sweep if it is one of gptx's; SystemExit where it could not do its work."""
    launcher, choice = config.hydra.launcher, config.hydra.runtime.choices["hydra/launcher"]
    if choice.startswith("submitit"):  # the plugin's own, which know nothing of runs that are finished
        own = "slurm" if "slurm" in choice else "local"
        raise SystemExit(f"config error: hydra/launcher={choice}: gptx has its own, hydra/launcher={own}")
    if not launcher._target_.startswith("hydra_plugins.gptx."):
        return
    try:
        from importlib import import_module

        import_module("gptx.sweeps.slurm" if launcher._target_.endswith("Slurm") else "gptx.sweeps.local").register()
    except ModuleNotFoundError as missing:
        raise SystemExit(
            f"config error: hydra/launcher={choice} needs the package {missing.name}: "
            'pip install -c constraints.txt "gptx[slurm]"'
        ) from None
    optional = "parallel", "gpus_per_node", "cpus_per_task", "mem_gb"
    for name in ("timeout_min", "tasks_per_node", "nodes", "array_parallelism", *optional):
        count = launcher.get(name, 1)
        if (count is not None or name not in optional) and (type(count) is not int or not 1 <= count <= 10**6):
            raise SystemExit(f"config error: hydra.launcher.{name}={count!r:.80} must be a whole number from 1 to 10^6")
    if "timeout_min" not in launcher:
        return
    if launcher.timeout_min * 60 <= launcher.get("signal_delay_s", 0):
        raise SystemExit(
            f"config error: hydra.launcher.timeout_min={launcher.timeout_min} is not more than the "
            f"{launcher.signal_delay_s} s in which the run saves (hydra.launcher.signal_delay_s)"
        )
    if launcher.timeout_min <= 12 and not launcher.get("max_num_timeout", 1):  # submitit counts from 10 min to the end
        raise SystemExit(
            f"config error: hydra.launcher.timeout_min={launcher.timeout_min}: below 13 minutes a preemption counts as "
            "a time-out, which max_num_timeout=0 does not allow; raise one of them"
        )


def note_sweep(folder: Path, cells: list[Path], lines: list[list[str]]) -> None:
    """Write down what the sweep consists of, for `python -m gptx status`."""
    about = {"command": typed("train", *sys.argv[1:]), "when": now()}
    refuse_link(folder / "multirun.yaml")  # which Hydra writes there
    each = zip(cells, lines, strict=True)
    note(folder, [{"folder": str(cell.relative_to(folder)), "overrides": line, **about} for cell, line in each])


def refuse_launcher(config: DictConfig) -> None:
    """Raise ConfigError for a launcher that a lone run would pass over."""
    chosen = config.hydra.runtime.choices.get("hydra/launcher")
    if chosen not in ("basic", "local"):
        raise ConfigError(
            f"hydra/launcher={chosen} needs --multirun, also for one run; without it a run is trained here"
        )


def lines_of(config: DictConfig) -> list[list[str]]:
    """The overrides of every job of a basic sweep, in order."""
    params = config.hydra.sweeper.get("params") or {}
    typed = list(OmegaConf.to_container(config.hydra.overrides.task))  # type: ignore[arg-type]
    named = {key_of(line) for line in typed}
    lines = [f"{name}={values}" for name, values in params.items() if name not in named] + typed
    return jobs(lines)


def name_folders(config: DictConfig, lines: list[list[str]]) -> None:
    """Have every job name its folder after the keys in which the jobs differ, by an override that each takes along."""
    every = [{key_of(override): override for override in line} for line in lines]
    swept = sorted(k for k in every[0] if len({line.get(k) for line in every}) > 1)
    if swept:
        alike = len({slug(line, tuple(swept)) for line in lines}) < len(lines)  # paths with the same last part
        resolver = "gptx.whole_slug" if alike else "gptx.slug"
        with read_write(config.hydra.overrides):
            config.hydra.overrides.hydra.append(f"hydra.sweep.subdir=${{{resolver}:{','.join(swept)}}}")


def job_of(composed: DictConfig) -> DictConfig:
    """A copy of the job's own config, without Hydra's."""
    job = composed.copy()
    with open_dict(job):
        del job["hydra"]
    return job


def examine(job: DictConfig, world: int, room: capacity.Room = capacity.ANYWHERE, folder: Path | None = None) -> None:
    """Raise ConfigError for what can be known to be wrong without reading the data, and for what the `room`, the memory
    of the device that the job will run on, cannot hold; the run goes to `folder`."""
    check(job, allow=value(job, "allow_targets", "allow_targets") or ())
    import torch

    context = job.data.context
    weight, vector = torch.zeros(2, 2, device="cpu"), torch.zeros(2, device="cpu")
    kinds = {"matrices": weight, "vectors": vector}
    weight.grad, vector.grad = torch.ones_like(weight), torch.ones_like(vector)
    attempt({
        "data": lambda: refuse_tokenizer(job),
        "batch": lambda: (batch := build(job.batch)).split(context, world) and batch.context_at(1, context),
    })  # fmt: skip
    capacity.refuse_too_large(job, world, room)
    attempt({
        "schedule": lambda: build(job.schedule)(1),
        "objective": lambda: build(job.objective),
        "model": lambda: build(job.model)(vocab_size=256),
        "memory": lambda: build(job.memory)(build(job.model)(vocab_size=256)),
        "decay": lambda: build(job.decay)(build(job.model)(vocab_size=256)),
        "parametrization": lambda: transferred(job),
        "optim": lambda: build(job.optim)([{"name": name, "params": [p]} for name, p in kinds.items()]),
        "clip": lambda: build(job.clip)([weight]),
        "precision": lambda: build(job.precision),
        "guard": lambda: build(job.guard),
        "checkpoints": lambda: build(job.checkpoints),
        "observe": lambda: build(job.get("observe")),
        "log": lambda: build(job.get("log")),
    })  # fmt: skip
    refuse_fall(job)
    refuse_transfer(job)
    refuse_token_clock(job)
    refuse_rows(job, world)
    refuse_growth(job)
    refuse_origin(job, folder)


def attempt(trials: dict[str, Callable]) -> None:
    """Build every ingredient without data. Raises ConfigError, with its name, if one refuses its values."""
    import torch

    for group, trial in trials.items():
        try:
            with torch.device("meta"):
                trial()
        except (ValueError, TypeError) as error:
            raise refusal(group, error) from None


def refuse_origin(job: DictConfig, folder: Path | None) -> None:
    """Raise ConfigError for a `from` where nothing is to begin from, unless the run in `folder` is finished or goes on
    from checkpoints of its own."""
    if job["from"] is None:
        return
    from gptx.ingredients.checkpoints.files import saved

    if folder is not None and not job.overwrite and (saved(folder / "checkpoints") or state(folder) == "finished"):
        return
    origin = Path(job["from"])
    weights = origin.suffix == ".safetensors" and os.path.isfile(origin)
    if not weights and not (os.path.isdir(origin) and any(origin.glob("state*.pt"))):
        raise ConfigError(
            f"from={origin}: no checkpoint there (state.pt); one is a folder such as "
            "runs/default/base/checkpoints/step_00001000, or weights alone, model.safetensors"
        )


def refuse_tokenizer(job: DictConfig) -> None:
    """Raise ValueError for a tokenizer of gptx's data that there is not."""
    from gptx.ingredients.data.tokenizers import known

    if job.data._target_.startswith("gptx.ingredients.data.") and "tokenizer" in job.data:
        known(job.data.tokenizer)


def transferred(job: DictConfig) -> None:
    """Apply the parametrization to a model without data."""
    model = build(job.model)(vocab_size=256)
    build(job.parametrization)(model, build(job.decay)(model))


def refuse_format(job: DictConfig) -> None:
    """Raise ConfigError for a device that is not here, or a number format that it does not have."""
    from gptx.ingredients.parallel import find as find_device

    try:
        build(job.precision).on(find_device(job.device))
    except ValueError as error:
        raise refusal("", error) from None


def refuse_transfer(job: DictConfig) -> None:
    """Raise ConfigError for muP under an optimizer whose steps do not grow with the width as Adam's do."""
    adam_like = "betas" in job.optim and "momentum" not in job.optim
    if str(job.parametrization._target_).endswith(".mup") and not adam_like:
        raise ConfigError(
            f"parametrization=mup has Adam's rules, which are not those of {job.optim._target_}; use optim=adamw or "
            "another Adam, or parametrization=standard"
        )


def refuse_token_clock(job: DictConfig) -> None:
    """Raise ConfigError for a beta2 that would have to follow a growing batch."""
    if job.batch.get("doublings") and job.optim.get("beta2_half_life_tokens"):
        raise ConfigError(
            f"optim.beta2_half_life_tokens={job.optim.beta2_half_life_tokens}: beta2 is one for the whole run, and "
            f"batch.doublings={job.batch.doublings} changes the tokens of an update; set one of them to null or 0"
        )


def refuse_growth(job: DictConfig) -> None:
    """Raise ConfigError for a batch or a context that would still grow when the run ends."""
    for doublings, over in (("doublings", "growth"), ("context_doublings", "lengthening")):
        if job.batch.get(doublings) and job.batch[over] > job.steps:
            raise ConfigError(f"batch.{over}={job.batch[over]} is longer than the run, steps={job.steps}")


def refuse_rows(job: DictConfig, world: int) -> None:
    """Raise ConfigError for an optimizer that must see whole matrices, and what the processes hold are rows."""
    if world > 1 and job.parallel._target_ == "gptx.ingredients.parallel.fsdp" and job.optim._target_ in WHOLE_MATRICES:
        raise ConfigError(
            f"parallel=fsdp: {job.optim._target_} moves a matrix by what all of its rows are; use parallel=ddp, or "
            "optim=adamw, lion, schedule_free or sgd"
        )


def refuse_fall(job: DictConfig) -> None:
    """Raise ConfigError for a schedule that cools down under an optimizer that averages its weights instead."""
    optimizer = find(str(job.optim._target_), "optim")
    if getattr(optimizer, "rate_falls", True):
        return
    curve = build(job.schedule)
    rates = [curve(round(job.steps * share / 20)) for share in range(1, 21)]
    if min(rates[i] - rates[i - 1] for i in range(1, 20)) < 0:
        raise ConfigError(
            f"schedule={job.schedule._target_.rpartition('.')[2]}: its rate falls, and {optimizer.__name__} averages "
            "its weights in place of a cool-down; use schedule=warmup or constant"
        )


def one_line(error: Exception) -> str:
    """What an error or its cause says, in one line that may be written down."""
    return masked(" ".join(str(error.__cause__ or error).split()))
