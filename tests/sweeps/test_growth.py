"""A sweep that grows: a run that exists is found by what it is. Runs are not trained here, but put down as if."""

import shutil
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY
from hydra.core.global_hydra import GlobalHydra

from gptx import train
from gptx.config import validate
from gptx.config.build import build
from gptx.config.keys import key_of, recipe
from gptx.config.recorded import as_yaml, recorded
from gptx.estimate import speed
from gptx.estimate.sweep import Disk
from gptx.runs import manifest
from gptx.runs.folder import RunFolder
from gptx.sweeps import folders, listing, local

CLIP = "sweep=ablate", "clip=global_norm,none"


def put(folder: Path, config: dict) -> None:
    """A finished run of a config."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(as_yaml(config))
    RunFolder(folder).write(state="finished", recipe=recipe(config), result={})


def steps_of(name: str) -> int:
    return RunFolder(Path("runs/grown", name)).record["recipe"]["steps"]


@pytest.fixture
def sweep(tmp_path, corpus, monkeypatch, capsys):
    """sweep("seed=0,1"): the folders of the runs that the command makes, below runs/grown."""
    made: list[str] = []

    def launch(self, lines, initial_job_idx):
        for name, (words, *_) in self.todo(lines, initial_job_idx):
            config = self.composed(words)[1]
            validate.check(config)
            put(self.sweep / name, recorded(config))
            made.append(name)
        return []

    def run(*words: str) -> list[str]:
        made.clear()
        GlobalHydra.instance().clear()
        usual = [word for word in TINY if key_of(word) not in map(key_of, words)]
        monkeypatch.setattr(sys, "argv", ["", "--multirun", *usual, f"data.path={corpus}", "name=grown", *words])
        train.main()
        run.said = capsys.readouterr()
        return list(made)

    monkeypatch.setattr(local.Local, "launch", launch)
    monkeypatch.chdir(tmp_path)
    return run


@pytest.mark.slow
def test_more_seeds_values_keys_rates_and_lengths_train_only_what_is_new(sweep):
    assert sweep(*CLIP, "seed=0") == ["base", "clip=none"]
    assert sweep(*CLIP, "seed=0,1") == ["seed=1", "clip=none,seed=1"]
    assert sweep(*CLIP, "schedule=cosine,constant,warmup") == ["schedule=constant", "schedule=warmup"]
    assert "4 runs in runs/grown, 2 of them exist already" in sweep.said.err
    finer = sweep(*CLIP, "sweep.rates=[0.3,1]")  # the rate of 1 is the one that no rates name
    assert finer == [f"{arm}parametrization.rates.all=0.3" for arm in ("", "clip=none,")]
    assert sweep(*CLIP, "sweep.lengths=[0.5,1]") == ["length=0.5"]
    noted = {name: (line["arm"], line["length"]) for name, line in manifest.noted(Path("runs/grown")).items()}
    assert noted["clip=none"] == ("clip=none", 1.0)
    assert noted["length=0.5"] == ("", 0.5)
    manifest.note(Path("runs/grown"), [{"folder": "clip=none", "confirm": True}])
    assert sweep("sweep=factorial", CLIP[1], "schedule=cosine,constant") == ["clip=none,schedule=constant"]
    assert manifest.noted(Path("runs/grown"))["clip=none"]["confirm"] is False  # asked for, and so it chooses


@pytest.mark.slow
def test_a_product_becomes_an_ablation_and_a_single_run_its_base(sweep, composed):
    put(Path("runs/grown/alone"), recorded(composed()) | {"name": "grown"})
    assert sweep("clip=global_norm,none") == ["clip=none"]
    assert sweep(*CLIP, "decay=matrices,everything") == ["decay=everything"]
    assert {name: line["arm"] for name, line in manifest.noted(Path("runs/grown")).items()} == {
        "alone": "", "clip=none": "clip=none", "decay=everything": "decay=everything",
    }  # fmt: skip


@pytest.mark.slow
def test_other_digits_are_another_run_and_so_is_another_recipe_under_the_same_short_name(sweep):
    assert sweep("memory=store,recompute") == ["memory=store", "memory=recompute"]
    assert sweep("batch.micro=4,8") == ["batch.micro=8"]
    assert sweep("memory=store,recompute", "batch.micro=4,8") == ["batch.micro=8,memory=recompute"]
    assert sweep(*CLIP, "steps=7") == ["base", "clip=none"]
    assert sweep(*CLIP, "steps=8") == ["steps=8", "clip=none,steps=8"]
    assert sweep(*CLIP, "steps=7") == sweep(*CLIP, "steps=8") == []
    seen = "observe=[validation],[validation,parameters]", "seed=5"
    assert len(sweep(*seen)) == 2  # of one recipe, and what is measured differs
    assert sweep(*seen) == []


@pytest.mark.slow
def test_a_run_that_only_waits_has_its_folder_already(sweep):
    sweep(*CLIP, "seed=0")
    for name in ("base", "clip=none"):  # as of a job that SLURM has not started
        for file in ("run.json", "config.yaml"):
            Path("runs/grown", name, file).unlink()
    assert sweep(*CLIP, "seed=0,1") == ["base", "seed=1", "clip=none", "clip=none,seed=1"]


@pytest.mark.slow
def test_a_text_that_has_moved_is_the_same_run(sweep, tmp_path, corpus, composed):
    sweep(*CLIP)
    for name in ("base", "clip=none"):
        RunFolder(Path("runs/grown", name)).write(data=build(composed().data).identity)
    moved = shutil.copy(corpus, tmp_path / "moved.txt")
    assert sweep(*CLIP, f"data.path={moved}") == []


@pytest.mark.slow
def test_a_time_becomes_steps_once_and_the_same_command_takes_what_is_recorded(sweep, monkeypatch):
    measured = []
    monkeypatch.setattr(speed, "_seconds_per_step", lambda config: measured.append(config.threads) or 2.0)
    for words, made in (([], ["base", "clip=none"]), (["seed=0,1"], ["seed=1", "clip=none,seed=1"])):
        monkeypatch.setattr(speed, "_known", {})  # of a process
        assert sweep(*CLIP, "steps=1min", *words) == made
        assert {steps_of(name) for name in made} == {30}
        said = "recorded earlier" if words else "measured now"
        assert f"steps=1min is 30 steps, the same for all arms: 2 s a step of the first arm, {said}" in sweep.said.err
    assert len(measured) == 1
    assert sweep(*CLIP, "steps=1min", "sweep.lengths=[0.5,1]") == ["length=0.5"]
    assert steps_of("length=0.5") == 15
    with pytest.raises(SystemExit, match="steps=1min: the speed of this machine is not that of hydra/launcher=slurm"):
        sweep("seed=0,1", "steps=1min", "hydra/launcher=slurm")


def test_tokens_per_parameter_give_each_size_its_own_steps(sweep):
    assert sweep("model.depth=1,2", "steps=2x") == ["model.depth=1", "model.depth=2"]
    block = 12 * 32 * 32  # parameters of a block of width 32, without biases and gains
    assert steps_of("model.depth=2") - steps_of("model.depth=1") == pytest.approx(2 * block / 256, rel=0.05)


@pytest.mark.slow
def test_a_sweep_that_the_disk_cannot_hold_is_refused_and_one_that_is_made_needs_nothing(sweep, monkeypatch):
    asked = []

    def disk_of(configs, folder, **_):
        asked.append(len(configs))
        return Disk(len(configs), 1, 10**9, len(configs) * 10**9, 10**9)

    monkeypatch.setattr(listing, "disk_of", disk_of)
    with pytest.raises(SystemExit, match=r"runs/grown: 2 GB on the disk .* 1 GB are free; free some"):
        sweep("seed=0,1")
    assert not Path("runs").exists()
    assert len(sweep("seed=0")) == 1
    assert sweep("seed=0") == []
    assert asked == [2, 1]


def test_three_hundred_runs_are_found_in_two_seconds(tmp_path, composed):
    config, lines = recorded(composed()), []
    for seed in range(300):
        put(tmp_path / f"seed={seed}", each := config | {"seed": seed})
        lines.append({"folder": f"seed={seed}", "digest": folders._digest(recipe(each), folders._digits(each))})
    manifest.note(tmp_path, lines)
    started = time.process_time()
    found = folders._there(tmp_path)
    assert time.process_time() - started < 2
    assert found == {line["digest"]: line["folder"] for line in lines}


REFUSED = {
    "sweep=ablate": "sweep=ablate: nothing to compare; list values such as optim=adamw,muon",
    "sweep=ablate seed=0,1": "sweep=ablate: nothing to compare but seed, which every arm is trained at",
    "sweep=leave_out optim=adamw,muon,sgd": "optim=adamw,muon,sgd: sweep=leave_out takes two values of a key",
    "sweep=factorial optim=adamw,muon,sgd": "optim=adamw,muon,sgd: sweep=factorial takes two values of a key",
    "sweep=ablate optim=adamw,muon sweep.rates=[1]": r"sweep.rates=\[1\]: at least two different multiples",
    "sweep=ablate optim=adamw,muon sweep.rates=[0,1]": r"sweep.rates=\[0,1\]: at least two different multiples above 0",
    "sweep=ablate optim=adamw,muon sweep.lengths=[0.5,2]": r"sweep.lengths=\[0.5,2\]: multiples of the steps, 1 among",
    "optim=adamw,muon sweep.lengths=[0.5,1]": r"sweep.lengths=\[0.5,1\]: a product has no base; take sweep=ablate",
    "optim.lr=3e-3,0.003": "optim.lr=3e-3,0.003: 0.003 is there twice",
    "sweep=ablate log=[jsonl],[console,jsonl]": "changes nothing: it is the same run as base",
    "sweep=ablate optim=adamw,muon dry_run=maybe": "dry_run: 'maybe' is not true or false",
    "seed=0,1 dry_run=true,false": "dry_run=true,false: of the whole sweep; choose one",
    "optim=adamw,muon batch.tokens=100": "batch.tokens=100 is not a multiple of .* [(]all 2 jobs[)]",
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_mistake_is_one_line_and_nothing_is_written(sweep, words):
    with pytest.raises(SystemExit, match=REFUSED[words]) as refused:
        sweep(*words.split())
    told = str(refused.value)
    assert told.count("\n") <= 2  # a job and its mistake where only some jobs have one
    assert not Path("runs").exists()


def test_a_sweep_chosen_for_a_single_run_is_refused_and_an_experiment_s_is_not(sweep, monkeypatch, capsys):
    for words, told in ((["sweep=ablate"], "sweep=ablate needs --multirun"), (["experiment=ablation"], None)):
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["", *words, "dry_run=true", "device=cpu"])
        with pytest.raises(SystemExit, match=told) as end:
            train.main()
        assert told or end.value.code is None
    assert capsys.readouterr().out.splitlines() == [
        "missing      runs/ablation/base",
        "dry_run=true: nothing is trained",
    ]


def test_dry_run_says_the_runs_and_the_script_and_writes_nothing(sweep, capsys):
    for launcher in ("local", "slurm"):
        if launcher == "slurm":
            pytest.importorskip("submitit", reason="the extra slurm is not installed")
        with pytest.raises(SystemExit) as end:
            sweep(*CLIP, "dry_run=true", f"hydra/launcher={launcher}")
        assert end.value.code is None
        lines = capsys.readouterr().out.splitlines()
        names = [
            "missing      runs/grown/base",
            "missing      runs/grown/clip=none",
            "dry_run=true: nothing is trained",
        ]
        assert lines[:3] == names
        assert ("#SBATCH --time=240" in lines) == (launcher == "slurm")
        assert not Path("runs").exists()
