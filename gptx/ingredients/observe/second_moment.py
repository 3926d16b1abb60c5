"""How soon Adam's second moment can be relied on (why warmup helps Adam)."""

import torch
from torch import Tensor

from gptx.distributed.shards import whole_state
from gptx.ingredients.observe import Observer
from gptx.units.options import Steps

SAMPLE = 2**15  # coordinates that are read: every n-th, always the same
FIRST, SECOND, COUNT = ("exp_avg", "m"), ("exp_avg_sq", "v"), ("step", "t", "k")  # PyTorch's names, and others'
_REFUSAL = "observe=second_moment: {} keeps no second moment; it is Adam's (optim=adamw)"


class SecondMoment(Observer):
    """Bias-corrected second moment v of Adam in each of the first `until` steps, over a sample of coordinates.

    `change` is the median of |v / v before this step - 1|: about 1/t at first, and settled once it stays near 1 - b2.
    `step` is the root mean square, and `largest_step` the maximum, of |m| / (sqrt(v) + eps): the size of the step in
    units of the learning rate. It is 1 at the first step and falls as gradients disagree; a v that is far too small
    would show here. `median` is that of v. Coordinates that never had a gradient do not count. Schedule-Free keeps no
    m, and so has no `step`. Raises ValueError for an optimizer without a second moment."""

    until: Steps

    def due(self, trainer) -> bool:
        return trainer.step < self.until and super().due(trainer)

    def attach(self, trainer) -> None:
        optimizer, self.found = trainer.optimizer, dict[str, Tensor]()
        self.groups = [group for group in optimizer.param_groups if {"betas", "eps"} <= group.keys()]
        if not self.groups:
            raise ValueError(_REFUSAL.format(type(optimizer).__name__))
        self.stride = max(1, sum(p.numel() for group in self.groups for p in group["params"]) // SAMPLE)
        before = list[Tensor]()

        def keep() -> None:
            before.extend(v for _, v, _ in self.moments(optimizer))

        def compare() -> None:
            self.compare(before, self.moments(optimizer))
            before.clear()

        self.around_step(trainer, before=keep, after=compare)

    def moments(self, optimizer) -> list[tuple]:
        """First (if there is one) and second moment of each parameter's sample, bias-corrected, and Adam's epsilon."""
        found = []
        for group in self.groups:
            for state in (optimizer.state[p] for p in group["params"] if optimizer.state.get(p)):
                first, second, t = (
                    named_moments(state | {"k": group.get("k")}, names) for names in (FIRST, SECOND, COUNT)
                )
                if second is None:
                    raise ValueError(_REFUSAL.format(type(optimizer).__name__))
                m, v = (
                    None if x is None else whole_state(x).flatten()[:: self.stride].float() / (1 - beta ** float(t))
                    for x, beta in zip((first, second), group["betas"], strict=True)
                )
                found.append((m, v, group["eps"]))
        return found

    def compare(self, before: list[Tensor], after: list[tuple]) -> None:
        v = torch.cat([second for _, second, _ in after])
        seen = v > 0
        self.found = {"median": v[seen].median()}
        if all(first is not None for first, *_ in after):
            step = torch.cat([m.abs() / (v.sqrt() + eps) for m, v, eps in after])[seen]
            self.found |= {"step": step.square().mean().sqrt(), "largest_step": step.max()}
        if len(before) == len(after):  # not at the first step
            old = torch.cat(before)
            self.found["change"] = (v / old - 1).abs()[seen & (old > 0)].median()

    def __call__(self, trainer) -> dict[str, float]:
        found, self.found = self.found, {}
        return {f"second_moment/{name}": value.item() for name, value in found.items()}


def named_moments(state: dict, names: tuple[str, ...]):
    """What the optimizer keeps under one of those names; None if nothing."""
    return next((state[name] for name in names if name in state), None)
