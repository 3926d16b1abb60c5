"""Several processes train the same recipe on the same batches (gloo, on the CPU)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY
from metric_rows import read_rows

pytestmark = pytest.mark.slow


def launch(processes: int, corpus, cwd, *words: str):
    """A run on that many processes, started as a user would."""
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    return subprocess.Popen(
        [*start, "gptx.train", *TINY, f"data.path={corpus}", "batch.tokens=512", "steps=20", "hydra.run.dir=run", *words],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def rows(folder):
    return [(row["train/loss"], row["train/grad_norm"]) for row in read_rows(folder / "run/metrics.jsonl")]


def test_the_same_recipe_on_one_two_and_four_processes_sharded_or_not_gives_the_same_losses(corpus, tmp_path):
    found, validation = {}, {}
    for processes, parallel in ((1, "fsdp"), (2, "fsdp"), (4, "ddp")):  # test_shards has the other pairs
        cwd = tmp_path / f"{processes}{parallel}"
        cwd.mkdir()
        process = launch(processes, corpus, cwd, f"parallel={parallel}", "memory=recompute")
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        assert output.count("finished in") == 1  # one log, whatever the number of processes
        found[processes, parallel] = rows(cwd)
        record = json.loads((cwd / "run/run.json").read_text())
        validation[processes, parallel] = record["result"]["validation/loss"]
        assert record["parameters"] == json.loads((tmp_path / "1fsdp/run/run.json").read_text())["parameters"]
        parts = sorted(file.name for file in (cwd / "run/checkpoints/step_00000020").glob("*.pt"))
        assert len(parts) == (processes if parallel == "fsdp" else 1)
    for case, losses in found.items():
        assert len(losses) == 20
        for (loss, norm), (expected, expected_norm) in zip(losses, found[1, "fsdp"], strict=True):
            assert loss == pytest.approx(expected, rel=1e-6)
            assert norm == pytest.approx(expected_norm, rel=1e-4)
        assert validation[case] == pytest.approx(validation[1, "fsdp"], rel=1e-6)


def workers(torchrun: int) -> dict[int, int]:
    """Process ids by rank."""
    found = {}
    for child in Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split():
        words = dict(word.partition("=")[::2] for word in Path(f"/proc/{child}/environ").read_text().split("\0"))
        found[int(words["RANK"])] = int(child)
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes where Linux lists them")
def test_a_process_that_is_killed_ends_the_others_with_one_line_and_the_same_command_continues(corpus, tmp_path):
    words = "parallel=fsdp", "steps=5000", "checkpoints.every=5", "observe.validation.every=5000"
    process = launch(2, corpus, tmp_path, *words)
    wait_for(tmp_path, 12, process)
    os.kill(workers(process.pid)[1], signal.SIGKILL)
    killed = time.monotonic()
    output = process.communicate(timeout=100)[0]
    assert time.monotonic() - killed < 30
    assert process.returncode != 0
    told = "rank 1 of 2 processes ended (killed, or its machine is gone); the others stop; the same command continues"
    assert output.count(told) == 1
    assert "RuntimeError" not in output  # what the others saw of it
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["state"] == "failed"
    assert told in record["error"]
    made = len(rows(tmp_path))
    again = launch(1, corpus, tmp_path, *words)
    wait_for(tmp_path, made + 3, again)
    again.kill()
    assert "continues after step" in again.communicate()[0]


def wait_for(folder, updates: int, process) -> None:
    """Returns once the run has made so many updates."""
    end = time.monotonic() + 100
    file = folder / "run/metrics.jsonl"
    while time.monotonic() < end and process.poll() is None and not (file.exists() and len(rows(folder)) >= updates):
        time.sleep(0.1)


def test_a_mistake_is_told_once_and_leaves_no_folder(tmp_path):
    process = launch(2, tmp_path / "nowhere.txt", tmp_path)
    output = process.communicate(timeout=100)[0]
    assert process.returncode != 0
    assert output.count("config error: data: there is no text file") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_stopped_on_two_processes_continues_on_one(corpus, tmp_path):
    process = launch(2, corpus, tmp_path, "steps=5000", "checkpoints.every=5000", "observe.validation.every=5000")
    end = time.monotonic() + 100
    while time.monotonic() < end and not ((tmp_path / "run/metrics.jsonl").exists() and len(rows(tmp_path)) >= 3):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["state"] == "preempted"
    stopped = record["step"]
    alone = launch(1, corpus, tmp_path, "steps=5000", "checkpoints.every=5000", "observe.validation.every=5000")
    end = time.monotonic() + 100
    while time.monotonic() < end and len(rows(tmp_path)) < stopped + 3:
        time.sleep(0.1)
    alone.kill()
    output = alone.communicate()[0]
    assert f"continues after step {stopped}" in output
    assert len(rows(tmp_path)) >= stopped + 3
