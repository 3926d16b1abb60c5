"""The comparison as a W&B report: what it consists of, and what is said and kept where it cannot be saved."""

import json
import re
import sys
from collections import Counter
from dataclasses import replace

import pytest
from omegaconf import OmegaConf
from test_wandb import a_run, own_surroundings, sink, stub  # noqa: F401

from gptx.compare.collect import compare
from gptx.compare.verdict import Table, Verdict
from gptx.ingredients.log.jsonl import Jsonl
from gptx.report import wandb
from gptx.report.arms import Report
from gptx.runs.folder import RunFolder
from gptx.runs.run import Run, find

pytest.importorskip("wandb_workspaces")
VERDICT = Verdict(
    baseline={"schedule": "cosine", "optim.lr": "0.001"},
    headline="cosine is better by 0.12 nats",
    sentences=["At every rate.", "With 95 % intervals from 2 seeds."],
    warnings=["one run diverged"],
    tables=[Table("Arms", ("schedule", "loss"), [("cosine", "1.50"), ("a|b", "cannot tell")], "2 seeds an arm.")],
)


def an_arm(root, schedule, lr, seed=0, *, project="p", mode=None):
    """A finished run of a sweep called sweep, mirrored by W&B in some mode or not at all."""
    name = f"optim.lr={lr},schedule={schedule},seed={seed}"
    run = a_run(root / name, name=name, schedule=schedule, seed=seed)
    config = {"name": "sweep", "seed": seed, "steps": 20, "optim": {"lr": lr}, "log": {"wandb": {"project": project}}}
    OmegaConf.save(OmegaConf.create(config), run.folder / "config.yaml")
    overrides = [f"schedule={schedule}", f"optim.lr={lr}", f"seed={seed}"]
    RunFolder(run.folder).write(state="finished", choices=run.choices, overrides=overrides)
    for each in [Jsonl(), *([sink(mode=mode)] if mode else [])]:
        each.open(run)
        for step in (10, 20):
            each(step, {"train/loss": 1 / step, "validation/loss": 1 + lr})
        each.close("finished")
    return run.folder


def a_sweep(tmp_path, **options):
    root = tmp_path / "runs/sweep"
    root.mkdir(parents=True)
    for schedule in ("constant", "cosine"):
        for lr in (0.001, 0.03):
            an_arm(root, schedule, lr, **options)
    return root


def publish(root, out, **options):
    found = find([root])
    return wandb.publish([root], Report("", found, [], compare(found), VERDICT, 1), out, **options)


def parts(spec, kind):
    return [block for block in spec["blocks"] if block["type"] == kind]


def panels(spec, kind):
    grids = (block["metadata"]["panelBankSectionConfig"]["panels"] for block in parts(spec, "panel-grid"))
    return [panel["config"] for grid in grids for panel in grid if panel["viewType"] == kind]


def runsets(spec):
    return [runset for block in parts(spec, "panel-grid") for runset in block["metadata"]["runSets"]]


def ids(root):
    return {(folder / "wandb_id").read_text().split()[0] for folder in root.iterdir()}


@pytest.mark.slow
def test_without_a_key_the_report_is_written_and_said_to_be_unsent(tmp_path):
    root = a_sweep(tmp_path)
    unsent, later, lacking = publish(root, tmp_path / "out")
    file = tmp_path / "out/report.wandb.json"
    assert unsent == (
        f"W&B: nothing sent, since there is no API key (`wandb login`, or WANDB_API_KEY); "
        f"the report as it would be is {file}"
    )
    assert "the same command" in later
    assert lacking.startswith("4 of 4 runs are not in W&B: optim.lr=0.001,schedule=constant,seed=0, ")
    kept = json.loads(file.read_text())
    assert kept["title"] == "sweep, validation loss by schedule and optim.lr"
    spec = kept["spec"]

    (callout,), text = parts(spec, "callout-block"), [block["content"] for block in parts(spec, "markdown-block")]
    assert callout["children"][0]["children"][0]["text"] == VERDICT.headline
    assert text[0] == "At every rate.\n\nWith 95 % intervals from 2 seeds."
    assert text[1].splitlines() == [
        "### Arms", "", "| schedule | loss |", "| :-- | --: |", "| cosine | 1.50 |", "| a\\|b | cannot tell |", "",
        "2 seeds an arm.",
    ]  # fmt: skip
    assert "one run diverged" in json.dumps(parts(spec, "list"))

    shown = (panel["viewType"] for block in parts(spec, "panel-grid")
             for panel in block["metadata"]["panelBankSectionConfig"]["panels"])  # fmt: skip
    assert Counter(shown) == {
        "Run History Line Plot": 6,  # all arms, by schedule, by optim.lr, and three vital signs
        "Bar Chart": 2,
        "Scatter Plot": 1,  # a schedule is no number
        "Parallel Coordinates Plot": 1,
        "Run Comparer": 1,
    }
    lines = panels(spec, "Run History Line Plot")
    assert {line["xAxis"] for line in lines} == {"train/step"}
    assert {(line["groupAgg"], line["groupArea"]) for line in lines} == {("mean", "minmax")}
    assert [line["metrics"] for line in lines].count(["validation/loss"]) == 3
    assert [line.get("groupBy") for line in lines[:3]] == [None, "recipe.value.schedule", "optim.value.lr"]
    assert [bar["groupBy"] for bar in panels(spec, "Bar Chart")] == ["recipe.value.schedule", "optim.value.lr"]
    (scatter,) = panels(spec, "Scatter Plot")
    assert (scatter["xAxis"], scatter["yAxis"]) == ("config:optim.value.lr", "summary:validation/loss")
    assert scatter["xAxisLogScale"]  # 0.001 to 0.03
    (parallel,) = panels(spec, "Parallel Coordinates Plot")
    assert [column["accessor"] for column in parallel["columns"]] == [
        "config:recipe.value.schedule", "config:optim.value.lr", "config:seed.value", "summary:validation/loss",
    ]  # fmt: skip
    assert panels(spec, "Run Comparer") == [{"diffOnly": "split"}]
    both = [{"section": "config", "name": "recipe.value.schedule"}, {"section": "config", "name": "optim.value.lr"}]
    assert [runset["grouping"] for runset in runsets(spec)] == [both, both[:1], both[1:], both, []]
    for runset in runsets(spec):
        (group,) = runset["filters"]["filters"]
        assert (group["key"], group["op"], group["value"]) == ({"section": "run", "name": "group"}, "IN", ["sweep"])


@pytest.mark.slow
def test_grouping_is_by_keys_that_the_mirror_sends(stub, tmp_path):  # noqa: F811
    an_arm(tmp_path, "cosine", 0.001, mode="online")
    (page,) = stub.runs.values()
    for factor, value in (("schedule", "cosine"), ("seed", 0)):
        found = find([tmp_path])
        key = wandb.placed(found, compare(found)).config_key(factor)
        first, *rest = key.split(".")
        found = page.config[first]["value"]  # as `recipe.value.schedule` in a report
        for name in rest:
            found = found[name]
        assert found == value


@pytest.mark.slow
def test_runs_made_offline_are_sent_first_and_then_the_report_of_them(stub, tmp_path, capsys):  # noqa: F811
    root, out = a_sweep(tmp_path, mode="offline"), tmp_path / "out"
    with pytest.raises(ValueError, match=r"^W&B: none of the 4 runs is in stub/p; sync=true sends them; [^\n]*json$"):
        publish(root, out)
    assert stub.reports == []

    assert publish(root, out, sync=True) == [
        f"W&B: {stub.url}/stub/p/reports/sweep,-validation-loss-by-schedule-and-optim.lr--report-1"
    ]
    (saved,) = stub.reports
    assert set(saved["runs"]) == ids(root)
    assert all([row["train/step"] for row in page.history] == [10, 20] for page in stub.runs.values())
    assert (saved["entityName"], saved["projectName"]) == ("stub", "p")
    assert saved["spec"] == json.loads((out / "report.wandb.json").read_text())["spec"]
    for runset in runsets(saved["spec"]):
        assert runset["project"] == {"entityName": "stub", "name": "p", "id": "1"}
        group, id = runset["filters"]["filters"]
        assert group["value"] == ["sweep"]
        assert (id["key"], id["op"], set(id["value"])) == ({"section": "run", "name": "name"}, "IN", ids(root))
    links = re.findall(r"\((http[^)]*)\): finished", parts(saved["spec"], "markdown-block")[-1]["content"])
    assert {link.removeprefix(f"{stub.url}/stub/p/runs/") for link in links} == ids(root)
    assert len(re.findall(r"2 rows", capsys.readouterr().out)) == 4

    publish(root, out)  # again: the same report, not one more
    assert [report["id"] for report in stub.reports] == [None, "report-1"]


@pytest.mark.slow
def test_a_run_that_w_and_b_does_not_have_is_named(stub, tmp_path):  # noqa: F811
    root = tmp_path / "runs/sweep"
    root.mkdir(parents=True)
    an_arm(root, "cosine", 0.001, mode="online")
    an_arm(root, "constant", 0.001, mode="offline")
    an_arm(root, "warmup", 0.001)
    address, lacking = publish(root, tmp_path)
    assert address.startswith(f"W&B: {stub.url}/")
    assert lacking == (
        "2 of 3 runs are not in W&B: optim.lr=0.001,schedule=constant,seed=0, optim.lr=0.001,schedule=warmup,seed=0; "
        "sync=true sends those that have ended"
    )


@pytest.mark.slow
@pytest.mark.parametrize("when", ["refused at once", "refused at the end"])
def test_what_w_and_b_refuses_is_one_line_and_the_report_is_kept(stub, tmp_path, when, monkeypatch):  # noqa: F811
    root = tmp_path / "runs/sweep"
    root.mkdir(parents=True)
    an_arm(root, "cosine", 0.001, mode="online")
    if when == "refused at once":
        stub.fail = 401
    else:

        def refuse(asked):
            raise PermissionError("only its owner may write here")

        monkeypatch.setattr(stub, "answer_upsertView", refuse)
    with pytest.raises(
        ValueError, match=r"^W&B: [^\n]*(401|only its owner)[^\n]*; the report as it would be is in [^\n]*$"
    ):
        publish(root, tmp_path)
    assert json.loads((tmp_path / "report.wandb.json").read_text())["spec"]["blocks"]
    stub.errors.clear()


@pytest.mark.slow
def test_without_the_package_one_line_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    an_arm(tmp_path, "cosine", 0.001)
    with pytest.raises(ValueError, match=r'^[^\n]*pip install -c constraints.txt "gptx\[report\]"$'):
        publish(tmp_path, tmp_path)


def test_runs_of_two_projects_are_refused_by_name(tmp_path):
    an_arm(tmp_path, "cosine", 0.001, project="p")
    an_arm(tmp_path, "constant", 0.001, project="q")
    with pytest.raises(ValueError, match=r"several projects of W&B \(p, q\)"):
        publish(tmp_path, tmp_path)


def test_rates_stand_on_a_logarithmic_axis_and_depths_do_not():
    assert wandb.spans_much(["0.0003", "0.001", "0.01"])
    assert not wandb.spans_much(["2", "4", "8"])
    assert not wandb.spans_much(["0", "1", "100"])  # log 0
    assert not wandb.spans_much(["cosine", "1"])
    assert not wandb.spans_much(["1", "nan"])


def test_a_long_list_of_runs_is_cut():
    cell = Run(None, "a", "finished", {}, {"name": "sweep"})
    named = [replace(cell, name=str(number)) for number in range(8)]
    (line,) = wandb.Builder(named, None, "", "p", ["sweep"], {"7": "id"}).lacking
    assert line.startswith("7 of 8 runs are not in W&B: 0, 1, 2, 3, 4 and 2 more; ")
