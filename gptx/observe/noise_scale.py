"""How large a batch is still worth its tokens."""

import math
from collections import deque

import numpy
import torch
from torch import Tensor

from gptx.lengths import Length
from gptx.observe.observer import Observer

DRAWS = 500  # of the bootstrap


class NoiseScale(Observer):
    """Gradient noise scale tr(S) / |G|^2 in tokens, with a band that holds it in 90 of 100 cases.

    From the squared norms of the gradient of one micro-batch of each process and of the whole update, unbiased for
    |G|^2 and tr(S) each (arXiv:1812.06162, appendix A.1). Both are averaged over the last `window` measurements before
    the division; the band is a bootstrap over these. Far below it a larger batch saves updates one for one, far above
    it saves none. It is infinite where noise hides the gradient.

    Raises ValueError where an update has one micro-batch in all, and nothing to compare, and where the gradient of one
    micro-batch is never seen, since the processes hold shards.
    """

    def __init__(self, *, every: Length, window: int):
        super().__init__(every=every)
        if window < 1:
            raise ValueError(f"window={window} must be at least 1 measurement")
        self.pairs: deque[tuple[float, float]] = deque(maxlen=window)  # |G|^2 and tr(S), of each measurement

    def attach(self, trainer) -> None:
        if trainer.accumulation * trainer.parallel.world_size == 1:
            raise ValueError(
                f"observe=noise_scale compares micro-batches with the whole update, which has only one of "
                f"{trainer.micro_batch} sequences; set batch.micro={max(1, trainer.micro_batch // 2)} or smaller"
            )
        if trainer.parallel.writers > 1:
            raise ValueError(
                "observe=noise_scale compares the gradient of one micro-batch with the whole update's, and under "
                "parallel=fsdp only the latter is seen; use parallel=ddp"
            )
        self.norms, self.update = dict[Tensor, Tensor](), (-1, 0)

        def note(parameter: Tensor) -> None:
            if not self.due(trainer):
                return
            update = trainer.step, trainer.micro_batch  # made anew with another one where memory did not suffice
            if self.update != update:  # the first micro-batch of an update
                self.norms, self.update = {}, update
                self.scale = trainer.scaler.scale(torch.ones((), device=parameter.device))  # of an fp16 loss
            if parameter not in self.norms:
                self.norms[parameter] = torch.linalg.vector_norm(parameter.grad, dtype=torch.float32)

        for parameter in trainer.model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(note)

    def __call__(self, trainer) -> dict[str, float]:
        world, accumulation = trainer.parallel.world_size, trainer.accumulation
        if self.norms and world * accumulation > 1:  # a batch that still grows may have one micro-batch
            own = torch.stack(list(self.norms.values())) * (accumulation / self.scale)
            one = trainer.parallel.sum(own.square().sum()).item() / world
            tokens = trainer.micro_batch * trainer.data.context
            pair = separated(one, trainer.latest["train/grad_norm"] ** 2, tokens, tokens * accumulation * world)
            if all(map(math.isfinite, pair)):
                self.pairs.append(pair)
            self.norms = {}
        if not self.pairs:
            return {}
        middle, low, high = band(numpy.array(self.pairs))
        return {"noise_scale/tokens": middle, "noise_scale/low": low, "noise_scale/high": high}

    def state_dict(self) -> dict:
        return {"pairs": list(self.pairs)}

    def load_state_dict(self, state: dict) -> None:
        self.pairs.extend(map(tuple, state["pairs"]))


def separated(one: float, whole: float, tokens: int, total: int) -> tuple[float, float]:
    """Squared norm of the true gradient and trace of the covariance a token has, from the squared norms of gradients
    over `tokens` and `total` tokens.

    >>> separated(one=1 + 8 / 2, whole=1 + 8 / 4, tokens=2, total=4)
    (1.0, 8.0)
    """
    return (total * whole - tokens * one) / (total - tokens), (one - whole) / (1 / tokens - 1 / total)


def band(pairs: numpy.ndarray) -> tuple[float, float, float]:
    """Ratio of the mean noise to the mean signal, and the 5th and 95th percentile of it over resampled pairs (n, 2)."""
    draws = numpy.random.default_rng(0).integers(len(pairs), size=(DRAWS, len(pairs)))
    signal, noise = numpy.concatenate([pairs.mean(0)[None], pairs[draws].mean(1)]).T
    ratios = numpy.where(signal > 0, noise.clip(min=0) / numpy.where(signal > 0, signal, 1), math.inf)
    low, high = numpy.quantile(ratios[1:], [0.05, 0.95], method="nearest")
    return float(ratios[0]), float(low), float(high)
