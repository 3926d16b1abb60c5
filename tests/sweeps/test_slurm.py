"""Sweeps on a real SLURM, whichever `sbatch` there is: what it thinks of the cells, and what becomes of those it ends."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY
from metric_rows import read_rows


def idle_nodes() -> int:
    """Nodes of the default partition that wait for work; 0 without SLURM."""
    if not (shutil.which("sbatch") and shutil.which("sinfo")):
        return 0
    asked = subprocess.run(["sinfo", "-h", "-t", "idle,mixed", "-o", "%P %D"], capture_output=True, text=True)
    return sum(int(line.split()[1]) for line in asked.stdout.splitlines() if line.split()[0].endswith("*"))


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not idle_nodes(), reason="there is no SLURM with idle nodes here (sinfo -h -t idle)"),
]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}  # each job would take every core


def run(*words: str, cwd: Path, code: int | None = 0) -> str:
    """What the command prints on standard output; it must exit with `code`."""
    result = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, timeout=200)
    assert code is None or result.returncode == code, result.stdout + result.stderr
    return result.stdout


def status(cwd: Path, name: str, code: int) -> str:
    return run(sys.executable, "-m", "gptx", "status", f"runs/{name}", cwd=cwd, code=code)


@pytest.fixture
def submit(tmp_path, corpus):
    """submit("seed=0,1", name="x"): hands a sweep of small runs to SLURM; job id by cell. Cancels all at the end."""
    shutil.copy(corpus, tmp_path / "rhyme.txt")
    submitted: list[str] = []

    def make(*words: str) -> dict[str, str]:
        words = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", *TINY, "data.path=rhyme.txt", *words)
        printed = run(sys.executable, "-m", "gptx.train", "--multirun", *words, cwd=tmp_path)
        lines = [line.split() for line in printed.splitlines() if line.startswith("submitted ")]
        jobs = {Path(folder).name: job for _, folder, _, job in lines}
        submitted.extend(jobs.values())
        return jobs

    yield make
    subprocess.run(["scancel", *submitted], check=False)


def until(true, seconds: float = 200) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not true within {seconds} s"
        time.sleep(0.2)


def verdict(job: str) -> str:
    """What SLURM thinks of a job that has ended."""

    def state() -> str:
        asked = subprocess.run(["sacct", "-X", "-n", "-P", "-o", "State", "-j", job], capture_output=True, text=True)
        return asked.stdout.strip()

    until(lambda: state() not in ("", "PENDING", "RUNNING", "COMPLETING", "REQUEUED"))
    return state()


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def updates(folder: Path) -> int:
    """Updates that the run in the folder has made so far."""
    metrics = folder / "metrics.jsonl"
    rows = read_rows(metrics) if metrics.exists() else []
    return rows[-1]["step"] if rows else 0


def losses(folder: Path) -> list[tuple]:
    keys = "step", "train/loss", "train/grad_norm"
    rows = read_rows(folder / "metrics.jsonl")
    return [*(tuple(row[key] for key in keys) for row in rows), rows[-1]["validation/loss"]]


def test_a_failed_cell_is_failed_for_slurm_and_a_changed_recipe_is_refused_when_the_job_starts(submit, tmp_path):
    (tmp_path / "mine/schedule").mkdir(parents=True)
    own = tmp_path / "mine/schedule/own.yaml"
    own.write_text("_target_: gptx.ingredients.schedule.constant\n_partial_: true\n")
    (tmp_path / "short.txt").write_text("long enough for a context of 8 or of 16, but not for one of 64. " * 4)
    words = ["--config-dir", "mine", "schedule=own", "data.path=short.txt", "model.context=8,16,64", "batch.tokens=64",
             "batch.micro=1", "name=contexts"]  # fmt: skip
    jobs = submit(*words)
    folders = {cell: tmp_path / "runs/contexts" / cell for cell in jobs}
    assert list(jobs) == [f"model.context={context}" for context in (8, 16, 64)]
    assert "0 of 3 finished" in status(tmp_path, "contexts", code=1)
    assert [verdict(job) for job in jobs.values()] == ["COMPLETED", "COMPLETED", "FAILED"]
    said = status(tmp_path, "contexts", code=1)
    assert "2 of 3 finished" in said
    assert "the validation text of short.txt has" in said.splitlines()[2]

    first = folders["model.context=8"]
    (first / "run.json").write_text(json.dumps(record(first) | {"state": "preempted"}))
    again = submit(*words, "+hydra.launcher.additional_parameters.hold=true")
    assert list(again) == ["model.context=8", "model.context=64"]  # not what is finished
    assert "queued" in status(tmp_path, "contexts", code=1).splitlines()[0]
    assert submit(*words) == {}  # nor what is in the queue
    own.write_text("_target_: gptx.ingredients.schedule.warmup\n_partial_: true\nwarmup: 1\ntotal: ${steps}\n")
    run("scontrol", "release", again["model.context=8"].split("_")[0], cwd=tmp_path)
    assert [verdict(job) for job in again.values()] == ["FAILED", "FAILED"]
    assert record(first)["state"] == "failed"
    assert "holds another run: schedule._target_ was" in record(first)["error"]


@pytest.mark.skipif(idle_nodes() < 2, reason="needs two nodes")
def test_tasks_on_two_nodes_train_as_one_process_does(submit, tmp_path):
    words = ["batch.tokens=512", "steps=20", "hydra.sweep.subdir=cell"]
    jobs = submit("hydra.launcher.nodes=2", *words, "name=two")
    run(
        sys.executable, "-m", "gptx.train", "--multirun", *TINY, "data.path=rhyme.txt", *words, "name=one", cwd=tmp_path
    )
    assert [verdict(job) for job in jobs.values()] == ["COMPLETED"]
    two, one = tmp_path / "runs/two/cell", tmp_path / "runs/one/cell"
    assert record(two)["batch"]["processes"] == 2
    apart, alone = ([row["train/loss"] for row in read_rows(run / "metrics.jsonl")] for run in (two, one))
    assert len(apart) == len(alone) == 20
    off = [abs(two / one - 1) for two, one in zip(apart, alone, strict=True)]
    assert max(off) < 1e-6, f"{max(off):.1e}: {apart} beside {alone}"


@pytest.mark.timeout(900)
def test_jobs_that_slurm_ends_are_saved_put_back_and_continued_bit_identically(submit, tmp_path):
    steps = 2500  # more than fit into the seconds that SLURM leaves a job after its SIGTERM, in which training goes on
    words = [
        "seed=0,1",
        f"steps={steps}",
        "checkpoints.every=100%",
        "model.dropout=0.1",
        "observe.validation.every=100%",
    ]
    jobs = submit(*words, "log=[jsonl,wandb]", "overwrite=true", "name=cut")
    folders = {seed: tmp_path / f"runs/cut/seed={seed}" for seed in (0, 1)}
    ends = {0: ["scancel", "--signal", "USR2"], 1: ["scontrol", "requeue"]}  # near the time limit; an administrator
    whole = subprocess.Popen(
        [sys.executable, "-m", "gptx.train", "--multirun", *TINY, "data.path=rhyme.txt", *words, "name=whole"],
        cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    saved = {}
    for seed, end in ends.items():
        until(lambda seed=seed: updates(folders[seed]) >= 10)
        run(*end, jobs[f"seed={seed}"], cwd=tmp_path)
        until(lambda seed=seed: record(folders[seed])["state"] == "preempted")
        saved[seed] = record(folders[seed])["step"]
    until(
        lambda: "2 of 2 finished" in run(sys.executable, "-m", "gptx", "status", "runs/cut", cwd=tmp_path, code=None),
        seconds=400,
    )
    assert whole.wait(400) == 0
    for seed, folder in folders.items():
        assert 0 < saved[seed] < steps
        printed = (tmp_path / "runs/cut/.submitit" / f"{jobs[f'seed={seed}']}_0_log.out").read_text()
        assert f"continues after step {saved[seed]}" in printed
        assert losses(folder) == losses(tmp_path / f"runs/whole/seed={seed}")
        assert (folder / "wandb_id").read_text().split()[1] == "1"  # the second segment of the same page
