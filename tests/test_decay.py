"""Which parameters decay, by name."""

import pytest

from gptx import decay
from gptx.model.gpt import GPT

EMBEDDINGS = {"token.weight", "position.weight"}
CHOICES = [decay.matrices, decay.no_embeddings, decay.everything]


@pytest.fixture
def model():
    return GPT(vocab_size=65, context=16, width=8, depth=1, heads=2)


def decayed(model, groups):
    """Names of the parameters that take the optimizer's weight decay."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)] for group in groups if "weight_decay" not in group for p in group["params"]}


def test_matrices_decays_what_is_multiplied_and_spares_biases_and_gains(model):
    every = dict(model.named_parameters())
    found = decayed(model, decay.matrices(model))
    assert found == {name for name, p in every.items() if p.ndim == 2}
    assert all(name.endswith("bias") or "norm" in name for name in every.keys() - found)
    assert len(found) == 6  # token and position embeddings, qkv, attention output, two of the MLP


def test_no_embeddings_spares_them_and_the_head_tied_to_them(model):
    found = decayed(model, decay.no_embeddings(model))
    assert decayed(model, decay.matrices(model)) - found == EMBEDDINGS


def test_everything_spares_nothing(model):
    assert decayed(model, decay.everything(model)) == {name for name, _ in model.named_parameters()}


def test_groups_are_named_after_the_kinds_of_parameters(model):
    names = {id(p): name for name, p in model.named_parameters()}
    groups = {group["name"]: {names[id(p)] for p in group["params"]} for group in decay.matrices(model)}
    assert set(groups) == {"matrices", "embeddings", "vectors"}
    assert groups["embeddings"] == EMBEDDINGS
    assert groups["matrices"] == {
        f"blocks.0.{n}.weight" for n in ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    }


@pytest.mark.parametrize("choice", CHOICES)
def test_every_parameter_is_in_one_group_once(model, choice):
    grouped = [id(p) for group in choice(model) for p in group["params"]]
    assert sorted(grouped) == sorted({id(p) for p in model.parameters()})
