"""A cool-down that branches off a plateau: from=CHECKPOINT."""

import json

import pytest
from conftest import TINY

PLATEAU = [
    "name=plateau",
    "schedule=warmup",
    "schedule.warmup=2",
    "steps=8",
    "checkpoints.every=4",
    "checkpoints.keep=9",
]


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {row["step"]: row for row in map(json.loads, lines)}


@pytest.fixture
def plateau(command, tmp_path, corpus):
    (tmp_path / "rhyme.txt").write_text(corpus.read_text())
    assert command("gptx.train", *PLATEAU, f"data.path={tmp_path / 'rhyme.txt'}").returncode == 0
    (checkpoint,) = (tmp_path / "runs" / "plateau").glob("*/checkpoints/step_00000004")
    return checkpoint.relative_to(tmp_path)  # its name has = and , in it


def test_a_branch_equals_the_run_that_had_its_schedule_from_the_start(command, tmp_path, plateau):
    wsd = ["schedule=wsd", "schedule.warmup=2", "schedule.decay=3", "steps=7"]  # level until update 4
    assert command("gptx.train", "name=whole", *wsd, f"data.path={tmp_path / 'rhyme.txt'}").returncode == 0
    result = command("gptx.train", "name=cooled", *wsd, f"data.path={tmp_path / 'rhyme.txt'}", f"from={plateau}")
    assert result.returncode == 0, result.stderr
    assert "branches off" in result.stdout
    assert "after update 4" in result.stdout
    (whole,), (cooled,) = ((tmp_path / "runs" / name).glob("*") for name in ("whole", "cooled"))
    one, other = metrics(whole), metrics(cooled)
    assert sorted(other) == [5, 6, 7]
    for step, row in other.items():
        assert row["train/loss"] == one[step]["train/loss"]
        assert row["train/lr"] == one[step]["train/lr"]
    assert metrics(tmp_path / plateau.parent.parent)[8]["train/lr"] > 10 * other[7]["train/lr"]


def test_a_branch_that_was_stopped_continues_from_its_own_checkpoint(command, tmp_path, plateau):
    words = ["name=cooled", "schedule=constant", "steps=7", f"data.path={tmp_path / 'rhyme.txt'}", f"from={plateau}"]
    assert command("gptx.train", *words).returncode == 0
    again = command("gptx.train", *words)
    assert "already finished" in again.stdout
    assert "branches off" not in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["from=nowhere"], "from=nowhere: no checkpoint there"),
        (["from={}", "steps=4"], "it stands after update 4; steps=4 must be more"),
        (["from={}", "steps=9", "model.depth=1"], "the state is of another recipe: model.depth was 2, is 1"),
        (["from={}", "steps=9", "optim=sgd"], "the state is of another recipe: optim._target_ was"),
        (["from={}", "steps=9", "optim.weight_decay=0"], "optim.weight_decay was 0.1, is 0"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_in_one_line(command, tmp_path, plateau, words, message):
    result = command(
        "gptx.train", "name=refused", f"data.path={tmp_path / 'rhyme.txt'}", *(word.format(plateau) for word in words)
    )
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs" / "refused").exists()


def test_a_branch_may_change_batch_and_precision_and_starts_without_the_old_results(command, tmp_path, plateau):
    words = ["name=other", "steps=6", "batch.tokens=512", "precision=fp16", "observe=[]", f"from={plateau}"]
    shrunk = [word for word in TINY if "validation" not in word]
    result = command("gptx.train", *shrunk, f"data.path={tmp_path / 'rhyme.txt'}", *words, tiny=False)
    assert result.returncode == 0, result.stderr
    assert "no validation" in result.stdout


def test_a_text_that_changed_is_refused(command, tmp_path, plateau):
    text = tmp_path / "rhyme.txt"
    text.write_text(text.read_text() + "and one more line\n")
    result = command("gptx.train", "name=refused", "steps=9", f"data.path={text}", f"from={plateau}")
    assert result.returncode == 1
    assert "the state is of another recipe: data.digest was" in result.stderr


def test_a_damaged_checkpoint_is_refused(command, tmp_path, plateau):
    state = tmp_path / plateau / "state.pt"
    state.write_bytes(state.read_bytes()[:-10])
    result = command("gptx.train", "name=refused", "steps=9", f"from={plateau}")
    assert result.returncode == 1
    assert "is damaged" in result.stderr
