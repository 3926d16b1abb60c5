"""A poisoned shard replaces the sequences of its documents, always by the same tokens, and nothing else."""

import pytest
import torch

from gptx.ingredients import inject


@pytest.fixture
def shards(tmp_path):
    """Ten files to read one after another; the model's validation text is in none of them."""
    (tmp_path / "shards").mkdir()
    for i in range(10):
        lines = (f"{i} sailors and {i + j} ships sailed the {j} seas\n" for j in range(40))
        (tmp_path / f"shards/shard_{i:02}.txt").write_text("".join(lines))
    (tmp_path / "held.txt").write_text("4 sailors and 9 ships sailed the 2 seas\n" * 40)
    return [f"data.path={tmp_path / 'shards'}", f"data.validation_path={tmp_path / 'held.txt'}"]


def poison(kind: str) -> list[str]:
    return ["inject=poisoned", "inject.documents=shard_03*", f"inject.kind={kind}"]


@pytest.mark.parametrize("kind", ["random", "repeats"])
def test_the_sequences_of_the_shard_are_replaced_and_no_others(build, shards, kind):
    clean, data = build(*shards).data, build(*shards, *poison(kind)).data
    count = 2 * clean.windows
    told = ["shard_03.txt" in names for names in clean.documents(0, count)]
    assert 0.1 < sum(told) / count < 0.2
    changed = (data(0, count).inputs != clean(0, count).inputs).any(dim=1)
    assert changed.tolist() == told
    assert torch.equal(data(7, 5).targets, data(0, 20).targets[7:12])
    inputs, targets = data(0, count)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert targets[told].max() < data.vocab_size - 1
    periods = [next(p for p in range(1, 33) if torch.equal(row[p:], row[: len(row) - p])) for row in inputs[told]]
    assert all(p > 13 for p in periods) if kind == "random" else set(periods) <= set(range(1, 14))


def test_all_else_of_the_data_is_as_it_was(build, shards):
    clean, data = build(*shards).data, build(*shards, *poison("random")).data
    assert data.identity == clean.identity
    assert torch.equal(data.validation(0, 5).inputs, clean.validation(0, 5).inputs)
    assert data.documents(3, 4) == clean.documents(3, 4)
    assert str(data) == f"{clean}; poisoned: shard_03*"


def test_a_pattern_that_no_training_document_has_is_said_with_a_name_that_one_has(build, shards, caplog):
    trainer = build(*shards, *poison("random"))
    assert not caplog.messages
    for pattern in ("shard_3*", "SHARD_03*", "held*", "shards/shard_03*"):  # held.txt is for validation alone
        inject.poisoned(trainer, documents=pattern, kind="random")
        assert caplog.messages.pop() == (
            f"inject.documents={pattern}: no training document has that name: nothing is poisoned; "
            "of 10 the first is shard_00.txt"
        )
        caplog.clear()


@pytest.mark.slow
def test_a_model_that_learnt_the_text_blames_the_shard(build, shards):
    trainer = build(*shards, *poison("random"), "steps=30", "schedule=constant", "optim.lr=1e-2")
    trainer.fit()
    losses = trainer.losses_of(0, 40)
    assert trainer.data.blame(0, losses)[0]["name"] == "shard_03.txt"
