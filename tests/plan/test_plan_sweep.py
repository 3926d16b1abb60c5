"""A sweep before it is spent: its runs, its time, and the differences that it can show."""

import re

import pytest
from test_plan import main

from gptx.config.paths import ROOT
from gptx.estimate import speed
from gptx.estimate.power import smallest_difference
from gptx.plan import sweep
from gptx.plan.probe import STEP, Probe

WORDS = ["model.context=32", "model.width=32", "model.depth=2", "model.heads=2", "batch.tokens=256", "device=cpu"]


@pytest.fixture
def plan(capsys, monkeypatch, tmp_path):
    """plan("seed=0,1"): the lines of the command, where a step of any run takes 2 s."""
    tried = []

    def probe(config, seconds, vocab):
        tried.append(config)
        return Probe({STEP: (2.0, config.steps)}, "", ())

    monkeypatch.setattr(sweep, "probe", probe)
    monkeypatch.setattr(sweep, "cores", lambda: 4)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> list[str]:
        tried.clear()
        main(["sweep", *WORDS, *words])
        return capsys.readouterr().out.splitlines()

    run.tried = tried
    return run


def test_a_sweep_is_counted_in_runs_arms_and_seeds_and_each_kind_is_tried_once(plan):
    lines = plan("optim=adamw,sgd", "schedule=cosine,linear", "seed=0,1,2", "steps=30,60")
    assert lines[0].split() == ["runs", "24:", "8", "arms,", "3", "seeds", "each"]
    assert len(plan.tried) == 2  # adamw and sgd, whatever their schedule, length and seed
    assert all(config.threads == 1 for config in plan.tried)  # 4 at a time on 4 cores
    assert lines[1].startswith("time    36:00 of one run after another, 9:00 with 4 at a time (measured here")
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines[3:7]]
    assert [row[1:3] + row[4:] for row in rows] == [["6", "30", "1:00"], ["6", "60", "2:00"]] * 2
    assert rows[0][0] == "optim=adamw, schedule=cosine, steps=30 and 1 more"
    assert re.match(
        r"disk    \S+ [kM]B on the disk \(24 runs with up to 3 checkpoints of \S+ kB\), .* are free$", lines[7]
    )
    assert "over 7 comparisons with the base (Dunnett)" in lines[8]


@pytest.mark.slow
def test_time_on_fewer_places_and_by_the_usual_speed_of_a_device(plan):
    assert plan("seed=0,1", "steps=30", "at_once=1")[1].startswith("time    2:00 of one run after another, 2:00 with 1")
    assert plan.tried[0].threads == 4
    lines = plan("seed=0,1", "hardware=h100", "model=gpt2_124m", "model.context=1024", "batch.tokens=524288",
                 "model.width=768", "model.depth=12", "model.heads=12", "steps=1000", "vocab=50257")  # fmt: skip
    assert not plan.tried
    seconds = 8.547e8 * 524_288 * 1000 / (0.38 * 989.4e12)  # of nanoGPT's count and the share of the peak in the table
    minutes, rest = re.search(r"(\d+):(\d+)$", lines[3]).groups()
    assert int(minutes) * 60 + int(rest) == pytest.approx(seconds, rel=2e-3)
    assert "not predicted for a GPU" in "".join(plan("seed=0,1", "hardware=h100"))


def test_what_it_can_show_follows_from_the_pilot(plan):
    pilot = f"pilot={ROOT / 'experiments/warmup'}"
    lines = plan("optim=adamw,sgd", "seed=0,1,2", pilot, "difference=0.05")
    sd = float(re.search(r"by an sd of (\S+) that", lines[-1])[1])
    shown = float(re.search(r"a difference of (\S+) is the smallest that 3 seeds show", lines[-3])[1])
    assert shown == pytest.approx(smallest_difference(sd, 2, 3), rel=0.05)
    seeds = int(re.search(r"a difference of 0.05 takes (\d+) seeds", lines[-2])[1])
    assert smallest_difference(sd, 2, seeds + 1) < 0.05 < smallest_difference(sd, 2, seeds - 2)
    assert "one seed shows none" in plan("optim=adamw,sgd")[-3]
    assert plan("seed=0,1")[-1].split(maxsplit=1)[1] == "one arm: nothing is compared"
    assert "no shipped experiment has mine/score; pilot=FOLDER" in plan("optim=adamw,sgd", "metric=mine/score")[-1]


@pytest.mark.slow
def test_the_lists_of_an_experiment_count_as_typed_and_so_does_a_design(plan):
    """experiment=ablation: eight arms and a base, four seeds; what is typed of a list wins."""
    assert plan("experiment=ablation", "seed=0,1,2")[0].split() == ["runs", "27:", "9", "arms,", "3", "seeds", "each"]
    assert plan("sweep=ablate", "optim=adamw,sgd", "clip=global_norm,none", "seed=0,1")[0].startswith(
        "runs    6: 3 arms"
    )
    assert plan("experiment=ablation", "sweep=product", "seed=0", "optim=adamw", "optim.weight_decay=0", "schedule=cosine",
                "schedule.warmup=1", "clip=none", "model.qk_norm=true")[0].startswith("runs    4: 4 arms")  # fmt: skip


def test_a_time_is_measured_once_for_all_arms(plan, monkeypatch):
    asked = []
    monkeypatch.setattr(speed, "_known", {})
    monkeypatch.setattr(speed, "_seconds_per_step", lambda config: asked.append(config) or 0.5 * len(asked))
    lines = plan("optim=adamw,sgd", "steps=1min,2min", "seed=0,1")
    assert [line.split()[-3] for line in lines[3:7]] == ["120", "240", "120", "240"]
    assert len(asked) == 1


@pytest.mark.parametrize(("words", "said"), [
    (["difference=0"], "difference=0 must be above 0"),
    (["at_once=0"], "at_once=0: at least 1 run"),
    (["pilot=nowhere"], "nowhere: no such folder"),
    (["optim=adamw,adamv"], "optim=adamv: no such option"),
    (["hardware=h1000"], "hardware=h1000: no such device"),
    (["steps=5min", "batch=growing"], "batch that grows"),
])  # fmt: skip
def test_mistakes_are_one_line(plan, words, said):
    with pytest.raises(SystemExit, match=f"^error: .*{said}") as refused:
        plan(*words)
    assert "\n" not in str(refused.value)
