"""What a README says of results is made of its results.json, and of nothing else."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from gptx.compare.effects import effects
from gptx.compare.factors import axes, axis
from gptx.compare.figure import figure
from gptx.compare.outcomes import Comparison, Outcome, load_comparison
from gptx.compare.verdict import verdict
from gptx.config import paths
from gptx.report import readme
from gptx.show import marked

EXPERIMENTS = [file.parent for file in sorted((Path(paths.CONF).parent / "experiments").glob("*/results.json"))
               if marked.command(file.parent / "README.md", readme.KIND)]  # fmt: skip
COMMAND = "python -m gptx report runs/rates readme=experiments/rates"
RATES = Comparison(
    "validation/loss",
    {"optim": ["adamw", "muon"], "optim.lr": ["0.001", "0.01"]},
    [Outcome({"optim": o, "optim.lr": lr}, seed, "finished", 2.0 + 0.1 * seed - 0.5 * (o == "muon") + 0.01 * len(lr))
     for o in ("adamw", "muon") for lr in ("0.001", "0.01") for seed in (0, 1)],
    environment={"date": "2026-01-02", "hardware": "cpu x86_64", "threads": 1, "commit": "abc", "torch": "2.13"},
)  # fmt: skip


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> Path:
    """An experiment's folder; pictures, which take long, are a few bytes."""
    monkeypatch.setattr(readme, "figure", lambda found, part: part.write_bytes(b"\x89PNG"))
    (tmp_path / "README.md").write_text(
        f"# rates\n\nby hand <!-- kept -->\n\n<!-- results: written by {COMMAND} -->\nold\n<!-- /results -->\n\nalso by hand\n"
    )
    return tmp_path


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=[folder.name for folder in EXPERIMENTS])
def test_the_headline_of_a_shipped_experiment_has_at_most_25_words_and_says_one_thing(folder):
    said = verdict(load_comparison(folder / "results.json"))
    assert len(said.headline.split()) <= 25, said.headline
    assert re.fullmatch(r"([A-Z0-9]|adam_l2).*[^.]\.", said.headline)
    assert said.headline.count(";") <= 1
    assert max(map(len, said.sentences), default=0) < 400


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=[folder.name for folder in EXPERIMENTS])
def test_the_results_in_a_readme_are_those_of_its_results_json(folder):
    kept = load_comparison(folder / "results.json")
    assert marked.parts(folder / "README.md", readme.KIND)[1].strip() == readme.page_markdown(kept, verdict(kept)), (
        f"python -m gptx pages experiments/{folder.name} writes it anew"
    )
    assert (folder / readme.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_index_of_experiments_is_made_of_their_pages():
    root = Path(paths.CONF).parent / "experiments"
    rows = marked.parts(root / "README.md", readme.INDEX)[1].strip()
    assert rows == readme.index(root), "python -m gptx pages experiments/* writes it anew"
    assert len(rows.splitlines()) - 2 == len(list(root.glob("*/README.md")))
    assert not re.search(r"\| +\|", rows.replace("| Not run. |  |", "")), "a page without question or answer"


def test_what_was_written_by_hand_is_kept_and_the_rest_replaced(experiment):
    readme.write_page(RATES, verdict(RATES), experiment)
    text = (experiment / "README.md").read_text()
    assert text.startswith(f"# rates\n\nby hand <!-- kept -->\n\n<!-- results: written by {COMMAND} -->\n")
    assert text.endswith("<!-- /results -->\n\nalso by hand\n")
    assert "\nold\n" not in text
    assert verdict(RATES).headline in text
    assert "2026-01-02, cpu x86_64, threads 1, commit abc, torch 2.13" in text
    assert (experiment / "result.png").read_bytes().startswith(b"\x89PNG")
    assert not [file for file in experiment.iterdir() if "part" in file.name]


def test_written_again_from_the_results_it_is_the_same_also_with_another_baseline(experiment):
    readme.write_page(RATES, verdict(RATES, "muon"), experiment)
    before = (experiment / "README.md").read_text()
    assert "Base: muon." in before
    assert "adamw instead of muon" in before
    readme.rewrite(experiment)
    assert (experiment / "README.md").read_text() == before


def test_a_page_leaves_out_a_table_also_when_it_is_written_again_and_its_command_names_it(experiment):
    fewer = replace(RATES, without=["levels", "effects"])
    whole, less = ([each.title for each in verdict(each).tables] for each in (RATES, fewer))
    assert less == [title for title in whole if "by optim" not in title and "What each" not in title]
    assert len(less) == len(whole) - 2
    readme.write_page(fewer, verdict(fewer), experiment)
    before = (experiment / "README.md").read_text()
    assert f"<!-- results: written by {COMMAND} without=levels,effects -->" in before
    assert "### All arms" in before
    assert not re.search(r"### .*(What each|by optim)", before)
    readme.rewrite(experiment)
    assert (experiment / "README.md").read_text() == before
    readme.write_page(RATES, verdict(RATES), experiment)
    assert f"<!-- results: written by {COMMAND} -->" in (experiment / "README.md").read_text()
    with pytest.raises(ValueError, match=r"^without=spede: no such table; there are effects, levels, arms, speed$"):
        verdict(replace(RATES, without=["spede"]))


def test_the_numbers_follow_the_results(experiment):
    readme.write_page(RATES, verdict(RATES), experiment)
    facts = json.loads((experiment / "results.json").read_text())
    facts["outcomes"][0]["value"] += 7
    (experiment / "results.json").write_text(json.dumps(facts))
    readme.rewrite(experiment)
    assert re.search(r"\| adamw \| 5\.6", (experiment / "README.md").read_text())


@pytest.mark.parametrize(("text", "words"), [
    (None, "no such file"), ("# rates\n", "no place for the results"),
    ("<!-- results: written by x -->\nold\n", "no place for the results"),
])  # fmt: skip
def test_a_readme_without_a_place_for_results_is_refused_before_anything_is_written(tmp_path, text, words):
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        readme.write_page(RATES, verdict(RATES), tmp_path)
    assert "\n" not in str(error.value)
    assert {file.name for file in tmp_path.iterdir()} <= {"README.md"}


def test_a_write_that_fails_leaves_what_was_there(experiment, monkeypatch):
    readme.write_page(RATES, verdict(RATES), experiment)
    before = {file.name: file.read_bytes() for file in experiment.iterdir()}
    monkeypatch.setattr(Comparison, "save", lambda self, part: (part.write_text("half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        readme.write_page(replace(RATES, metric="validation/perplexity"), verdict(RATES), experiment)
    assert {file.name: file.read_bytes() for file in experiment.iterdir()} == before


def test_a_bar_in_a_level_does_not_break_the_table():
    odd = Comparison("validation/loss", {"data.path": ["a|b", "c"]}, [Outcome({"data.path": p}, 0, "finished", 2.0) for p in ("a|b", "c")])  # fmt: skip
    tables = re.findall(r"(?:^\|.*\n?)+", readme.page_markdown(odd, verdict(odd)), re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("factors", [{}, {"precision": ["fp32", "bf16"]}, {"optim.lr": ["0.001", "0.1"], "model": ["nano", "a"]}])  # fmt: skip
def test_any_comparison_has_a_figure(tmp_path, factors):
    outcomes = [Outcome({k: v[i % 2] for k, v in factors.items()}, i, "finished", value) for i, value in enumerate([2.0, float("nan"), 2.1, 2.2])]  # fmt: skip
    found = effects(Comparison("validation/loss", factors, outcomes))
    figure(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    figure(found, tmp_path / "a.svg")
    assert "diverged 1 of 2" in (tmp_path / "a.svg").read_text() or not factors


WIDTHS, RATE, FACTOR = ["32", "64"], ["0.001", "0.01"], ["0.333", "1"]


@pytest.mark.parametrize(
    ("factors", "across"),
    [
        ({"parametrization": ["standard", "mup"], "model.width": WIDTHS, "optim.lr": RATE}, "optim.lr"),
        ({"optim.lr": RATE, "parametrization": ["standard", "mup"], "model.width": WIDTHS}, "optim.lr"),
        ({"parametrization.rates.all": FACTOR, "optim": ["adamw", "muon"], "batch.tokens": WIDTHS}, "parametrization.rates.all"),
        ({"batch.tokens": WIDTHS, "batch.rule": ["sqrt", "linear"]}, "batch.tokens"),
        ({"model.width": WIDTHS, "model.depth": ["2", "4"]}, "model.depth"),
        ({"optim": ["adamw", "muon"], "guard": ["none", "skip"]}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_the_learning_rate_is_the_x_axis_of_the_figure_before_any_other_number(factors, across):
    assert (axes(factors)[0] if across else axis(factors)) == across
    assert not across or axes(factors)[2] == []


def test_more_lines_than_have_a_colour_of_their_own_stand_in_several_panels():
    factors = {"optim": list("abcde"), "model.width": WIDTHS, "optim.lr": RATE}
    assert axes(factors)[2] == ["model.width"]


def test_the_sign_of_a_spread_stands_between_a_mean_and_a_standard_deviation_alone():
    """Half a difference and half an interval have other words; a page's own numbers stand between its markers."""
    root = Path(paths.CONF).parent
    for file in (*root.glob("gptx/**/*.py"), *root.glob("docs/*.md"), root / "README.md"):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert "±" not in line or re.search(r"\bsd\b|spread|std", line), f"{file}: {line}"


def test_results_of_which_none_can_be_drawn_have_no_figure(experiment):
    gone = replace(RATES, outcomes=[replace(each, value=float("nan")) for each in RATES.outcomes])
    readme.write_page(gone, verdict(gone), experiment)
    assert "result.png" not in (experiment / "README.md").read_text()
    assert not (experiment / "result.png").exists()


@pytest.mark.slow
def test_the_report_of_runs_writes_the_results_of_their_experiment(experiment, tmp_path):
    from gptx.report.__main__ import report

    for option, loss in {"adamw": 2.0, "muon": 1.5}.items():
        folder = tmp_path / "runs" / option
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"optim: {{_target_: {option}}}\nseed: 0\nsteps: 1\nname: rates\n")
        choices = {"optim": option, "experiment": experiment.name}
        (folder / "run.json").write_text(json.dumps({"state": "finished", "choices": choices}))
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "validation/loss": loss}) + "\n")
    report(str(tmp_path / "runs"), out=str(tmp_path / "page.md"), readme=str(experiment))
    assert "| muon instead of adamw | -0.50" in (experiment / "README.md").read_text()
    assert [each.value for each in load_comparison(experiment / "results.json").outcomes] == [2.0, 1.5]
    with pytest.raises(ValueError, match="no such file"):
        report(str(tmp_path / "runs"), readme=str(tmp_path / "elsewhere"))
