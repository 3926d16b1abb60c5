"""Exercise 13: clipping by the global norm, written out, beside PyTorch's."""

from pathlib import Path

from gptx.exercise.answer import Answer
from gptx.show import figures

QUESTION = "Does clipping by the global norm, written from scratch, do what PyTorch's clip_grad_norm_ does?"
DRAWS, MAX_NORM = 300, 1.0
SHAPES = (257, 64), (64, 64), (256, 64), (64, 256), (64,), (1,)  # as in a small Transformer


def answer(folder: Path, figure: Path, *overrides: str) -> Answer:
    """The largest difference between clip=scratch and PyTorch over random gradients of norms 1e-4 to 1e4."""
    import torch

    from gptx.ingredients import clip
    from gptx.show.curves import Curve, Panel

    if overrides:
        raise ValueError(f"exercise 13 trains nothing: {overrides[0]} has no place")
    generator = torch.Generator().manual_seed(0)
    gradient, norm, bent, rows = 0.0, 0.0, 0.0, []
    for draw in range(DRAWS):
        values = [torch.randn(shape, generator=generator) for shape in SHAPES]
        size = torch.cat([value.flatten() for value in values]).norm()
        values = [value / size * 10 ** (8 * draw / (DRAWS - 1) - 4) for value in values]
        own, theirs = ([parameter(value) for value in values] for _ in range(2))
        returned = clip.scratch(own, max_norm=MAX_NORM)
        expected = torch.nn.utils.clip_grad_norm_(theirs, MAX_NORM)
        mine, reference, raw = (
            torch.cat([g.flatten().double() for g in each]) for each in (grads(own), grads(theirs), values)
        )
        gradient = max(gradient, float((mine - reference).abs().max() / reference.abs().max()))
        norm = max(norm, float((returned - expected).abs() / expected))
        bent = max(bent, float((mine / mine.norm() - raw / raw.norm()).norm()))
        rows.append((float(returned), float(mine.norm())))
    before, after = zip(*rows, strict=True)
    clipped = sum(norm > MAX_NORM for norm in before)
    panel = Panel("Norm of all gradients", "sorted draws", (
        Curve("before", range(DRAWS), before), Curve("after", range(DRAWS), after, colour=1),
        Curve(f"max_norm {MAX_NORM:g}", [0, DRAWS], [MAX_NORM] * 2, "dashed", 2),
    ), log=True)  # fmt: skip
    figures.save(figure, "", figures.lines(panel, "random gradient"))
    return Answer(
        QUESTION,
        f"{DRAWS} random gradients in {len(SHAPES)} tensors, norms from 1e-4 to 1e4, clipped at {MAX_NORM:g} by "
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
        gradient <= 1e-6 and norm <= 1e-6 and bent <= 1e-6 and max(after) <= MAX_NORM * (1 + 1e-6),
        figure,
    )


def parameter(gradient):
    """A parameter with a copy of that gradient."""
    import torch

    made = torch.nn.Parameter(torch.zeros_like(gradient))
    made.grad = gradient.clone()
    return made


def grads(parameters) -> list:
    return [p.grad for p in parameters]
