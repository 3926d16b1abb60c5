"""Rules between ingredients: what is wrong with a config although every key of it is right. Errors are ConfigErrors."""

import operator
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig, open_dict

from gptx.config.build import build, find_target
from gptx.config.errors import ConfigError, refusal
from gptx.config.groups import GROUPS
from gptx.config.validate import check, value


def job_of(composed: DictConfig) -> DictConfig:
    """A copy of the job's own config, without Hydra's."""
    job = composed.copy()
    with open_dict(job):
        del job["hydra"]
    return job


def examine(job: DictConfig, world: int, refuse_size: Callable | None = None, *, begun: bool = False) -> None:
    """Raise ConfigError for what is wrong with a run on `world` processes, as far as its data are not needed to know.
    `refuse_size` (gptx.estimate.capacity) is asked before a model is built; one that has `begun` needs no `from`."""
    import torch

    from gptx.ingredients.data.tokenizers import known

    check(job, allow=value(job, "allow_targets", "allow_targets") or ())
    weight, vector = torch.zeros(2, 2, device="cpu"), torch.zeros(2, device="cpu")
    weight.grad, vector.grad = torch.ones_like(weight), torch.ones_like(vector)
    groups = [{"name": "matrices", "params": [weight]}, {"name": "vectors", "params": [vector]}]

    def model() -> torch.nn.Module:
        return build(job.model)(vocab_size=256)

    if job.data._target_.startswith("gptx.ingredients.data.") and "tokenizer" in job.data:
        _try("data", lambda: known(job.data.tokenizer))
    _try("batch", lambda: build(job.batch).split(job.data.context, world))
    _try("batch", lambda: build(job.batch).context_at(1, job.data.context))
    if refuse_size:
        refuse_size(job)
    with_device = ("parallel", "compile", "inject")  # built where the run is, not tried before
    trials = {
        "schedule": lambda: build(job.schedule)(1),
        "objective": lambda: build(job.objective),
        "model": model,
        "memory": lambda: build(job.memory)(model()),
        "decay": lambda: build(job.decay)(model()),
        "parametrization": lambda: build(job.parametrization)(owner := model(), build(job.decay)(owner)),
        "optim": lambda: build(job.optim)(groups),
        "clip": lambda: build(job.clip)([weight]),
    }
    for group in [*trials, *(name for name in GROUPS if name not in ("data", "batch", *with_device, *trials))]:
        _try(group, trials.get(group, partial(lambda name: build(job.get(name)), group)))
    _refuse_optimizer(job, world)
    _refuse_pairs(job)
    if job["from"] is not None and not begun:
        _refuse_origin(Path(job["from"]))


def _try(group: str, trial: Callable[[], object]) -> None:
    """Build an ingredient without data. Raises ConfigError, with its name, if it refuses its values."""
    import torch

    try:
        with torch.device("meta"):
            trial()
    except (ValueError, TypeError) as error:
        raise refusal(group, error) from None


def _refuse_origin(origin: Path) -> None:
    weights = origin.suffix == ".safetensors" and os.path.isfile(origin)
    if not weights and not (os.path.isdir(origin) and any(origin.glob("state*.pt"))):
        example = "runs/default/base/checkpoints/step_00001000, or weights alone, model.safetensors"
        raise ConfigError(f"from={origin}: no checkpoint there (state.pt); one is a folder such as {example}")


def refuse_format(job: DictConfig) -> None:
    """Refuse a device that is not here, or a number format that it does not have."""
    from gptx.ingredients.parallel import find_device

    _try("", lambda: build(job.precision).on(find_device(job.device)))


def _refuse_pairs(job: DictConfig) -> None:
    adam_like = "betas" in job.optim and "momentum" not in job.optim
    if str(job.parametrization._target_).endswith(".mup") and not adam_like:
        line = f"parametrization=mup has Adam's rules, which are not those of {job.optim._target_}"
        raise ConfigError(f"{line}; use optim=adamw or another Adam, or parametrization=standard")
    if job.batch.get("doublings") and (half_life := job.optim.get("beta2_half_life_tokens")):
        line = f"beta2 is one for the whole run, and batch.doublings={job.batch.doublings} changes the tokens of a step"
        raise ConfigError(f"optim.beta2_half_life_tokens={half_life}: {line}; set one of them to null or 0")
    for doublings, over in (("doublings", "growth"), ("context_doublings", "lengthening")):
        if job.batch.get(doublings) and job.batch[over] > job.steps:
            raise ConfigError(f"batch.{over}={job.batch[over]} is longer than the run, steps={job.steps}")


def _refuse_optimizer(job: DictConfig, world: int) -> None:
    from gptx.ingredients.optim import trait

    optimizer = find_target(str(job.optim._target_), "optim")
    sharded = world > 1 and job.parallel._target_ == "gptx.ingredients.parallel.fsdp"
    if sharded and trait(optimizer, "whole_matrices"):
        line = f"parallel=fsdp: {job.optim._target_} needs whole matrices, but FSDP shards them by rows"
        raise ConfigError(f"{line}; use parallel=ddp, or optim=adamw, lion, schedule_free or sgd")
    if trait(optimizer, "rate_falls"):
        return
    curve = build(job.schedule)
    rates = [curve(round(job.steps * share / 20)) for share in range(1, 21)]
    if min(map(operator.sub, rates[1:], rates)) < 0:
        line = f"its learning rate falls, and {optimizer.__name__} averages its weights instead of a cool-down"
        name = job.schedule._target_.rpartition(".")[2]
        raise ConfigError(f"schedule={name}: {line}; use schedule=warmup or constant")
