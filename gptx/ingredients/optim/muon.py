"""Muon for hidden matrices with AdamW for the rest, as one optimizer."""

import torch

from gptx.ingredients.optim import Optimizer


class Muon(Optimizer):
    """Moves hidden matrices, the parameter groups named `matrices`, by an orthogonalised momentum (PyTorch's Muon), and
    embeddings, head and vectors by AdamW. A matrix's step has the size of AdamW's (0.2 sqrt(max(rows, columns)),
    arXiv:2502.16982), so that one learning rate and one decay serve both. Raises ValueError without such a group."""

    whole_matrices = True

    def __init__(self, params, *, lr: float, weight_decay: float = 0.1, momentum: float = 0.95, nesterov: bool = True,
                 betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8):  # fmt: skip
        if not 0 <= momentum < 1:
            raise ValueError(f"optim.momentum={momentum}: from 0 to below 1")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        hidden, others = self.divided()
        if not any(group["params"] for group in hidden):
            raise ValueError("optim=muon: no parameter group is named `matrices`, as by decay=matrices; or optim=adamw")
        self.parts: list[torch.optim.Optimizer] = [torch.optim.Muon(
            hidden, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov,
            adjust_lr_fn="match_rms_adamw")]  # fmt: skip
        if others:
            self.parts.append(
                torch.optim.AdamW(others, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
            )
        self.share()

    def divided(self) -> tuple[list[dict], list[dict]]:
        hidden = [group for group in self.param_groups if group.get("name") == "matrices"]
        return hidden, [group for group in self.param_groups if group.get("name") != "matrices"]

    def share(self) -> None:
        """Let the parts work on this optimizer's own groups and state, which a load replaces by new objects."""
        for part, groups in zip(self.parts, self.divided(), strict=False):
            part.state, part.param_groups = self.state, groups

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict) -> None:
        super().load_state_dict(state_dict)
        self.share()
