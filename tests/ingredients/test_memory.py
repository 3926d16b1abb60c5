"""Blocks that are computed again give the same gradients and keep less."""

import pytest
import torch
from torch import nn

from gptx.ingredients import memory
from gptx.ingredients.model.gpt import GPT

SHAPE = {"vocab_size": 65, "context": 16, "width": 32, "depth": 4, "heads": 4, "dropout": 0.1}


def passed(transform, **changes) -> tuple[list[torch.Tensor], int]:
    """Loss and gradients of one pass, and the bytes of activations that it kept for the way back."""
    torch.manual_seed(0)
    model = GPT(**SHAPE | changes)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    network, kept = transform(model), {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = torch.randint(65, (2, 16), generator=torch.Generator().manual_seed(1))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(tokens).logsumexp(-1).mean()
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters())], sum(kept.values())


@pytest.mark.parametrize("every", [1, 2, 3, 9])
@pytest.mark.parametrize("changes", [{}, {"mask": "document", "positions": "rope"}])
def test_what_is_computed_again_gives_the_same_gradients_also_with_dropout(every, changes):
    stored, _ = passed(memory.store, **changes)
    found, _ = passed(lambda model: memory.recompute(model, every=every), **changes)
    assert all(map(torch.equal, found, stored))


def test_the_fewer_blocks_are_computed_again_the_more_is_kept():
    kept = [passed(lambda model, every=every: memory.recompute(model, every=every))[1] for every in (1, 2, 4)]
    kept.append(passed(memory.store)[1])
    assert kept == sorted(kept)
    block = (kept[3] - kept[0]) / 4  # each of four blocks saves as much as any other: all, two, one, none
    assert kept == pytest.approx([kept[0], kept[0] + 2 * block, kept[0] + 3 * block, kept[0] + 4 * block], rel=0.02)
    assert kept[3] > 3 * kept[0]


def test_the_weights_keep_their_names():
    model = GPT(**SHAPE)
    names = list(model.state_dict())
    assert list(memory.recompute(model, every=2).state_dict()) == names


def test_a_model_without_blocks_and_no_block_at_all_are_refused():
    with pytest.raises(ValueError, match=r"^memory=recompute: Linear has no `blocks` to compute again; memory=store$"):
        memory.recompute(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"^memory.every=0: at least 1$"):
        memory.recompute(GPT(**SHAPE), every=0)
