"""Folders of runs that version 0.1.0 made are sampled, reported, compared, fitted and resumed."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from gptx.config import build
from gptx.config.moved import current
from gptx.runs.folder import RunFolder

OLD = Path(__file__).parents[1] / "fixtures/of_0_1_0"
FOLDERS = sorted(file.parent.relative_to(OLD) for file in OLD.rglob("run.json"))


@pytest.fixture
def old(tmp_path):
    """A folder with copies of the runs and their text."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    return tmp_path


def targets(node, path: str = ""):
    """(key, name) of every `_target_` below a node."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key.rpartition(".")[2] == "_target_":
            yield f"{path}{key}", value
        yield from targets(value, f"{path}{key}.")


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_every_name_in_an_old_folder_is_the_name_of_something_that_conf_offers(folder):
    written = (
        yaml.safe_load((OLD / folder / "config.yaml").read_text()),
        json.loads((OLD / folder / "run.json").read_text()),
    )
    names = [(key.removeprefix("recipe."), name) for each in written for key, name in targets(each)]
    assert len(names) > 30
    for key, name in names:
        group = key.split(".")[0]
        assert name not in build.offered(group), f"{key}: {name} is no old name"
        assert current({"_target_": name})["_target_"] in build.offered(group), f"{key}: {name}"
    config = RunFolder(OLD / folder).config
    assert all(name in build.offered(key.split(".")[0]) for key, name in targets(config))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_never_been(old, command):
    words = yaml.safe_load((old / "runs/cut/base/overrides.yaml").read_text())
    before = RunFolder(old / "runs/cut/base")
    assert before.state == "preempted"
    assert before.metrics.steps == 11
    resumed = command("train", *words, "hydra.run.dir=runs/cut/base", tiny=False)
    assert resumed.returncode == 0, resumed.stderr
    assert "20 steps" in resumed.stdout
    assert "continues after step 11" in resumed.stdout
    whole = command("train", *words, "hydra.run.dir=runs/whole/base", tiny=False)
    assert whole.returncode == 0, whole.stderr
    one, other = (RunFolder(old / "runs" / name / "base") for name in ("cut", "whole"))
    for run in (one, other):
        assert (run.state, run.metrics.steps) == ("finished", 20)
    for key in ("train/loss", "train/grad_norm", "validation/loss"):
        values, expected = one.metrics[key], other.metrics[key]
        assert values[0].tolist() == expected[0].tolist()
        assert values[1] == pytest.approx(expected[1], abs=1e-4)


def test_old_runs_are_sampled_and_exported(old, command):
    for folder in FOLDERS:
        sampled = command("sample", str(folder), "length=5", "prompt=the ", "device=cpu")
        assert sampled.returncode == 0, sampled.stderr
        assert sampled.stdout.startswith("the ")
    exported = command("export", str(FOLDERS[-1]), "out=weights.safetensors")
    assert exported.returncode == 0, exported.stderr
    assert (old / "weights.safetensors").exists()


def test_old_runs_are_reported_and_compared(old, command):
    one, other = sorted(map(str, (old / "runs/sweep").glob("schedule=*")))
    report = command("report", "runs/sweep", "out=report.md")
    assert report.returncode == 0, report.stderr
    assert "schedule" in (old / "report.md").read_text()
    diff = command("diff", one, other)
    assert diff.returncode == 0, diff.stderr
    assert re.search(r"schedule +constant +cosine", diff.stdout), diff.stdout
    status = command("status", "runs/sweep")
    assert status.returncode == 0, status.stderr
    assert "2 of 2 finished" in status.stdout


def test_a_finished_old_run_is_left_alone_by_the_command_that_made_it(old, command):
    words = yaml.safe_load((old / "runs/sweep/schedule=cosine/overrides.yaml").read_text())
    again = command("train", *words, "hydra.run.dir='runs/sweep/schedule=cosine'", tiny=False)
    assert again.returncode == 0, again.stderr
    assert "already finished: validation loss" in again.stdout


def test_an_old_run_is_read_by_the_fits(old):
    from gptx.fit import ladder
    from gptx.runs.run import find

    runs = find([old / "runs/sweep"])
    assert [run.state for run in runs] == ["finished", "finished"]
    assert len(ladder.of_runs(runs, "old").rungs) == 2
