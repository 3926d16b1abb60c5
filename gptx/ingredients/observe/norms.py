"""How large gradients, weights, steps and Adam's moments are, all measured at the optimizer's step."""

import math
import re
import statistics
from dataclasses import field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from gptx.distributed.shards import whole_state
from gptx.ingredients.observe import Observer
from gptx.units.lengths import Length
from gptx.units.options import Steps

SAMPLE = 2**15  # coordinates of the second moment that are read: every n-th, always the same
_FIRST, _SECOND, _COUNT = ("exp_avg", "m"), ("exp_avg_sq", "v"), ("step", "t", "k")  # PyTorch's names, and others'
_TOLERANCE = 1e-4  # relative: two ways to add up the same norm differ by less


class _AtStep(Observer):
    """Measures `before` and `after` the optimizer's step, where it reports after it; a skipped step has nothing."""

    before: ClassVar[Any] = None
    after: ClassVar[Any] = None
    found: dict[str, Tensor] = field(init=False, default_factory=dict)  # scalars by name, until they are reported

    def attach(self, trainer) -> None:
        before, after = trainer.optimizer.register_step_pre_hook, trainer.optimizer.register_step_post_hook
        for measure, register in ((self.before, before), (self.after, after)):
            if measure:
                register(lambda *_, measure=measure: measure(trainer) if self.due(trainer) else None)

    def __call__(self, trainer) -> dict:
        found, self.found = self.found, {}
        return dict(zip(found, torch.stack([*found.values()]).tolist(), strict=True)) if found else {}


class Gradients(_AtStep):
    """L2 norm before clipping of the gradient of each block, embedding and other top-level module (at the optimizer's
    step, over the one factor of clipping), and each group's learning rate, which a skipped step has alone."""

    def attach(self, trainer) -> None:
        super().attach(trainer)
        layer = partial(re.sub, r"^([^.]+(\.\d+(?=\.|$))?).*", r"\1")  # blocks.3 of blocks.3.mlp.up.weight
        named = [(layer(name), p) for name, p in trainer.model.named_parameters() if p.requires_grad]
        of, self.parameters = zip(*named, strict=True)
        self.layers = list(dict.fromkeys(of))
        self.member = torch.tensor([self.layers.index(layer) for layer in of], device=trainer.parallel.device)

    def before(self, trainer) -> None:
        squares = norms([torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]).square()
        clipped = squares.new_zeros(len(self.layers)).index_add_(0, self.member, squares).sqrt()
        self.found = dict(zip([*self.layers, ""], [*clipped, clipped.norm()], strict=True))

    def __call__(self, trainer) -> dict[str, float]:
        rates = {f"lr/{group.get('name', i)}": group["lr"] for i, group in enumerate(trainer.optimizer.param_groups)}
        found = super().__call__(trainer)
        total = found.pop("", 0.0)
        factor = trainer.latest["train/grad_norm"] / total if total else 1.0
        return rates | {f"gradients/{layer}": norm * factor for layer, norm in found.items()}


class Parameters(Observer):
    """Root mean square of every parameter, which unlike a norm can be compared between shapes."""

    def __call__(self, trainer) -> dict[str, float]:
        names, weights = zip(*trainer.model.named_parameters(), strict=True)
        sizes = norms(list(weights)).tolist()
        return {f"parameters/{n}": s / p.numel() ** 0.5 for n, p, s in zip(names, weights, sizes, strict=True)}


class Updates(_AtStep):
    """Root mean square of the step over that of the weight, for every parameter of two dimensions or more, their median
    and, under an Adam with decoupled decay, the ratio at which growth by steps and shrinking by decay balance: sqrt(2
    lr wd (1-b1)/(1+b1)), of the first group that is decayed (arXiv:2305.17212). Reports copy the weights for a step."""

    def before(self, trainer) -> None:
        self.weights = {f"updates/{name}": p for name, p in trainer.model.named_parameters() if p.ndim >= 2}
        self.kept = [p.detach().clone() for p in self.weights.values()]

    @torch.no_grad()
    def after(self, trainer) -> None:
        sizes = norms(self.kept)
        torch._foreach_sub_(self.kept, [*self.weights.values()])
        self.found = dict(zip(self.weights, norms(self.kept) / sizes, strict=True))
        del self.kept

    def __call__(self, trainer) -> dict[str, float]:
        if not (found := super().__call__(trainer)):
            return {}
        balance = equilibrium(trainer.optimizer)
        more = {} if balance is None else {"updates/equilibrium": balance}
        return found | {"updates/median": statistics.median(found.values())} | more


def equilibrium(optimizer: torch.optim.Optimizer) -> float | None:
    """The step/weight ratio that AdamW tends to; None before its first step, without decay, and for all others."""
    group = next((group for group in optimizer.param_groups if group.get("weight_decay", 0) > 0), None)
    if group is None or not group.get("decoupled_weight_decay", True):
        return None
    if any(each is None for each in _kept(optimizer.state.get(group["params"][0], {}), _FIRST, _SECOND)):
        return None
    beta1 = group["betas"][0]
    return math.sqrt(2 * group["lr"] * group["weight_decay"] * (1 - beta1) / (1 + beta1))


class SecondMoment(_AtStep):
    """Bias-corrected second moment v of Adam in each of the first `until` steps, over a sample of coordinates that ever
    had a gradient: its `median`, and `change`, the median of |v / v before this step - 1| (about 1/t at first, settled
    once it stays near 1 - b2). `step` is the root mean square, and `largest_step` the maximum, of |m| / (sqrt(v) +
    eps), the step in learning rates: 1 at the first step, less as gradients disagree; a v that is far too small would
    show (Schedule-Free keeps no m). Raises ValueError for an optimizer without a second moment."""

    until: Steps

    def due(self, trainer) -> bool:
        return trainer.step < self.until and super().due(trainer)

    def attach(self, trainer) -> None:
        super().attach(trainer)
        self.groups = [group for group in trainer.optimizer.param_groups if {"betas", "eps"} <= group.keys()]
        if not self.groups:
            self.refuse(trainer.optimizer)
        self.stride = max(1, sum(p.numel() for group in self.groups for p in group["params"]) // SAMPLE)

    def refuse(self, optimizer) -> None:
        kind = type(optimizer).__name__
        raise ValueError(f"observe=second_moment: {kind} keeps no second moment; it is Adam's (optim=adamw)")

    def moments(self, optimizer) -> list[tuple]:
        """First (if there is one) and second moment of each parameter's sample, bias-corrected, and Adam's epsilon."""
        found = []
        for group in self.groups:
            for state in (optimizer.state[p] for p in group["params"] if optimizer.state.get(p)):
                *both, t = _kept(state | {"k": group.get("k")}, _FIRST, _SECOND, _COUNT)
                if both[1] is None:
                    self.refuse(optimizer)
                m, v = (
                    None if x is None else whole_state(x).flatten()[:: self.stride].float() / (1 - beta ** float(t))
                    for x, beta in zip(both, group["betas"], strict=True)
                )
                found.append((m, v, group["eps"]))
        return found

    def before(self, trainer) -> None:
        self.old = [v for _, v, _ in self.moments(trainer.optimizer)]

    def after(self, trainer) -> None:
        first, second, eps = zip(*self.moments(trainer.optimizer), strict=True)
        v = torch.cat(second)
        seen = v > 0
        self.found = {"second_moment/median": v[seen].median()}
        if all(m is not None for m in first):
            parts = zip(first, second, eps, strict=True)
            step = torch.cat([m.abs() / (v.sqrt() + eps) for m, v, eps in parts])[seen]
            self.found |= {"second_moment/step": step.square().mean().sqrt(), "second_moment/largest_step": step.max()}
        if len(self.old) == len(second):  # not at the first step
            old = torch.cat(self.old)
            self.found["second_moment/change"] = (v / old - 1).abs()[seen & (old > 0)].median()


class ClipPressure(_AtStep):
    """Share of the steps since the last report whose gradients were clipped in any way, and the mean factor over all;
    a skipped step does not count. After the last step comes a verdict on all steps after the warmup."""

    pairs: list[tuple] = field(init=False, default_factory=list)  # norms before and after; does the schedule rise?
    clipped = seen = 0  # steps after the warmup
    remembered = ("pairs", "clipped", "seen")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.period, self.every = self.every, Length(1)  # every norm before clipping is needed

    def before(self, trainer) -> None:
        parameters = (p for group in trainer.optimizer.param_groups for p in group["params"])
        self.found = {"after": norms([p.grad for p in parameters if p.grad is not None]).norm()}

    def __call__(self, trainer) -> dict:
        if self.found:
            rises = trainer.schedule(trainer.step + 1) > trainer.schedule(trainer.step)
            self.pairs.append((trainer.latest["train/grad_norm"], self.found.pop("after"), rises))
        if trainer.step % self.period and not trainer.finished:
            return {}
        found = self.shares() if self.pairs else {}
        return found | ({"clip/verdict": pressure_verdict(self.clipped, self.seen)} if trainer.finished else {})

    def shares(self) -> dict:
        pairs = [(before, float(after)) for before, after, _ in self.pairs]
        factors = [after / before if after < before * (1 - _TOLERANCE) else 1.0 for before, after in pairs]
        late = [factor < 1 for factor, (*_, rises) in zip(factors, self.pairs, strict=True) if not rises]
        self.clipped, self.seen, self.pairs = self.clipped + sum(late), self.seen + len(late), []
        share = sum(factor < 1 for factor in factors) / len(factors)
        return {"clip/share": share, "clip/scale": sum(factors) / len(factors)}


def pressure_verdict(clipped: int, seen: int) -> str:
    """What the share of clipped steps after the warmup means. Rare is normal: llm.c's 124M run, clipped at 1, clips 2
    of 18,860 steps after its warmup (and 25 to 89 % during it), and nanochat removed clipping since it never acted.
    Where most are, the bound sets their size; Adam ignores the scale of gradients, but not of one step among others."""
    if not seen:
        return "no step came after the warmup, during which clipping is usual"
    share, seen_in = clipped / seen, f"of {seen} steps after the warmup"
    if share > 0.5:
        return f"clips most steps: {share:.0%} {seen_in}; raise max_norm, enlarge the batch or lower the learning rate"
    if share > 0.01:
        return f"clips often: {share:.1%} {seen_in}; in a long, tuned run it is about 0.01 %"
    return f"clips rarely: {clipped} {seen_in}, as it should" if clipped else f"clips nothing: none {seen_in}"


def _kept(state: dict, *alternatives: tuple[str, ...]) -> list:
    """What the optimizer keeps under one of each names; None if nothing."""
    return [next((state[name] for name in names if name in state), None) for names in alternatives]


def norms(tensors: list[Tensor]) -> Tensor:
    """L2 norm of each tensor, in fp32, (tensors,)."""
    return whole_state(torch.stack(torch._foreach_norm([t.detach() for t in tensors], 2, torch.float32)))
