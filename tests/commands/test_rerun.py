"""A run is made again from its folder alone, and what comes out is compared with what was recorded."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from metric_rows import read_rows

from gptx.commands import rerun
from gptx.runs import provenance
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run

OVERRIDES = ["schedule=constant", "optim.lr=0.0003", "seed=0", "experiment=warmup", "name=warmup", "overwrite=true"]
RECORD = {
    "state": "finished",
    "overrides": OVERRIDES,
    "recipe": {"steps": 10},
    "git": {"sha": "a" * 40, "dirty": False},
}


def old(folder: Path = Path("runs/warmup/optim.lr=0.0003,schedule=constant,seed=0"), **record) -> Run:
    return Run(folder, "run", "finished", RECORD | record, {"name": "warmup"})


def test_a_cell_of_a_sweep_becomes_a_run_of_the_same_name_in_another_group():
    words = rerun.merged(old(), [])
    assert words == [*OVERRIDES[:4], "name='warmup_again'"]
    assert rerun.target(old(), [], words) == Path("runs/warmup_again/optim.lr=0.0003,schedule=constant,seed=0")


def test_given_overrides_replace_the_recorded_ones_and_name_the_folder():
    given = ["schedule=cosine", "steps=20", "name=other"]
    words = rerun.merged(old(), given)
    assert words == ["optim.lr=0.0003", "seed=0", "experiment=warmup", *given]
    assert rerun.target(old(), given, words) == Path("runs/other/optim.lr=0.0003,schedule=cosine,seed=0,steps=20")


def test_a_time_is_not_measured_again():
    known = {"asked": "5min", "steps": 123, "seconds_per_step": 2.4}
    timed = old(measured=known, overrides=["steps=5min", "seed=1"])
    assert rerun.merged(timed, []) == ["seed=1", "steps=123", "name='warmup_again'"]
    assert rerun.merged(timed, ["steps=9"]) == ["seed=1", "steps=9", "name='warmup_again'"]


def test_what_is_not_as_it_was_is_said_in_a_line(monkeypatch):
    monkeypatch.setattr(provenance, "git", lambda: {"sha": "b" * 40, "dirty": False})
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "2.13.0"})
    assert rerun.code_changes(old(versions={"torch": "2.12.0"})) == [
        f"the code is not as recorded: commit was {'a' * 12}, is {'b' * 12}",
        "the packages are not as recorded: torch was 2.12.0, is 2.13.0",
    ]
    monkeypatch.setattr(provenance, "git", lambda: {"sha": "a" * 40, "dirty": False})
    assert rerun.code_changes(old(versions={"torch": "2.13.0"})) == []


def test_what_is_no_override_is_refused_and_so_is_the_run_itself(tmp_path, monkeypatch):
    assert rerun.split_overrides(["a=1", "--config-dir", "mine", "~b"]) == (["--config-dir", "mine"], ["a=1", "~b"])
    folder = tmp_path / "runs/warmup/cell"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: warmup\n")
    monkeypatch.chdir(tmp_path)
    RunFolder(folder).write(state="failed", overrides=[])
    with pytest.raises(ValueError, match="its record does not say how it was made"):
        rerun.rerun("runs/warmup/cell")
    RunFolder(folder).write(recipe={"steps": 1})
    with pytest.raises(ValueError, match="is the run itself; choose another name=, or overwrite=true"):
        rerun.rerun("runs/warmup/cell", "name=warmup")
    with pytest.raises(ValueError, match=r"^cosine: an override is key=value"):
        rerun.rerun("runs/warmup/cell", "cosine")


@pytest.mark.slow
def test_a_run_made_again_is_the_same_to_the_bit_and_with_another_seed_it_is_not(command, tmp_path):
    (tmp_path / "mine/schedule").mkdir(parents=True)
    (tmp_path / "mine/schedule/own.yaml").write_text("_target_: gptx.ingredients.schedule.constant\n_partial_: true\n")
    made = command("train", "--config-dir", "mine", "--multirun", "schedule=own,cosine", "name=two", "threads=1",
                   timeout=200)  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    refused = command("rerun", "runs/two/schedule=own", timeout=200)
    assert refused.returncode == 1
    assert "asks for more than a recipe: --config-dir" in refused.stderr
    again = command("rerun", "runs/two/schedule=own", "trust=true", timeout=200)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "identical: the same to the bit in all 6 steps" in again.stdout.splitlines()[-1]
    rows = [read_rows(tmp_path / f"runs/{name}/schedule=own/metrics.jsonl") for name in ("two", "two_again")]
    assert [row["train/loss"] for row in rows[0]] == [row["train/loss"] for row in rows[1]]
    records = [
        json.loads((tmp_path / f"runs/{name}/schedule=own/run.json").read_text()) for name in ("two", "two_again")
    ]
    assert records[0]["recipe"] == records[1]["recipe"]
    other = command("rerun", "runs/two/schedule=own", "seed=1", "trust=true", timeout=200)
    assert "not identical: different from the first step on" in other.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_waits_until_the_run_has_saved(command, tmp_path):
    assert command("train", "name=one", "hydra.run.dir=runs/one/cell", "steps=2").returncode == 0
    slow = ["steps=1000", "batch.tokens=65536", "model.width=64"]  # an update takes seconds
    with subprocess.Popen([sys.executable, "-m", "gptx", "rerun", "runs/one/cell", *slow], cwd=tmp_path, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:  # fmt: skip
        end = time.monotonic() + 100
        while not (made := [f for f in (tmp_path / "runs/one_again").glob("*/metrics.jsonl") if f.stat().st_size]):
            assert time.monotonic() < end
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all that it knows
        said = process.communicate(timeout=100)[0]
    assert process.returncode == 130, said
    assert RunFolder(made[0].parent).state == "interrupted"
    assert list((made[0].parent / "checkpoints").glob("step_*"))
