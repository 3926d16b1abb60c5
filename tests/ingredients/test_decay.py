"""Which parameters decay, by name."""

import pytest
from torch import nn

from gptx.ingredients import decay
from gptx.ingredients.model.gpt import GPT

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


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        (decay.matrices, {"matrices", "embeddings", "head"}),
        (decay.no_embeddings, {"matrices", "head"}),
        (decay.everything, {"matrices", "embeddings", "head", "vectors"}),
    ],
)
def test_an_untied_head_is_a_kind_of_its_own_and_decays_as_a_matrix(choice, kinds):
    model = GPT(vocab_size=65, context=16, width=8, depth=1, heads=2, tied=False)
    groups = {group["name"]: group for group in choice(model)}
    assert [id(p) for p in groups["head"]["params"]] == [id(model.head.weight)]
    assert {name for name, group in groups.items() if "weight_decay" not in group} == kinds


def test_the_head_of_any_model_is_the_child_of_that_name_unless_it_is_tied():
    model = nn.ModuleDict({"table": nn.Embedding(7, 4), "hidden": nn.Linear(4, 4), "head": nn.Linear(4, 7)})
    kinds = {group["name"]: {id(p) for p in group["params"]} for group in decay.everything(model)}
    assert kinds["head"] == {id(model["head"].weight)}
    assert kinds["matrices"] == {id(model["hidden"].weight)}
    assert id(model["head"].bias) in kinds["vectors"]
    model["head"].weight = model["table"].weight
    assert "head" not in {group["name"] for group in decay.everything(model)}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("tied", [True, False])
def test_every_parameter_is_in_one_group_once(tied, choice):
    model = GPT(vocab_size=65, context=16, width=8, depth=1, heads=2, tied=tied)
    grouped = [id(p) for group in choice(model) for p in group["params"]]
    assert sorted(grouped) == sorted({id(p) for p in model.parameters()})
