"""The reference says what conf/ says."""

import pytest
from omegaconf import OmegaConf

from gptx.commands.reference import entries, reason, reference, reference_page
from gptx.config import paths, presets
from gptx.config.compose import composed
from gptx.config.keys import flat


def test_the_reference_is_the_one_that_conf_gives():
    file = paths.ROOT / "conf/README.md"
    assert reference_page() == file.read_text(), "python -m gptx reference write=conf/README.md"


def test_every_option_of_every_group_is_in_the_reference_with_what_it_is():
    rows = {
        line.split(" | ")[0] + line.split(" | ")[1]: line.split(" | ")[2]
        for line in reference_page().splitlines()
        if " | " in line
    }
    for file in presets.CONF.glob("*/*.yaml"):
        if file.parent.name != "hydra":
            assert rows[f"| `{file.parent.name}``{file.stem}`"].strip(), file
    assert "| `wandb.entity`" not in reference_page()
    assert "| `log.wandb.entity`" in reference_page()


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


def test_an_option_has_the_lines_of_its_own_file(tmp_path, monkeypatch):
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim/two.yaml").write_text(
        "# Two. [A]\ndefaults: [one, _self_]\nlr: 3  # its own\n       # value [B]\n"
    )
    monkeypatch.setattr(presets, "CONF", tmp_path)
    found = [(e.ingredient, e.value, e.why, e.source) for e in entries("optim", "two")]
    assert found == [("optim", "two", "Two", "A"), ("optim.lr", "3", "its own value", "B")]


@pytest.mark.parametrize(("comment", "why", "source"), [
    ("a shorter memory [GPT-3, appendix B]", "a shorter memory", "GPT-3, appendix B"),
    ("Lion (arXiv:2302.06675): half the state.", "Lion (arXiv:2302.06675): half the state", "arXiv:2302.06675"),
    ("or [a, b] in a list", "or [a, b] in a list", ""),
    ("blocks", "blocks", ""),
])  # fmt: skip
def test_square_brackets_at_the_end_hold_the_source(comment, why, source):
    assert reason(comment) == (why, source)


def test_it_is_written_to_a_new_file_or_over_an_old_reference_and_over_no_other_page(tmp_path, capsys):
    file = tmp_path / "page.md"
    for told in ("written", "up to date"):
        reference(write=str(file))
        assert capsys.readouterr().out == f"{file}: {told}\n"
        assert file.read_text() == reference_page()
    file.write_text(reference_page() + "a stale line\n")
    reference(write=str(file))
    assert file.read_text() == reference_page()
    file.write_text("my own page")
    with pytest.raises(ValueError, match="holds another page, which is kept"):
        reference(write=str(file))
    with pytest.raises(ValueError, match=r"write=.*missing/page.md: no such folder"):
        reference(write=str(tmp_path / "missing/page.md"))
