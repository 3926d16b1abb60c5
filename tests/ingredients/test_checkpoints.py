"""A run that was stopped goes on as if nothing had happened."""

import json
import math
import random
import shutil
from contextlib import ExitStack

import numpy
import pytest
import torch

from gptx.files import Gone, lock
from gptx.ingredients.checkpoints import files

RECIPES = {
    "dropout": ["model.dropout=0.2"],
    "fp16 with its scaler": ["precision=fp16", "model.dropout=0.1"],
    "accumulation": ["batch.micro=2", "model.dropout=0.1"],
    "bf16": ["precision=bf16", "model.dropout=0.1"],
    "recompute": ["memory=recompute", "model.dropout=0.1"],
}


def everything(trainer):
    """All state of a run as one flat list of tensors and values."""

    def flatten(node):
        if isinstance(node, dict):
            return [leaf for key in node for leaf in flatten(node[key])]
        if isinstance(node, list | tuple):
            return [leaf for item in node for leaf in flatten(item)]
        return [node]

    return flatten({key: value for key, value in trainer.state_dict().items() if key != "latest"})  # it holds tokens/s


def same(one, other):
    pairs = list(zip(one, other, strict=True))
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def fit(trainer, until=None):
    """Losses of the updates made, up to and including update `until`."""
    found = []

    def sink(step, scalars):
        found.append(scalars["train/loss"])
        if step == until:
            trainer.stopped = "SIGTERM"

    trainer.sinks.append(sink)
    trainer.fit()
    return found


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("stop", [1, 5, 7])
def test_a_resumed_run_is_bit_identical(build, recipe, stop):
    whole = build(*RECIPES[recipe], "steps=8", folder="whole")
    expected = fit(whole)

    first = build(*RECIPES[recipe], "steps=8", "checkpoints.every=100", folder="cut")
    before = fit(first, until=stop)
    torch.manual_seed(99), random.seed(99), numpy.random.seed(99)  # what another process would start from
    second = build(*RECIPES[recipe], "steps=8", folder="cut")
    assert second.checkpoints.restore(second)
    assert second.step == stop
    assert before + fit(second) == expected
    assert same(everything(second), everything(whole))


@pytest.mark.parametrize("lost", ["rng", "optimizer", "cursor"])
def test_a_resume_that_forgets_something_is_noticed_by_the_test_above(build, lost):
    recipe = ["model.dropout=0.2", "steps=8"]
    expected = fit(build(*recipe, folder="whole"))
    fit(build(*recipe, "checkpoints.every=100", folder="cut"), until=5)
    second = build(*recipe, folder="cut")
    fresh, state = second.state_dict(), second.checkpoints.newest()
    second.load_state_dict(state | {lost: fresh[lost]})
    assert fit(second) != expected[5:]


@pytest.mark.slow
def test_a_resumed_compiled_run_is_bit_identical_in_deterministic_mode(build):
    torch.use_deterministic_algorithms(True)
    try:
        recipe = ["compile=compiled", "model.dropout=0.1", "steps=6"]
        whole = build(*recipe, folder="whole")
        expected = fit(whole)
        before = fit(build(*recipe, folder="cut"), until=3)
        second = build(*recipe, folder="cut")
        second.checkpoints.restore(second)
        assert before + fit(second) == expected
        assert same(everything(second), everything(whole))
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_run_that_goes_on_without_validation_has_no_loss_of_an_earlier_update(build):
    fit(build("steps=12", "observe.validation.every=4", "checkpoints.every=3", folder="cut"), until=6)
    second = build("steps=12", "observe=[validation,throughput]", "checkpoints.every=3", folder="cut")
    del second.observers["validation"], second.unattached[0]
    assert second.checkpoints.restore(second)
    assert "validation/loss" not in second.latest  # which is of update 4
    fit(second)
    assert second.latest["train/tokens"] == second.cursor * 32
    assert not [key for key in second.latest if key.startswith("validation/")]
    losses = files.saved_losses(second.checkpoints.folder)
    assert [step for step, loss in losses.items() if math.isfinite(loss)] == [4]


@pytest.mark.parametrize(("validate", "save"), [(1, 4), (2, 4), (3, 4), (4, 3), (5, 2), (6, 1), (7, 5), (5, 100)])
def test_the_best_checkpoint_is_the_lowest_of_those_validated_at_their_own_update(build, validate, save):
    """The loss falls and rises again; no cadence leaves `best` with the loss of another update, or only the last."""
    trainer = build("steps=24", f"observe.validation.every={validate}", f"checkpoints.every={save}", "guard=none")
    truth = {step: abs(step - 11) + 0.01 * step for step in range(25)}
    trainer.observers = {"validation": lambda trainer: {"validation/loss": truth[trainer.step]}}
    trainer.observers["validation"].every, trainer.unattached = validate, []
    trainer.observers["validation"].state_dict = dict
    put, told = files.put, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "put", lambda final, part, writer, writers, about: (
            told.update({about["step"]: about["validation/loss"]}), put(final, part, writer, writers, about))[1])  # fmt: skip
        trainer.fit()
    validated = {*range(validate, 24, validate), 24}
    scheduled = {*range(save, 24, save), 24}
    assert told == {step: truth[step] if step in validated else None for step in told}
    late = {min(v for v in validated if v >= step) for step in scheduled}  # the first validated one from each on
    assert told.keys() == scheduled | late
    best = min(validated & told.keys(), key=truth.get)
    assert (trainer.checkpoints.folder / "best").resolve().name == f"step_{best:08d}"


def test_a_checkpoint_of_an_earlier_version_is_rated_by_what_it_says(tmp_path):
    for step, loss in ((4, 3.0), (6, 2.5), (9, 2.5)):
        (tmp_path / f"step_{step:08d}").mkdir()
        (tmp_path / f"step_{step:08d}/about.json").write_text(json.dumps({"step": step, "validation/loss": loss}))
    (tmp_path / "step_00000012").mkdir()
    (tmp_path / "step_00000012/about.json").write_text('{"step": 12, "validation/loss": NaN}')
    losses = files.saved_losses(tmp_path)
    assert math.isnan(losses.pop(12))
    assert (losses, files.best_of(losses)) == ({4: 3.0, 6: 2.5, 9: 2.5}, [6])


def test_the_newest_are_kept_and_the_last_update_is_always_saved(build):
    trainer = build("steps=7", "checkpoints.every=2", "checkpoints.keep=2")
    trainer.fit()
    assert [folder.name for folder in trainer.checkpoints.saved()] == ["step_00000006", "step_00000007"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "no checksum"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(build, damage, caplog):
    trainer = build("steps=6", "checkpoints.every=3")
    trainer.fit()
    file = trainer.checkpoints.saved()[-1] / "state.pt"
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-100])
    elif damage == "missing":
        file.unlink()
    else:
        (file.parent / "state.sha256").unlink()
    again = build("steps=6", "checkpoints.every=3")
    assert again.checkpoints.restore(again)
    assert again.step == 3
    assert "step_00000006" in caplog.text


def test_a_half_written_checkpoint_is_no_checkpoint_and_is_cleared(build):
    trainer = build("steps=2")
    trainer.checkpoints.folder.mkdir(parents=True)
    left = trainer.checkpoints.folder / "step_00000009.part"
    left.mkdir()
    assert not trainer.checkpoints.restore(trainer)
    trainer.fit()
    assert not left.exists()


def test_a_save_that_fails_warns_and_the_run_goes_on(build, monkeypatch, caplog):
    trainer = build("steps=6", "checkpoints.every=2")
    real = torch.save

    def full(state, file):
        if state["step"] == 4:
            raise OSError(28, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", full)
    trainer.fit()
    assert trainer.step == 6
    assert "cannot save a checkpoint after step 4" in caplog.text
    assert "No space left" in caplog.text
    assert [folder.name for folder in trainer.checkpoints.saved()] == ["step_00000002", "step_00000006"]
    assert not list(trainer.checkpoints.folder.glob("*.part"))


def test_a_run_whose_last_update_cannot_be_saved_does_not_call_itself_finished(build, monkeypatch):
    trainer = build("steps=2", "checkpoints.every=100")
    monkeypatch.setattr(files.Digest, "write", refuse)
    with pytest.raises(OSError, match=r"cannot save a checkpoint after step 2 in .*: No space left on device"):
        trainer.fit()


def refuse(self, data):
    self.failure = OSError(28, "No space left on device")
    raise self.failure


@pytest.mark.parametrize("then", ["deleted", "emptied", "moved", "begun by another"])
def test_a_run_whose_folder_is_gone_ends_with_one_line_and_writes_nothing_more(build, tmp_path, then):
    """Also where another process has begun a run in its place: that is left alone."""
    folder, held = tmp_path / "run", ExitStack()
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    held.enter_context(lock(folder / ".lock"))
    trainer = build("steps=6", "checkpoints.every=2")
    trainer.checkpoints.place(folder)

    def sink(step: int, scalars: dict) -> None:
        if step == 3:
            trainer.checkpoints.wait()
            if then == "moved":
                folder.rename(tmp_path / "elsewhere")
            elif then == "emptied":  # rm -r run/*
                (folder / "run.json").unlink()
                shutil.rmtree(folder / "checkpoints")
            else:
                shutil.rmtree(folder)
            if then == "begun by another":
                folder.mkdir()
                held.enter_context(lock(folder / ".lock"))

    trainer.sinks.append(sink)
    with held, pytest.raises(Gone, match=f"^{folder} was deleted, emptied or moved while its run trained"):
        trainer.fit()
    assert trainer.step == 4  # the next one to save after
    assert not trainer.checkpoints.placed()
    assert [entry.name for entry in folder.glob("*")] == [".lock"] * (then in ("emptied", "begun by another"))


def test_a_checkpoint_cannot_run_code(build, tmp_path):
    folder = tmp_path / "step_00000001"
    folder.mkdir()
    with (folder / "state.pt").open("wb") as file:
        digest = files.Digest(file)
        torch.save({"step": Evil()}, digest)
    (folder / "state.sha256").write_text(digest.sha.hexdigest())
    with pytest.raises(Exception, match=r"[Ww]eights"):
        files.read_state(folder)


class Evil:
    def __reduce__(self):
        return print, ("this must not run",)
