"""Two runs side by side: what each means, in facts with units read from its folder, and whether their numbers agree."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy

from gptx.config import presets
from gptx.config.keys import flat, under
from gptx.estimate.learning_rate import batch_of, learning_rate
from gptx.runs.metrics import Metrics
from gptx.runs.run import Run, find

_SHARES = {"at step 1": 0.0, "at 25 %": 0.25, "at 50 %": 0.5, "at 75 %": 0.75, "at the end": 1.0}
_SAMPLES = 1000  # steps at which the peak of the learning rate is searched
_DECAYED = {"matrices": "matrices, embeddings and head; no biases and gains", "everything": "every parameter",
            "no_embeddings": "matrices and an untied head; no embeddings, biases and gains"}  # fmt: skip
_INGREDIENTS = {"model": "model", "parametrization": "parametrization", "objective": "objective", "optimizer": "optim",
                "clip": "clip", "guard": "guard", "fault": "inject"}  # fmt: skip
_CUT = {"micro": "sequences", "context": "context", "accumulation": "accumulation", "processes": "process(es)"}
_ELSEWHERE = ("optim.lr", "optim.tokens", "optim.fused", "data.context", "data.seed", "parallel.device")  # other facts


def meaning(run: Run) -> dict[str, str]:
    """The facts of a run by name, without what is unknown; none of a run that has not begun."""
    return recipe_in_words(run) | place(run) | origin(run) if run.config else {}


def differences_in_meaning(a: dict[str, str], b: dict[str, str]) -> dict[str, tuple[str, str]]:
    """The facts in which two meanings differ, with both texts; "" where a meaning lacks the fact."""
    pairs = {name: (a.get(name, ""), b.get(name, "")) for name in {**a, **b}}
    return {name: tuple(apart(pair)) for name, pair in pairs.items() if pair[0] != pair[1]}  # type: ignore[misc]


def apart(texts: Sequence[str]) -> list[str]:
    """Texts of ingredients without the values in brackets that all have.

    >>> apart(["nano (width 128; depth 4)", "nano (width 64; depth 4)"])
    ['nano (width 128)', 'nano (width 64)']
    """
    found = [re.fullmatch(r"(.*?) \((.*)\)", text) for text in texts]
    split = [(x[1], x[2].split("; ")) if x else (text, []) for x, text in zip(found, texts, strict=True)]
    shared = set.intersection(*(set(values) for _, values in split))
    return [_valued(name, [value for value in values if value not in shared]) for name, values in split]


def _valued(name: str, values: list[str]) -> str:
    return f"{name} ({'; '.join(values)})" if values else name


def _told(text: str, facts: dict) -> str:
    try:
        return text.format_map(facts)
    except (KeyError, TypeError, ValueError):  # a fact is missing, or no number, as in a folder that was edited
        return ""


def recipe_in_words(run: Run) -> dict[str, str]:
    """What is computed: model, data, steps, learning rates."""
    config, counts, read = run.config, run.record.get("parameters", {}), run.config.get("data", {})
    decay = config.get("decay", {}).get("_target_", "").rpartition(".")[2]
    return _known({
        **_length(run), "parameters": _told("{total:,}, {non_embedding:,} without embeddings", counts),
        **{name: _ingredient(run, group) for name, group in _INGREDIENTS.items()}, "data": _data(run),
        "order of the data": _told("{order} by seed {seed}", {"order": "mixed"} | read),
        "decayed": _DECAYED.get(decay, _ingredient(run, "decay")), **_rates(run), "precision": _precision(run),
        "starts from": config.get("from") or "fresh weights", "seed": _told("{seed}", config),
    })  # fmt: skip


def place(run: Run) -> dict[str, str]:
    """Where and how it is computed: this changes the last digits of a result at most."""
    config, cut, machine = run.config, run.record.get("batch", {}), run.record.get("hardware", {})
    return _known({
        "a step is": " x ".join(f"{count} {_CUT[name]}" for name, count in cut.items() if name in _CUT),
        "device": " ".join(str(machine[name]) for name in ("device", "name") if name in machine),
        "threads": str(machine.get("threads", config.get("threads") or "")),
        **{group: _ingredient(run, group) for group in ("memory", "compile", "parallel")},
        "deterministic algorithms": presets.spelled(config.get("deterministic", False)),
    })  # fmt: skip


def origin(run: Run) -> dict[str, str]:
    """With what it was made, the code's commit and the packages: this may change anything."""
    git = run.record.get("git", {})
    commit = git.get("sha", "")[:12] + " with uncommitted changes" * bool(git.get("dirty"))
    return _known({"commit": commit}) | run.record.get("versions", {})


def _known(facts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in facts.items() if text}


def _ingredient(run: Run, group: str) -> str:
    """The option of an ingredient and its values: adamw (betas 0.9, 0.95; eps 1e-08; weight_decay 0.1)."""
    node = run.config.get(group)
    if not isinstance(node, dict):
        return ""
    values = {key: value for key, value in flat(node).items() if value is not None and not key.endswith(presets.HIDDEN)}
    told = [f"{key} {presets.spelled(each)}" for key, each in values.items() if not under(f"{group}.{key}", _ELSEWHERE)]
    return _valued(run.record.get("choices", {}).get(group) or node.get("_target_", "").rpartition(".")[2], told)


def _length(run: Run) -> dict[str, str]:
    steps, batch = run.config.get("steps"), batch_of(run.config)
    if not isinstance(steps, int) or batch is None:
        return {}
    growing = min(steps, batch.growth) * bool(batch.doublings)
    tokens = sum(batch.tokens_at(step + 1) for step in range(growing)) + (steps - growing) * batch.tokens
    grown = f", grown from {batch.tokens_at(1):,} over {batch.growth:,} steps" if batch.doublings else ""
    longer = f"lengthen from 1/{1 << batch.context_doublings} over {batch.lengthening:,} steps"
    total, text = run.record.get("parameters", {}).get("total"), run.record.get("data", {}).get("train_tokens")
    return {
        "steps": f"{steps:,}", "tokens per step": f"{batch.tokens:,}{grown}", "tokens": f"{tokens:,}",
        "sequences": longer if batch.context_doublings else "",
        "tokens per parameter": f"{tokens / total:.3g}" if total else "",
        "epochs": f"{tokens / text:.3g} of {text:,} tokens" if text else "",
    }  # fmt: skip


def _data(run: Run) -> str:
    facts = run.config.get("data", {}) | run.record.get("data", {})
    texts = ["{name} of {path}" if facts.get("path") else "{name}", "digest {digest:.12}"]
    texts += ["tokenizer {tokenizer} with {vocab_size:,} tokens", "{validation_tokens:,} tokens held out"]
    return ", ".join(filter(None, (_told(text, facts) for text in texts))) or _ingredient(run, "data")


def _precision(run: Run) -> str:
    device = run.record.get("hardware", {}).get("device", "")
    if run.config.get("precision", {}).get("compute") != "auto" or not device:
        return _ingredient(run, "precision")
    return f"auto ({'bf16 where the GPU has it' if device.startswith('cuda') else 'fp32'})"


def _rates(run: Run) -> dict[str, str]:
    """The schedule, and learning rates of the first group: computed, or as recorded where the schedule is unknown."""
    steps, rate = run.config.get("steps"), learning_rate(run.config)
    points = {where: max(1, round(steps * x)) for where, x in _SHARES.items()} if isinstance(steps, int) else {}
    if rate is None or not points:
        at, rates = run.metrics["train/lr"]
        there = {where: rates[at.searchsorted(step)] for where, step in points.items() if step <= at.max(initial=0)}
        peak = _told("{lr:.3g}", run.config.get("optim", {}))
        found = {"schedule": _ingredient(run, "schedule"), "peak learning rate": peak}
    else:
        there = {where: rate(step) for where, step in points.items()}
        found = _shape(run, rate)
    return found | {f"learning rate {where}": f"{value:.3g}" for where, value in there.items()}


def _shape(run: Run, rate: Callable[[int], float]) -> dict[str, str]:
    steps, warmup = run.config["steps"], run.config["schedule"].get("warmup", 0)
    peak, last = max(rate(1 + round(i * (steps - 1) / _SAMPLES)) for i in range(_SAMPLES + 1)), rate(steps)
    return {
        "schedule": str(run.record.get("choices", {}).get("schedule", "")),
        "peak learning rate": f"{peak:.3g}",
        "warmup": f"{warmup:,} steps, {warmup / steps:.2%} of the run" if warmup else "none",
        "cool-down": f"to {last / peak:.2g} of the peak" if peak and last < peak * (1 - 1e-9) else "none",
    }


def single_run(folder: str) -> Run:
    """The run in a folder. Raises ValueError if there is none, if there are several, or if it did not begin."""
    found = find([Path(folder)])
    if len(found) > 1:
        raise ValueError(f"{folder}: there are {len(found)} runs below it; name one, such as {found[0].folder}")
    if found[0].problem or not found[0].config:
        raise ValueError(found[0].problem or f"{folder}: the run there did not begin, and there is nothing to compare")
    return found[0]


def agreement(a: Metrics, b: Metrics) -> str:
    """Whether all numbers that both recorded are identical (speeds aside), or from which step on they differ."""
    numbers = re.compile(r"validation/|train/(?!tokens_per_second$)")
    keys = [key for key in filter(numbers.match, a.columns) if key in b.columns]
    differing: dict[str, tuple[float, float]] = {}  # the first step, the largest difference
    both = 0
    for key in keys:
        steps, mine, theirs = numpy.intersect1d(a[key][0], b[key][0], return_indices=True)
        x, y = a[key][1][mine], b[key][1][theirs]
        other = (x != y) & ~(numpy.isnan(x) & numpy.isnan(y))
        both = max(both, len(steps))
        if other.any():
            differing[key] = float(steps[other][0]), float(numpy.nanmax(numpy.abs(x - y)[other]))
    if not both:
        return "no step was recorded by both"
    if not differing:
        more = "" if a.steps == b.steps else f", one goes on to {max(a.steps, b.steps):,}"
        return f"identical: the same to the bit in all {both:,} steps that both recorded ({', '.join(keys)}){more}"
    first = int(min(differing.values())[0])
    largest = [f"{key} by up to {most:.2g}" for key, (_, most) in differing.items()][:4]
    since = f"the same up to step {first - 1:,}, then different" if first > 1 else "different from the first step on"
    return f"not identical: {since}, {', '.join(largest)}"
