"""Whether gradient clipping acts rarely, or sets the size of the steps."""

import torch
from torch import Tensor

from gptx.ingredients.observe import Observer
from gptx.ingredients.observe.norms import norms
from gptx.units.lengths import Length

MOST, OFTEN = 0.5, 0.01  # shares of steps: see `pressure_verdict`
_TOLERANCE = 1e-4  # relative: two ways to add up the same norm differ by less


class ClipPressure(Observer):
    """Share of the steps since the last report whose gradients were clipped, and the mean factor over all of them.

    The norm after clipping is measured at the optimizer's step, so any way of clipping is seen as it acts; a skipped
    step does not count. After the last step comes a verdict on all steps after the warmup."""

    clipped = seen = 0  # steps after the warmup

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pairs: list[tuple[float, Tensor, bool]] = []  # norms before and after; does the learning rate still rise?
        self.after: Tensor | None = None
        self.period, self.every = self.every, Length(1)  # every norm before clipping is needed

    def attach(self, trainer) -> None:
        def measure() -> None:
            parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
            self.after = norms([p.grad for p in parameters if p.grad is not None]).norm()

        self.around_step(trainer, before=measure)

    def __call__(self, trainer) -> dict:
        if self.after is not None:
            rises = trainer.schedule(trainer.step + 1) > trainer.schedule(trainer.step)
            self.pairs.append((trainer.latest["train/grad_norm"], self.after, rises))
            self.after = None
        if trainer.step % self.period and not trainer.finished:
            return {}
        found: dict = {}
        if self.pairs:
            before, after, rising = zip(*self.pairs, strict=True)
            pairs = zip(before, torch.stack(after).tolist(), strict=True)
            factors = [a / b if a < b * (1 - _TOLERANCE) else 1.0 for b, a in pairs]
            clipped = [factor < 1 for factor in factors]
            found = {"clip/share": sum(clipped) / len(clipped), "clip/scale": sum(factors) / len(factors)}
            self.clipped += sum(c for c, r in zip(clipped, rising, strict=True) if not r)
            self.seen += rising.count(False)
            self.pairs.clear()
        return found | ({"clip/verdict": pressure_verdict(self.clipped, self.seen)} if trainer.finished else {})

    def state_dict(self) -> dict:
        pairs = [(before, after.item(), rises) for before, after, rises in self.pairs]
        return {"pairs": pairs, "clipped": self.clipped, "seen": self.seen}

    def load_state_dict(self, state: dict) -> None:
        self.pairs = [(before, torch.tensor(after), rises) for before, after, rises in state["pairs"]]
        self.clipped, self.seen, self.after = state["clipped"], state["seen"], None


def pressure_verdict(clipped: int, seen: int) -> str:
    """What the share of clipped steps after the warmup means.

    Rare is normal: llm.c's 124M run, clipped at 1, clips 2 of 18,860 steps after its warmup (and 25 to 89 % during it),
    and nanochat removed clipping since it never acted. Where most steps are clipped, the bound sets their size and not
    the schedule; Adam ignores the gradient's scale, so of the bound only the weight of one step among others is left.
    """
    if not seen:
        return "no step came after the warmup, during which clipping is usual"
    share, seen_in = clipped / seen, f"of {seen} steps after the warmup"
    if share > MOST:
        return (f"clips most steps: {share:.0%} {seen_in}; clipping now sets the step size: raise max_norm, enlarge "
                "the batch or lower the learning rate")  # fmt: skip
    if share > OFTEN:
        return f"clips often: {share:.1%} {seen_in}; in a long, tuned run it is about 0.01 %"
    return f"clips rarely: {clipped} {seen_in}, as it should" if clipped else f"clips nothing: none {seen_in}"
