"""Clipping, against PyTorch's own and against geometry."""

import pytest
import torch

from gptx.ingredients import clip


def parameters(scale=1.0, seed=0):
    torch.manual_seed(seed)
    found = [torch.nn.Parameter(torch.zeros(shape)) for shape in [(5, 7), (7,), (2, 3, 4)]]
    for p in found:
        p.grad = torch.randn_like(p) * scale
    return found


def joined(found):
    return torch.cat([p.grad.flatten() for p in found])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_clipping_from_scratch_equals_pytorch_on_random_gradients(seed, scale):
    ours, theirs = parameters(scale, seed), parameters(scale, seed)
    norm = clip.scratch(ours, max_norm=1.0)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs, 1.0))
    torch.testing.assert_close(joined(ours), joined(theirs))


@pytest.mark.parametrize("function", [clip.global_norm, clip.scratch])
def test_the_norm_returned_is_the_one_before_and_the_direction_stays(function):
    found = parameters(scale=10.0)
    before = joined(found)
    norm = function(found, max_norm=1.0)
    assert norm == pytest.approx(before.norm().item())
    assert joined(found).norm() == pytest.approx(1.0, rel=1e-5)
    assert torch.cosine_similarity(joined(found), before, dim=0) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(3))
def test_clipping_from_scratch_multiplies_every_gradient_by_the_same_factor(seed):
    found = parameters(scale=10.0, seed=seed)
    before = joined(found)
    norm = clip.scratch(found, max_norm=0.5)
    torch.testing.assert_close(joined(found) / before, torch.full_like(before, 0.5 / norm.item()), rtol=1e-5, atol=0)


@pytest.mark.parametrize("function", [clip.global_norm, clip.scratch])
def test_gradients_below_the_limit_are_left_alone(function):
    found = parameters(scale=1e-3)
    before = joined(found).clone()
    function(found, max_norm=1.0)
    assert torch.equal(joined(found), before)


def test_none_measures_and_changes_nothing():
    found = parameters(scale=100.0)
    before = joined(found).clone()
    assert clip.none(found) == pytest.approx(before.norm().item())
    assert torch.equal(joined(found), before)
