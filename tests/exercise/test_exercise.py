"""The answers to the tutorial's code exercises: right where they pass, and failing where the recipe is made wrong."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from conftest import TINY

from gptx.config import arguments
from gptx.exercise import steps, whole
from gptx.exercise.__main__ import exercise
from gptx.exercise.answer import Answer, answer_page, write_answer
from gptx.exercise.training import last_of_each, time_ratio
from gptx.show.plots import bars, save

SMALL = [word for word in TINY if not word.startswith(("steps", "log", "batch", "observe"))]


def drawn(found: Answer, file: Path) -> bool:
    save(file, found.title, *found.drawings)
    return file.read_bytes().startswith(b"\x89PNG")


def test_eleven_gives_the_mean_rates_of_the_closed_form(tmp_path):
    found = steps.schedules(tmp_path, "steps=1000", "schedule.warmup=50,200")
    assert found.passed
    for warmup in (50, 200):
        rates = [
            step / warmup if step < warmup else 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (1000 - warmup))
            for step in range(1, 1001)
        ]
        assert found.measured[f"warmup {warmup}: mean learning rate of the run, of the peak"] == pytest.approx(
            sum(rates) / 1000
        )
        assert found.measured[f"warmup {warmup}: peak reached at step"] == rates.index(max(rates)) + 1


@pytest.mark.slow
def test_eleven_corrects_the_tutorials_learning_rate_by_the_formula(tmp_path):
    found = steps.schedules(tmp_path, "schedule.warmup=2000")
    assert f"{3e-4 * 0.5 * (1 + math.cos(math.pi * 48 / 98)):.2e}" in found.tutorial
    assert "1.51e-04" in found.tutorial
    assert drawn(found, tmp_path / "figure.png")


def test_eleven_fails_for_a_schedule_that_does_not_end_at_zero(tmp_path):
    assert not steps.schedules(tmp_path, "steps=1000", "schedule.warmup=50", "schedule.floor=0.1").passed


@pytest.mark.slow
def test_twelve_counts_two_matrices_of_attention_and_two_of_the_mlp_a_block(tmp_path):
    found = steps.decay_groups(tmp_path, "model.depth=3")
    assert found.passed
    assert found.measured["decay=no_embeddings: tensors decayed"] == 3 * 4
    assert found.measured["decay=matrices: tensors decayed"] == 3 * 4 + 2  # of tokens, of positions
    assert any("blocks.2.mlp.up.weight" in line for line in found.details)
    assert drawn(found, tmp_path / "figure.png")


def test_twelve_fails_where_gains_and_biases_are_decayed(tmp_path):
    assert not steps.decay_groups(tmp_path, "decay=everything").passed


@pytest.mark.slow
def test_thirteen_passes_with_the_clipping_of_gptx_and_fails_with_one_that_forgets_a_tensor(tmp_path, monkeypatch):
    found = steps.clipping(tmp_path)
    assert found.passed
    assert found.measured["gradients clipped"] == found.measured["gradients left alone"] == steps.DRAWS // 2
    assert drawn(found, tmp_path / "figure.png")

    def forgetful(parameters, *, max_norm):
        return torch.nn.utils.clip_grad_norm_(parameters[:-1], max_norm)

    monkeypatch.setattr("gptx.ingredients.clip.scratch", forgetful)
    assert not steps.clipping(tmp_path).passed


@pytest.mark.slow
def test_sixteen_finds_the_same_gradient_and_a_control_without_the_division_four_times_as_large(tmp_path, corpus):
    found = steps.accumulation(
        tmp_path, *SMALL, f"data.path={corpus}", "batch.tokens=512", "observe.validation.windows=8"
    )
    assert found.passed
    assert found.measured["relative difference of all gradients"] > 0  # they were not one and the same
    assert found.measured["control, without the division by 4"] == pytest.approx(3, abs=1e-5)
    assert drawn(found, tmp_path / "figure.png")


def test_a_state_is_equal_to_itself_and_not_to_one_with_another_bit():
    state = {"model": {"a": torch.ones(3)}, "rng": [(1, [2, 3])]}
    assert whole.equal(state, {"model": {"a": torch.ones(3)}, "rng": [(1, [2, 3])]})
    assert not whole.equal(state, {"model": {"a": torch.ones(3) * (1 + 2**-23)}, "rng": [(1, [2, 3])]})
    assert not whole.equal(state, {"model": {"a": torch.ones(3)}, "rng": [(1, [2, 4])]})
    assert not whole.equal(state, {"model": {"a": torch.ones(3)}})


def test_what_the_user_adds_wins_over_what_the_exercise_says():
    assert last_of_each(("data=stdlib", "steps=9", "+data=text", "steps=3")) == ["+data=text", "steps=3"]


def test_every_exercise_is_listed_with_its_question(capsys):
    exercise()
    shown = capsys.readouterr().out
    assert [int(number) for number in re.findall(r"^(\d\d)  \w.*[?.]$", shown, re.MULTILINE)] == list(range(11, 21))


def test_a_failed_answer_is_told_and_ends_with_one(monkeypatch, tmp_path, capsys):
    def clipping(folder):
        """Is it?"""
        return Answer("looked", {"number": 0.5, "seen": True}, "above 1", False, [bars("n", {"a": 1})], "", "says 2")

    monkeypatch.setattr(steps, "clipping", clipping)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        arguments.call(exercise, ["13", "out=x.png"])
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    for said in ("Is it?", "number  0.5", "seen    yes", "above 1", "FAILED", "tutorial    says 2", "x.png"):
        assert said in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eleven"], "NUMBER: 'eleven' is not a valid int"),
        (["10"], "exercise 10: 11 to 20 are answered here"),
        (["13", "steps=3"], "exercise 13 trains nothing: steps=3"),
        (["14", "--ful"], "'--ful' is no override of gptx.train; known: full=true, out=, readme="),
        (["14", "full=true"], "exercise 14 has no full form"),
        (["13", "out=figure.pdf"], "out=figure.pdf: a .png or .svg file"),
        (["12", "model.heads=5"], "model.heads=5 does not divide"),
    ],
)
def test_bad_input_is_one_line(words, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=re.escape(message)):
        arguments.call(exercise, words)


def test_the_page_of_an_experiment_keeps_its_words_and_takes_the_numbers_between_its_marks(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(
        "**Question.** Is it?\n\n<!-- exercise: written by x -->\nold 7\n<!-- /exercise -->\n\n**Verdict.** It is.\n"
    )
    told = Answer("looked twice", {"size": 1234, "share": 0.25}, "above 0", True, [])
    wrote = told, 13, "Is it?", tmp_path / "seen.png", tmp_path
    write_answer(*wrote)
    text = file.read_text()
    assert text.startswith("**Question.** Is it?")
    assert text.endswith("**Verdict.** It is.\n")
    assert "old 7" not in text
    for said in ("| size | 1,234 |", "| share | 0.25 |", "**Passed**: above 0.", "](seen.png)", "gptx exercise 13"):
        assert said in text
    facts = json.loads((tmp_path / "results.json").read_text())
    assert facts["measured"] == told.measured
    assert answer_page(facts) in text  # results.json says all of it
    write_answer(*wrote)
    assert file.read_text() == text  # written twice, it is as written once
    (tmp_path / "results.json").write_text('{"factors": {}}')
    write_answer(*wrote)
    assert (tmp_path / "results.json").read_text() == '{"factors": {}}'  # of a sweep
    assert json.loads((tmp_path / "exercise_13.json").read_text())["passed"]
    file.write_text("no marks")
    with pytest.raises(ValueError, match="no place for the exercise"):
        write_answer(*wrote)


def test_a_number_that_is_none_is_a_word_in_the_results_which_any_reader_of_json_takes(tmp_path):
    (tmp_path / "README.md").write_text("<!-- exercise: written by x -->\n<!-- /exercise -->\n")
    measured = {"loss": math.nan, "norm": math.inf, "rate": 0.5}
    write_answer(Answer("looked", measured, "above 0", False, []), 13, "Is it?", tmp_path / "seen.png", tmp_path)
    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    words = {"loss": "nan", "norm": "inf"}
    assert read["measured"] == {"loss": None, "norm": None, "rate": 0.5, "nonfinite": words}


def test_a_ratio_of_times_is_taken_turn_by_turn_so_that_a_slow_turn_disturbs_both_sides():
    # seconds by the clock and of the processor; in the second turn the machine was ten times slower
    slow, quick = [(1.3, 1.2), (13.0, 1.2), (1.3, 1.2)], [(1.0, 1.0), (10.0, 1.0), (1.0, 1.0)]
    assert time_ratio(slow, quick) == pytest.approx({"clock": 1.3, "low": 1.3, "high": 1.3, "processor": 1.2})
