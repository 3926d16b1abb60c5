"""What a run means, in facts with units: what it computes, where it is computed, and with what it was made.

Read from the run folder alone, as text for people, so that two runs can be laid side by side. The three parts differ in
what a difference in them does: the recipe decides the result, the place its last digits, the code may do either.
"""

import functools
import inspect

from gptx.config import presets
from gptx.config.build import permitted
from gptx.config.errors import ConfigError
from gptx.config.keys import flat, under
from gptx.ingredients.batch import Batch
from gptx.runs.cells import Cell

SHARES = {"at update 1": 0.0, "at 25 %": 0.25, "at 50 %": 0.5, "at 75 %": 0.75, "at the end": 1.0}
SAMPLES = 1000  # updates at which a rate is asked for its peak
DECAYED = {
    "matrices": "matrices, embeddings and head; no biases and gains",
    "no_embeddings": "matrices and an untied head; no embeddings, biases and gains",
    "everything": "every parameter",
}
CUT = {"micro": "sequences", "context": "context", "accumulation": "accumulation", "processes": "process(es)"}
ELSEWHERE = ("optim.lr", "optim.tokens", "optim.fused", "data.context", "data.seed", "parallel.device")  # told


def meaning(cell: Cell) -> dict[str, str]:
    """What the run in the folder means, a fact a name; none of what is not known, nothing of a cell not begun."""
    return recipe(cell) | place(cell) | origin(cell) if cell.config else {}


def differences(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str, str]]:
    """The facts in which two meanings differ, with what each says; empty where it says nothing."""
    return {name: apart(a.get(name, ""), b.get(name, "")) for name in {**a, **b} if a.get(name, "") != b.get(name, "")}


def apart(one: str, other: str) -> tuple[str, str]:
    """Two texts of ingredients without the values that they share.

    >>> apart("nano (width 128; depth 4)", "nano (width 64; depth 4)")
    ('nano (width 128)', 'nano (width 64)')
    """
    (name, told), (other_name, other_told) = (listed(text) for text in (one, other))
    mine, theirs = ([value for value in a if value not in b] for a, b in ((told, other_told), (other_told, told)))
    return spelled(name, mine), spelled(other_name, theirs)


def listed(text: str) -> tuple[str, list[str]]:
    """An option, and the values in brackets behind it."""
    name, bracket, values = text.partition(" (")
    return (name, values[:-1].split("; ")) if bracket and text.endswith(")") else (text, [])


def spelled(name: str, values: list[str]) -> str:
    """An option with its values in brackets: adamw (betas 0.9, 0.95; eps 1e-08)."""
    return f"{name} ({'; '.join(values)})" if values else name


def recipe(cell: Cell) -> dict[str, str]:
    """What is computed: model, data, updates, rates."""
    config, record = cell.config, cell.record
    found = length(cell) | {"parameters": parameters(record)}
    found |= {"model": ingredient(cell, "model"), "parametrization": ingredient(cell, "parametrization")}
    found |= {"data": data(cell), "order of the data": order(config), "objective": ingredient(cell, "objective")}
    found |= {"optimizer": ingredient(cell, "optim"), "decayed": decayed(cell)} | rates(cell)
    found |= {"clip": ingredient(cell, "clip"), "precision": precision(cell), "guard": ingredient(cell, "guard")}
    found |= {"fault": ingredient(cell, "inject"), "starts from": config.get("from") or "fresh weights"}
    found |= {"seed": str(config.get("seed", ""))}
    return {name: text for name, text in found.items() if text}


def place(cell: Cell) -> dict[str, str]:
    """Where and how it is computed: what may change the last digits of a result, and no more."""
    config, cut, machine = cell.config, cell.record.get("batch", {}), cell.record.get("hardware", {})
    found = {
        "an update is": " x ".join(f"{count} {CUT[name]}" for name, count in cut.items() if name in CUT),
        "device": " ".join(str(machine[name]) for name in ("device", "name") if name in machine),
        "threads": str(machine.get("threads", config.get("threads") or "")),
        "memory": ingredient(cell, "memory"),
        "compile": ingredient(cell, "compile"),
        "parallel": ingredient(cell, "parallel"),
        "deterministic algorithms": presets.spelled(config.get("deterministic", False)),
    }
    return {name: text for name, text in found.items() if text}


def origin(cell: Cell) -> dict[str, str]:
    """With what it was made: the code's commit and the packages."""
    git = cell.record.get("git", {})
    commit = git.get("sha", "")[:12] + (" with uncommitted changes" if git.get("dirty") else "")
    return ({"commit": commit} if commit else {}) | cell.record.get("versions", {})


def length(cell: Cell) -> dict[str, str]:
    """Updates, tokens of one and of all, tokens a parameter, epochs."""
    steps, batch = cell.config.get("steps"), batch_of(cell.config)
    if not isinstance(steps, int) or batch is None:
        return {}
    tokens = total_tokens(batch, steps)
    found = {"updates": f"{steps:,}", "tokens per update": f"{batch.tokens:,}", "tokens": f"{tokens:,}"}
    if batch.doublings:
        found["tokens per update"] += f", grown from {batch.tokens_at(1):,} over {batch.growth:,} updates"
    if batch.context_doublings:
        found["sequences"] = f"lengthen from 1/{1 << batch.context_doublings} over {batch.lengthening:,} updates"
    if total := cell.record.get("parameters", {}).get("total"):
        found["tokens per parameter"] = f"{tokens / total:.3g}"
    if text := cell.record.get("data", {}).get("train_tokens"):
        found["epochs"] = f"{tokens / text:.3g} of {text:,} tokens"
    return found


def batch_of(config: dict) -> Batch | None:
    """The batch of a config, as arithmetic; None where it is of another kind."""
    try:
        batch = Batch(**values(config["batch"]))
        batch.rate(1)
        return batch
    except (KeyError, TypeError, ValueError):
        return None


def total_tokens(batch: Batch, steps: int) -> int:
    """Tokens of `steps` updates."""
    growing = range(1, min(steps, batch.growth) + 1) if batch.doublings else range(0)
    return sum(map(batch.tokens_at, growing)) + (steps - len(growing)) * batch.tokens


def parameters(record: dict) -> str:
    """Counts, with and without embeddings."""
    counts = record.get("parameters", {})
    told = {"total": "{:,}", "non_embedding": "{:,} without embeddings"}
    return ", ".join(words.format(counts[name]) for name, words in told.items() if name in counts)


def ingredient(cell: Cell, group: str) -> str:
    """The option of an ingredient and its values: adamw (betas 0.9, 0.95; eps 1e-08; weight_decay 0.1)."""
    node = cell.config.get(group)
    if not isinstance(node, dict):
        return ""
    told = [
        f"{key} {presets.spelled(value)}"
        for key, value in flat(node).items()
        if value is not None and not key.endswith(presets.HIDDEN) and not under(f"{group}.{key}", ELSEWHERE)
    ]
    return spelled(cell.record.get("choices", {}).get(group) or node.get("_target_", "").rpartition(".")[2], told)


def data(cell: Cell) -> str:
    """Name, digest and tokenizer of the text."""
    identity, node = cell.record.get("data", {}), cell.config.get("data", {})
    if not identity:
        return ingredient(cell, "data")
    source = f" of {node['path']}" if node.get("path") else ""
    return (
        f"{identity.get('name', '')}{source}, digest {str(identity.get('digest', ''))[:12]}, "
        f"tokenizer {identity.get('tokenizer', '')} with {identity.get('vocab_size', 0):,} tokens"
        + (f", {identity['validation_tokens']:,} tokens held out" if "validation_tokens" in identity else "")
    )


def order(config: dict) -> str:
    """In which order sequences are read."""
    node = config.get("data", {})
    return f"{node.get('order', 'mixed')} by seed {node['seed']}" if "seed" in node else ""


def decayed(cell: Cell) -> str:
    """Which parameters are decayed."""
    name = cell.config.get("decay", {}).get("_target_", "").rpartition(".")[2]
    return DECAYED.get(name, ingredient(cell, "decay"))


def precision(cell: Cell) -> str:
    """The number format, with what `auto` became."""
    said = ingredient(cell, "precision")
    device = cell.record.get("hardware", {}).get("device", "")
    if cell.config.get("precision", {}).get("compute") != "auto" or not device:
        return said
    return f"auto ({'bf16 where the GPU has it' if device.startswith('cuda') else 'fp32'})"


def rates(cell: Cell) -> dict[str, str]:
    """The schedule, its peak, warmup and cool-down, and the rate at five points of the run, of the first group."""
    steps, rate = cell.config.get("steps"), rate_of(cell.config)
    found = {"schedule": str(cell.record.get("choices", {}).get("schedule", ""))}
    if rate is None or not isinstance(steps, int):
        return found | {"schedule": ingredient(cell, "schedule"), "peak rate": peak_of(cell.config)} | logged(cell)
    chosen = sorted({1 + round(i * (steps - 1) / SAMPLES) for i in range(SAMPLES + 1)})
    peak, last = max(rate(step) for step in chosen), rate(steps)
    warmup = cell.config["schedule"].get("warmup", 0)
    found |= {"peak rate": f"{peak:.3g}"}
    found |= {"warmup": f"{warmup:,} updates, {warmup / steps:.2%} of the run" if warmup else "none"}
    found |= {"cool-down": f"to {last / peak:.2g} of the peak" if peak and last < peak * (1 - 1e-9) else "none"}
    return found | {f"rate {where}": f"{rate(max(1, round(steps * share))):.3g}" for where, share in SHARES.items()}


def rate_of(config: dict):
    """The learning rate as a function of the update; None where config and installed code do not tell."""
    node, batch, peak = config.get("schedule", {}), batch_of(config), config.get("optim", {}).get("lr")
    try:
        function = permitted(node.get("_target_", ""), "schedule")
        factor = functools.partial(function, **values(node))
        inspect.signature(factor).bind(1)
        factor(1)
    except (ConfigError, TypeError, ValueError):
        return None
    if batch is None or not isinstance(peak, int | float):
        return None
    every = config.get("parametrization", {}).get("rates", {}).get("all", 1.0)
    return lambda step: peak * every * factor(step) * batch.rate(step)


def peak_of(config: dict) -> str:
    """The peak that the config gives the optimizer."""
    peak = config.get("optim", {}).get("lr")
    return f"{peak:.3g}" if isinstance(peak, int | float) else ""


def logged(cell: Cell) -> dict[str, str]:
    """The rate at the same points as it was recorded, for a schedule that is not known here."""
    at, recorded = cell.metrics["train/lr"]
    steps = cell.config.get("steps")
    if not len(at) or not isinstance(steps, int):
        return {}
    wanted = {where: max(1, round(steps * share)) for where, share in SHARES.items()}
    return {
        f"rate {where}": f"{recorded[at.searchsorted(step)]:.3g}" for where, step in wanted.items() if step <= at[-1]
    }


def values(node: dict) -> dict:
    """The arguments that a node of a config gives."""
    return {key: value for key, value in node.items() if key not in presets.HIDDEN}
