"""How large gradients, weights and steps are."""

import math
import statistics

import torch
from torch import Tensor

from gptx.distributed.shards import whole_state
from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.second_moment import FIRST, SECOND, named_moments


class Gradients(Observer):
    """L2 norm of the gradient of each block, embedding and other top-level module, before clipping, and the learning
    rate of each parameter group.

    Norms are taken at the optimizer's step, where gradients are those of all processes and without an fp16 scale, and
    divided by the one factor that clipping gave to all of them. A skipped step has learning rates only."""

    def attach(self, trainer) -> None:
        self.found: Tensor | None = None
        named = [(name, p) for name, p in trainer.model.named_parameters() if p.requires_grad]
        self.layers = list(dict.fromkeys(_layer(name) for name, _ in named))
        numbers = [self.layers.index(_layer(name)) for name, _ in named]
        member = torch.tensor(numbers, device=trainer.parallel.device)

        def measure() -> None:
            squares = norms([torch.zeros_like(p) if p.grad is None else p.grad for _, p in named]).square()
            self.found = squares.new_zeros(len(self.layers)).index_add_(0, member, squares).sqrt()

        self.around_step(trainer, before=measure)

    def __call__(self, trainer) -> dict[str, float]:
        rates = {f"lr/{group.get('name', i)}": group["lr"] for i, group in enumerate(trainer.optimizer.param_groups)}
        if self.found is None:
            return rates
        clipped, self.found = self.found, None
        *after, total = torch.cat([clipped, clipped.norm()[None]]).tolist()
        factor = trainer.latest["train/grad_norm"] / total if total else 1.0
        return rates | {f"gradients/{name}": norm * factor for name, norm in zip(self.layers, after, strict=True)}


class Parameters(Observer):
    """Root mean square of every parameter, which unlike a norm can be compared between shapes."""

    def __call__(self, trainer) -> dict[str, float]:
        names, weights = zip(*trainer.model.named_parameters(), strict=True)
        sizes = norms(list(weights)).tolist()
        return {f"parameters/{n}": s / p.numel() ** 0.5 for n, p, s in zip(names, weights, sizes, strict=True)}


class Updates(Observer):
    """Root mean square of the step over that of the weight, for every parameter of two dimensions or more.

    With them their median and, under an Adam with decoupled decay, the ratio at which growth by steps and shrinking
    by decay balance: sqrt(2 lr wd (1-b1)/(1+b1)), with values of the first group that is decayed (arXiv:2305.17212).
    At steps that report, and only then, it holds a copy of those weights. A skipped step has no ratio."""

    def attach(self, trainer) -> None:
        self.names, weights = zip(*((n, p) for n, p in trainer.model.named_parameters() if p.ndim >= 2), strict=True)
        self.found: Tensor | None = None
        before = list[Tensor]()

        def keep() -> None:
            before.extend(p.detach().clone() for p in weights)

        @torch.no_grad()
        def compare() -> None:
            sizes = norms(before)
            torch._foreach_sub_(before, list(weights))
            self.found = norms(before) / sizes
            before.clear()

        self.around_step(trainer, before=keep, after=compare)

    def __call__(self, trainer) -> dict[str, float]:
        if self.found is None:
            return {}
        ratios, self.found = self.found.tolist(), None
        found = {f"updates/{name}": ratio for name, ratio in zip(self.names, ratios, strict=True)}
        balance = equilibrium(trainer.optimizer)
        more = {} if balance is None else {"updates/equilibrium": balance}
        return found | {"updates/median": statistics.median(ratios)} | more


def equilibrium(optimizer: torch.optim.Optimizer) -> float | None:
    """The step/weight ratio that AdamW tends to; None before its first step, without decay, and for all others."""
    group = next((group for group in optimizer.param_groups if group.get("weight_decay", 0) > 0), None)
    if group is None or not group.get("decoupled_weight_decay", True):
        return None
    kept = optimizer.state.get(group["params"][0], {})
    if named_moments(kept, FIRST) is None or named_moments(kept, SECOND) is None:
        return None
    beta1 = group["betas"][0]
    return math.sqrt(2 * group["lr"] * group["weight_decay"] * (1 - beta1) / (1 + beta1))


def _layer(name: str) -> str:
    """The block or top-level module that a parameter belongs to.

    >>> _layer("blocks.3.mlp.up.weight"), _layer("token.weight")
    ('blocks.3', 'token')
    """
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first


def norms(tensors: list[Tensor]) -> Tensor:
    """L2 norm of each tensor, in fp32, (tensors,)."""
    return whole_state(torch.stack(torch._foreach_norm([t.detach() for t in tensors], 2, torch.float32)))
