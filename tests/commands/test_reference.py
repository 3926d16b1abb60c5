"""The quick-reference table says what conf/ says."""

import pytest
from omegaconf import OmegaConf

from gptx.commands.reference import BEGIN, END, entries, page, reason, reference, replaced, table
from gptx.config import paths, presets
from gptx.config.compose import composed
from gptx.config.keys import flat


def test_the_table_of_the_readme_is_the_one_that_conf_gives():
    readme = paths.ROOT / "README.md"
    if not readme.exists() or BEGIN not in readme.read_text():
        pytest.skip("no table there")
    assert replaced(readme.read_text()) == readme.read_text(), "python -m gptx reference write=README.md"


def test_the_reference_is_the_one_that_conf_gives():
    file = paths.ROOT / "conf/README.md"
    assert page() == file.read_text(), "python -m gptx reference write=conf/README.md"


def test_every_option_of_every_group_is_in_the_reference_with_what_it_is():
    rows = {
        line.split(" | ")[0] + line.split(" | ")[1]: line.split(" | ")[2]
        for line in page().splitlines()
        if " | " in line
    }
    for file in presets.CONF.glob("*/*.yaml"):
        if file.parent.name != "hydra":
            assert rows[f"| `{file.parent.name}``{file.stem}`"].strip(), file
    assert "| `wandb.entity`" not in page()
    assert "| `log.wandb.entity`" in page()


def test_every_ingredient_of_the_recipe_has_a_line_that_says_why():
    lines = [line.split(" | ") for line in table().splitlines()[2:]]
    assert {line[0].strip("| `") for line in lines} >= set(presets.defaults()) - {"log"}
    assert all(line[2].strip() for line in lines)
    assert all(line.count(" | ") == 3 for line in table().replace("\\|", "").splitlines()[2:])


def test_the_values_are_those_that_a_run_takes():
    taken = flat(OmegaConf.to_container(composed(), resolve=False))
    shown = [
        entry
        for group, option in presets.defaults().items()
        if isinstance(option, str)
        for entry in entries(group, option)[1:]
    ]
    assert len(shown) > 15
    for entry in shown:
        assert str(taken[entry.ingredient]) == str(
            OmegaConf.to_container(OmegaConf.create(f"x: {entry.value}"), resolve=False)["x"]
        )


@pytest.mark.parametrize("group", ["optim", "schedule", "clip", "decay"])
def test_what_the_tutorials_recommend_names_its_source(group):
    assert entries(group, presets.defaults()[group])[0].source


def test_an_option_that_builds_on_another_has_its_lines_and_its_own(tmp_path, monkeypatch):
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim/one.yaml").write_text("# One. [A]\n_target_: x\nlr: 1  # first\nbeta: 2  # kept\n")
    (tmp_path / "optim/two.yaml").write_text("# Two.\ndefaults: [one, _self_]\nlr: 3  # its own [B]\n")
    monkeypatch.setattr(presets, "CONF", tmp_path)
    found = [(e.ingredient, e.value, e.why, e.source) for e in entries("optim", "two")]
    assert found == [("optim", "two", "Two", ""), ("optim.lr", "3", "its own", "B"), ("optim.beta", "2", "kept", "")]


@pytest.mark.parametrize(("comment", "why", "source"), [
    ("a shorter memory [GPT-3, appendix B]", "a shorter memory", "GPT-3, appendix B"),
    ("Lion (arXiv:2302.06675): half the state.", "Lion (arXiv:2302.06675): half the state", "arXiv:2302.06675"),
    ("or [a, b] in a list", "or [a, b] in a list", ""),
    ("blocks", "blocks", ""),
])  # fmt: skip
def test_square_brackets_at_the_end_hold_the_source(comment, why, source):
    assert reason(comment) == (why, source)


def test_writing_replaces_what_is_between_the_markers_and_nothing_else(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(f"before\n{BEGIN}\nstale words\n{END}\nafter\n")
    reference(write=str(file))
    written = file.read_text()
    assert written.startswith(f"before\n{BEGIN}\n\n| ingredient |")
    assert written.endswith(f"|\n\n{END}\nafter\n")
    assert "stale words" not in written
    assert replaced(written) == written


@pytest.mark.parametrize("text", ["my own page", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_its_markers_is_refused(tmp_path, text):
    file = tmp_path / "page.md"
    file.write_text(text)
    with pytest.raises(ValueError, match="write: the file needs one line <!-- reference --> and, below it"):
        reference(write=str(file))
    assert file.read_text() == text


def test_a_folder_that_is_not_there_is_one_line(command):
    result = command("reference", "write=missing/page.md")
    assert result.returncode == 1
    assert result.stderr == "error: write=missing/page.md: no such folder\n"
