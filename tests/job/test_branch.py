"""A cool-down that branches off a plateau: from=CHECKPOINT."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import TINY
from omegaconf import OmegaConf

from gptx.config.build import build
from gptx.config.command_line import quoted_origin
from gptx.config.errors import ConfigError
from gptx.config.keys import recipe
from gptx.config.rules import examine
from gptx.ingredients.checkpoints import read_state
from gptx.job import resume
from gptx.job.build import trainer_of
from gptx.runs.folder import RunFolder
from gptx.sweeps import jobs

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
    assert command("train", "name=whole", *wsd).returncode == 0
    result = command("train", "name=cooled", *wsd, f"from={plateau}")
    assert result.returncode == 0, result.stderr
    assert "branches off" in result.stdout
    assert "after step 4" in result.stdout
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
    assert command("train", *words).returncode == 0
    again = command("train", *words)
    assert "already finished" in again.stdout
    assert "branches off" not in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["steps=4"], "it stands after step 4; steps=4 must be more"),
        (["steps=9", "model.depth=1"], "the state is of another recipe: model.depth was 2, is 1"),
        (["steps=9", "optim=sgd"], "the state is of another recipe: optim._target_ was"),
        (["steps=9", "model.context=64"], "the state is of another recipe: model.context was 32, is 64"),
        (["steps=9", "model.heads=4"], "the state is of another recipe: model.heads was 2, is 4"),
        (["steps=9", "optim.decoupled=false"], "the state is of another recipe: optim.decoupled was True, is False"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(composed, tmp_path, plateau, words, message):
    cfg = composed(*words)
    with pytest.raises(ConfigError, match=re.escape(message)):
        resume.branch(trainer_of(cfg), tmp_path / plateau, OmegaConf.to_container(cfg, resolve=True))


@pytest.fixture
def begun(composed, tmp_path):
    """begun(origin, "seed=1"): a trainer that branched off there, what it said, and the state that it took up."""

    def make(origin, *words):
        cfg = composed("steps=9", *words)
        trainer = trainer_of(cfg)
        own = torch.get_rng_state()
        told = resume.branch(trainer, origin, OmegaConf.to_container(cfg, resolve=True))
        trainer.checkpoints.place(tmp_path / "branch")
        trainer.sinks.clear()
        return trainer, told, read_state(origin), own

    return make


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["seed=5"], "data.seed, seed"),
        (["optim.weight_decay=0.7"], "optim.weight_decay"),
        (["decay=everything"], "decay._target_"),
        (["optim.betas=[0.8,0.9]", "optim.eps=1e-6"], "optim.betas, optim.eps"),
        (["parametrization.rates.vectors=2"], "parametrization.rates"),
        (["model.dropout=0.25", "model.softcap=30"], "model.softcap, model.dropout"),
        (["model.mask=document"], "model.mask"),
        (["data.order=written"], "data.order"),
        (["model.context=16"], "model.context, data.context"),
    ],
)
def test_what_fits_a_state_is_told_and_the_state_is_taken_up_under_the_new_values(
    begun, composed, tmp_path, plateau, words, keys
):
    trainer, told, state, own = begun(tmp_path / plateau, *words)
    for key in keys.split(", "):
        assert key in told
    fresh = trainer_of(composed("steps=9", *words)).optimizer
    for group, new in zip(trainer.optimizer.param_groups, fresh.param_groups, strict=True):
        assert [group[key] for key in ("weight_decay", "betas", "eps")] == [
            new[key] for key in ("weight_decay", "betas", "eps")
        ]
    context = trainer.data.context
    assert trainer.cursor * context == state["cursor"] * 32  # tokens
    assert trainer.step == 4
    assert torch.equal(torch.get_rng_state(), own if "seed=5" in words else state["rng"][0]["torch"])
    for name, weight in trainer.model.state_dict().items():
        assert torch.equal(weight, state["model"][name][: len(weight)])
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    for number, p in enumerate(parameters):
        moment = trainer.optimizer.state[p]["exp_avg"]
        assert torch.equal(moment, state["optimizer"]["state"][number]["exp_avg"][: len(p)])
    trainer.fit()
    assert trainer.finished


def test_rope_takes_up_any_context_and_averages_are_cut_with_the_positions(begun, build, composed, tmp_path):
    for words in (["model.positions=rope"], ["observe=[validation,ema]", "optim=schedule_free", "schedule=warmup"]):
        its_own = recipe(OmegaConf.to_container(composed(*words), resolve=True))
        trainer, origin = build(*words), tmp_path / "origin"
        trainer.checkpoints.place(origin, recipe=its_own, data=trainer.data.identity)
        trainer.fit()
        context = 64 if "rope" in words[0] else 8
        cursor = trainer.cursor
        trainer, told, _, _ = begun(origin / "checkpoints/step_00000006", *words, f"model.context={context}")
        assert trainer.cursor == cursor * 32 // context
        assert "what changes: model.context, data.context, schedule.total, steps" in told
        trainer.fit()
        assert trainer.finished
        shutil.rmtree(origin)
    cfg = composed(*words, f"model.context={context}")
    its_own = recipe(OmegaConf.to_container(cfg, resolve=True))
    trainer.checkpoints.place(origin, recipe=its_own, data=trainer.data.identity)
    trainer.checkpoints.save(trainer, wait=True)
    with pytest.raises(ConfigError, match=r"optim.betas was"):  # of which its average is found
        begun(origin / "checkpoints/step_00000009", *words, "model.context=8", "optim.betas=[0.9,0.99]", "steps=12")


def test_a_jump_of_the_learning_rate_is_told_and_a_rate_that_goes_on_is_not(begun, tmp_path, plateau):
    trainer, told, _, _ = begun(tmp_path / plateau, "schedule=cosine_no_warmup")
    after = 3e-3 * trainer.schedule(5)
    assert after < 2e-3
    assert told.endswith(f"the learning rate goes from 0.003 to {after:.3g} at once")
    assert "learning rate" not in begun(tmp_path / plateau, "schedule=warmup", "schedule.warmup=2")[1]


@pytest.fixture
def finished(composed, tmp_path, monkeypatch):
    """finished(cfg, step=10): the folder and the record of a finished run, without its weights."""
    monkeypatch.chdir(tmp_path)

    def make(cfg, name: str = "made", **record):
        config, folder = OmegaConf.to_container(cfg, resolve=True), tmp_path / "runs" / name
        (folder / f"checkpoints/step_{record['step']:08d}").mkdir(parents=True)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
        RunFolder(folder).write(state="finished", recipe=recipe(config), data=build(cfg.data).identity, **record)
        return folder, RunFolder(folder).read()

    return make


def test_more_steps_than_a_finished_run_has_are_refused_with_the_command_that_goes_on(composed, finished):
    folder, record = finished(composed("steps=10"), step=10)
    for words, way in (
        (["steps=20"], "from=runs/made/checkpoints/step_00000010 name=default_longer steps=20"),
        (["steps=20", "schedule=warmup"], "from=runs/made/checkpoints/step_00000010 name=default_longer steps=20"),
        (["steps=20", "model.depth=1"], ""),
        (["steps=9"], ""),
    ):
        with pytest.raises(ConfigError, match=r"runs/made holds another run: ") as refused:
            resume.refuse_other(RunFolder(folder), record, composed(*words))
        assert way in str(refused.value)
        assert ("to go on from there" in str(refused.value)) == bool(way)
    told = resume.shorter(RunFolder(folder.parent / "new"), OmegaConf.to_container(composed("steps=20"), resolve=True))
    assert told.startswith("runs/made made 10 of these steps; this is a new run; to go on from there: from=runs/made/")
    assert re.search(r"the learning rate goes from \S+ to 0.00\d+ at once$", told)
    for other in ("seed=1", "optim.lr=1e-2", "batch.tokens=512"):
        assert (
            resume.shorter(
                RunFolder(folder.parent / "new"), OmegaConf.to_container(composed("steps=20", other), resolve=True)
            )
            == ""
        )


def test_a_run_of_an_earlier_version_goes_on_with_its_text_as_it_was_read(composed, finished, tmp_path):
    (tmp_path / "divided.txt").write_text("a story of a boat\n<|endoftext|>\n" * 200)
    words = ("data=text", f"data.path={tmp_path}/divided.txt")
    folder, record = finished(composed("steps=10", *words, "data.separator=null"), step=10)
    del record["recipe"]["data.separator"]
    resume.refuse_other(RunFolder(folder), record, composed("steps=10", *words, "data.separator=null"))
    with pytest.raises(ConfigError, match=r"data.digest was .*; data.separator=null reads it as that run did$") as told:
        resume.refuse_other(RunFolder(folder), record, composed("steps=10", *words))
    assert "to go on from there" not in str(told.value)
    (tmp_path / "divided.txt").write_text("another story\n<|endoftext|>\n" * 400)
    with pytest.raises(ConfigError, match=r"or overwrite=true to delete it$"):  # where null would be no help
        resume.refuse_other(RunFolder(folder), record, composed("steps=10", *words))


TARGET = "observe=[validation,target]"


def test_a_run_that_an_observer_ended_is_not_what_another_target_asks_for(composed, finished):
    ended = {"step": 4, "reason": "target: the validation loss is 2.9, at most 3"}
    for name, record in (("made", ended), ("of an earlier version", {"step": 4})):
        folder, record = finished(composed("steps=10", TARGET, "observe.target.loss=3"), name, **record)
        for words in ([TARGET, "observe.target.loss=2"], ["observe=[validation]"]):
            with pytest.raises(ConfigError, match=r"holds a run that ended after step 4: observe.target") as refused:
                resume.refuse_other(RunFolder(folder), record, composed("steps=10", *words))
            assert "checkpoints/step_00000004" in str(refused.value)
            assert "name=default_longer steps=10" in str(refused.value)
        resume.refuse_other(RunFolder(folder), record, composed("steps=10", TARGET, "observe.target.loss=3"))


def test_a_finished_run_says_what_it_was_not_asked_to_observe(composed, finished):
    folder, record = finished(composed("steps=10", "observe=[validation,samples]"), step=10)

    def said(*words: str) -> str:
        cfg = composed("steps=10", *words)
        resume.refuse_other(RunFolder(folder), record, cfg)
        return resume.as_asked(RunFolder(folder), record, OmegaConf.to_container(cfg, resolve=True))

    assert said("observe=[validation,samples]") == ""
    assert said("observe=[validation]") == ""
    assert said(TARGET, "observe.target.loss=3") == ", but without what observe.target asks now"
    more = said("observe=[validation,throughput]", "observe.validation.every=3")
    assert more == ", but without what observe.throughput, observe.validation asks now"
    (folder / "config.yaml").unlink()
    assert said("observe=[validation,throughput]") == ""


def test_a_checkpoint_that_was_moved_says_itself_whose_state_it_is(composed, tmp_path, plateau):
    moved = (tmp_path / plateau).rename(tmp_path / "moved")
    cfg = composed("steps=9")
    told = resume.branch(trainer_of(cfg), moved, OmegaConf.to_container(cfg, resolve=True))
    assert "moved after step 4; what changes: " in told
    cfg = composed("steps=9", "model.depth=1")
    with pytest.raises(ConfigError, match=r"the state is of another recipe: model.depth was 2, is 1"):
        resume.branch(trainer_of(cfg), moved, OmegaConf.to_container(cfg, resolve=True))


def test_a_refusal_is_one_line_and_leaves_no_folder(command, tmp_path):
    result = command("train", "name=refused", "from=nowhere")
    assert result.returncode == 1
    assert "from=nowhere: no checkpoint there" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs" / "refused").exists()


@pytest.mark.slow
def test_a_branch_may_change_batch_and_precision_and_starts_without_the_old_results(command, corpus, plateau):
    words = ["name=other", "steps=6", "batch.tokens=512", "precision=fp16", "observe=[]", f"from={plateau}"]
    shrunk = [word for word in TINY if "validation" not in word]
    result = command("train", *shrunk, f"data.path={corpus}", *words, tiny=False)
    assert result.returncode == 0, result.stderr
    assert "no validation" in result.stdout


def test_a_text_that_changed_is_refused(command, corpus, plateau):
    text = corpus.read_text()
    corpus.write_text(text + "and one more line\n")
    try:
        result = command("train", "name=refused", "steps=9", f"from={plateau}")
    finally:
        corpus.write_text(text)
    assert result.returncode == 1
    assert "the state is of another recipe: data.digest was" in result.stderr


def test_a_damaged_checkpoint_is_refused(command, tmp_path, plateau):
    state = tmp_path / plateau / "state.pt"
    state.write_bytes(state.read_bytes()[:-10])
    result = command("train", "name=refused", "steps=9", f"from={plateau}")
    assert result.returncode == 1
    assert "is damaged" in result.stderr


def test_a_text_that_moved_is_the_same_run_and_other_bytes_there_are_not(composed, corpus, tmp_path):
    cfg = composed()
    config = OmegaConf.to_container(cfg, resolve=True)
    record = {"recipe": recipe(config), "data": build(cfg.data).identity}
    moved = tmp_path / "moved" / corpus.name
    moved.parent.mkdir()
    shutil.copy(corpus, moved)
    link = tmp_path / "link.txt"
    link.symlink_to(moved)

    def refused(words: str, *others: str) -> None:
        with pytest.raises(ConfigError, match=words):
            resume.refuse_other(RunFolder(tmp_path), record, composed(*others))

    for path in (moved, link, os.path.relpath(moved)):
        resume.refuse_other(RunFolder(tmp_path), record, composed(f"data.path='{path}'"))
    refused(r"another run: data\.seed was 0, is 5; seed was 0, is 5; choose", f"data.path='{moved}'", "seed=5")
    moved.write_text("other text. " * 2000)
    refused(r"data\.digest was .* \(the text is not the same\)", f"data.path='{moved}'")
    del record["data"]["digest"]  # of a class of one's own, which tells no digest
    refused(r"data\.path was", f"data.path='{moved}'")


def test_a_branch_with_checkpoints_of_its_own_needs_no_origin(composed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [quoted_origin("from=runs/p/lr=1,seed=0/checkpoints/step_00000004")]
    assert words == ["from='runs/p/lr=1,seed=0/checkpoints/step_00000004'"]
    cfg, run = composed(*words), tmp_path / "run"
    with pytest.raises(ConfigError, match="no checkpoint there"):
        examine(cfg, 1)
    examine(cfg, 1, begun=True)
    assert not jobs.begun(cfg, run)
    (run / "checkpoints/step_00000006").mkdir(parents=True)
    assert jobs.begun(cfg, run)
    assert not jobs.begun(composed(*words, "overwrite=true"), run)
    (run / "checkpoints/step_00000006").rmdir()
    RunFolder(run).write(state="finished")
    assert jobs.begun(cfg, run)
    for word in (
        "from=null",
        "from=a/checkpoints/step_1,b/checkpoints/step_1",
        "from='x/checkpoints/step_1'",
        "seed=0",
    ):
        assert quoted_origin(word) == word  # nothing, a sweep, one that is quoted, another key


@pytest.mark.slow
def test_a_branch_goes_on_by_its_own_words_after_its_origin_is_gone(command, tmp_path, plateau):
    words = ["name=cooled", "schedule=constant", "steps=7", f"from={plateau}"]
    assert command("train", *words).returncode == 0
    (run,) = (tmp_path / "runs/cooled").iterdir()
    RunFolder(run).write(state="preempted")
    shutil.rmtree(tmp_path / "runs/plateau")
    again = command("train", *words)
    assert again.returncode == 0, again.stderr
    assert "continues after step 7" in again.stdout
    assert list((tmp_path / "runs/cooled").iterdir()) == [run]
