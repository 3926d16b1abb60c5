"""Exercises 11, 12, 13 and 16, about a single step: schedules, decay groups, clipping, accumulation."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from gptx.exercise.answer import Answer, of_each
from gptx.exercise.training import configs_of
from gptx.show.plots import Curve, Panel, bars, lines

_SCHEDULES = "steps=100000", "optim.lr=3e-4", "schedule=cosine", "schedule.floor=0", "schedule.warmup=500,2000,5000"
_VOCABULARY = 257  # of bytes, so that no data is read
DRAWS, _MAX_NORM = 300, 1.0
_SHAPES = (257, 64), (64, 64), (256, 64), (64, 256), (64,), (1,)  # as in a small Transformer
_SIXTEEN = "model.context=64", "batch.tokens=1024", "clip=none", "precision=fp32", "threads=1", "log=[]"  # sequences
_ROUNDING = 2e-6  # relative; fp32 keeps 6e-8 of each number, and a gradient is a sum of thousands


def schedules(folder: Path, *overrides: str) -> Answer:
    """Warmup and cosine decay over 100,000 steps for warmups of 500, 2,000 and 5,000: what does the warmup change?"""
    from gptx.plan.schedule import curve, rate_table

    arms = configs_of(*_SCHEDULES, *overrides)
    rows, curves, passed, tutorial = dict[str, dict](), [], True, ""
    for place, cfg in enumerate(arms.values()):
        steps, warmup = cfg.steps, cfg.schedule.get("warmup", 0)
        rates = list(map(curve(cfg), range(steps + 1)))
        peak, name = max(rates), f"warmup {warmup:,}"
        jump = max(abs(after - before) for before, after in pairwise(rates)) / peak
        steepest = max(1 / max(warmup, 1), 4 / steps)  # of the cosine: pi / 2 over what the warmup leaves
        passed &= rates.index(peak) == warmup and jump <= steepest * (1 + 1e-9) and rates[-1] <= 1e-9 * peak
        rows[name] = {
            "peak reached at step": rates.index(peak),
            "largest change between steps, of the peak": jump,
            "learning rate at the end, of the peak": rates[-1] / peak,
            "mean learning rate of the run, of the peak": sum(rates[1:]) / steps / peak,
            "mean learning rate of the first 5,000 steps, of the peak": sum(rates[1:5001]) / 5000 / peak,
        }
        curves.append(Curve(name, range(1, steps + 1), rates[1:], colour=place))
        if (warmup, steps) == (2000, 100_000):
            tutorial = f"prints 1.51e-04 for step 50,000 of warmup 2,000; the formula gives {rates[50_000]:.2e}"
    return Answer(
        "composed by gptx.plan schedule; nothing is trained",
        of_each(rows),
        "each peaks at the end of its warmup, changes no faster than warmup or cosine allow (continuous), ends at 0",
        passed,
        [lines(Panel("Learning rate", "by step", tuple(curves)))],
        tutorial=tutorial,
        details=rate_table(arms, at="0.5%,1%,2%,5%,25%,50%,75%,100%"),
    )


def decay_groups(folder: Path, *overrides: str) -> Answer:
    """Which parameters of a small Transformer are decayed, and which are not?"""
    import torch
    from torch import nn

    from gptx.config.build import build
    from gptx.plan.parts import parameter_groups

    arms = configs_of("model=nano", "decay=matrices,no_embeddings", *overrides)
    rows, drawings, passed = dict[str, dict](), [], True
    for cfg in arms.values():
        with torch.device("meta"):
            model = build(cfg.model)(vocab_size=_VOCABULARY)
        option, sizes = f"decay={cfg.decay._target_.rsplit('.')[-1]}", dict[str, float]()
        sorted_out: dict[str, list] = {"decayed": [], "not decayed": []}
        for group in build(cfg.decay)(model):
            word = "decayed" if group.get("weight_decay", 1) else "not decayed"
            sorted_out[word] += group["params"]
            sizes[f"{group['name']},\n{word}"] = _count(group["params"])
        rows[option] = {}
        for word, tensors in sorted_out.items():
            rows[option] |= {f"tensors {word}": len(tensors), f"parameters {word}": _count(tensors)}
        decayed, others = sorted_out.values()
        linear, embedded = (
            {id(m.weight) for m in model.modules() if isinstance(m, kind)} for kind in (nn.Linear, nn.Embedding)
        )
        passed &= Counter(map(id, decayed + others)) == Counter(map(id, model.parameters()))
        passed &= linear - embedded <= set(map(id, decayed)) and all(p.ndim > 1 for p in decayed)
        drawings.append(bars(option, sizes, "{:,.0f}"))
    return Answer(
        f"gptx.plan decay with a vocabulary of {_VOCABULARY}: every parameter by name by group (the first shown)",
        of_each(rows),
        "each parameter is in exactly one group; no gain or bias is decayed; every matrix of a linear layer is",
        passed,
        drawings,
        "Parameters in each group",
        "its text excludes embeddings from decay and its code (two dimensions or more) decays them: "
        "decay=no_embeddings is the text, decay=matrices the code. A head that is tied to the embedding goes with it.",
        list(parameter_groups(next(iter(arms.values())), str(_VOCABULARY))),
    )


def _count(tensors: Iterable) -> int:
    return sum(p.numel() for p in tensors)


def clipping(folder: Path, *overrides: str) -> Answer:
    """Does clipping by the global norm, written from scratch, do what PyTorch's clip_grad_norm_ does?"""
    import torch

    if overrides:
        raise ValueError(f"exercise 13 trains nothing: {overrides[0]} has no place")
    generator = torch.Generator().manual_seed(0)
    draws = [_clipped([torch.randn(shape, generator=generator) for shape in _SHAPES], draw) for draw in range(DRAWS)]
    before, after, *apart = zip(*draws, strict=True)
    gradient, norm, bent = map(max, apart)
    clipped = sum(norm > _MAX_NORM for norm in before)
    limit = Curve(f"max_norm {_MAX_NORM:g}", [0, DRAWS], [_MAX_NORM] * 2, "dashed", 2)
    curves = Curve("before", range(DRAWS), before), Curve("after", range(DRAWS), after, colour=1), limit
    return Answer(
        f"{DRAWS} random gradients in {len(_SHAPES)} tensors, norms from 1e-4 to 1e4, clipped at {_MAX_NORM:g} by "
        "gptx.ingredients.clip.scratch (clip=scratch) and by torch.nn.utils.clip_grad_norm_",
        {
            "gradients clipped": clipped,
            "gradients left alone": DRAWS - clipped,
            "largest relative difference of a gradient": gradient,
            "largest relative difference of the norm returned": norm,
            "largest change of direction": bent,
            "largest norm after clipping": max(after),
        },
        "gradients and norms agree to 1e-6, of their size; no norm is above max_norm (1e-6); directions stay (1e-6)",
        max(gradient, norm, bent) <= 1e-6 and max(after) <= _MAX_NORM * (1 + 1e-6),
        [lines(Panel("Norm of all gradients", "sorted draws", curves, log=True), "random gradient")],
    )


def _clipped(values: list, draw: int) -> tuple[float, ...]:
    """Norms before and after clipping, differences from PyTorch's gradient and norm, and the change of direction."""
    import torch

    from gptx.ingredients import clip

    size = torch.cat([value.flatten() for value in values]).norm()
    values = [value / size * 10 ** (8 * draw / (DRAWS - 1) - 4) for value in values]
    own, theirs = ([torch.nn.Parameter(value) for value in values] for _ in range(2))
    for parameter, value in zip(own + theirs, values * 2, strict=True):
        parameter.grad = value.clone()
    returned = clip.scratch(own, max_norm=_MAX_NORM)
    expected = torch.nn.utils.clip_grad_norm_(theirs, _MAX_NORM)
    mine, reference, raw = _flat(p.grad for p in own), _flat(p.grad for p in theirs), _flat(values)
    gradient = (mine - reference).abs().max() / reference.abs().max()
    bent = (mine / mine.norm() - raw / raw.norm()).norm()
    return tuple(map(float, (returned, mine.norm(), gradient, (returned - expected).abs() / expected, bent)))


def accumulation(folder: Path, *overrides: str) -> Answer:
    """Do four micro-batches of 4 sequences give the gradient of one batch of 16?"""
    import torch

    recipe = *_SIXTEEN, *overrides
    whole, parts = configs_of(*recipe, "batch.micro=16,4").values()
    (first,) = configs_of(*recipe, "batch.micro=4", f"batch.tokens={4 * whole.data.context}").values()
    coarse = configs_of(*recipe, "precision=bf16", "batch.micro=16,4").values()
    torch.set_num_threads(whole.threads or torch.get_num_threads())
    reference, accumulated = _gradients(whole), _gradients(parts)
    others = accumulated, _gradients(first), _gradients(first, times=4)
    same, part, sum_of_four = (_distance(reference.values(), other.values()) for other in others)
    in_bf16 = _distance(*(_gradients(arm).values() for arm in coarse))
    apart = {name: _distance([gradient], [accumulated[name]]) for name, gradient in reference.items()}
    return Answer(
        "the trainer's accumulate_gradients with batch.micro=4 and batch.micro=16 at equal batch.tokens: the same "
        "weights and sequences; norm of the difference over the norm",
        {
            "sequences in one batch": whole.batch.tokens // whole.data.context,
            "relative difference of all gradients": same,
            "relative difference of the worst tensor": max(apart.values()),
            "relative difference of all gradients in bf16": in_bf16,
            "control, the first micro-batch alone": part,
            "control, without the division by 4": sum_of_four,
        },
        f"all gradients together differ by at most {_ROUNDING:g} (rounding in fp32), both controls by more than 0.1",
        same <= _ROUNDING and min(part, sum_of_four) > 0.1,
        [bars("relative difference of the gradient, worst tensors", dict(Counter(apart).most_common(12)), "{:.1e}")],
        "4 micro-batches of 4 compared with one batch of 16",
        f'its own loop computes in bf16: its "nearly identical" is the rounding of bf16, {in_bf16:.1g}, not of fp32.',
    )


def _gradients(cfg, times: int = 1) -> dict:
    """The gradient of every parameter after the micro-batches of the first `times` steps, none of which is made."""
    from gptx.job.build import trainer_of

    trainer = trainer_of(cfg)
    trainer.set_learning_rate()
    for _ in range(times):
        trainer.accumulate_gradients()
    return {name: p.grad for name, p in trainer.model.named_parameters()}


def _distance(one: Iterable, other: Iterable) -> float:
    """Norm of the difference of two gradients over the norm of the first."""
    first, second = _flat(one), _flat(other)
    return float((first - second).norm() / first.norm())


def _flat(tensors: Iterable):
    import torch

    return torch.cat([tensor.flatten().double() for tensor in tensors])
