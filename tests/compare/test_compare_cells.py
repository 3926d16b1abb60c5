"""Runs as their folders tell of them: what sets them apart, what they came to, and what cannot be read."""

import json
import math
from dataclasses import replace

import pytest
import yaml

from gptx.commands.diff import difference_lines
from gptx.compare import factors
from gptx.compare.collect import compare
from gptx.compare.effects import effects
from gptx.compare.outcomes import Comparison, Outcome, load_comparison
from gptx.compare.target import time_to
from gptx.compare.verdict import verdict
from gptx.config.errors import ConfigError
from gptx.runs.run import find

SCHEDULES = {
    "constant": {"_target_": "gptx.ingredients.schedule.constant"},
    "warmup": {"_target_": "gptx.ingredients.schedule.warmup", "warmup": 5, "total": 100},
    "cosine": {"_target_": "gptx.ingredients.schedule.cosine", "warmup": 5, "total": 100, "floor": 0.1},
    "cosine_no_warmup": {"_target_": "gptx.ingredients.schedule.cosine", "warmup": 0, "total": 100, "floor": 0.1},
}


@pytest.fixture
def keep(tmp_path):
    """keep("a", lr=1e-3, seed=1, losses=[3, 2]): a folder as such a run leaves it."""

    def make(
        name: str, *, schedule="cosine", lr=1e-3, seed=0, losses=(3.0, 2.5, 2.0), overrides=(), config=(), **record
    ):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        text = {"optim": {"_target_": "gptx.ingredients.optim.adam.adam", "lr": lr}, "schedule": SCHEDULES[schedule],
                "steps": 100, "seed": seed, "name": name, "data": {"seed": seed}}  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump(text | dict(config)))
        rows = [{"step": i + 1, "validation/loss": loss, "train/tokens": 100 * (i + 1), "train/tokens_per_second": 50.0}
                for i, loss in enumerate(losses)]  # fmt: skip
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        said = {"state": "finished", "choices": {"optim": "adamw", "schedule": schedule}, "overrides": list(overrides),
                "data": {"digest": "d" * 64, "tokenizer": "bytes"}, "versions": {"torch": "2.13"},
                "memory": {"measured": 10**6}}  # fmt: skip
        (folder / "run.json").write_text(json.dumps(said | record))
        return folder

    return make


def test_what_was_swept_is_what_sets_runs_apart_and_seeds_and_names_are_not(keep):
    for seed in (0, 1):
        for schedule in SCHEDULES:
            for lr in (1e-2, 3e-4):
                keep(f"sweep/{schedule},{lr},{seed}", schedule=schedule, lr=lr, seed=seed, overrides=[f"schedule={schedule}", f"optim.lr={lr}"])  # fmt: skip
    root = keep("sweep/later", seed=2, lr=1e-2).parent
    found = factors.factors(find([root]))
    assert list(found) == ["schedule", "optim.lr"]
    assert set(found["schedule"]) == set(SCHEDULES)
    assert found["optim.lr"] == ["0.0003", "0.01"]


def test_a_schedule_is_known_by_whether_it_rises_and_falls(keep):
    folders = [keep(f"s/{name}", schedule=name, overrides=[f"schedule={name}"]) for name in SCHEDULES]
    found = compare(find([folders[0].parent]))
    assert found.traits["schedule"] == {
        "constant": {"warmup": False, "cool-down": False},
        "warmup": {"warmup": True, "cool-down": False},
        "cosine": {"warmup": True, "cool-down": True},
        "cosine_no_warmup": {"warmup": False, "cool-down": True},
    }
    assert any("contribute" in table.title for table in verdict(found).tables)


def test_a_schedule_of_another_library_or_of_two_shapes_has_no_traits(keep):
    other = {"schedule": {"_target_": "mylib.ramp"}}
    keep("o/a", schedule="constant", config=other, overrides=["schedule=constant"])
    root = keep("o/b", schedule="warmup", overrides=["schedule=warmup"]).parent
    assert compare(find([root])).traits == {}
    longer = {"schedule": SCHEDULES["warmup"] | {"warmup": 0}}
    keep("p/a", schedule="warmup", overrides=["schedule=warmup"])
    keep("p/b", schedule="warmup", overrides=["schedule=warmup"], config=longer)
    root = keep("p/c", schedule="constant", overrides=["schedule=constant"]).parent
    assert "schedule" not in compare(find([root])).traits


def test_the_outcome_of_a_run_is_its_last_value_its_time_and_its_memory(keep):
    found = compare(find([keep("a", losses=[3.0, 2.5, 2.25])]))
    (only,) = found.outcomes
    assert (only.value, only.seconds, only.tokens_per_second, only.peak_bytes) == (2.25, 6.0, 50.0, 10**6)
    assert found.environment.pop("recipe")
    assert found.environment == {"data": "d" * 12, "tokenizer": "bytes", "torch": "2.13", "uncommitted changes": False}


@pytest.mark.parametrize(("record", "losses", "value"), [
    ({"state": "failed", "diverged": True}, [3.0], math.nan),
    ({"state": "failed"}, [3.0, math.nan], math.nan),
    ({"state": "failed", "error": "disk"}, [3.0], None),
    ({"state": "interrupted"}, [3.0], None),
    ({}, [3.0, math.inf], math.inf),
])  # fmt: skip
def test_a_run_that_diverged_is_told_from_one_that_did_not_end(keep, record, losses, value):
    found = find([keep("a", losses=losses, **record)])[0].result("validation/loss")
    assert found is value or found == value or (math.isnan(found) and math.isnan(value))


def test_a_finished_run_that_was_not_validated_at_its_end_has_no_result(keep):
    folder = keep("a", losses=[3.0, 2.5])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "train/loss": 2.0, "train/tokens": 300, "train/tokens_per_second": 50.0}\n')
    (found,) = find([folder])
    assert (found.result("validation/loss"), found.result("train/loss")) == (None, 2.0)
    assert compare([found]).outcomes[0].value is None
    assert "Finished without validation/loss at the end, and left out: The run, seed 0." in " ".join(
        verdict(compare([found])).warnings
    )


def test_cells_of_a_sweep_that_did_not_begin_are_missing(keep):
    root = keep("s/a", lr=1e-3, overrides=["optim.lr=1e-3"]).parent
    keep("s/b", lr=1e-2, overrides=["optim.lr=1e-2"])
    (root / "sweep.jsonl").write_text('{"folder": "a"}\n{"folder": "b"}\n{"folder": "c"}\n')
    assert compare(find([root])).missing == ["c"]


def test_a_folder_without_runs_beside_one_with_runs_is_a_problem_in_one_line(keep, tmp_path):
    run = keep("s/a")
    (tmp_path / "pictures").mkdir()
    found = compare(find([run.parent, tmp_path / "pictures"]))
    assert [outcome.value for outcome in found.outcomes] == [2.0]
    assert found.problems == [f"{tmp_path / 'pictures'}: no run there; left out."]


@pytest.mark.parametrize(("name", "words"), [("missing", "no such folder"), ("empty", "no run there")])
def test_no_run_at_all_is_refused_in_one_line(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=words) as error:
        find([tmp_path / name])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("file", "words"), [("run.json", "cannot be read"), ("config.yaml", "config.yaml cannot be read")])  # fmt: skip
def test_a_run_that_cannot_be_read_is_named_and_the_rest_compared(keep, file, words):
    root = keep("s/a", overrides=["optim.lr=1e-3"]).parent
    broken = keep("s/b", lr=1e-2, overrides=["optim.lr=1e-2"])
    (broken / file).write_text("{ no: [such, thing")
    found = compare(find([root]))
    assert [outcome.value for outcome in found.outcomes] == [2.0]
    assert len(found.problems) == 1
    assert found.problems[0].startswith("b: ")
    assert words in found.problems[0]
    assert "\n" not in found.problems[0]
    assert found.missing == []


def test_a_line_that_was_cut_is_told_and_left_out(keep):
    folder = keep("a", losses=[3.0, 2.5])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "validation/lo')
    found = compare(find([folder]))
    assert found.outcomes[0].value == 2.5
    assert found.problems == ["a: 1 of the lines of metrics.jsonl cannot be read; left out."]


def test_a_metric_that_no_run_has_is_refused_with_those_there_are(keep):
    with pytest.raises(
        ValueError, match="no run has the metric validation/bits; recorded: validation/loss, train/tokens"
    ):
        compare(find([keep("a")]), "validation/bits")


def test_an_arm_without_the_metric_is_named_and_the_rest_compared(keep):
    root = keep("s/a", lr=1e-3, overrides=["optim.lr=1e-3"]).parent
    keep("s/b", lr=1e-2, losses=[], overrides=["optim.lr=1e-2"])
    found = verdict(compare(find([root])))
    assert "Finished without validation/loss at the end, and left out: learning rate 0.01, seed 0." in found.warnings
    assert found.headline == "No two arms have a validation loss to compare."


def test_a_value_that_differs_beside_the_swept_one_is_named(keep):
    root = keep("s/a", lr=1e-3, overrides=["optim.lr=1e-3"], config={"clip": {"max_norm": 1.0}}).parent
    keep("s/b", lr=1e-2, overrides=["optim.lr=1e-2"], config={"clip": {"max_norm": 2.0}})
    found = compare(find([root]))
    assert found.factors == {"optim.lr": ["0.001", "0.01"]}
    assert found.confounded == ["clip.max_norm is 1 or 2"]


def test_runs_that_hold_out_another_part_of_one_text_are_not_to_be_compared(keep):
    text = {"digest": "d" * 64, "tokenizer": "bytes"}
    root = keep("s/a", lr=1e-3, overrides=["optim.lr=1e-3"], data=text | {"validation_tokens": 9_000}).parent
    keep("s/b", lr=1e-2, overrides=["optim.lr=1e-2"], data=text | {"validation_tokens": 8_000})
    found = verdict(compare(find([root])))
    assert found.headline == "These results cannot be compared: the runs are not of the same text."
    assert any("hold out 9,000 or 8,000 tokens" in warning for warning in found.warnings)
    assert "8,000 tokens held out" in "\n".join(difference_lines(*find([root])))


@pytest.mark.parametrize("same", [True, False])
def test_a_key_of_another_version_that_does_not_change_the_text_is_no_factor(keep, same):
    """Where a text is, and a separator that does not occur in it, tell nothing of runs that read the same."""
    before, now = {"path": "here.txt", "seed": 0}, {"path": "there.txt", "separator": "<|endoftext|>", "seed": 0}
    root = keep("s/a", lr=1e-3, overrides=["optim.lr=1e-3", "data.path=here.txt"], config={"data": before}).parent
    data = {"digest": ("d" if same else "e") * 64, "tokenizer": "bytes"}
    keep("s/b", lr=1e-2, overrides=["optim.lr=1e-2", "data.path=there.txt"], data=data,
         config={"data": now, "record_patch": True})  # fmt: skip
    found = compare(find([root]))
    assert list(found.factors) == (["optim.lr"] if same else ["data.path"])
    assert not same or not found.confounded
    keys = "\n".join(difference_lines(*find([root])))
    assert ("data.separator" in keys, "data.path" in keys, "optim.lr" in keys) == (not same, not same, True)


def test_an_ingredient_that_changes_beside_the_swept_one_is_named(keep):
    def arm(name, optim, decay, weight_decay):
        choices = {"optim": optim, "schedule": "cosine", "decay": decay}
        return keep(name, overrides=[f"optim={optim}", f"decay={decay}", f"optim.weight_decay={weight_decay}"],
                    choices=choices, config={"optim": {"lr": 1e-3, "weight_decay": weight_decay}})  # fmt: skip

    root = arm("s/a", "adamw", "matrices", 0.1).parent
    arm("s/b", "lion", "everything", 0.0)
    found = compare(find([root]))
    assert found.factors == {"optim": ["adamw", "lion"]}
    assert found.confounded == ["decay is matrices or everything", "optim.weight_decay is 0 or 0.1"]


def test_a_length_that_was_typed_beside_the_swept_rate_is_named(keep):
    def arm(name, lr, warmup):
        length = {"schedule": SCHEDULES["cosine"] | {"warmup": warmup}}
        return keep(name, lr=lr, overrides=[f"optim.lr={lr}", f"schedule.warmup={warmup}"], config=length)

    root = arm("s/a", 1e-3, 5).parent
    arm("s/b", 1e-2, 50)
    assert compare(find([root])).confounded == ["schedule.warmup is 5 or 50"]


@pytest.mark.parametrize(("steps", "told"), [((2000, 500, 31), []), ((2000, 500, 40), ["steps is 40 or 500 or 2000"])])
def test_steps_that_follow_from_equal_tokens_are_no_confounder_and_others_are(keep, steps, told):
    for tokens, length in zip((192, 768, 12288), steps, strict=True):
        batch = {"steps": length, "batch": {"tokens": tokens}}
        folder = keep(f"s/{tokens}", config=batch, overrides=[f"steps={length}", f"batch.tokens={tokens}"])
    found = compare(find([folder.parent]))
    assert found.factors == {"batch.tokens": ["192", "768", "12288"]}
    assert found.confounded == told


@pytest.mark.parametrize(("orders", "told"), [((0, 7), ["data.seed is 0 or 7 with the same seed"]), ((7, 7), [])])
def test_another_order_of_the_batches_is_a_confounder(keep, orders, told):
    for lr, order in zip((1e-3, 1e-2), orders, strict=True):
        data = {"data": {"seed": order}}
        folder = keep(f"s/{lr}", lr=lr, config=data, overrides=[f"optim.lr={lr}", f"data.seed={order}"])
    assert compare(find([folder.parent])).confounded == told


def test_a_finished_run_of_fewer_steps_than_asked_for_says_where_it_ended(keep):
    root = keep("s/a", lr=1e-3, step=3, overrides=["optim.lr=1e-3"], config={"steps": 3}).parent
    keep("s/b", lr=1e-2, step=3, overrides=["optim.lr=1e-2"], config={"steps": 5})
    found = compare(find([root]))
    assert [outcome.ended_at for outcome in found.outcomes] == [None, 3]
    assert verdict(found).sentences[0].endswith("1 run ended early.")


def test_a_loss_that_was_measured_before_the_end_is_no_result(keep):
    """As of a run that was resumed without validation."""
    root = keep("s/a", lr=1e-3, step=3, overrides=["optim.lr=1e-3"]).parent
    stale = keep("s/b", lr=1e-2, step=9, overrides=["optim.lr=1e-2"])
    with (stale / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "train/loss": 1.0}\n')
    found = compare(find([root]))
    assert [outcome.value for outcome in found.outcomes] == [2.0, None]
    assert "Finished without validation/loss at the end, and left out: learning rate 0.01, seed 0." in verdict(found).warnings  # fmt: skip


def test_results_that_were_kept_before_a_run_said_where_it_ended_are_read(tmp_path):
    kept = Comparison("validation/loss", {"optim": ["a"]}, [Outcome({"optim": "a"}, 0, "finished", 2.5)])
    kept.save(tmp_path / "results.json")
    text = (tmp_path / "results.json").read_text()
    (tmp_path / "results.json").write_text(text.replace(', "ended_at": null', ""))
    assert "ended_at" not in (tmp_path / "results.json").read_text()
    assert load_comparison(tmp_path / "results.json") == kept


def test_a_schedule_that_one_optimizer_alone_was_given_is_no_factor_but_named(keep):
    for optim, schedule in (("adamw", "cosine"), ("muon", "cosine"), ("schedule_free", "warmup")):
        for lr in (1e-3, 1e-2):
            root = keep(f"own/{optim},{lr}", schedule=schedule, lr=lr, choices={"optim": optim, "schedule": schedule},
                        overrides=[f"optim={optim}", f"schedule={schedule}", f"optim.lr={lr}"]).parent  # fmt: skip
    found = compare(find([root]))
    assert list(found.factors) == ["optim", "optim.lr"]
    assert found.confounded == ["schedule is cosine or warmup"]


def test_which_way_a_metric_of_one_s_own_goes_is_what_its_observer_recorded_or_what_is_asked(keep):
    for rate in (1e-3, 1e-2):
        root = keep(f"own/{rate}", lr=rate, better={"mine/accuracy": "higher"}).parent
        (root / str(rate) / "metrics.jsonl").write_text(json.dumps({"step": 1, "mine/accuracy": rate, "mine/odd": 1}))
    found = find([root])
    assert compare(found, "mine/accuracy").better == "higher"
    assert compare(found, "mine/accuracy", "lower").better == "lower"
    with pytest.raises(
        ConfigError, match=r"^metric=mine/odd: nothing says whether higher or lower is better; add better="
    ):
        compare(found, "mine/odd")
    with pytest.raises(ConfigError, match=r"^better=up: higher or lower$"):
        compare(found, "mine/odd", "up")
    apart = keep("own/other", lr=3e-2, better={"mine/accuracy": "lower"}, losses=()).parent
    with pytest.raises(ConfigError, match="runs disagree whether higher or lower is better"):
        compare(find([apart]), "mine/accuracy")


@pytest.mark.parametrize("kept", ["higher", ""])
def test_results_of_a_metric_of_one_s_own_keep_its_way_and_old_ones_ask_for_it(tmp_path, kept):
    arms = [Outcome({"optim": name}, 0, "finished", value) for name, value in (("a", 0.2), ("b", 0.9), ("c", 0.1))]
    Comparison("mine/accuracy", {"optim": ["a", "b", "c"]}, arms, better=kept).save(tmp_path / "results.json")
    if kept:
        found = effects(load_comparison(tmp_path / "results.json"))
        assert [arm.levels["optim"] for arm in found.settings[0].arms] == ["b", "a", "c"]
    else:
        with pytest.raises(ValueError, match="metric=mine/accuracy: nothing says whether higher or lower is better"):
            load_comparison(tmp_path / "results.json")


def test_results_are_kept_as_json_that_any_reader_takes_and_come_back_as_they_were(tmp_path):
    kept = Comparison("validation/loss", {"optim": ["a", "b"]}, [
        Outcome({"optim": "a"}, 0, "finished", 2.5, 1.0, 2.0, 3), Outcome({"optim": "b"}, 0, "failed", math.nan),
        Outcome({"optim": "b"}, 1, "running", None),
    ], missing=["c"], environment={"torch": "2.13"}, baseline={"optim": "b"})  # fmt: skip
    kept.save(tmp_path / "results.json")
    json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    again = load_comparison(tmp_path / "results.json")
    assert math.isnan(again.outcomes[1].value)
    assert repr(again) == repr(kept)
    assert math.isnan(again.outcomes[1].value)


@pytest.mark.parametrize("text", ["{}", "[1]", '{"adamw": {"1": 2.0}}', "no json"])
def test_results_of_another_shape_are_refused_in_one_line(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"results.json: no results of a comparison"):
        load_comparison(tmp_path / "results.json")


def test_runs_of_one_seed_that_differ_in_the_order_of_their_batches_are_paired_by_that(keep):
    for optim, shift in (("adamw", 0.0), ("muon", -0.1)):
        for order in (1, 2, 3):
            folder = keep(f"s/{optim}{order}", losses=(2.0 + order + shift + 0.001 * order * (not shift),), config={"data": {"seed": order}},
                          choices={"optim": optim, "schedule": "cosine"})  # fmt: skip
    found = compare(find([folder.parent]))
    assert {each.seed for each in found.outcomes} == {1, 2, 3}
    assert not found.confounded
    (muon,) = effects(found).effects
    assert muon.mean == pytest.approx(-0.102)
    assert muon.estimate.n == 3
    assert muon.estimate.high < -0.095


def ablation(keep, note: dict[str, dict], **levels) -> list:
    """The runs of a sweep, with what its manifest notes of them; `levels`: by folder, optimizer, seed and losses."""
    for name, (optim, seed, losses) in levels.items():
        folder = keep(f"s/{name}", losses=losses, seed=seed, choices={"optim": optim, "schedule": "cosine"})
    return [replace(run, noted=note.get(run.name, {})) for run in find([folder.parent])]


def test_runs_of_other_lengths_and_on_fresh_seeds_are_no_arms_of_their_own(keep):
    note = {"base": {"arm": "", "design": "ablate", "command": "python -m gptx.train"}, "muon": {"arm": "optim=muon", "design": "ablate"},
            "half": {"arm": "", "length": 0.5}, "again": {"arm": "optim=muon", "confirm": True}}  # fmt: skip
    runs = ablation(keep, note, base=("muon", 0, [2.5]), muon=("adamw", 0, [2.0]), half=("muon", 0, [3.0]), again=("adamw", 9, [2.1]))  # fmt: skip
    found = compare(runs)
    assert [(run.levels, run.value) for run in found.outcomes] == [({"optim": "muon"}, 2.5), ({"optim": "adamw"}, 2.0)]
    assert [(run.levels, run.value) for run in found.lengths] == [({"optim": "muon"}, 3.0)]
    assert [(run.levels, run.seed) for run in found.confirmed] == [({"optim": "adamw"}, 9)]
    assert (found.design, found.commands, found.baseline) == ("ablate", ["python -m gptx.train"], {"optim": "muon"})
    assert [effect.things for effect in effects(found).effects] == [(("optim", "adamw"),)]


def test_two_bases_in_one_folder_are_a_warning(keep):
    note = {"a": {"arm": ""}, "b": {"arm": ""}}
    found = compare(ablation(keep, note, a=("adamw", 0, [2.5]), b=("muon", 0, [2.0])))
    assert found.problems == ["The base differs between the sweeps of this folder (optim is adamw or muon); arms are compared with the first."]  # fmt: skip


def test_steps_and_seconds_to_a_target_are_those_of_a_common_step_and_who_does_not_reach_it_is_said(keep):
    """A step takes two seconds; with two seeds 0.02 apart the mean must be 0.318 below (a t of 31.8, one-sided 1 %)."""
    falling = {"adamw": [3.0, 2.4, 2.05, 1.9, 1.6], "muon": [2.5, 1.6, 1.5, 1.4, 1.3], "sgd": [3.0, 2.9, 2.8, 2.7, 2.6]}
    names = {f"{optim}{seed}": (optim, seed, [x + 0.02 * seed for x in losses]) for optim, losses in falling.items() for seed in (0, 1)}  # fmt: skip
    names["lion0"] = ("lion", 0, [1.0])
    runs = ablation(keep, {}, **names)
    comparison = compare(runs)
    table = time_to("2.0", runs, comparison)
    assert {row[0]: row[1:] for row in table.rows} == {
        "adamw": ("5", "10.0", "2"),
        "muon": ("2", "4.0", "2"),
        "sgd": ("not reached", "-", "2"),
        "lion": ("one seed", "-", "1"),
    }
    assert "p < 0.01" in table.note
    with pytest.raises(ValueError, match=r"target=0.5: no arm's mean of validation/loss is below it .*; the best value of a run is 1.0000"):  # fmt: skip
        time_to("0.5", runs, comparison)
    with pytest.raises(ValueError, match=r"target=low: a value of validation/loss, such as 1.8"):
        time_to("low", runs, comparison)
    single = [run for run in runs if run.seed == 0]
    with pytest.raises(ValueError, match=r"target=2.0: at least two seeds an arm are needed"):
        time_to("2.0", single, compare(single))
