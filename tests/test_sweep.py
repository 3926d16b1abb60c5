"""What is known of a sweep without asking its processes, who a process is, and what launchers refuse."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from gptx import preflight, rank, runs, sweep
from gptx.check import ConfigError


@pytest.fixture
def cells(tmp_path) -> Path:
    """A sweep of six cells, of which SLURM has some in its queue."""
    names = {"done": {"state": "finished", "result": {"validation/loss": 1.25}}, "lost": {"state": "running"},
             "bad": {"state": "failed", "error": "the text is too short"}, "put_back": {"state": "preempted"},
             "waiting": None, "never": None}  # fmt: skip
    sweep.note(tmp_path, [{"folder": name, "overrides": [f"seed={i}"]} for i, name in enumerate(names)])
    for name, record in names.items():
        if record:
            (tmp_path / name).mkdir()
            runs.write(tmp_path / name, **record)
    (tmp_path / "put_back/metrics.jsonl").write_text('{"step": 7}\n')
    sweep.note(tmp_path, [{"folder": "waiting", "job": "5_1"}, {"folder": "put_back", "job": "5_0"}])
    return tmp_path


def states(folder: Path, capsys) -> dict[str, str]:
    assert sweep.status(folder) > 0
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[:-1]]
    return {Path(line[1]).name: " ".join([line[0], *line[2:]]) for line in lines}


def test_status_tells_cells_that_ended_from_those_that_wait_and_those_that_never_began(cells, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "queue", lambda: {"5_1": "PENDING", "5_0": "RUNNING"})
    with FileLock(cells / "lost/.lock"):
        assert states(cells, capsys)["lost"] == "running"
    found = states(cells, capsys)
    assert found.pop("put_back").startswith("running update 7 of ?, ")
    assert found == {
        "done": "finished validation loss 1.2500",
        "lost": "killed",
        "bad": "failed the text is too short",
        "waiting": "queued job 5_1",
        "never": "missing",
    }
    monkeypatch.setattr(sweep, "queue", dict)
    assert states(cells, capsys)["put_back"] == "preempted update 7 of ?"
    assert states(cells, capsys)["waiting"] == "missing"


@pytest.mark.parametrize("words", [["status", "nowhere"], ["state", "runs"], ["status"]])
def test_the_status_command_refuses_in_one_line(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sweep", *words])
    with pytest.raises(SystemExit, match=r"^error: .+$"):
        sweep.main()


def test_the_exit_code_of_status_tells_whether_all_is_finished(cells, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["sweep", "status", str(cells)])
    with pytest.raises(SystemExit) as end:
        sweep.main()
    assert end.value.code == 1
    assert capsys.readouterr().out.endswith("\n1 of 6 finished\n")
    for cell in cells.iterdir():
        if cell.name not in ("sweep.jsonl", "done"):
            runs.write(cell, state="finished", result={})
    for name in ("waiting", "never"):
        (cells / name).mkdir()
        runs.write(cells / name, state="finished", result={})
    with pytest.raises(SystemExit) as end:
        sweep.main()
    assert end.value.code == 0


def test_a_sweep_is_written_down_whole_before_its_first_cell_and_another_adds_to_it(tmp_path):
    for seeds in ((0, 1), (1, 2)):
        folders = [tmp_path / f"seed={seed}" for seed in seeds]
        preflight.note_sweep(tmp_path, folders, [[f"seed={seed}"] for seed in seeds])
    assert list(sweep.cells(tmp_path)) == ["seed=0", "seed=1", "seed=2"]
    assert sweep.cells(tmp_path)["seed=2"]["overrides"] == ["seed=2"]


SUBMITTED = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "77", "SUBMITIT_LOCAL_NTASKS": "4",
             "SUBMITIT_LOCAL_GLOBALID": "3", "SUBMITIT_LOCAL_LOCALID": "1", "SUBMITIT_LOCAL_JOB_NUM_NODES": "2"}  # fmt: skip
ALONE = SUBMITTED | {"SUBMITIT_LOCAL_NTASKS": "1", "SUBMITIT_LOCAL_GLOBALID": "0"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "9"}  # as in a shell of salloc


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, None, "")),
        (SLURM, (0, 1, None, "")),
        (SUBMITTED, (3, 4, "1", "77")),
        (ALONE, (0, 1, None, "77")),
        (SUBMITTED | {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, (1, 2, "0", "77")),
    ],
)
def test_torchrun_says_who_a_process_is_then_submitit_and_never_slurm(environment, expected):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    with mock.patch.dict(os.environ, environment):
        found = rank.rank(), rank.world_size(), os.environ.get("LOCAL_RANK"), rank.job()
        assert found == expected


def test_a_job_knows_its_own_run_after_a_requeue_and_a_new_job_does_not(tmp_path):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from gptx.train import requeued

    runs.write(tmp_path, state="running", job="77")
    assert not requeued(tmp_path)
    with mock.patch.dict(os.environ, ALONE):
        assert requeued(tmp_path)
        runs.write(tmp_path, state="running", job="76")
        assert not requeued(tmp_path)


def test_the_refusal_of_a_job_that_waited_is_recorded_unless_the_run_is_finished_or_at_work(tmp_path):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from gptx.train import note_failure

    def noted(state: str) -> str:
        runs.write(tmp_path, state=state)
        note_failure(tmp_path, ConfigError("holds another run"))
        return runs.read(tmp_path)["state"]

    assert noted("preempted") == "preempted"  # a person sees the refusal
    with mock.patch.dict(os.environ, ALONE):
        assert noted("finished") == "finished"
        with FileLock(tmp_path / ".lock"):
            assert noted("running") == "running"
        assert noted("preempted") == "failed"


def sweep_of(**launcher):
    choice = {"runtime": {"choices": {"hydra/launcher": "slurm"}}}
    defaults = OmegaConf.load(Path(preflight.__file__).parent.parent / "conf/hydra/launcher/slurm.yaml")
    return OmegaConf.create({"hydra": choice | {"launcher": {**OmegaConf.to_container(defaults), **launcher}}})


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "gptx.launch", raising=False)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SystemExit, match=r'hydra/launcher=slurm needs the package submitit: pip .* "gptx\[slurm\]"'):
        preflight.find_launcher(sweep_of())


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"nodes": 0}, "hydra.launcher.nodes=0 must be a whole number"),
        ({"timeout_min": "4h"}, "hydra.launcher.timeout_min='4h' must be a whole number"),
        ({"timeout_min": 2}, "is not more than the 120 s in which the run saves"),
        ({"timeout_min": 10, "max_num_timeout": 0}, "below 13 minutes a preemption counts as a time-out"),
    ],
)
def test_limits_that_would_lose_the_run_are_refused_before_anything_is_submitted(limits, message):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    with pytest.raises(SystemExit, match=message):
        preflight.find_launcher(sweep_of(**limits))


def test_schedulers_may_send_several_signals_and_a_person_may_press_ctrl_c_twice():
    program = """
import os, signal
from gptx.train import stopping

class Trainer:
    asked = ""
    def stop(self, reason):
        self.asked = reason

trainer = Trainer()
with stopping(trainer):
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM):
        os.kill(os.getpid(), number)
    print(trainer.asked, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("not reached", flush=True)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (-signal.SIGINT, "SIGUSR2\n")


@pytest.mark.slow
def test_a_sweep_on_this_machine_runs_each_cell_in_a_process_of_its_own(command, tmp_path):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    (tmp_path / "short.txt").write_text("long enough for a context of 8, but not for one of 64. " * 4)
    words = ["--multirun", "hydra/launcher=submitit_local", "hydra.launcher.parallel=2", "name=local", "steps=3",
             "data.path=short.txt", "model.context=64,8", "batch.tokens=64", "batch.micro=1"]  # fmt: skip
    result = command("gptx.train", *words, timeout=200)
    assert result.returncode == 1, result.stdout + result.stderr
    records = [json.loads((tmp_path / f"runs/local/model.context={n}/run.json").read_text()) for n in (8, 64)]
    assert [record["state"] for record in records] == ["finished", "failed"]
    assert "the validation text of short.txt" in records[1]["error"]
    assert "1 of 2 finished" in command("gptx.sweep", "status", "runs/local").stdout
    again = command("gptx.train", *words)
    assert again.stdout.count("started ") == 1
