"""A cool-down that branches off a plateau: from=CHECKPOINT."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import TINY
from omegaconf import OmegaConf

from gptx import check, preflight, runs, train
from gptx.check import ConfigError

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


@pytest.fixture(scope="module")
def grown(tmp_path_factory, corpus):
    """The folder in which the plateau was trained, once for all tests."""
    folder = tmp_path_factory.mktemp("grown")
    words = ["-m", "gptx.train", *TINY, f"data.path={corpus}", *PLATEAU]
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture
def plateau(grown, tmp_path):
    """A checkpoint of a copy of it."""
    shutil.copytree(grown / "runs", tmp_path / "runs")
    (checkpoint,) = (tmp_path / "runs" / "plateau").glob("*/checkpoints/step_00000004")
    return checkpoint.relative_to(tmp_path)  # its name has = and , in it


@pytest.mark.slow
def test_a_branch_equals_the_run_that_had_its_schedule_from_the_start(command, tmp_path, plateau):
    wsd = ["schedule=wsd", "schedule.warmup=2", "schedule.decay=3", "steps=7"]  # level until update 4
    assert command("gptx.train", "name=whole", *wsd).returncode == 0
    result = command("gptx.train", "name=cooled", *wsd, f"from={plateau}")
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


@pytest.mark.slow
def test_a_branch_that_was_stopped_continues_from_its_own_checkpoint(command, tmp_path, plateau):
    words = ["name=cooled", "schedule=constant", "steps=7", f"from={plateau}"]
    assert command("gptx.train", *words).returncode == 0
    again = command("gptx.train", *words)
    assert "already finished" in again.stdout
    assert "branches off" not in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=4"], "it stands after update 4; steps=4 must be more"),
        (["steps=9", "model.depth=1"], "the state is of another recipe: model.depth was 2, is 1"),
        (["steps=9", "optim=sgd"], "the state is of another recipe: optim._target_ was"),
        (["steps=9", "optim.weight_decay=0"], "optim.weight_decay was 0.1, is 0"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(composed, tmp_path, plateau, words, message):
    cfg = composed(*words)
    with pytest.raises(ConfigError, match=re.escape(message)):
        train.branch(check.trainer(cfg), tmp_path / plateau, OmegaConf.to_container(cfg, resolve=True))


def test_a_checkpoint_that_was_moved_says_itself_whose_state_it_is(composed, tmp_path, plateau):
    moved = (tmp_path / plateau).rename(tmp_path / "moved")
    cfg = composed("steps=9")
    told = train.branch(check.trainer(cfg), moved, OmegaConf.to_container(cfg, resolve=True))
    assert "moved after update 4; what changes: " in told
    cfg = composed("steps=9", "model.depth=1")
    with pytest.raises(ConfigError, match=r"the state is of another recipe: model.depth was 2, is 1"):
        train.branch(check.trainer(cfg), moved, OmegaConf.to_container(cfg, resolve=True))


def test_a_refusal_is_one_line_and_leaves_no_folder(command, tmp_path):
    result = command("gptx.train", "name=refused", "from=nowhere")
    assert result.returncode == 1
    assert "from=nowhere: no checkpoint there" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs" / "refused").exists()


@pytest.mark.slow
def test_a_branch_may_change_batch_and_precision_and_starts_without_the_old_results(command, corpus, plateau):
    words = ["name=other", "steps=6", "batch.tokens=512", "precision=fp16", "observe=[]", f"from={plateau}"]
    shrunk = [word for word in TINY if "validation" not in word]
    result = command("gptx.train", *shrunk, f"data.path={corpus}", *words, tiny=False)
    assert result.returncode == 0, result.stderr
    assert "no validation" in result.stdout


def test_a_text_that_changed_is_refused(command, corpus, plateau):
    text = corpus.read_text()
    corpus.write_text(text + "and one more line\n")
    try:
        result = command("gptx.train", "name=refused", "steps=9", f"from={plateau}")
    finally:
        corpus.write_text(text)
    assert result.returncode == 1
    assert "the state is of another recipe: data.digest was" in result.stderr


def test_a_damaged_checkpoint_is_refused(command, tmp_path, plateau):
    state = tmp_path / plateau / "state.pt"
    state.write_bytes(state.read_bytes()[:-10])
    result = command("gptx.train", "name=refused", "steps=9", f"from={plateau}")
    assert result.returncode == 1
    assert "is damaged" in result.stderr


def test_a_text_that_moved_is_the_same_run_and_other_bytes_there_are_not(composed, corpus, tmp_path):
    cfg = composed()
    config = OmegaConf.to_container(cfg, resolve=True)
    record = {"recipe": runs.recipe(config), "data": check.build(cfg.data).identity}
    moved = tmp_path / "moved" / corpus.name
    moved.parent.mkdir()
    shutil.copy(corpus, moved)
    link = tmp_path / "link.txt"
    link.symlink_to(moved)
    for path in (moved, link, os.path.relpath(moved)):
        assert train.other_run(record, composed(f"data.path='{path}'")) == []
    told = train.other_run(record, composed(f"data.path='{moved}'", "seed=5"))
    assert [phrase.split()[0] for phrase in told] == ["data.seed", "seed"]
    moved.write_text("other text. " * 2000)
    assert "(the text is not the same)" in train.other_run(record, composed(f"data.path='{moved}'"))[0]
    del record["data"]["digest"]  # of a class of one's own, which tells no digest
    assert "data.path was" in train.other_run(record, composed(f"data.path='{moved}'"))[0]


def test_a_branch_with_checkpoints_of_its_own_needs_no_origin(composed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [train.quoted("from=runs/p/lr=1,seed=0/checkpoints/step_00000004")]
    assert words == ["from='runs/p/lr=1,seed=0/checkpoints/step_00000004'"]
    cfg, run = composed(*words), tmp_path / "run"
    for folder in (None, run):
        with pytest.raises(ConfigError, match="no checkpoint there"):
            preflight.refuse_origin(cfg, folder)
    (run / "checkpoints/step_00000006").mkdir(parents=True)
    preflight.refuse_origin(cfg, run)
    with pytest.raises(ConfigError, match="no checkpoint there"):
        preflight.refuse_origin(composed(*words, "overwrite=true"), run)
    (run / "checkpoints/step_00000006").rmdir()
    runs.write(run, state="finished")
    preflight.refuse_origin(cfg, run)
    for word in (
        "from=null",
        "from=a/checkpoints/step_1,b/checkpoints/step_1",
        "from='x/checkpoints/step_1'",
        "seed=0",
    ):
        assert train.quoted(word) == word  # nothing, a sweep, one that is quoted, another key


@pytest.mark.slow
def test_a_branch_goes_on_by_its_own_words_after_its_origin_is_gone(command, tmp_path, plateau):
    words = ["name=cooled", "schedule=constant", "steps=7", f"from={plateau}"]
    assert command("gptx.train", *words).returncode == 0
    (run,) = (tmp_path / "runs/cooled").iterdir()
    runs.write(run, state="preempted")
    shutil.rmtree(tmp_path / "runs/plateau")
    again = command("gptx.train", *words)
    assert again.returncode == 0, again.stderr
    assert "continues after update 7" in again.stdout
    assert list((tmp_path / "runs/cooled").iterdir()) == [run]
