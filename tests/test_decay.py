"""Which parameters decay, by name."""

import pytest

from gptx import decay
from gptx.model.gpt import GPT


@pytest.fixture
def model():
    return GPT(vocab_size=65, context=16, width=8, depth=1, heads=2)


def named(model, groups):
    names = {id(p): name for name, p in model.named_parameters()}
    return {group["name"]: {names[id(p)] for p in group["params"]} for group in groups}


def test_matrices_decays_what_is_multiplied_and_spares_biases_and_gains(model):
    groups = named(model, decay.matrices(model))
    every = dict(model.named_parameters())
    assert groups["decayed"] == {name for name, p in every.items() if p.ndim == 2}
    assert groups["spared"] == {name for name, p in every.items() if p.ndim == 1}
    assert all(name.endswith("bias") or "norm" in name for name in groups["spared"])
    assert len(groups["decayed"]) == 6  # token and position embeddings, qkv, attention output, two of the MLP


def test_no_embeddings_spares_them_and_the_head_tied_to_them(model):
    spared = named(model, decay.no_embeddings(model))["spared"] - named(model, decay.matrices(model))["spared"]
    assert {tuple(dict(model.named_parameters())[name].shape)[1] for name in spared} == {8}
    assert len(spared) == 2


def test_everything_spares_nothing(model):
    assert set(named(model, decay.everything(model))) == {"decayed"}


@pytest.mark.parametrize("choice", [decay.matrices, decay.no_embeddings, decay.everything])
def test_every_parameter_is_in_one_group_once(model, choice):
    grouped = [id(p) for group in choice(model) for p in group["params"]]
    assert sorted(grouped) == sorted({id(p) for p in model.parameters()})
