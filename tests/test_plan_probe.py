"""A recipe is tried for some seconds before it runs."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from gptx.plan.probe import Probe, probe

WHOLE = Probe(step=0.1, quickest=0.09, slowest=0.2, made=50, start=2.0, validation=0.2, save=0.05, last_save=0.3,
              steps=100.0, validations=5, saves=10, left_out=("starting Python",))  # fmt: skip


def test_a_run_is_its_steps_validations_and_saves_the_last_of_which_is_waited_for():
    assert WHOLE.run_seconds() == pytest.approx(2 + 100 * 0.1 + 5 * 0.2 + 9 * 0.05 + 0.3)
    assert str(WHOLE).startswith("0:14 on this machine, measured: 100 ms a step (median of 50, 90 ms to 200 ms)")
    assert str(replace(WHOLE, steps=99_000.0)).startswith("2:45:04 on")


def test_as_many_validations_and_saves_are_counted_as_the_run_makes(composed):
    found = probe(composed("steps=11", "observe.validation.every=5", "checkpoints.every=4"), seconds=0.01)
    assert (found.steps, found.validations, found.saves) == (11, 3, 3)  # both also after the last update
    assert min(found.step, found.validation, found.save, found.last_save) > 0
    assert found.quickest <= found.step <= found.slowest


def test_a_growing_batch_takes_as_many_full_steps_as_it_has_tokens(composed):
    grown = composed("batch=growing", "batch.tokens=256", "batch.growth=9", "steps=12")
    grown.observe = None
    found = probe(grown, seconds=0.01)
    assert found.steps == 3 * (1 / 8 + 1 / 4 + 1 / 2) + 3
    assert (found.validation, found.validations) == (0, 0)


def test_a_probe_leaves_nothing_behind(composed, tmp_path, monkeypatch):
    cfg = composed("model.dropout=0.5", "threads=2", "observe=[validation,gradients]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    found = probe(cfg, seconds=0.01)
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    assert "the observers gradients (python -m gptx bench observers)" in str(found)


def test_a_vocabulary_can_stand_for_the_data(composed):
    cfg = composed()
    cfg.data.path = "nowhere"
    assert probe(cfg, seconds=0.01, vocab="300").made >= 1
    cfg.observe.validation.windows = None
    found = probe(cfg, seconds=0.01, vocab="300")
    assert (found.validation, found.validations) == (0, 0)
    assert "validation, on all of a text whose length vocab= does not tell" in found.left_out


CHECKED = """
from gptx import check, paths
import sys, torch
cfg = compose.composed(sys.argv[1:])
check.check(cfg)
"""
PROBED = CHECKED + "from gptx.plan.probe import probe; print(probe(cfg).run_seconds())"


@pytest.mark.slow
@pytest.mark.alone
def test_the_time_of_a_real_run_is_within_a_quarter_of_the_probed(tmp_path, corpus):
    """The quicker of two of each, in turns: what else the machine does can only add to a time."""
    words = ["data=text", f"data.path={corpus}", "steps=50", "threads=1", "device=cpu", "log=[jsonl]"]

    def run(*command: str) -> tuple[float, str]:
        began = time.perf_counter()
        found = subprocess.run([sys.executable, *command, *words], cwd=tmp_path, capture_output=True, text=True,
                               env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
        assert found.returncode == 0, found.stderr
        return time.perf_counter() - began, found.stdout

    predicted, begun, taken = [], [], []
    for _ in range(2):
        predicted.append(float(run("-c", PROBED)[1]))
        begun.append(run("-c", CHECKED)[0])  # Python and the config: not in what is predicted
        taken.append(run("-m", "gptx.train", "overwrite=true")[0])
    assert min(predicted) / (min(taken) - min(begun)) == pytest.approx(1, abs=0.25), (predicted, begun, taken)
