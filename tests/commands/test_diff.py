"""What a run means, and what sets two runs apart."""

import math
from pathlib import Path

import numpy
import pytest
from omegaconf import OmegaConf

from gptx.commands.diff import difference_lines
from gptx.compare.meaning import agreement, differences_in_meaning, meaning, single_run
from gptx.runs.metrics import Metrics
from gptx.runs.run import Run

CONFIG = {
    "steps": 1000, "seed": 3, "from": None, "threads": 2, "device": "auto", "name": "x",
    "model": {"_target_": "gptx.ingredients.model.gpt.GPT", "_partial_": True, "context": 64, "width": 128},
    "data": {"_target_": "gptx.ingredients.data.corpora.shakespeare", "context": 64, "seed": 3, "order": "shuffled"},
    "optim": {"_target_": "gptx.ingredients.optim.adam.adam", "_partial_": True, "lr": 3e-3, "betas": [0.9, 0.95], "eps": 1e-8},
    "decay": {"_target_": "gptx.ingredients.decay.matrices", "_partial_": True},
    "parametrization": {"_target_": "gptx.ingredients.parametrization.standard", "rates": {"all": 0.5}},
    "schedule": {"_target_": "gptx.ingredients.schedule.cosine", "_partial_": True, "warmup": 50, "total": 1000, "floor": 0.1},
    "batch": {"_target_": "gptx.ingredients.batch.Batch", "tokens": 768, "micro": 12},
    "precision": {"_target_": "gptx.ingredients.precision.Precision", "compute": "auto"},
}  # fmt: skip
RECORD = {
    "state": "finished", "choices": {"model": "nano", "optim": "adamw", "schedule": "cosine"},
    "recipe": {"steps": 1000},
    "parameters": {"total": 384_000, "non_embedding": 300_000}, "data": {"name": "s", "digest": "ab" * 32, "tokenizer":
    "chars", "vocab_size": 66, "train_tokens": 1_536_000}, "hardware": {"device": "cpu", "name": "x86_64", "threads": 2,
    "processes": 1}, "versions": {"torch": "2.13.0"}, "git": {"sha": "0123456789abcdef", "dirty": True},
}  # fmt: skip


def run(**config) -> Run:
    """A finished run, with other values of some ingredients."""
    merged = OmegaConf.to_container(OmegaConf.merge(CONFIG, config))
    return Run(Path("nowhere"), "run", "finished", RECORD, merged)  # type: ignore[arg-type]


def test_a_recipe_means_tokens_and_epochs_by_arithmetic():
    found = meaning(run())
    assert found["tokens"] == f"{1000 * 768:,}"
    assert found["tokens per parameter"] == "2"
    assert found["epochs"] == "0.5 of 1,536,000 tokens"
    grown = meaning(run(batch={"doublings": 1, "growth": 100}))
    assert grown["tokens"] == f"{100 * 384 + 900 * 768:,}"


def test_the_rate_is_the_textbook_cosine_at_five_points_of_the_run():
    found, peak = meaning(run()), 0.5 * 3e-3

    def cosine(step: int) -> float:
        return peak * (0.1 + 0.9 * (1 + math.cos(math.pi * (step - 50) / 950)) / 2)

    assert float(found["learning rate at step 1"]) == pytest.approx(peak / 50, rel=1e-2)
    for where, step in (("at 25 %", 250), ("at 50 %", 500), ("at 75 %", 750), ("at the end", 1000)):
        assert float(found[f"learning rate {where}"]) == pytest.approx(cosine(step), rel=1e-2)
    assert found["warmup"].startswith("50 steps, 5.00%")
    assert found["cool-down"] == "to 0.1 of the peak"
    assert meaning(run(batch={"rule": "sqrt", "tuned_at": 192}))["peak learning rate"] == "0.003"


def test_of_a_schedule_that_is_not_known_here_the_recorded_rate_is_told():
    cell = run(schedule={"_target_": "mylib.parabola"})
    cell.__dict__["metrics"] = type(
        "M", (), {"__getitem__": lambda self, key: (numpy.array([1, 500, 1000]), numpy.array([1, 5, 2]))}
    )()
    found = meaning(cell)
    assert (found["learning rate at step 1"], found["learning rate at 50 %"], found["learning rate at the end"]) == (
        "1",
        "5",
        "2",
    )


def test_meanings_differ_where_the_recipe_does_and_in_what_follows_from_it():
    one, other = meaning(run()), meaning(run(batch={"tokens": 1536}))
    assert differences_in_meaning(one, one) == {}
    assert set(differences_in_meaning(one, other)) == {"tokens per step", "tokens", "tokens per parameter", "epochs"}
    assert differences_in_meaning(one, meaning(run(model={"width": 64}))) == {
        "model": ("nano (width 128)", "nano (width 64)")
    }
    assert one["commit"] == "0123456789ab with uncommitted changes"


def test_a_cell_that_did_not_begin_means_nothing_and_one_that_failed_early_what_its_config_says():
    assert meaning(Run(Path("nowhere"), "run", "missing", {}, {})) == {}
    early = meaning(Run(Path("nowhere"), "run", "failed", {"state": "failed"}, CONFIG))
    assert early["steps"] == "1,000"
    assert "epochs" not in early


def recorded(losses: list[float], tokens: int = 100, speed: float = 1.0, key: str = "train/loss") -> Metrics:
    steps = numpy.arange(1.0, len(losses) + 1)
    values = {key: numpy.array(losses), "train/tokens": tokens * steps, "train/tokens_per_second": speed * steps}
    return Metrics({name: (steps, column) for name, column in values.items()})


def test_runs_agree_only_if_every_recorded_number_is_the_same_whatever_their_speed():
    one = recorded([3.0, math.nan, 2.0], speed=1.0)
    assert agreement(one, recorded([3.0, math.nan, 2.0], speed=7.0)).startswith(
        "identical: the same to the bit in all 3"
    )
    assert "one goes on to 4" in agreement(one, recorded([3.0, math.nan, 2.0, 1.0]))
    other = agreement(one, recorded([3.0, math.nan, math.nextafter(2.0, 3.0)]))
    assert other.startswith("not identical: the same up to step 2, then different, train/loss by up to 4.4e-16")
    assert agreement(one, recorded([2.5, math.nan, 2.0])).startswith("not identical: different from the first step on")
    assert agreement(one, Metrics()) == "no step was recorded by both"


def beside(a: Run, b: Run, left: Metrics, right: Metrics) -> str:
    a.__dict__["metrics"], b.__dict__["metrics"] = left, right
    return "\n".join(difference_lines(a, b))


def test_a_difference_stands_under_what_it_can_do():
    said = beside(run(), run(clip={"max_norm": 1}, deterministic=True, name="y"), *[recorded([3.0, 2.0])] * 2)
    parts = ["the recipe differs, which decides the result:", "clip.max_norm", "the last digits:", "deterministic",
             "same code and packages", "which changes no result:", "name", "\nresult:"]  # fmt: skip
    places = [said.index(part) for part in parts]
    assert places == sorted(places)
    same = beside(run(), run(), *[recorded([3.0, 2.0])] * 2)
    assert "same recipe\n" in same
    assert "same machine and way of computing" in same
    assert "differs" not in same


def test_losses_are_compared_at_the_same_step_and_where_batches_differ_after_the_same_tokens():
    fast, slow = recorded([10.0 - i for i in range(8)], tokens=100), recorded([10.0 - i for i in range(4)], tokens=200)
    said = beside(run(), run(batch={"tokens": 1536}), fast, slow)
    mean = {count: sum(10.0 - i for i in range(count)) / count for count in (2, 4, 8)}
    assert [line.split() for line in said.splitlines() if line.startswith("  step 4")] == [
        ["step", "4", f"{mean[4]:.4f}", f"{mean[4]:.4f}", "(+0)"]
    ]
    assert [line.split() for line in said.splitlines() if line.startswith("  token 800")] == [
        ["token", "800", f"{mean[8]:.4f}", f"{mean[4]:.4f}", f"({mean[4] - mean[8]:+.2g})"]
    ]


def test_a_folder_that_is_no_single_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        single_run(str(tmp_path / "nowhere"))
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text('{"state": "failed"}')
    with pytest.raises(ValueError, match="there are 2 runs below it; name one, such as"):
        single_run(str(tmp_path))
    with pytest.raises(ValueError, match="did not begin"):
        single_run(str(tmp_path / "one"))
