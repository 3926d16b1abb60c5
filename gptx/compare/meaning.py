"""What a run means, in facts with units: what it computes, where it is computed, and with what it was made.

Read from the run folder alone, as text, so that two runs can be shown side by side. A difference in the recipe decides
the result, one in the place its last digits, and one in the code may do either.
"""

from collections.abc import Callable

from gptx.config import presets
from gptx.config.keys import flat, under
from gptx.estimate.learning_rate import batch_of, learning_rate
from gptx.runs.run import Run

_SHARES = {"at step 1": 0.0, "at 25 %": 0.25, "at 50 %": 0.5, "at 75 %": 0.75, "at the end": 1.0}
_SAMPLES = 1000  # steps at which the peak of the learning rate is searched
_DECAYED = {
    "matrices": "matrices, embeddings and head; no biases and gains",
    "no_embeddings": "matrices and an untied head; no embeddings, biases and gains",
    "everything": "every parameter",
}
_CUT = {"micro": "sequences", "context": "context", "accumulation": "accumulation", "processes": "process(es)"}
_ELSEWHERE = ("optim.lr", "optim.tokens", "optim.fused", "data.context", "data.seed", "parallel.device")  # other facts


def meaning(run: Run) -> dict[str, str]:
    """The facts of a run by name, without what is unknown; none of a run that has not begun."""
    return recipe_in_words(run) | place(run) | origin(run) if run.config else {}


def differences_in_meaning(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str, str]]:
    """The facts in which two meanings differ, with both texts; "" where a meaning lacks the fact."""
    pairs = {name: (a.get(name, ""), b.get(name, "")) for name in {**a, **b}}
    return {name: _apart(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}


def _apart(one: str, other: str) -> tuple[str, str]:
    """Two texts of ingredients without the values that they share.

    >>> _apart("nano (width 128; depth 4)", "nano (width 64; depth 4)")
    ('nano (width 128)', 'nano (width 64)')
    """
    (name, mine), (other_name, theirs) = listed(one), listed(other)
    return (meant_text(name, [value for value in mine if value not in theirs]),
            meant_text(other_name, [value for value in theirs if value not in mine]))  # fmt: skip


def listed(text: str) -> tuple[str, list[str]]:
    """An option, and the values in the brackets behind it."""
    name, bracket, values = text.partition(" (")
    return (name, values[:-1].split("; ")) if bracket and text.endswith(")") else (text, [])


def meant_text(name: str, values: list[str]) -> str:
    """An option with its values in brackets: adamw (betas 0.9, 0.95; eps 1e-08)."""
    return f"{name} ({'; '.join(values)})" if values else name


def recipe_in_words(run: Run) -> dict[str, str]:
    """What is computed: model, data, steps, learning rates."""
    config, counts = run.config, run.record.get("parameters", {})
    read, decay = config.get("data", {}), config.get("decay", {}).get("_target_", "").rpartition(".")[2]
    body = f", {counts['non_embedding']:,} without embeddings" if "non_embedding" in counts else ""
    found = _length(run) | {
        "parameters": f"{counts['total']:,}{body}" if "total" in counts else body[2:],
        "model": _ingredient(run, "model"),
        "parametrization": _ingredient(run, "parametrization"),
        "data": _data(run),
        "order of the data": f"{read.get('order', 'mixed')} by seed {read['seed']}" if "seed" in read else "",
        "objective": _ingredient(run, "objective"),
        "optimizer": _ingredient(run, "optim"),
        "decayed": _DECAYED.get(decay, _ingredient(run, "decay")),
        **_rates(run),
        "clip": _ingredient(run, "clip"),
        "precision": _precision(run),
        "guard": _ingredient(run, "guard"),
        "fault": _ingredient(run, "inject"),
        "starts from": config.get("from") or "fresh weights",
        "seed": str(config.get("seed", "")),
    }
    return {name: text for name, text in found.items() if text}


def place(run: Run) -> dict[str, str]:
    """Where and how it is computed: this changes the last digits of a result at most."""
    config, cut, machine = run.config, run.record.get("batch", {}), run.record.get("hardware", {})
    found = {
        "a step is": " x ".join(f"{count} {_CUT[name]}" for name, count in cut.items() if name in _CUT),
        "device": " ".join(str(machine[name]) for name in ("device", "name") if name in machine),
        "threads": str(machine.get("threads", config.get("threads") or "")),
        **{group: _ingredient(run, group) for group in ("memory", "compile", "parallel")},
        "deterministic algorithms": presets.spelled(config.get("deterministic", False)),
    }
    return {name: text for name, text in found.items() if text}


def origin(run: Run) -> dict[str, str]:
    """With what it was made: the code's commit and the packages."""
    git = run.record.get("git", {})
    commit = git.get("sha", "")[:12] + (" with uncommitted changes" if git.get("dirty") else "")
    return ({"commit": commit} if commit else {}) | run.record.get("versions", {})


def _ingredient(run: Run, group: str) -> str:
    """The option of an ingredient and its values: adamw (betas 0.9, 0.95; eps 1e-08; weight_decay 0.1)."""
    node = run.config.get(group)
    if not isinstance(node, dict):
        return ""
    told = [
        f"{key} {presets.spelled(value)}"
        for key, value in flat(node).items()
        if value is not None and not key.endswith(presets.HIDDEN) and not under(f"{group}.{key}", _ELSEWHERE)
    ]
    return meant_text(run.record.get("choices", {}).get(group) or node.get("_target_", "").rpartition(".")[2], told)


def _length(run: Run) -> dict[str, str]:
    """Steps, tokens of a step and in all, tokens per parameter, epochs."""
    steps, batch = run.config.get("steps"), batch_of(run.config)
    if not isinstance(steps, int) or batch is None:
        return {}
    growing = range(1, min(steps, batch.growth) + 1) if batch.doublings else range(0)
    tokens = sum(map(batch.tokens_at, growing)) + (steps - len(growing)) * batch.tokens
    grown = f", grown from {batch.tokens_at(1):,} over {batch.growth:,} steps" if batch.doublings else ""
    found = {"steps": f"{steps:,}", "tokens per step": f"{batch.tokens:,}{grown}", "tokens": f"{tokens:,}"}
    if batch.context_doublings:
        found["sequences"] = f"lengthen from 1/{1 << batch.context_doublings} over {batch.lengthening:,} steps"
    if total := run.record.get("parameters", {}).get("total"):
        found["tokens per parameter"] = f"{tokens / total:.3g}"
    if text := run.record.get("data", {}).get("train_tokens"):
        found["epochs"] = f"{tokens / text:.3g} of {text:,} tokens"
    return found


def _data(run: Run) -> str:
    """Name, digest and tokenizer of the text."""
    identity, node = run.record.get("data", {}), run.config.get("data", {})
    if not identity:
        return _ingredient(run, "data")
    source = f" of {node['path']}" if node.get("path") else ""
    return (
        f"{identity.get('name', '')}{source}, digest {str(identity.get('digest', ''))[:12]}, "
        f"tokenizer {identity.get('tokenizer', '')} with {identity.get('vocab_size', 0):,} tokens"
        + (f", {identity['validation_tokens']:,} tokens held out" if "validation_tokens" in identity else "")
    )


def _precision(run: Run) -> str:
    """The number format, with what `auto` became."""
    device = run.record.get("hardware", {}).get("device", "")
    if run.config.get("precision", {}).get("compute") != "auto" or not device:
        return _ingredient(run, "precision")
    return f"auto ({'bf16 where the GPU has it' if device.startswith('cuda') else 'fp32'})"


def _rates(run: Run) -> dict[str, str]:
    """The schedule, its peak, warmup and cool-down, and the learning rate of the first group at five points of the run:
    computed, or as it was recorded where the schedule is unknown here."""
    steps, rate, peak = run.config.get("steps"), learning_rate(run.config), run.config.get("optim", {}).get("lr")
    points = {where: max(1, round(steps * x)) for where, x in _SHARES.items()} if isinstance(steps, int) else {}
    if rate and points:
        found, there = _shape(run, rate), {where: rate(step) for where, step in points.items()}
    else:
        told = f"{peak:.3g}" if isinstance(peak, int | float) else ""
        found, there = {"schedule": _ingredient(run, "schedule"), "peak learning rate": told}, _recorded(run, points)
    return found | {f"learning rate {where}": f"{value:.3g}" for where, value in there.items()}


def _recorded(run: Run, points: dict[str, int]) -> dict[str, float]:
    at, rates = run.metrics["train/lr"]
    return {where: rates[at.searchsorted(step)] for where, step in points.items() if len(at) and step <= at[-1]}


def _shape(run: Run, rate: Callable[[int], float]) -> dict[str, str]:
    steps, warmup = run.config["steps"], run.config["schedule"].get("warmup", 0)
    peak, last = max(rate(1 + round(i * (steps - 1) / _SAMPLES)) for i in range(_SAMPLES + 1)), rate(steps)
    return {
        "schedule": str(run.record.get("choices", {}).get("schedule", "")),
        "peak learning rate": f"{peak:.3g}",
        "warmup": f"{warmup:,} steps, {warmup / steps:.2%} of the run" if warmup else "none",
        "cool-down": f"to {last / peak:.2g} of the peak" if peak and last < peak * (1 - 1e-9) else "none",
    }
