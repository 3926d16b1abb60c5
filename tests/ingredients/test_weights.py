"""Weights alone, as safetensors: written whole, read whole, and refused where they do not fit."""

import json
import os

import pytest
import torch
from torch import nn

from gptx.ingredients.checkpoints import weights


class Tied(nn.Module):
    """Two names for one matrix, and a buffer."""

    def __init__(self, width=4):
        super().__init__()
        self.token = nn.Embedding(8, width)
        self.head = nn.Linear(width, 8, bias=False)
        self.head.weight = self.token.weight
        self.register_buffer("scale", torch.arange(3.0))


def test_what_is_written_is_read_to_the_bit_and_a_tied_matrix_is_stored_once(tmp_path):
    from safetensors import safe_open

    torch.manual_seed(0)
    file, one = tmp_path / "model.safetensors", Tied()
    weights.save_weights(file, one, config={"model": {"width": 4}}, vocab_size=8)
    with safe_open(file, "pt") as opened:
        assert set(opened.keys()) == {"token.weight", "scale"}
        assert json.loads(opened.metadata()["config"]) == {"model": {"width": 4}}
    assert weights.export_facts(file) == {"config": {"model": {"width": 4}}, "vocab_size": 8}
    other = Tied()
    other.scale.zero_()
    weights.load_weights(file, other)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert other.head.weight is other.token.weight
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_others_may_read_the_file_as_they_may_any_other(tmp_path, mask):
    before = os.umask(mask)
    try:
        (tmp_path / "any").write_text("")
        for _ in range(2):  # afresh, and over the one that is there
            weights.save_weights(tmp_path / "model.safetensors", Tied())
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["any", "model.safetensors"], 0o100666 & ~mask)


@pytest.mark.parametrize(("model", "message"), [
    (Tied(5), r"its token.weight has shape \(8, 4\), the model's \(8, 5\)"),
    (nn.Linear(2, 2), "it holds no weight, which the model has"),
    (nn.Module(), "it holds scale, which the model does not have"),
])  # fmt: skip
def test_the_weights_of_another_model_are_refused_by_the_first_tensor_that_does_not_fit(tmp_path, model, message):
    file = tmp_path / "model.safetensors"
    weights.save_weights(file, Tied())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        weights.load_weights(file, model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"no safetensors at all"])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    file = tmp_path / "model.safetensors"
    weights.save_weights(file, Tied())
    file.write_bytes(damage(file.read_bytes()))
    for look in (weights.export_facts, lambda file: weights.load_weights(file, Tied())):
        with pytest.raises(ValueError, match=r"model.safetensors: no safetensors, or damaged: .+") as told:
            look(file)
        assert "\n" not in str(told.value)


@pytest.mark.slow
def test_a_run_starts_from_the_exported_weights_of_another_with_a_fresh_optimizer(command, tmp_path):
    from safetensors.torch import load_file

    from gptx.ingredients.checkpoints import read_state

    assert command("train", "hydra.run.dir=first", "checkpoints.every=1").returncode == 0
    exported = command("export", "first", "out=model.safetensors")
    assert exported.returncode == 0, exported.stderr
    assert "from=model.safetensors" in exported.stdout
    state, file = read_state(tmp_path / "first/checkpoints/step_00000006"), load_file(tmp_path / "model.safetensors")
    assert set(file) == set(state["model"])
    assert all(torch.equal(file[name], state["model"][name]) for name in file)

    sampled = command("sample", "first", "checkpoint=best", "length=5")
    assert sampled.returncode == 0, sampled.stderr

    # a rate of nothing moves nothing: after one update the weights are still those of the file, and there are moments
    still = ["steps=1", "optim.lr=0", "optim.weight_decay=0"]
    second = command("train", "hydra.run.dir=second", *still, "from=model.safetensors")
    assert second.returncode == 0, second.stderr
    assert "starts from the weights of model.safetensors alone, at step 0 with a fresh optimizer" in second.stdout
    begun = read_state(tmp_path / "second/checkpoints/step_00000001")
    assert all(torch.equal(file[name], begun["model"][name]) for name in file)
    assert {int(moments["step"]) for moments in begun["optimizer"]["state"].values()} == {1}

    for words, message in [
        (["model.depth=1"], "the weights are of another model: model.depth was 2, is 1"),
        (["data.tokenizer=chars"], "its 257 tokens are not those of this data's tokenizer"),
    ]:
        refused = command("train", "hydra.run.dir=third", *words, "from=model.safetensors")
        assert refused.returncode == 1
        assert f"config error: from=model.safetensors: {message}" in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1 or "tokenising" in refused.stderr
        assert not (tmp_path / "third").exists()
