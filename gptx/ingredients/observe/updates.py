"""How far an update moves the weights."""

import math
import statistics

import torch

from gptx.ingredients.observe.gradients import norms
from gptx.ingredients.observe.observer import Observer

RULE_OF_THUMB = 1e-3  # a healthy ratio according to A. Karpathy's lectures; `equilibrium` says what AdamW tends to
ADAM = ({"exp_avg", "exp_avg_sq"}, {"m", "v"})  # its moments, under PyTorch's names and the paper's


class Updates(Observer):
    """Root mean square of the step just made over that of the weight, for every parameter of two dimensions or more.

    Beside them their median and, under an Adam with decoupled decay, the ratio at which growth by steps and shrinking
    by decay balance: sqrt(2 lr wd (1-b1)/(1+b1)), with values of the first group that is decayed (arXiv:2305.17212).
    At updates that report, and only then, it holds a copy of those weights. No step, no ratio.
    """

    def attach(self, trainer) -> None:
        names, weights = zip(*((n, p) for n, p in trainer.model.named_parameters() if p.ndim >= 2), strict=True)
        self.names, self.found, before = names, None, []

        def keep(*_):
            if self.due(trainer):
                before.extend(p.detach().clone() for p in weights)

        @torch.no_grad()
        def compare(*_):
            if before:
                sizes = norms(before)
                torch._foreach_sub_(before, list(weights))
                self.found = norms(before) / sizes
                before.clear()

        trainer.optimizer.register_step_pre_hook(keep)
        trainer.optimizer.register_step_post_hook(compare)

    def __call__(self, trainer) -> dict[str, float]:
        if self.found is None:
            return {}
        ratios, self.found = self.found.tolist(), None
        balance = equilibrium(trainer.optimizer)
        return (
            {f"updates/{name}": ratio for name, ratio in zip(self.names, ratios, strict=True)}
            | {"updates/median": statistics.median(ratios)}
            | ({} if balance is None else {"updates/equilibrium": balance})
        )


def equilibrium(optimizer: torch.optim.Optimizer) -> float | None:
    """The update/weight ratio that AdamW tends to; None before its first step, without decay, and for all others."""
    group = next((group for group in optimizer.param_groups if group.get("weight_decay", 0) > 0), None)
    if group is None or not group.get("decoupled_weight_decay", True):
        return None
    kept = optimizer.state.get(group["params"][0], {}).keys()
    if not any(moments <= kept for moments in ADAM):
        return None
    beta1 = group["betas"][0]
    return math.sqrt(2 * group["lr"] * group["weight_decay"] * (1 - beta1) / (1 + beta1))
