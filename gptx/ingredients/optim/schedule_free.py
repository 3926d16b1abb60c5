"""Schedule-Free AdamW: an average of the weights in place of a cool-down."""

import schedulefree
import torch
from torch import Tensor


class ScheduleFree(schedulefree.AdamWScheduleFree):
    """The package's AdamW (arXiv:2405.15682), always in its training state, at y between the plain iterate z and the
    average x; `judged` gives x, which is validated, sampled and shipped. The learning rate may rise, but not fall."""

    rate_falls = False

    def __init__(self, params, *, lr: float, betas: tuple[float, float] = (0.95, 0.99), eps: float = 1e-8,
                 weight_decay: float = 0.1):  # fmt: skip
        if not all(0 < beta < 1 for beta in betas):
            raise ValueError(f"optim.betas={list(betas)}: above 0 and below 1, since the average is found from beta1")
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.train()

    @torch.no_grad()
    def judged(self, parameters) -> list[Tensor]:
        """x of every parameter, in order; a parameter that has no state yet as it is."""
        beta1 = {p: group["betas"][0] for group in self.param_groups for p in group["params"]}
        begun = {p for p, state in self.state.items() if "z" in state}
        return [p.lerp(self.state[p]["z"], 1 - 1 / beta1[p]) if p in begun else p.clone() for p in parameters]
