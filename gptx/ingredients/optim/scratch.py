"""AdamW written out, one tensor at a time."""

import torch


class AdamW(torch.optim.Optimizer):
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
        if not (lr >= 0 and eps >= 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(f"lr={lr}, betas={list(betas)}, eps={eps}, weight_decay={weight_decay}: betas are from 0 "
                             "to below 1, the others 0 or more")  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, p.grad, self.state[p], group)

    def move(self, p: torch.Tensor, g: torch.Tensor, state: dict, group: dict) -> None:
        """One parameter's step, in the letters of the paper."""
        if not state:
            state |= {"t": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
        (beta1, beta2), lr = group["betas"], group["lr"]
        state["t"] += 1
        m = state["m"].mul_(beta1).add_((1 - beta1) * g)
        v = state["v"].mul_(beta2).add_((1 - beta2) * g * g)
        m_hat = m / (1 - beta1 ** state["t"])
        v_hat = v / (1 - beta2 ** state["t"])
        p.sub_(lr * (m_hat / (v_hat.sqrt() + group["eps"]) + group["weight_decay"] * p))
