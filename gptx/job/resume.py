"""Whether the run in a folder is the one that is asked for, and how a run begins where another one stands."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from gptx.config import recorded
from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.config.groups import decides
from gptx.config.keys import differences, flat, recipe, under
from gptx.config.moved import current
from gptx.config.validate import time_asked
from gptx.config.values import OPTIMIZER
from gptx.estimate.learning_rate import learning_rate
from gptx.estimate.speed import measured_steps
from gptx.ingredients.checkpoints import read_state, refuse_without_optimizer, saved, step_of, take, weights
from gptx.ingredients.log import shown
from gptx.ingredients.optim import trait
from gptx.runs import provenance, same
from gptx.runs.folder import RunFolder

_ROWS = "position.weight"  # learned positions, of which a shorter context takes the first
_LENGTH = ("steps", "schedule", "optim.tokens", "batch.growth", "batch.lengthening")  # what more steps change


@contextmanager
def refused(begins: str = "") -> Iterator[None]:
    """Raise ConfigError for a ValueError: `begins` and what it says."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{begins}{error}") from None


def branch(trainer, origin: Path, config: dict) -> str:
    """Load another run's state, or weights alone; return a line about what changes. ConfigError if it does not fit."""
    with refused(f"from={origin}: "):
        if origin.suffix == ".safetensors":
            return _take_weights(trainer, origin, config)
        state, record = _read(origin, trainer.steps)
    found = same.other_recipe(record, config) + same.other_text(record["data"], trainer.data.identity)
    if unfit := [line for line in found if not _fits(line, trainer)]:
        raise ConfigError(f"from={origin}: the state is of another recipe: {'; '.join(unfit[:3])}")
    clock = config["optim"].get("beta2_half_life_tokens")  # without it, optim.tokens means nothing
    aside = ["from"] + ["optim.tokens"] * (clock is None)
    keys = [key for line in found if (key := line.split()[0]) not in aside]
    before = state.get("latest", {}).get("train/lr")
    with refused("from="):
        _take_state(trainer, state, keys, record["recipe"], origin)
    line = f"branches off {shown(origin.resolve())} after step {trainer.step}; what changes: "
    return line + (", ".join(keys) or "nothing") + _jump(before, trainer.set_learning_rate())


def _read(origin: Path, steps: int) -> tuple[dict, dict]:
    """The state of a checkpoint to begin from, and a record with its recipe and data. Raises ValueError."""
    state = read_state(origin)
    refuse_without_optimizer(state, origin)
    told = "recipe" in state  # earlier versions leave it in the folder of the run
    record = state | {"recipe": current(state["recipe"])} if told else RunFolder(origin.parent.parent).read() or {}
    if state["step"] >= steps:
        raise ValueError(f"it stands after step {state['step']}; steps={steps} must be more")
    if "recipe" not in record or "data" not in record:
        raise ValueError("neither it nor a run.json two folders above says what was trained")
    return state, record


def _fits(line: str, trainer) -> bool:
    """True if weights, optimizer's state and text fit although a key of the recipe changes as the line says."""
    key = line.split()[0]
    if key in ("optim.betas", "optim.beta2_half_life_tokens") and trait(type(trainer.optimizer), "judged"):
        return False  # the average that it judges is found from them
    if key == "model.context":  # more positions than were learned do not fit
        lengths = re.fullmatch(r"model\.context was (\d+), is (\d+)", line)
        return lengths is not None and (_ROWS not in trainer.model.state_dict() or int(lengths[2]) <= int(lengths[1]))
    of_order = key.startswith("data.") and key.rpartition(".")[2] in ("seed", "order", "context")
    return of_order or not decides(key, "state")  # where a sequence is, not which text there is


def _take_state(trainer, state: dict, keys: list[str], recipe: dict, origin: Path) -> None:
    """Load a state whose recipe differs in these keys: the optimizer keeps its new values, a new seed draws new
    numbers, the text goes on at the same token. Raises ValueError if it does not fit."""
    own = [{word: group[word] for word in OPTIMIZER if word in group} for group in trainer.optimizer.param_groups]
    context = recipe.get("data.context", trainer.data.context)
    try:
        _cut_positions(trainer, state, origin)
        state |= {"cursor": state["cursor"] * context // trainer.data.context}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{origin}: its state is not one of this recipe ({error})") from None
    scaler = state.get("scaler") or trainer.scaler.state_dict()  # there was none before a branch in fp16
    state |= {"ended": "", "latest": {}, "scaler": scaler, "guard": trainer.guard.state_dict()}
    state |= {"rng": []} if "seed" in keys else {}
    take(trainer, state, origin)
    for group, values in zip(trainer.optimizer.param_groups, own, strict=True):
        group |= values


def _cut_positions(trainer, state: dict, origin: Path) -> None:
    """Cut the learned positions to the context: weights, moments, averages. ValueError if the optimizer lacks them."""
    own, there = (len(weights.get(_ROWS, ())) for weights in (trainer.model.state_dict(), state["model"]))
    if not 0 < own < there:
        return

    def cut(value: Any) -> Any:
        return value[:own].clone() if getattr(value, "shape", ())[:1] == (there,) else value

    weight, moments = id(trainer.model.get_parameter(_ROWS)), state["optimizer"]["state"]
    optimized = [id(p) for group in trainer.optimizer.param_groups for p in group["params"]]
    if weight not in optimized:
        raise ValueError(f"{origin}: learned positions are not cut under precision.weights=bf16")
    state["model"][_ROWS] = cut(state["model"][_ROWS])
    number = optimized.index(weight)
    moments[number] = {name: cut(value) for name, value in moments.get(number, {}).items()}
    number = list(map(id, trainer.model.parameters())).index(weight)
    averages = (state.get("judged"), *(each.get("weights") for each in state["observers"].values()))
    for tensors in filter(None, averages):  # in the order of the model's parameters
        tensors[number] = cut(tensors[number])


def _take_weights(trainer, file: Path, config: dict) -> str:
    """Begin with the weights of a safetensors file; a line about it. ValueError for another model or vocabulary."""
    facts = weights.export_facts(file)
    if "config" in facts:
        found = differences(*(flat({"model": each["model"]}) for each in (facts["config"], config)))
        if unfit := [line for line in found if not _fits(line, trainer)]:
            raise ValueError(f"the weights are of another model: {'; '.join(unfit[:3])}")
    if facts.get("vocabulary") not in (None, weights.vocabulary_digest(trainer.data.encoding)):
        raise ValueError(f"its {facts.get('vocab_size', 0):,} tokens are not those of this data's tokenizer")
    weights.load_weights(file, trainer.model, cut=_ROWS)
    return f"starts from the weights of {shown(file.resolve())} alone, at step 0 with a fresh optimizer"


def _jump(before: float | None, now: float | None) -> str:
    """The end of a line if the learning rate changes by more than a tenth; else empty."""
    if not isinstance(before, float) or now is None or abs(now - before) <= 0.1 * max(before, now):
        return ""
    return f"; the learning rate goes from {before:.3g} to {now:.3g} at once"


def record_of(folder: RunFolder) -> dict | None:
    """The record of the run in the folder, if any. Raises ConfigError, with the way on, if it is damaged."""
    try:
        return folder.read()
    except ConfigError as error:
        raise ConfigError(f"{error}; overwrite=true starts afresh, or choose another name=") from None


def count_steps(cfg, folder: RunFolder, *, afresh: bool) -> dict:
    """Put steps in place of a time (steps=5min): those that the run in the folder recorded, else by the speed that is
    measured now. Return what run.json says of it, nothing for another length."""
    if time_asked(cfg) is None:
        return {}
    known = {} if afresh else (record_of(folder) or {}).get("measured", {})
    known = known if known.get("asked") == cfg.steps else measured_steps(cfg)
    cfg.steps = known["steps"]
    return known


def refuse_other(folder: RunFolder, record: dict, cfg) -> None:
    """Raise ConfigError, with the keys, if the folder holds another run, or one that would end elsewhere now."""
    config = recorded.recorded(cfg)
    if found := same.other_recipe(record, config):
        _refuse(folder, found, _way_on(folder, record, config))
    if same.moved_text(record, config):  # the text is read, to see whether it is the same
        refuse_other_text(folder, record, build(cfg.data).identity, cfg)
    ended, steps = record.get("reason", ""), record["recipe"].get("steps", 0)
    if record.get("state") == "finished" and record.get("step", steps) < steps:
        old, new = (each.get("observe") or {} for each in (folder.config, config))
        names = [name] if (name := ended.partition(":")[0]) in old else list(old)
        found = differences(*(flat({"observe": {n: each.get(n) for n in names}}) for each in (old, new)))
        _refuse(folder, found, _way_on(folder, record, config), f"a run that ended after step {record['step']}")


def refuse_other_text(folder: RunFolder, record: dict, identity: dict, cfg) -> None:
    """Raise ConfigError for another text, with the key that reads it as earlier versions did if that is the cause."""
    found, known = same.other_text(record["data"], identity), record.get("recipe", ())
    divided = [k for k in recipe(recorded.recorded(cfg)) if k.endswith(".separator") and k not in known]
    as_before = cfg.copy()
    for key in divided if found else ():
        *path, last = key.split(".")
        reduce(getitem, path, as_before)[last] = None
    helps = found and divided and not same.other_text(record["data"], build(as_before.data).identity)
    _refuse(folder, found, f"; {' '.join(f'{key}=null' for key in divided)} reads it as that run did" if helps else "")


def _refuse(folder: RunFolder, found: list[str], way: str = "", what: str = "another run") -> None:
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        cure = f"choose another name=, or overwrite=true to delete it{way}"
        raise ConfigError(f"{folder} holds {what}: {'; '.join(found[:3])}{more}; {cure}")


def _way_on(folder: RunFolder, record: dict, config: dict) -> str:
    """The words that continue a run with more steps from its end; empty if the recipe differs otherwise."""
    there = saved(folder.path / "checkpoints")
    keys = [line.split()[0] for line in same.other_recipe(record, config)]
    if not there or step_of(there[-1]) >= config["steps"] or not all(under(key, _LENGTH) for key in keys):
        return ""
    step = step_of(there[-1])
    words = [f"from={shown(there[-1])}", f"name={config['name']}_longer", f"steps={config['steps']}"]
    old, new = learning_rate(folder.config), learning_rate(config)
    return f"; to go on from there: {shlex.join(words)}{_jump(old and old(step), new and new(step + 1))}"


def shorter(folder: RunFolder, config: dict) -> str:
    """A line about a finished run with fewer steps in a folder next to this one, and how to go on from its end."""
    for other in map(RunFolder, sorted(file.parent for file in folder.path.parent.glob("*/run.json"))):
        with suppress(ConfigError, OSError):
            fits = other.path != folder.path and other.record.get("state") == "finished" and "recipe" in other.record
            if fits and (way := _way_on(other, other.record, config)):
                return f"{other} made {other.record['recipe']['steps']:,} of these steps; this is a new run{way}"
    return ""


def as_asked(folder: RunFolder, record: dict, config: dict) -> str:
    """How a finished run differs from what is asked: by other code, or by what is observed; empty if it does not."""
    if changed := provenance.changed_since(record, config):
        return f", but by other code: {changed} changed since"
    old, new = (flat({"observe": each.get("observe") or {}}) for each in (folder.config, config))
    asked = sorted({".".join(key.split(".")[:2]) for key in new if key != "observe" and old.get(key) != new[key]})
    return f", but without what {', '.join(asked)} asks now" if asked and folder.config else ""
