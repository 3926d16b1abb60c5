"""Whether gradient clipping is an insurance, or sets the size of the updates."""

import torch

from gptx.ingredients.observe.gradients import norms
from gptx.ingredients.observe.observer import Observer
from gptx.units.lengths import Length

MOST, OFTEN = 0.5, 0.01  # shares of updates: see `verdict`
TOLERANCE = 1e-4  # relative: two ways to add up the same norm differ by less


class ClipPressure(Observer):
    """Share of the updates since the last report whose gradients were clipped, and the mean factor of all of them.

    The norm after clipping is measured at the optimizer's step, so that any way of clipping is seen as it acts; an
    update that is skipped does not count. The last update adds a verdict on all updates after the warmup.
    """

    def __init__(self, *, every: Length):
        super().__init__(every=Length(1))  # every norm before clipping is needed
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 update")
        self.period = every
        self.pairs: list[
            tuple[float, torch.Tensor, bool]
        ] = []  # norm before and after, and whether the rate still rises
        self.clipped, self.seen = 0, 0  # updates after the warmup
        self.after: torch.Tensor | None = None

    def attach(self, trainer) -> None:
        def measure(optimizer, *_):
            self.after = norms(
                [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
            ).norm()

        trainer.optimizer.register_step_pre_hook(measure)

    def __call__(self, trainer) -> dict:
        if self.after is not None:
            rises = trainer.schedule(trainer.step + 1) > trainer.schedule(trainer.step)
            self.pairs.append((trainer.latest["train/grad_norm"], self.after, rises))
            self.after = None
        if trainer.step % self.period and not trainer.finished:
            return {}
        found = {}
        if self.pairs:
            before, after, rising = zip(*self.pairs, strict=True)
            factors = [scale(b, a) for b, a in zip(before, torch.stack(after).tolist(), strict=True)]
            clipped = [factor < 1 for factor in factors]
            found = {"clip/share": sum(clipped) / len(clipped), "clip/scale": sum(factors) / len(factors)}
            self.clipped += sum(c for c, r in zip(clipped, rising, strict=True) if not r)
            self.seen += rising.count(False)
            self.pairs.clear()
        return found | ({"clip/verdict": verdict(self.clipped, self.seen)} if trainer.finished else {})

    def state_dict(self) -> dict:
        pairs = [(before, after.item(), rises) for before, after, rises in self.pairs]
        return {"pairs": pairs, "clipped": self.clipped, "seen": self.seen}

    def load_state_dict(self, state: dict) -> None:
        self.pairs = [(before, torch.tensor(after), rises) for before, after, rises in state["pairs"]]
        self.clipped, self.seen, self.after = state["clipped"], state["seen"], None


def scale(before: float, after: float) -> float:
    """The factor that clipping applied; 1 where it applied none.

    >>> scale(4.0, 1.0), scale(0.5, 0.5), scale(0.0, 0.0)
    (0.25, 1.0, 1.0)
    """
    return after / before if after < before * (1 - TOLERANCE) else 1.0


def verdict(clipped: int, seen: int) -> str:
    """What the share of clipped updates after the warmup means.

    llm.c's 124M run, clipped at 1, clips 2 of 18,860 updates after its warmup (and 25 to 89 % during it), and nanochat
    deleted clipping since it never acted: rare is normal. Where most updates are clipped, the bound and not the
    schedule sets their size, of which Adam, blind to the gradient's scale, keeps only the weight beside the others.
    """
    if not seen:
        return "no update came after the warmup, during which clipping is usual"
    share = clipped / seen
    if share > MOST:
        return (
            f"clips most updates: {share:.0%} of {seen} after the warmup; the bound is no insurance any more, it "
            "weighs the updates: a larger bound, a larger batch or a lower rate would let the schedule do so"
        )
    if share > OFTEN:
        return f"clips often: {share:.1%} of {seen} updates after the warmup; a long, tuned run is nearer to 0.01 %"
    if clipped:
        return f"clips rarely: {clipped} of {seen} updates after the warmup, as an insurance should"
    return f"clips nothing: none of {seen} updates after the warmup was changed"
