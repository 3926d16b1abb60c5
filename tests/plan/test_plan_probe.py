"""A recipe is tried for some seconds before it runs."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from gptx.plan.probe import STEP, Probe, probe

PARTS = {
    STEP: (0.1, 100.0),
    "to build and begin": (2.0, 1),
    "a validation pass": (0.2, 5),
    "a save": (0.05, 9),
    "the last save": (0.3, 1),
}
WHOLE = Probe(PARTS, "median of 50, 90 ms to 200 ms", ("starting Python",))


def test_a_run_is_its_steps_validations_and_saves_the_last_of_which_is_waited_for():
    assert WHOLE.run_seconds() == pytest.approx(2 + 100 * 0.1 + 5 * 0.2 + 9 * 0.05 + 0.3)
    assert str(WHOLE).startswith(
        "0:14 on this machine, measured: 100 ms a step (median of 50, 90 ms to 200 ms) x 100, 2 s to build and begin, "
    )
    assert "50 ms a save x 9, 300 ms the last save; not in it: starting Python" in str(WHOLE)
    assert str(replace(WHOLE, parts=PARTS | {STEP: (0.1, 99_000.0)})).startswith("2:45:04 on")


def counts(found: Probe) -> list[float]:
    return [count for _, count in found.parts.values()]


def test_as_many_validations_and_saves_are_counted_as_the_run_makes(composed):
    found = probe(composed("steps=11", "observe.validation.every=5", "checkpoints.every=4"), seconds=0.01)
    assert list(found.parts) == list(PARTS)
    assert counts(found) == [11, 1, 3, 2, 1]  # validation and saves also after the last step
    assert min(seconds for seconds, _ in found.parts.values()) > 0


def test_a_growing_batch_takes_as_many_full_steps_as_it_has_tokens(composed):
    grown = composed("batch=growing", "batch.tokens=256", "batch.growth=9", "steps=12")
    grown.observe = None
    found = probe(grown, seconds=0.01)
    assert found.parts[STEP][1] == 3 * (1 / 8 + 1 / 4 + 1 / 2) + 3
    assert "a validation pass" not in found.parts


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
    assert probe(cfg, seconds=0.01, vocab="300").parts[STEP][0] > 0
    cfg.observe.validation.windows = None
    found = probe(cfg, seconds=0.01, vocab="300")
    assert "a validation pass" not in found.parts
    assert "validation, on all of a text whose length vocab= does not tell" in found.left_out


CHECKED = """
import sys, torch
from gptx.config import compose, validate
cfg = compose.composed(sys.argv[1:])
validate.check(cfg)
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
