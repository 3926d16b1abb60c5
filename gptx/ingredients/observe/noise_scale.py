"""How large a batch is still worth its tokens."""

import math
from collections import deque

import numpy
import torch
from torch import Tensor

from gptx.ingredients.observe.observer import Observer
from gptx.units.lengths import Length

FEWEST = 10  # measurements that a band needs


class NoiseScale(Observer):
    """Gradient noise scale tr(S) / |G|^2 in tokens, with a band that holds it in 90 of 100 cases (88 to 92, simulated,
    of 10 to 50 measurements that do not depend on each other); of fewer than 10 measurements there is no band.

    From the squared norms of the gradient of one micro-batch of each process and of the whole update, unbiased for
    |G|^2 and tr(S) each (arXiv:1812.06162, appendix A.1). Both are averaged over the last `window` measurements before
    the division. Far below it a larger batch saves updates one for one, far above it saves none. It is infinite where
    noise hides the gradient.

    Raises ValueError where an update has one micro-batch in all, and nothing to compare, and where the gradient of one
    micro-batch is never seen, since the processes hold shards.
    """

    def __init__(self, *, every: Length, window: int):
        super().__init__(every=every)
        if window < 1:
            raise ValueError(f"window={window} must be at least 1 measurement")
        self.pairs: deque[tuple[float, float]] = deque(maxlen=window)  # |G|^2 and tr(S), of each measurement
        self.norms, self.update = dict[Tensor, Tensor](), (-1, 0)  # of the first micro-batch, and whose it is

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
        pairs = numpy.array(self.pairs)
        if len(pairs) < FEWEST:
            return {"noise_scale/tokens": ratio(*pairs.mean(0).tolist())}
        return dict(zip(("noise_scale/tokens", "noise_scale/low", "noise_scale/high"), band(pairs), strict=True))

    def state_dict(self) -> dict:
        return {"pairs": list(self.pairs)}

    def load_state_dict(self, state: dict) -> None:
        self.pairs.clear()
        self.pairs.extend(map(tuple, state["pairs"]))
        self.norms, self.update = {}, (-1, 0)  # of an update that a rollback gave up


def separated(one: float, whole: float, tokens: int, total: int) -> tuple[float, float]:
    """Squared norm of the true gradient and trace of the covariance a token has, from the squared norms of gradients
    over `tokens` and `total` tokens.

    >>> separated(one=1 + 8 / 2, whole=1 + 8 / 4, tokens=2, total=4)
    (1.0, 8.0)
    """
    return (total * whole - tokens * one) / (total - tokens), (one - whole) / (1 / tokens - 1 / total)


def ratio(signal: float, noise: float) -> float:
    """Noise over signal, neither of which can be below 0."""
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
