"""Gradients before clipping, and the learning rates that they are about to be multiplied with."""

import torch
from torch import Tensor

from gptx.distributed.shards import whole
from gptx.ingredients.observe import Observer


class Gradients(Observer):
    """L2 norm of the gradient of each block, embedding and other top-level module, before clipping, and the learning
    rate of each parameter group.

    Norms are taken at the optimizer's step, where gradients are those of all processes and without an fp16 scale, and
    divided by the one factor that clipping gave to all of them. A skipped step has learning rates only.
    """

    def attach(self, trainer) -> None:
        self.found: Tensor | None = None
        named = [(name, p) for name, p in trainer.model.named_parameters() if p.requires_grad]
        self.layers = list(dict.fromkeys(layer(name) for name, _ in named))
        numbers = [self.layers.index(layer(name)) for name, _ in named]
        member = torch.tensor(numbers, device=trainer.parallel.device)

        def measure() -> None:
            squares = norms([torch.zeros_like(p) if p.grad is None else p.grad for _, p in named]).square()
            self.found = squares.new_zeros(len(self.layers)).index_add_(0, member, squares).sqrt()

        self.around_step(trainer, before=measure)

    def __call__(self, trainer) -> dict[str, float]:
        rates = {f"lr/{group.get('name', i)}": group["lr"] for i, group in enumerate(trainer.optimizer.param_groups)}
        if self.found is None:
            return rates
        clipped, self.found = self.found, None
        *after, total = torch.cat([clipped, clipped.norm()[None]]).tolist()
        factor = trainer.latest["train/grad_norm"] / total if total else 1.0
        return rates | {f"gradients/{name}": norm * factor for name, norm in zip(self.layers, after, strict=True)}


def layer(name: str) -> str:
    """The block or top-level module that a parameter belongs to.

    >>> layer("blocks.3.mlp.up.weight"), layer("token.weight")
    ('blocks.3', 'token')
    """
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdigit() else first


def norms(tensors: list[Tensor]) -> Tensor:
    """L2 norm of each tensor, in fp32, (tensors,)."""
    return whole(torch.stack(torch._foreach_norm([t.detach() for t in tensors], 2, torch.float32)))
