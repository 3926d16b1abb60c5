"""How far a step moves the weights."""

import math
import statistics

import torch
from torch import Tensor

from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.gradients import norms
from gptx.ingredients.observe.second_moment import FIRST, SECOND, named

RULE_OF_THUMB = 1e-3  # a healthy ratio according to A. Karpathy's lectures; `equilibrium` says what AdamW tends to


class Updates(Observer):
    """Root mean square of the step over that of the weight, for every parameter of two dimensions or more.

    With them their median and, under an Adam with decoupled decay, the ratio at which growth by steps and shrinking
    by decay balance: sqrt(2 lr wd (1-b1)/(1+b1)), with values of the first group that is decayed (arXiv:2305.17212).
    At steps that report, and only then, it holds a copy of those weights. A skipped step has no ratio.
    """

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
    if named(kept, FIRST) is None or named(kept, SECOND) is None:
        return None
    beta1 = group["betas"][0]
    return math.sqrt(2 * group["lr"] * group["weight_decay"] * (1 - beta1) / (1 + beta1))
