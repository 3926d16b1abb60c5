"""Beginning where another run stands (from=CHECKPOINT), and what is said of a run that is asked for something else.

A checkpoint fits a new recipe if its weights, its optimizer's state and its text do; all else may change and is told.
"""

import re
import shlex
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from gptx import runs
from gptx.config import recorded
from gptx.config.build import build
from gptx.config.errors import ConfigError
from gptx.config.keys import differences, flat, recipe, under
from gptx.config.moved import current
from gptx.config.validate import OPTIMIZER
from gptx.ingredients.log import shown
from gptx.runs import provenance
from gptx.runs.folder import RunFolder

STATE = ("model.", "data.", "optim.", "decay.", "parametrization.", "precision.weights")  # keys that decide the state
FITS = (  # of these, those that change neither the shape nor the meaning of a state
    "model.dropout", "model.mask", "model.softcap", "model.init", "decay", "parametrization.rates",
    *(f"optim.{word}" for word in OPTIMIZER), "optim.beta2_half_life_tokens", "optim.tokens",
)  # fmt: skip
ORDER = ("seed", "order", "context")  # of the data: where a sequence is, not which text there is
ROWS = "position.weight"  # learned positions, of which a shorter context takes the first
LENGTH = ("steps", "schedule", "optim.tokens", "batch.growth", "batch.lengthening")  # what more steps change


def branch(trainer, origin: Path, config: dict) -> str:
    """Take up the state of another run's checkpoint, or weights alone; say where the new recipe leaves the old one.

    Raises ConfigError where the state does not fit: another model, text or optimizer, or no update left to make.
    """
    if origin.suffix == ".safetensors":
        try:
            return take_weights(trainer, origin, config)
        except ValueError as error:
            raise ConfigError(f"from={origin}: {error}") from None
    state, record = read(origin, trainer.steps)
    found = runs.other_recipe(record, config) + runs.other_text(record["data"], trainer.data.identity)
    clock = config["optim"].get("beta2_half_life_tokens") is None  # then optim.tokens means nothing
    told = [line for line in found if not line.startswith("from ") and not (clock and line.startswith("optim.tokens "))]
    refused = [line for line in told if line.startswith(STATE) and not fits(line, trainer)]
    if refused:
        raise ConfigError(f"from={origin}: the state is of another recipe: {'; '.join(refused[:3])}")
    keys = [line.split()[0] for line in told]
    before = state.get("latest", {}).get("train/lr")
    try:
        take_state(trainer, state, keys, record["recipe"], origin)
    except ValueError as error:
        raise ConfigError(f"from={error}") from None
    line = f"branches off {shown(origin.resolve())} after update {trainer.step}; what changes: "
    return line + (", ".join(keys) or "nothing") + jump(before, trainer.set_learning_rate())


def read(origin: Path, steps: int) -> tuple[dict, dict]:
    """The state of a checkpoint to begin from, and what says of which recipe and text it is. Raises ConfigError."""
    from gptx.ingredients.checkpoints import load, refuse_without_optimizer

    try:
        state = load(origin)
        refuse_without_optimizer(state, origin)
        record = (
            {**state, "recipe": current(state["recipe"])}
            if "recipe" in state
            else runs.read(origin.parent.parent) or {}
        )  # older ones leave it there
    except ValueError as error:
        raise ConfigError(f"from={origin}: {error}") from None
    if state["step"] >= steps:
        raise ConfigError(f"from={origin}: it stands after update {state['step']}; steps={steps} must be more")
    if "recipe" not in record or "data" not in record:
        raise ConfigError(f"from={origin}: neither it nor a run.json two folders above says what was trained")
    return state, record


def fits(line: str, trainer) -> bool:
    """True if a state can be taken up where a key of its recipe changes as the line says."""
    key = line.split()[0]
    if key in ("optim.betas", "optim.beta2_half_life_tokens") and hasattr(trainer.optimizer, "judged"):
        return False  # the average that it judges is found from them
    if key == "model.context":
        return not beyond(trainer.model, line)
    of_order = key.startswith("data.") and key.rpartition(".")[2] in ORDER
    return of_order or under(key, FITS)


def beyond(model, line: str) -> bool:
    """True if a line about the context asks for positions that were never learned."""
    lengths = re.fullmatch(r"model\.context was (\d+), is (\d+)", line)
    return not lengths or (ROWS in model.state_dict() and int(lengths[2]) > int(lengths[1]))


def take_state(trainer, state: dict, keys: list[str], recipe: dict, origin: Path) -> None:
    """Load a state of another recipe, in which these keys differ. Raises ValueError where it does not fit.

    The optimizer keeps the values of its new recipe, a new seed draws anew, and the text goes on where the other left
    it, counted in tokens.
    """
    from gptx.ingredients.checkpoints import take

    own = [{word: group[word] for word in OPTIMIZER if word in group} for group in trainer.optimizer.param_groups]
    context = recipe.get("data.context", trainer.data.context)
    try:
        cut_positions(trainer, state, origin)
        state |= {"cursor": state["cursor"] * context // trainer.data.context}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{origin}: its state is not one of this recipe ({error})") from None
    scaler = state.get("scaler") or trainer.scaler.state_dict()  # none was at work before a branch in fp16
    state |= {"ended": "", "latest": {}, "scaler": scaler, "guard": trainer.guard.state_dict()}
    state |= {"rng": []} if "seed" in keys else {}
    take(trainer, state, origin)
    for group, values in zip(trainer.optimizer.param_groups, own, strict=True):
        group |= values


def cut_positions(trainer, state: dict, origin: Path) -> None:
    """Leave the learned positions of a longer context out of a state: weights, moments, averages. Raises ValueError
    where the optimizer does not hold them."""
    own, there = (weights.get(ROWS) for weights in (trainer.model.state_dict(), state["model"]))
    if own is None or there is None or len(there) <= len(own):
        return
    weight, rows, before = trainer.model.get_parameter(ROWS), len(own), len(there)

    def cut(value: Any) -> Any:
        return value[:rows].clone() if getattr(value, "shape", ())[:1] == (before,) else value

    moments = state["optimizer"]["state"]
    number = place(weight, [p for group in trainer.optimizer.param_groups for p in group["params"]])
    if number is None:
        raise ValueError(f"{origin}: learned positions are not cut under precision.weights=bf16")
    state["model"][ROWS] = cut(there)
    moments[number] = {name: cut(value) for name, value in moments.get(number, {}).items()}
    number = place(weight, list(trainer.model.parameters()))
    for tensors in (state.get("judged"), *(each.get("weights") for each in state["observers"].values())):
        if tensors:  # an average, in the order of the model's parameters
            tensors[number] = cut(tensors[number])


def place(parameter, parameters: list) -> int | None:
    """Where a parameter stands in a list; None where it does not."""
    return next((number for number, p in enumerate(parameters) if p is parameter), None)


def take_weights(trainer, file: Path, config: dict) -> str:
    """Begin with the weights of a safetensors file and nothing else of the run they are from; say so.

    Raises ValueError where they are another model's, or number the tokens otherwise.
    """
    from gptx.ingredients.checkpoints import weights

    facts = weights.facts(file)
    if "config" in facts:
        found = differences(*(flat({"model": each["model"]}) for each in (facts["config"], config)))
        if refused := [line for line in found if not fits(line, trainer)]:
            raise ValueError(f"the weights are of another model: {'; '.join(refused[:3])}")
    if facts.get("vocabulary") not in (None, weights.vocabulary(trainer.data.encoding)):
        raise ValueError(f"its {facts.get('vocab_size', 0):,} tokens are not those of this data's tokenizer")
    weights.read(file, trainer.model, cut=ROWS)
    return f"starts from the weights of {shown(file.resolve())} alone, at update 0 with a fresh optimizer"


def jump(before: float | None, now: float | None) -> str:
    """That the learning rate does not go on as it was, in words; empty where it does, or is not known."""
    if not isinstance(before, float) or now is None or abs(now - before) <= 0.1 * max(before, now):
        return ""
    return f"; the learning rate goes from {before:.3g} to {now:.3g} at once"


def other_text(record: dict, cfg, config: dict) -> list[str]:
    """What separates the text of a recorded run of this recipe from that of a config, which is read for it if it
    moved."""
    return runs.other_text(record["data"], build(cfg.data).identity) if runs.moved_text(record, config) else []


def undivided(record: dict, cfg, config: dict) -> str:
    """How to read a text as an earlier version did, which knew no separator; empty where that gives another text."""
    new = [k for k in recipe(config) if k.endswith(".separator") and k not in record["recipe"]]
    whole = cfg.copy()
    for key in new:
        *path, last = key.split(".")
        reduce(getitem, path, whole)[last] = None
    same = new and not runs.other_text(record["data"], build(whole.data).identity)
    return f"; {' '.join(f'{key}=null' for key in new)} reads it as that run did" if same else ""


def refuse_other(folder: Path, record: dict, cfg) -> None:
    """Raises ConfigError, with the keys that were found to differ, if the folder holds a run of something else, or one
    that an observer ended which is now asked for something else."""
    config = recorded.recorded(cfg)
    if found := runs.other_recipe(record, config):
        refuse(folder, found, way_on(folder, record, config))
    if found := other_text(record, cfg, config):
        refuse(folder, found, undivided(record, cfg, config))
    ended, steps = record.get("reason", ""), record["recipe"].get("steps", 0)
    if record.get("state") == "finished" and record.get("step", steps) < steps:
        old, new = (each.get("observe") or {} for each in (RunFolder(folder).config, config))
        names = [name] if (name := ended.partition(":")[0]) in old else list(old)
        found = differences(*(flat({"observe": {n: each.get(n) for n in names}}) for each in (old, new)))
        refuse(folder, found, way_on(folder, record, config), f"a run that ended after update {record['step']}")


def refuse(folder: Path, found: list[str], way: str = "", what: str = "another run") -> None:
    """Raises ConfigError, with the keys that were found to differ, if there are any."""
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise ConfigError(
            f"{shown(folder)} holds {what}: {'; '.join(found[:3])}{more}; "
            f"choose another name=, or overwrite=true to delete it{way}"
        )


def way_on(folder: Path, record: dict, config: dict) -> str:
    """How to go on from the end of a run that is there with more steps; empty where the recipe differs otherwise."""
    from gptx.ingredients.checkpoints.files import number, saved

    there = saved(folder / "checkpoints")
    keys = [line.split()[0] for line in runs.other_recipe(record, config)]
    if not there or number(there[-1]) >= config["steps"] or not all(under(key, LENGTH) for key in keys):
        return ""
    words = [f"from={shown(there[-1])}", f"name={config['name']}_longer", f"steps={config['steps']}"]
    step = number(there[-1])
    rates = rate(RunFolder(folder).config, step), rate(config, step + 1)
    return f"; to go on from there: {shlex.join(words)}{jump(*rates)}"


def rate(config: dict, step: int) -> float | None:
    """The learning rate of an update; None where the config does not tell it."""
    from gptx.compare.meaning import rate_of

    found = rate_of(config)
    return found(step) if found else None


def shorter(folder: Path, config: dict) -> str:
    """That a run of the same recipe with fewer steps is finished beside a new one, and how to go on from its end."""
    for file in sorted(folder.parent.glob("*/run.json")):
        try:
            record = {} if file.parent == folder else runs.read(file.parent) or {}
            way = (
                way_on(file.parent, record, config) if record.get("state") == "finished" and "recipe" in record else ""
            )
        except (ConfigError, OSError):
            continue
        if way:
            return f"{shown(file.parent)} made {record['recipe']['steps']:,} of these updates; this is a new run{way}"
    return ""


def as_asked(folder: Path, record: dict, config: dict) -> str:
    """How far a finished run is not what the command would make now: by other code, or observed otherwise; else
    empty."""
    if changed := provenance.changed_since(record, config):
        return f", but by other code: {changed} changed since"
    old, new = (flat({"observe": each.get("observe") or {}}) for each in (RunFolder(folder).config, config))
    asked = sorted({".".join(key.split(".")[:2]) for key in new if key != "observe" and old.get(key) != new[key]})
    return f", but without what {', '.join(asked)} asks now" if asked and RunFolder(folder).config else ""
