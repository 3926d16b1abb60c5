"""What all rooms draw and write with: the generated part of a README, and figures that are the same every time."""

import pytest

from gptx.show import marked
from gptx.show.plots import Curve, Panel, bars, lines, save

README = "# x\n<!-- fit: written by a b=c -->\nold\n<!-- /fit -->\nend\n"


def test_only_the_marked_part_is_written_and_only_where_it_changes(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(README)
    assert marked.write(file, "fit", "new")
    assert file.read_text() == README.replace("old", "\nnew\n")
    assert not marked.write(file, "fit", "new")
    assert marked.write(file, "fit", "new", command="d")
    assert file.read_text() == README.replace("old", "\nnew\n").replace("a b=c", "d")
    assert (marked.command(file, "fit"), marked.command(file, "x"), marked.command(tmp_path / "no", "fit")) == ("d", "", "")  # fmt: skip


@pytest.mark.parametrize("text", [
    README.replace("<!-- /fit -->\n", ""), README.replace("<!-- fit", "<!-- results"), 2 * README,
    "<!-- /fit -->\n<!-- fit: written by a -->\n", "see <!-- fit: written by a -->\n<!-- /fit -->\n", None,
])  # fmt: skip
def test_a_readme_without_one_place_for_the_text_is_refused_and_kept(tmp_path, text):
    file = tmp_path / "README.md"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=r"no place for the fit|no such file"):
        marked.write(file, "fit", "new")
    assert text is None or file.read_text() == text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_is_the_same_every_time_and_a_dollar_stays_one(tmp_path, kind):
    panel = Panel("Loss", "$x$ nats", (Curve("a", [1, 2, 3], [300.0, 20.0, 1.0], smooth=2),), log=True)
    drawings = lines(panel), bars("b", {"c": 1.0}), lines(Panel("none", "", ()))
    first, second = (save(tmp_path / f"{n}.{kind}", "$T", *drawings, columns=2).read_bytes() for n in "ab")
    assert first == second
    assert kind == "png" or b"$x$ nats" in first
