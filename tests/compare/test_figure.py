"""The figure of a comparison: where levels stand, how lines differ, and that no legend or label is lost."""

import pytest

from gptx.compare import figure as drawn
from gptx.compare.effects import effects
from gptx.compare.outcomes import Comparison, Outcome
from gptx.show import plots
from gptx.show.plots import COLOURS, DASHES, MARKERS

RATES, WIDTHS = ["0.001", "0.003", "0.01"], ["32", "64", "128"]


@pytest.mark.parametrize(
    ("levels", "places"),
    [
        (["1", "2", "3"], [1, 2, 3]),
        (["0.01", "0.1", "1"], [-2, -1, 0]),
        (["0", "0.01", "0.1", "1"], [-3, -2, -1, 0]),  # 0 has a place of its own, one gap left of the smallest
        (["0", "0.1"], [0, 0.1]),
        (["-1", "0", "1"], [-1, 0, 1]),
        (["0.001", "0.003", "0.01", "1e+09"], [0, 1, 2, 3]),  # one absurd rate does not push the others together
        (["-1000", "0", "1"], [0, 1, 2]),
        (["adamw", "muon"], [0, 1]),
        (["7"], [0]),
    ],
)
def test_no_level_of_an_axis_stands_on_another(levels, places):
    assert drawn._places(levels) == pytest.approx(places)


def test_of_two_factors_colours_tell_the_numbers_and_dashes_the_words():
    kinds = [(method, width) for method in ("standard", "mup") for width in WIDTHS]
    looks, legend = drawn._looks(["parametrization", "model.width"], kinds)
    by = dict(zip(kinds, looks, strict=True))
    for width in WIDTHS:
        one, other = by["standard", width], by["mup", width]
        assert one["color"] == other["color"] == legend[f"width {width}"]["color"]
        assert (one["linestyle"], other["linestyle"]) == DASHES[:2]
        assert (one["marker"], other["marker"]) == MARKERS[:2]
        assert one["linewidth"] > 2 * other["linewidth"]  # so that a dashed line is seen on a solid one of its colour
    assert len({look["color"] for look in looks}) == 3
    assert list(legend) == ["width 32", "width 64", "width 128", "standard", "mup"]


def test_lines_of_one_factor_differ_in_colour_dashes_and_marker():
    looks, legend = drawn._looks(["optim"], [("adamw",), ("muon",)])
    assert [look["color"] for look in looks] == [*COLOURS[:2]]
    assert list(legend) == ["adamw", "muon"]


def swept(factors: dict[str, list[str]], loss) -> Comparison:
    arms = [{}]
    for name, levels in factors.items():
        arms = [arm | {name: level} for arm in arms for level in levels]
    return Comparison(
        "validation/loss", factors, [Outcome(arm, s, "finished", loss(arm, s)) for arm in arms for s in (0, 1)]
    )


@pytest.fixture
def seen(monkeypatch):
    """The matplotlib figures that are drawn, as they are written."""
    found, fit = [], plots.in_one_step
    monkeypatch.setattr(
        plots, "in_one_step", lambda file, fill: fit(file, lambda part: (found.append(fill.__closure__), fill(part)))
    )
    return lambda: next(cell.cell_contents for cell in found[-1] if hasattr(cell.cell_contents, "savefig"))


def test_arms_that_are_the_same_run_are_drawn_once_and_the_legend_hides_nothing(tmp_path, seen):
    factors = {"guard": ["none", "skip", "rollback"], "inject.documents": ["nothing", "shard"]}
    loss = {"none": 0.3, "skip": 0.2, "rollback": 0.1}
    found = swept(factors, lambda arm, s: 2 + s / 10 + (arm["inject.documents"] == "shard") * loss[arm["guard"]])
    drawn.figure(effects(found), tmp_path / "a.png")
    (plot,), (legend,) = seen().axes, seen().legends
    means = [line for line in plot.lines if line.get_markersize() == 7]
    assert sorted(round(float(line.get_ydata()[0]), 3) for line in means) == [2.05, 2.15, 2.25, 2.35]
    assert [text.get_text() for text in legend.get_texts()] == ["no guard", "skip", "rollback", "all the same"]
    assert legend.get_window_extent().y1 <= plot.get_tightbbox().y0


def test_panels_are_stacked_on_a_phone_and_their_legend_does_not_repeat_their_level(tmp_path, seen):
    factors = {"optim": ["adamw", "muon", "lion"], "model.width": WIDTHS, "optim.lr": RATES}
    found = effects(swept(factors, lambda arm, s: 2 + s / 10 + len(arm["optim"]) / 10 + float(arm["optim.lr"])))
    rows = {}
    for kind, scale in (("wide", (0.75, 10.0)), ("narrow", (1.0, 3.2))):
        token = plots.SHRINK.set(scale)
        drawn.figure(found, tmp_path / "a.svg")
        plots.SHRINK.reset(token)
        rows[kind] = len({round(plot.bbox.y0) for plot in seen().axes})
        assert [plot.get_title() for plot in seen().axes] == [f"width {width}" for width in WIDTHS]
        told = [text.get_text() for text in seen().legends[0].get_texts()]
        assert told[:3] == ["adamw", "muon", "lion"]
        assert not any("width" in text for text in told)
    assert rows == {"wide": 1, "narrow": 3}


def test_a_forest_plot_keeps_its_whole_title_and_its_ticks_on_a_phone(tmp_path, seen):
    factors = {"clip": ["global_norm", "none"], "schedule": ["cosine", "warmup"]}
    found = swept(
        factors, lambda arm, s: 2 + s / 10 + 0.4 * (arm["clip"] == "none") - 0.3 * (arm["schedule"] == "warmup")
    )
    token = plots.SHRINK.set((1.0, 3.2))
    drawn.figure(effects(found), tmp_path / "a.png")
    plots.SHRINK.reset(token)
    (plot,), width = seen().axes, seen().bbox.width
    title = plot.xaxis.label.get_window_extent()
    assert 0 <= title.x0 < title.x1 <= width
    assert "nats" in plot.get_xlabel()
    inside = [tick for tick in plot.get_xticks() if plot.get_xlim()[0] <= tick <= plot.get_xlim()[1]]
    assert len(inside) >= 4
