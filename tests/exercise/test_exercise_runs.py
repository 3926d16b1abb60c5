"""The exercises that train, through the command and in their smallest form; each looks at what the runs recorded."""

import json
import re

import pytest

pytestmark = pytest.mark.slow

SMALL = ["model.context=32", "model.width=32", "model.depth=2", "model.heads=2", "batch.tokens=256", "batch.micro=4",
         "device=cpu"]  # fmt: skip


@pytest.fixture
def ask(command, corpus):
    """ask(18, "steps=9"): the exercise on a small text and model; its CompletedProcess."""

    def run(number: int, *words: str):
        text = ["data=text", f"data.path={corpus}"]
        return command("exercise", str(number), *text, *SMALL, *words, timeout=500)

    return run


def number(said: str, name: str) -> float:
    return float(re.search(rf"^  {re.escape(name)} +([-\d.e,+]+)$", said, re.MULTILINE)[1].replace(",", ""))


def test_fourteen_tells_the_gap_between_the_losses_that_the_runs_recorded(ask, tmp_path):
    told = ask(14, "steps=20", "schedule.warmup=0,5", "observe.validation.windows=8")
    losses = {
        record["recipe"]["schedule.warmup"]: record["result"]["validation/loss"]
        for file in (tmp_path / "runs/exercise_14").glob("*seed=0*/run.json")
        for record in [json.loads(file.read_text())]
    }
    assert losses.keys() == {0, 5}, told.stderr
    assert number(told.stdout, "validation loss, warmup 0, seed 0") == pytest.approx(losses[0], rel=1e-4)
    assert number(told.stdout, "validation loss, warmup 5, seed 0") == pytest.approx(losses[5], rel=1e-4)
    gap, spread = (number(told.stdout, name) for name in ("without warmup worse by", "seeds differ by at most"))
    assert told.returncode == (0 if gap > spread else 1)
    assert (tmp_path / "runs/exercise_14/exercise_14.png").read_bytes().startswith(b"\x89PNG")


def test_fifteen_ends_alike_in_three_formats(ask):
    told = ask(15, "steps=3", "observe.validation.windows=8")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "PASSED" in told.stdout
    assert number(told.stdout, "largest difference from fp32, of its loss") > 0  # they were other formats


def test_seventeen_finds_the_same_losses_with_fewer_activations(ask):
    told = ask(17, "steps=2", "model.depth=6")
    kept = [
        number(told.stdout, f"{way}: activations kept for the backward pass, MB (predicted)")
        for way in ("store", "recompute")
    ]
    assert kept[1] < kept[0] / 2
    assert re.search(r"losses are the same to the bit +yes", told.stdout), told.stdout + told.stderr


def test_eighteen_records_all_five_signals(ask, tmp_path):
    told = ask(18, "steps=20", "out=five.svg")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "PASSED" in told.stdout
    assert number(told.stdout, "train/grad_norm: values") == 20
    drawn = (tmp_path / "five.svg").read_text()
    for signal in ("Loss", "Perplexity", "Gradient norm", "Learning rate", "Update / weight"):
        assert signal in drawn


def test_nineteen_resumes_bit_for_bit_and_its_controls_do_not(ask):
    told = ask(19, "steps=300", "observe.validation.windows=8")
    assert told.returncode == 0, told.stdout + told.stderr
    assert number(told.stdout, "resumed: losses that differ") == 0
    for control in ("moments", "random states", "position"):
        assert number(told.stdout, f"control, without {control}: largest difference of a loss") > 1e-4


def test_twenty_stops_resumes_samples_and_writes_its_post_mortem(ask, tmp_path):
    told = ask(20, "steps=200", "observe.validation.windows=8", "observe.samples.every=200", "observe.samples.length=8")
    run = tmp_path / "runs/exercise_20/run"
    assert "SHORTENED" in told.stdout, told.stdout + told.stderr
    step = int(re.search(r"SIGTERM after step (\d+)", told.stdout)[1])
    assert 66 <= step < 200
    assert re.search(rf"resumed after step +{step}$", told.stdout, re.MULTILINE)
    assert f"stopped and continued after step: {step}" in (run / "exercise_20.md").read_text()
    assert json.loads((run / "run.json").read_text())["step"] == 200
    share = number(told.stdout, "share of them that the training text has")
    assert told.returncode == (0 if share >= 1 / 3 else 1)
