"""The command shows the batch that an update was made of, from the run folder alone."""

import json
import re

import numpy as np
import pytest
from omegaconf import OmegaConf
from test_inject_poisoned import poison, shards  # noqa: F401
from test_rollback import Alarm

from gptx.commands.forensics import drawn, forensics, repeats
from gptx.config import arguments
from gptx.ingredients.log import RunInfo
from gptx.ingredients.log.jsonl import Jsonl
from gptx.job.build import trainer_of
from gptx.runs.folder import RunFolder


@pytest.fixture
def recorded(composed, tmp_path):
    """recorded(guard, "steps=8", ...): the folder of a run that was made in this process, and its trainer."""

    def make(guard, *overrides):
        folder = tmp_path / "run"
        folder.mkdir()
        cfg = composed("guard=none", *overrides)
        OmegaConf.save(OmegaConf.create(OmegaConf.to_container(cfg, resolve=True)), folder / "config.yaml")
        trainer = trainer_of(cfg)
        RunFolder(folder).write(data=trainer.data.identity)
        trainer.checkpoints.place(folder)
        trainer.guard, trainer.sinks[:] = guard, [Jsonl()]
        trainer.sinks[0].open(RunInfo(folder, "run", "group", 8, 0, {}, {}, [], {}, []))
        trainer.fit()
        return folder, trainer

    return make


@pytest.fixture
def went_back(recorded, shards):  # noqa: F811
    """A run that gave up update 14, went back to 10 and left out three batches."""
    recipe = ["data.order=written", "schedule=constant", "optim.lr=1e-2", "steps=16", "checkpoints.every=2"]
    return recorded(Alarm(at=14, onset=11, skip=3), *shards, *poison("repeats"), *recipe)


def test_an_update_is_shown_with_the_document_that_stands_out_first(went_back, capsys):
    folder, trainer = went_back
    bad = next(i for i, names in enumerate(trainer.data.documents(0, 400)) if "shard_03.txt" in names)
    forensics(str(folder), sequences=f"{bad - 9}:{bad + 7}", device="cpu")
    said = capsys.readouterr().out
    assert "losses are those of the weights after step 16" in said
    first = said.split("document\n")[1].splitlines()[0]
    assert first.endswith("  shard_03.txt")
    loss, above, share = first.split()[:3]
    assert float(loss) > float(above) > 0.3
    inside = sum(d.get("shard_03.txt", 0) for d in trainer.data.documents(bad - 9, 16))
    assert float(share.rstrip("%")) == pytest.approx(100 * inside / (16 * 32), abs=0.06)
    worst = int(re.search(r"the worst sequence, (\d+) \(loss ([\d.]+)\)", said)[1])
    assert "shard_03.txt" in trainer.data.documents(worst, 1)[0]
    assert f"loss {trainer.losses_of(worst, 1)[0]:.3f}" in said


def test_the_sequences_of_a_step_are_those_it_drew_also_after_a_rollback(went_back):
    folder, trainer = went_back
    assert drawn(RunFolder(folder), 3, trainer) == [(16, 24)]
    assert drawn(RunFolder(folder), 12, trainer) == [
        (88, 96),
        (144, 152),
    ]  # 13 batches, 1 given up, 3 left out, then 11 and 12
    assert drawn(RunFolder(folder), 14, trainer) == [
        (104, 112),
        (160, 168),
    ]  # the one given up is known by its event alone


def test_without_weights_it_shows_repeats(went_back, capsys):
    folder, trainer = went_back
    bad = next(i for i, names in enumerate(trainer.data.documents(0, 400)) if "shard_03.txt" in names)
    forensics(str(folder), sequences=f"{bad + 1}:{bad + 5}", device="cpu", weights="none")
    said = capsys.readouterr().out
    assert "losses" not in said
    assert "of 32 tokens, 1 documents" in said
    assert float(re.search(r"in repeats ([\d.]+)%", said)[1]) > 40


MISTAKES = [
    ([], r"error: say which batch: step=120, or sequences=1200:1264"),
    (["step=17"], r"error: step=17: no such step in .*metrics.jsonl; it has 1 to 16"),
    (["sequences=9"], r"error: sequences=9: two numbers"),
    (["sequences=9:9"], r"error: sequences=9:9: two numbers"),
    (["step=1", "weights=ema"], r"error: weights=ema is unknown; one of newest, none"),
    (["step=one"], r"error: step: 'one' is not a valid"),
]


def test_a_mistake_is_one_line(went_back):
    for words, message in MISTAKES:
        with pytest.raises(SystemExit, match=f"^{message}"):
            arguments.call(forensics, [str(went_back[0]), "device=cpu", *words])


def test_a_text_that_changed_and_a_folder_without_a_run_are_refused(went_back, tmp_path):
    folder, _ = went_back
    with pytest.raises(SystemExit, match=r"^error: .*: no run there"):
        arguments.call(forensics, [str(tmp_path), "step=1"])
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({"data": record["data"] | {"digest": "other", "content": "other"}}))
    with pytest.raises(SystemExit, match=r"^error: .*: the text is not the one .*digest was 'other'"):
        arguments.call(forensics, [str(folder), "step=1", "device=cpu"])


def test_a_text_that_moved_is_found_where_it_is_said_to_be(went_back, tmp_path, capsys):
    folder, _ = went_back
    (tmp_path / "shards").rename(tmp_path / "moved")
    with pytest.raises(SystemExit, match="shards"):
        arguments.call(forensics, [str(folder), "sequences=0:8", "device=cpu"])
    arguments.call(forensics, [str(folder), "sequences=0:8", "device=cpu", f"data={tmp_path / 'moved'}"])
    assert "sequences 0:8" in capsys.readouterr().out
    (tmp_path / "moved/shard_00.txt").write_text("something else. " * 100)
    with pytest.raises(SystemExit, match=r"the text is not the one that it was trained on: data\.digest was"):
        arguments.call(forensics, [str(folder), "sequences=0:8", "device=cpu", f"data={tmp_path / 'moved'}"])


@pytest.mark.parametrize(
    ("tokens", "share", "longest"),
    [
        (list(range(50)), 0.0, 1),
        ([1, 2, 3] * 20, 1.0, 20),
        ([7] * 40, 1.0, 40),
        ([*range(30), *range(20), *range(100, 150)], 40 / 100, 1),  # a phrase of 20 that comes twice
        ([*range(20), *[5, 6] * 10, *range(20, 40)], 20 / 60, 10),
    ],
)
def test_repeats_are_counted_as_by_hand(tokens, share, longest):
    assert repeats(np.array(tokens)) == (pytest.approx(share), longest)
