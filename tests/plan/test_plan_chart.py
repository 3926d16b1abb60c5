"""The chart of laws: what it shows is what the laws say, on a page or in a picture."""

import json
import math
import random
import re
from dataclasses import replace

import pytest

from gptx.estimate.laws import PUBLISHED, Law
from gptx.plan.chart import Chart, Series, chart_of
from gptx.plan.chart_files import chart, chart_reading, models, notes
from gptx.plan.split import MODELS, Split

NAMES = ["GPT-3 175B", "Chinchilla 70B", "Llama 1 7B", "Llama 3 8B"]
KNOWN = [model for model in MODELS if model.name in NAMES]
OWN = Law("own", A=40.0, B=60.0, E=0.9, alpha=0.3, beta=0.32, units="nats a byte")


def trained(count: int = 9, noise: float = 0.02) -> list[Split]:
    """Runs as a user might have them: sizes and tokens of a small ladder, and losses near a law."""
    draw = random.Random(0)
    found = []
    for i in range(count):
        size, tokens = 1e5 * 3 ** (i % 3), 1e6 * 4 ** (i // 3)
        found.append(Split(f"run {i}", size, tokens, loss=OWN.loss(size, tokens) * (1 + draw.gauss(0, noise))))
    return found


def drawn(law: Law, count: int = 40) -> Law:
    """A law with draws around its constants."""
    draw = random.Random(1)
    constants = (law.A, law.B, law.E, law.alpha, law.beta)
    return replace(law, draws=tuple(tuple(c * (1 + draw.gauss(0, 0.03)) for c in constants) for _ in range(count)))


def least(law: Law, flops: float) -> tuple[float, float]:
    """The size of the lowest loss with so many operations, by looking at very many of them, and that loss."""
    sizes = [10 ** (2 + i / 125) for i in range(1500)]
    return min(((size, law.loss(size, flops / 6 / size)) for size in sizes), key=lambda found: found[1])


def shown(found: Chart, across: str, role: str) -> list[Series]:
    """The series of a role."""
    return [each for each in found.over[across] if each.role == role]


@pytest.fixture
def light(monkeypatch):
    """Without the 4.5 MB of plotly, which only a browser needs."""
    monkeypatch.setattr("gptx.show.page.library", lambda: "const Plotly = {};")


@pytest.mark.parametrize("law", [*PUBLISHED.values(), OWN], ids=lambda law: law.name)
def test_the_envelope_is_the_least_loss_of_all_sizes(law):
    found = chart_of(law, flops=1e19)
    for place in [place for line in shown(found, "flops", "best") for place in line.places][::24]:
        size, loss = least(law, place.flops)
        assert place.loss == pytest.approx(loss, abs=2e-5)
        assert place.parameters == pytest.approx(size, rel=2e-2)


@pytest.mark.parametrize("law", PUBLISHED.values(), ids=lambda law: law.name)
def test_a_size_lies_above_the_envelope_and_touches_it_once(law):
    found = chart_of(law, known=KNOWN)
    touched = {each.places[0].parameters: each.places[0] for each in shown(found, "flops", "minimum")}
    for size in shown(found, "flops", "size"):
        above = [place.loss - law.lowest(place.flops) for place in size.places]
        assert min(above) > 0
        (parameters,) = {place.parameters for place in size.places}
        assert touched[parameters].loss == pytest.approx(law.lowest(touched[parameters].flops), rel=1e-12)
        lowest = min(range(len(above)), key=above.__getitem__)
        assert above[:lowest] == sorted(above[:lowest], reverse=True)
        assert above[lowest:] == sorted(above[lowest:])


def test_a_budget_is_spent_whole_at_every_size_and_its_mark_is_the_lowest():
    law = PUBLISHED["besiroglu"]
    found = chart_of(law, flops=3.3e19)
    minima = [each.places[0] for role in ("minimum", "optimum") for each in shown(found, "parameters", role)]
    budgets = [each for role in ("budget", "asked") for each in shown(found, "parameters", role)]
    for budget, minimum in zip(budgets, minima, strict=True):
        assert {f"{place.flops:.6g}" for place in budget.places} == {f"{minimum.flops:.6g}"}
        assert minimum.loss == pytest.approx(least(law, minimum.flops)[1], abs=2e-5)
        assert min(place.loss for place in budget.places) >= minimum.loss


@pytest.mark.parametrize(  # arithmetic of others on the same constants
    ("name", "flops", "told"),
    [("hoffmann_rounded", 1e18, "80.6M parameters on 2.07B tokens (25.7 per"),
     ("hoffmann_rounded", 1e22, "5.16B parameters on 323B tokens (62.6 per"),
     ("besiroglu", 1e19, "262M parameters on 6.36B tokens (24.2 per"),
     ("besiroglu", 1e22, "9.05B parameters on 184B tokens (20.4 per")],
)  # fmt: skip
def test_the_reading_says_what_the_budget_buys(name, flops, told):
    assert told in chart_reading(chart_of(PUBLISHED[name], flops=flops))


def test_known_models_stand_at_their_operations_and_the_expected_loss():
    found = {place.name: place for place in chart_of(PUBLISHED["besiroglu"], known=KNOWN).known}
    assert found["GPT-3 175B"].flops == pytest.approx(3.15e23)
    assert found["Llama 3 8B"].flops == pytest.approx(7.2e23)
    assert found["Chinchilla 70B"].loss == pytest.approx(1.8172 + 482.01 / 70e9**0.3478 + 2085.43 / 1.4e12**0.3658)


def test_every_place_of_the_rules_line_has_20_tokens_a_parameter_and_is_no_better_than_the_best():
    law = PUBLISHED["hoffmann_rounded"]
    for place in shown(chart_of(law), "parameters", "rule")[0].places:
        assert place.tokens / place.parameters == pytest.approx(20)
        assert place.loss >= law.loss(*law.optimum(place.flops))


def test_what_lies_beyond_the_runs_of_the_fit_is_marked_and_said():
    found = chart_of(PUBLISHED["besiroglu"], flops=1e24)
    inside = [line for line in shown(found, "flops", "best") if not line.beyond]
    ends = [place.flops for line in inside for place in (line.places[0], line.places[-1])]
    assert ends == pytest.approx([1e18, 1.3e22])
    assert {budget.beyond for budget in shown(found, "parameters", "budget") if budget.places[0].flops > 2e22} == {True}
    assert "76.9 times the largest run that it was fitted to: a guess" in chart_reading(found)
    assert "a guess" not in chart_reading(chart_of(PUBLISHED["besiroglu"], flops=1e20))


def test_runs_stand_at_their_measured_loss_and_say_how_far_their_law_was_fitted():
    runs = trained()
    found = chart_of(OWN, runs=runs)
    assert found.runs == runs
    assert found.fitted == pytest.approx((6e11, 6 * 9e5 * 1.6e7))
    assert all(found.losses[0] < place.loss < found.losses[1] for place in found.runs)
    assert any("nats a byte" in note for note in notes(found))


def test_the_band_holds_the_envelopes_of_95_percent_of_the_draws():
    law = drawn(OWN)
    (line, *_) = shown(chart_of(law, runs=trained()), "flops", "best")
    envelopes = [least(replace(law, **dict(zip(("A", "B", "E", "alpha", "beta"), draw, strict=True))), line.places[0].flops)[1]
                 for draw in law.draws]  # fmt: skip
    inside = [line.band[0][0] - 1e-4 <= loss <= line.band[0][1] + 1e-4 for loss in envelopes]
    assert sum(inside) / len(inside) == pytest.approx(0.95, abs=0.03)
    assert shown(chart_of(OWN, runs=trained()), "flops", "best")[0].band == []


def test_models_have_the_numbers_of_the_table_and_runs_their_measured_loss():
    found = chart_of(OWN, known=KNOWN, runs=trained(1))
    table = models(found)
    assert [row[0] for row in table.rows] == [*(f"{i}  {name}" for i, name in enumerate(NAMES, start=1)), "run 0"]
    (ring,) = shown(found, "flops", "known")
    assert [place.name for place in ring.places] == NAMES
    assert list(ring.labels) == ["1", "2", "3", "4"]
    measured = table.columns.index("loss measured")
    assert [row[measured] for row in table.rows] == ["-"] * 4 + [f"{trained(1)[0].loss:.3f}"]


def test_a_page_needs_nothing_beside_itself_and_shows_names_as_they_are(light, tmp_path):
    file = tmp_path / "new/chart.html"
    runs = [Split("a <script src='http://x'>", 1e5, 1e6, loss=9.0)]
    chart(file, [PUBLISHED["besiroglu"], PUBLISHED["hoffmann_tex"]], flops=1e19, known=KNOWN, runs=runs)
    text = file.read_text()
    assert "<script src" not in text
    assert "default-src 'none'" in text
    assert "arXiv:2005.14165" in text  # where GPT-3's numbers are from
    assert "a &lt;script src=&#x27;http://x&#x27;&gt;" in text
    assert re.findall(r'<option value="(\d)"[^>]*>(\w+)<', text) == [("0", "besiroglu"), ("1", "hoffmann_tex")]
    told = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    traces = {trace["name"]: trace for trace in told["figures"][0]["data"]}
    assert traces["1e19 FLOPs: 262M parameters on 6.36B tokens"]["hovertext"][0].split("<br>") == [
        "262M parameters", "6.36B tokens, 24.2 per parameter", "1e19 FLOPs", "loss by the law 2.927"
    ]  # fmt: skip
    assert traces["your runs"]["hovertext"][0].startswith("<b>a &lt;script src='http://x'&gt;</b>")


def test_a_page_of_one_law_has_no_menu(light, tmp_path):
    chart(tmp_path / "chart.html", [OWN], runs=trained())
    assert "<select" not in (tmp_path / "chart.html").read_text()


def test_another_suffix_and_a_run_without_a_loss_are_told_in_a_line(tmp_path):
    with pytest.raises(ValueError, match=r"out=.*chart\.pdf: a chart is written as \.html, \.png or \.svg"):
        chart(tmp_path / "chart.pdf", [OWN])
    with pytest.raises(ValueError, match="diverged: has no place on a chart"):
        chart(tmp_path / "chart.html", [OWN], runs=[*trained(), Split("diverged", 1e6, 1e7, loss=math.nan)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_picture_is_drawn_every_time(suffix, tmp_path):
    for name in "ab":
        chart(tmp_path / f"{name}{suffix}", [drawn(OWN)], flops=1e13, known=KNOWN[:1], runs=trained())
    first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert first.startswith(b"\x89PNG") if suffix == ".png" else b"GPT-3 175B" in first
