"""AdamW and Lion written out, one tensor at a time."""

from collections.abc import Callable

import torch


class _Written(torch.optim.Optimizer):
    move: Callable  # (p, its gradient, its state, its group), in the letters of the paper

    def __init__(self, params, betas: tuple[float, float], **sizes: float):
        if not (all(size >= 0 for size in sizes.values()) and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(f"betas={list(betas)}, {sizes}: betas are from 0 to below 1, the others 0 or more")
        super().__init__(params, {"betas": betas, **sizes})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, p.grad, self.state[p], group)


class AdamW(_Written):
    """Adam with decoupled weight decay (arXiv:1711.05101, algorithm 2), equal to PyTorch's to rounding.

    One scalar with a constant gradient of 0.1 moves by one learning rate a step, and a little for the decay:

    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = AdamW([theta], lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
    >>> for t in (1, 2, 3):
    ...     theta.grad = torch.tensor([0.1])
    ...     optimizer.step()
    ...     m, v = (optimizer.state[theta][name].item() for name in ("m", "v"))
    ...     print(f"step {t}: theta={theta.item():.4f}, m={m:.4f}, v={v:.5f}")
    step 1: theta=0.9997, m=0.0100, v=0.00050
    step 2: theta=0.9993, m=0.0190, v=0.00098
    step 3: theta=0.9990, m=0.0271, v=0.00143
    """

    def __init__(self, params, lr: float, betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8,
                 weight_decay: float = 0.1):  # fmt: skip
        super().__init__(params, betas, lr=lr, eps=eps, weight_decay=weight_decay)

    def move(self, p: torch.Tensor, g: torch.Tensor, state: dict, group: dict) -> None:
        if not state:
            state |= {"t": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
        (beta1, beta2), lr = group["betas"], group["lr"]
        state["t"] += 1
        m = state["m"].mul_(beta1).add_((1 - beta1) * g)
        v = state["v"].mul_(beta2).add_((1 - beta2) * g * g)
        m_hat = m / (1 - beta1 ** state["t"])
        v_hat = v / (1 - beta2 ** state["t"])
        p.sub_(lr * (m_hat / (v_hat.sqrt() + group["eps"]) + group["weight_decay"] * p))


class Lion(_Written):
    """Moves by the sign of an interpolated momentum, with decoupled weight decay (arXiv:2302.06675, algorithm 2)."""

    def __init__(self, params, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, betas, lr=lr, weight_decay=weight_decay)

    def move(self, p: torch.Tensor, g: torch.Tensor, state: dict, group: dict) -> None:
        (beta1, beta2), lr = group["betas"], group["lr"]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        momentum = state["momentum"]
        direction = momentum.lerp(g, 1 - beta1).sign_()
        p.mul_(1 - lr * group["weight_decay"]).sub_(direction, alpha=lr)
        momentum.lerp_(g, 1 - beta2)
