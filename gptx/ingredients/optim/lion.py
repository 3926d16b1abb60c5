"""Lion: the sign of a momentum."""

import torch


class Lion(torch.optim.Optimizer):
    """Moves by the sign of an interpolated momentum, with decoupled weight decay (arXiv:2302.06675, algorithm 2)."""

    def __init__(self, params, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        if not (lr >= 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(f"lr={lr}, betas={list(betas)}, weight_decay={weight_decay}: learning rate and decay "
                             "are 0 or more, betas from 0 to below 1")  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            (beta1, beta2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum = state["momentum"]
                direction = momentum.lerp(p.grad, 1 - beta1).sign_()
                p.mul_(1 - lr * group["weight_decay"]).sub_(direction, alpha=lr)
                momentum.lerp_(p.grad, 1 - beta2)
