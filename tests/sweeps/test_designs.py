"""Designs of a sweep as pure functions, the jobs that words mean, what is refused, and a sweep that grows."""

import itertools
import json
import math
from pathlib import Path

import pytest

from gptx.config.command_line import cells, explained
from gptx.sweeps import designs

TWO = {key: ["off", "on"] for key in "ABCDE"}
WORDS = ["optim=adamw,muon", "clip=global_norm,none", "model.qk_norm=false,true", "optim.weight_decay=0.1,0"]


def cells_of(kind: type, lists: dict, cross=(), rates=(), lengths=()) -> list[designs.Cell]:
    return [*kind(cross=[*cross], rates=[*rates], lengths=[*lengths]).cells(lists)]


def test_an_ablation_changes_one_key_an_arm_and_says_every_other():
    found = cells_of(designs.Ablation, {"a": ["1", "2", "3"], "b": ["x", "y"], "seed": ["0", "1"]}, cross=["seed"])
    assert [cell.arm for cell in found] == ["", "", "a=2", "a=2", "a=3", "a=3", "b=y", "b=y"]
    assert found[4].values == {"a": "3", "b": "x", "seed": "0"}
    assert all(len(cell.values) == 3 for cell in found)


def test_cumulative_adds_and_leave_out_takes_away():
    lists = {key: TWO[key] for key in "ABC"}
    assert [cell.arm for cell in cells_of(designs.Cumulative, lists)] == ["", "A=on", "A=on B=on", "A=on B=on C=on"]
    left = cells_of(designs.LeaveOut, lists)
    assert left[0].values == dict.fromkeys("ABC", "on")
    assert [cell.arm for cell in left] == ["", "A=off", "B=off", "C=off"]


@pytest.mark.parametrize("count", [4, 5])
def test_a_half_fraction_is_balanced_and_its_main_effects_are_clear_of_two_way_interactions(count):
    lists = {key: TWO[key] for key in "ABCDE"[:count]}
    arms = cells_of(designs.Fraction, lists)
    assert len(arms) == len({tuple(cell.values.values()) for cell in arms}) == 2 ** (count - 1)
    assert arms[0].arm == ""
    signs = {key: [1 if cell.values[key] == "on" else -1 for cell in arms] for key in lists}
    columns = [*signs.values(), *([x * y for x, y in zip(signs[a], signs[b], strict=True)]
                                  for a, b in itertools.combinations(lists, 2))]  # fmt: skip
    main = columns[:count]
    for one, other in itertools.product(main, columns):
        product = sum(x * y for x, y in zip(one, other, strict=True))
        assert product == (len(arms) if one is other else 0)
    assert len({math.prod(sign) for sign in zip(*main, strict=True)}) == 1  # the defining relation
    assert len(cells_of(designs.Factorial, lists)) == 2**count


def test_rates_cross_every_arm_and_lengths_the_base_alone():
    found = cells_of(
        designs.Ablation, {"a": ["1", "2"], "seed": ["0", "1"]}, cross=["seed"], rates=[0.3, 1], lengths=[0.5, 1]
    )
    assert len(found) == 2 * 2 * 2 + 2 * 2
    assert {cell.arm for cell in found if cell.length != 1} == {""}
    assert {cell.values[designs.RATES] for cell in found} == {"0.3", "1"}


def lines(*words: str) -> list[list[str]]:
    return [line for line, _ in cells(words)]


def test_an_arm_keeps_what_the_others_ablate_and_a_product_is_hydras_own():
    made = lines("sweep=ablate", *WORDS, "seed=0,1,2", "steps=4")
    assert len(made) == 5 * 3
    assert {"optim=muon", "optim.weight_decay=0.1", "clip=global_norm"} <= {*made[3]}
    assert lines("seed=0,1", "optim=adamw,muon") == [
        [f"seed={s}", f"optim={o}"] for s in (0, 1) for o in ("adamw", "muon")
    ]


REFUSED = {
    "sweep=ablate optim=adamw,muon optim=sgd,lion": "twice",
    "sweep=ablate optim=adamw,adamw": "optim=adamw,adamw: a value is there twice",
    "sweep=ablate optim=adamw seed=0,1": "nothing to compare",
    "sweep=cumulative optim=adamw,muon,sgd": "two values",
    "sweep=fraction optim=adamw,muon clip=none,global_norm": "factorial",
    "sweep=ablate optim=adamw,muon sweep.rates=[1]": "rates=",
    "sweep=ablate optim=adamw,muon sweep.rates=[0,1]": "rates=",
    "sweep=ablate optim=adamw,muon sweep.rates=[a,1]": "sweep.rates",
    "sweep=ablate optim=adamw,muon sweep.rates=1": "sweep.rates",
    "sweep=ablate optim=adamw,muon sweep.rats=[1,2]": "sweep.rats: no such key; did you mean 'sweep.rates'?",
    "sweep=ablate optim=adamw,muon sweep.lengths=[0.5,2]": "lengths=",
    "sweep=ablate optim=adamw,muon sweep.rates=[1,2] parametrization.rates.all=1,2": "leave one of them out",
    "sweep=ablate optim=adamw,muon sweep.rates=[1,2] parametrization.rates.all=2": "leave one of them out",
    "sweep=ablate optim=adamw,muon ~sweep": "sweep",
    "sweep=ablate,product optim=adamw,muon": "one design",
    "sweep=ablate sweep.rates=0.3,1 optim=adamw,muon": "write sweep.rates=[0.3,1]",
    "sweep=ablat optim=adamw,muon": "did you mean 'ablate'?",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_no_design_can_have_is_refused_in_one_line(words):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        cells(words.split())
    told = explained(caught.value, words.split())
    assert type(told).__name__ == "ConfigError"
    assert REFUSED[words] in str(told)
    assert "\n" not in str(told)


@pytest.mark.parametrize("node", ["{_target_: os.mkdir, path: PATH}", "{rates: [{_target_: os.mkdir, path: PATH}]}"])
def test_a_file_s_design_is_checked_before_it_is_built(tmp_path, node):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    text = f"# @package _global_\nsweep: {node.replace('PATH', str(tmp_path / 'owned'))}\n"
    (tmp_path / "mine/experiment/foreign.yaml").write_text(text)
    words = [f"hydra.searchpath=[file://{tmp_path}/mine]", "experiment=foreign", "seed=0,1"]
    with pytest.raises(Exception) as caught:  # noqa: PT011
        cells(words)
    assert not (tmp_path / "owned").exists()
    assert str(explained(caught.value, words)).startswith("sweep")


def manifest_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "sweep.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_sweep_grows_from_a_single_run_and_trains_nothing_twice(command, tmp_path):
    folder, few = tmp_path / "runs/grown", ["name=grown", "steps=2", "hydra.launcher.parallel=1"]
    assert command("train", "name=grown", "steps=2").returncode == 0
    first = {path.parent.name for path in folder.glob("*/run.json")}
    before = {name: (folder / name / "run.json").read_bytes() for name in first}
    shown = command("train", "--multirun", "sweep=ablate", "clip=global_norm,none", "seed=0,1", "dry_run=true", *few)
    assert shown.returncode == 0
    assert {path.parent.name for path in folder.glob("*/run.json")} == first
    assert not (folder / "sweep.jsonl").exists()
    grown = command("train", "--multirun", "sweep=ablate", "clip=global_norm,none", "seed=0,1", *few)
    assert grown.returncode == 0, grown.stderr
    assert len([*folder.glob("*/run.json")]) == 4
    assert {name: (folder / name / "run.json").read_bytes() for name in first} == before
    assert {line["arm"] for line in manifest_of(folder)} == {"", "clip=none"}
    sources = json.loads((folder / first.pop() / "run.json").read_text())["code"][-1]["sources"]
    assert not any(name.startswith("gptx.sweeps") for name in sources)  # how it was planned is nothing of a result


@pytest.mark.slow
def test_the_same_sweep_again_finds_runs_that_differ_in_what_decides_no_result(command):
    words = [
        "--multirun",
        "observe=[validation],[validation,parameters]",
        "name=seen",
        "steps=2",
        "hydra.launcher.parallel=1",
    ]
    for _ in range(2):
        made = command("train", *words)
        assert made.returncode == 0, made.stderr
        assert "2 of 2 finished" in made.stdout
