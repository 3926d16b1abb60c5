"""Several processes train the same recipe on the same batches (gloo, on the CPU)."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import TINY

from gptx.log import jsonl

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
    return [(row["train/loss"], row["train/grad_norm"]) for row in jsonl.read(folder / "run/metrics.jsonl")]


def test_the_same_recipe_on_one_two_and_four_processes_gives_the_same_losses(corpus, tmp_path):
    found, validation = {}, {}
    for processes in (1, 2, 4):
        cwd = tmp_path / str(processes)
        cwd.mkdir()
        process = launch(processes, corpus, cwd)
        output = process.communicate(timeout=200)[0]
        assert process.returncode == 0, output
        assert output.count("finished in") == 1  # one log, whatever the number of processes
        found[processes] = rows(cwd)
        validation[processes] = json.loads((cwd / "run/run.json").read_text())["result"]["validation/loss"]
    for processes in (2, 4):
        assert len(found[processes]) == 20
        for (loss, norm), (expected, expected_norm) in zip(found[processes], found[1], strict=True):
            assert loss == pytest.approx(expected, rel=1e-6)
            assert norm == pytest.approx(expected_norm, rel=1e-4)
        assert validation[processes] == pytest.approx(validation[1], rel=1e-6)


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
    assert f"continues after update {stopped}" in output
    assert len(rows(tmp_path)) >= stopped + 3
