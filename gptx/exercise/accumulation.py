"""Exercise 16: gradient accumulation."""

from pathlib import Path

from gptx.exercise.answer import Answer, Number
from gptx.exercise.training import composed
from gptx.show import figures

QUESTION = "Do four micro-batches of 4 sequences give the gradient of one batch of 16?"
RECIPE = (
    "model.context=64",
    "batch.tokens=1024",  # 16 sequences
    "clip=none",
    "precision=fp32",
    "threads=1",
    "log=[]",
)
ROUNDING = 2e-6  # relative; fp32 keeps 6e-8 of each number, and a gradient is a sum of thousands


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """The relative difference of the two gradients, and of two that must differ."""
    import torch

    recipe = *RECIPE, *overrides
    whole, parts, first = (
        arm for words in (("batch.micro=16,4",), ("batch.micro=4", f"batch.tokens={4 * context(recipe)}"))
        for arm in composed(*recipe, *words).values()
    )  # fmt: skip
    coarse = composed(*recipe, "precision=bf16", "batch.micro=16,4").values()
    torch.set_num_threads(whole.threads or torch.get_num_threads())
    reference, accumulated = gradients(whole), gradients(parts)
    apart = {name: distance([gradient], [accumulated[name]]) for name, gradient in reference.items()}
    same, part, sum_of_four = (
        distance(reference.values(), other.values())
        for other in (accumulated, gradients(first), gradients(first, times=4))
    )
    measured: dict[str, Number] = {
        "sequences in one batch": whole.batch.tokens // whole.data.context,
        "relative difference of all gradients": same,
        "relative difference of the worst tensor": max(apart.values()),
        "relative difference of all gradients in bf16": distance(*(gradients(arm).values() for arm in coarse)),
        "control, the first micro-batch alone": part,
        "control, without the division by 4": sum_of_four,
    }
    worst = dict(sorted(apart.items(), key=lambda item: -item[1])[:12])
    bars = figures.bars("relative difference of the gradient, the worst tensors", worst, "{:.1e}")
    figures.save(figure, "4 micro-batches of 4 beside one batch of 16", bars)
    return Answer(
        QUESTION,
        "the trainer's accumulate_gradients with batch.micro=4 and batch.micro=16 at equal batch.tokens: the same "
        "weights and sequences; norm of the difference over the norm",
        measured,
        f"all gradients together differ by at most {ROUNDING:g} (rounding in fp32), and both controls by more than 0.1",
        same <= ROUNDING and min(part, sum_of_four) > 0.1,
        figure,
        'in its own loop, which computes in bf16, "nearly identical" means bf16\'s rounding: '
        f"{measured['relative difference of all gradients in bf16']:.1g}, not fp32's.",
    )


def context(recipe: tuple[str, ...]) -> int:
    """Tokens of a sequence in this recipe."""
    return next(iter(composed(*recipe, "batch.micro=1").values())).data.context


def gradients(cfg, times: int = 1) -> dict:
    """The gradient of every parameter after the micro-batches of `times` first updates, none of which is made."""
    from gptx.job.build import trainer_of

    trainer = trainer_of(cfg)
    trainer.set_learning_rate()
    for _ in range(times):
        trainer.accumulate_gradients()
    return {name: p.grad for name, p in trainer.model.named_parameters()}


def distance(one, other) -> float:
    """Norm of the difference of two gradients over the norm of the first."""
    import torch

    one, other = (torch.cat([gradient.flatten().double() for gradient in each]) for each in (one, other))
    return float((one - other).norm() / one.norm())
