"""How large a batch is still worth its tokens."""

import math
from dataclasses import field

import numpy
import torch
from torch import Tensor

from gptx.ingredients.observe import Observer
from gptx.units.options import Count

_FEWEST = 10  # measurements that a band needs


class NoiseScale(Observer):
    """Gradient noise scale tr(S) / |G|^2 in tokens (arXiv:1812.06162, appendix A.1: unbiased for both, each averaged
    over the last `window` measurements), infinite where noise hides the gradient; from 10 measurements on with a 90 %
    band (88 to 92 % of the bands of 10 to 50 independent ones hold it, in simulations). Doubling a batch far below it
    nearly halves the steps, far above it saves nothing. Raises ValueError for one micro-batch a step and for shards."""

    window: Count
    pairs: list[tuple[float, float]] = field(init=False, default_factory=list)  # |G|^2 and tr(S), of each measurement
    norms: dict[Tensor, Tensor] = field(init=False, default_factory=dict)  # of the first micro-batch of `of`
    of = -1, 0  # step and micro-batch
    remembered = ("pairs",)

    def attach(self, trainer) -> None:
        micro = trainer.micro_batch
        if trainer.accumulation * trainer.parallel.world_size == 1:
            few = f"observe=noise_scale needs several micro-batches in a step, which has only one of {micro} sequences"
            raise ValueError(f"{few}; set batch.micro={max(1, micro // 2)} or smaller")
        if trainer.parallel.writers > 1:
            raise ValueError("observe=noise_scale needs gradients of micro-batches, not of shards; use parallel=ddp")

        def note(parameter: Tensor) -> None:
            if not self.due(trainer):
                return
            if self.of != (now := (trainer.step, trainer.micro_batch)):  # the first, also after running out of memory
                self.norms, self.of = {}, now
                self.scale = trainer.scaler.scale(torch.ones((), device=parameter.device))  # of an fp16 loss
            if parameter not in self.norms:
                self.norms[parameter] = torch.linalg.vector_norm(parameter.grad, dtype=torch.float32)

        for parameter in filter(lambda p: p.requires_grad, trainer.model.parameters()):
            parameter.register_post_accumulate_grad_hook(note)

    def __call__(self, trainer) -> dict[str, float]:
        world, accumulation = trainer.parallel.world_size, trainer.accumulation
        if self.norms and world * accumulation > 1:  # a batch that still grows may have one micro-batch
            own = torch.stack(list(self.norms.values())) * (accumulation / self.scale)
            one = trainer.parallel.sum(own.square().sum()).item() / world
            tokens = trainer.micro_batch * trainer.data.context
            pair = separated(one, trainer.latest["train/grad_norm"] ** 2, tokens, tokens * accumulation * world)
            if all(map(math.isfinite, pair)):
                self.pairs = [*self.pairs, pair][-self.window :]
            self.norms = {}
        if len(self.pairs) >= _FEWEST:
            middle, low, high = band(numpy.array(self.pairs))
            return {"noise_scale/tokens": middle, "noise_scale/low": low, "noise_scale/high": high}
        return {"noise_scale/tokens": ratio(*numpy.mean(self.pairs, 0).tolist())} if self.pairs else {}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.norms, self.of = {}, (-1, 0)  # of a step that a rollback gave up


def separated(one: float, whole: float, tokens: int, total: int) -> tuple[float, float]:
    """|G|^2 and tr(S) of a token, from the squared norms of gradients over `tokens` and `total` tokens.

    >>> separated(one=1 + 8 / 2, whole=1 + 8 / 4, tokens=2, total=4)
    (1.0, 8.0)
    """
    return (total * whole - tokens * one) / (total - tokens), (one - whole) / (1 / tokens - 1 / total)


def ratio(signal: float, noise: float) -> float:
    return max(noise, 0.0) / signal if signal > 0 else math.inf


def band(pairs: numpy.ndarray) -> tuple[float, float, float]:
    """Ratio of the mean noise to the mean signal, and the ends of its 90 % interval by Fieller's theorem, from pairs
    (n, 2): the ratios r at which the mean of noise - r signal is not significantly other than 0 by Student's t."""
    from scipy.stats import t

    signal, noise = pairs.mean(0).tolist()
    middle = ratio(signal, noise)
    (own, both), (_, other) = (numpy.cov(pairs.T) * t.ppf(0.95, len(pairs) - 1) ** 2 / len(pairs)).tolist()
    a, b, c = signal**2 - own, signal * noise - both, noise**2 - other  # a r^2 - 2 b r + c is at most 0 inside
    root = math.sqrt(max(0.0, b * b - a * c))
    if b + root <= 0:  # all of it lies below 0, where no ratio is: the noise is 0, or the signal is
        return middle, middle, middle
    return middle, max(0.0, c) / (b + root), (b + root) / a if a > 0 else math.inf
