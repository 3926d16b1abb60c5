"""What the laws of scaling say, against published figures and against sums by hand."""

import json
import re
from pathlib import Path

import pytest

from gptx.estimate import laws
from gptx.estimate.laws import PUBLISHED, Law, law_named

PLAIN = Law("plain", A=100.0, B=1000.0, E=1.0, alpha=0.5, beta=0.5)


def test_the_loss_is_its_three_terms():
    assert PLAIN.loss(1e4, 1e6) == pytest.approx(1 + 100 / 100 + 1000 / 1000)


def test_no_other_split_of_a_budget_reaches_a_lower_loss():
    for law in PUBLISHED.values():
        size, tokens = law.optimum(1e21)
        assert 6 * size * tokens == pytest.approx(1e21)
        assert all(law.loss(size, tokens) < law.loss(size * by, tokens / by) for by in (0.9, 1.1))
        assert law.flops_for(size) == pytest.approx(1e21)


@pytest.mark.parametrize(
    ("name", "flops", "size", "tokens"),
    [
        ("hoffmann_rounded", 1e19, 228e6, 7.31e9),
        ("hoffmann_tex", 1e22, 6.34e9, 263e9),
        ("besiroglu", 5.76e23, 72.2e9, 1.33e12),
        ("besiroglu", 1e20, 853e6, 19.5e9),
    ],
)
def test_the_best_split_of_a_budget_is_that_of_the_published_constants(name, flops, size, tokens):
    assert PUBLISHED[name].optimum(flops) == pytest.approx((size, tokens), rel=4e-3)


def test_tokens_to_a_loss_reach_it_and_a_loss_below_the_model_s_own_floor_is_never_reached():
    tokens = PLAIN.tokens_to(1e4, 2.5)
    assert PLAIN.loss(1e4, tokens) == pytest.approx(2.5)
    assert PLAIN.tokens_to(1e4, 2.0) is None


def test_an_interval_holds_all_but_a_fortieth_of_the_draws_on_either_side():
    law = Law("drawn", 1, 1, 0, 1, 1, draws=tuple((1.0, 1.0, float(e), 1.0, 1.0) for e in range(1001)))
    assert law.interval(lambda each: each.E) == pytest.approx((25, 975))
    assert PUBLISHED["besiroglu"].interval(lambda each: each.E) is None


def test_a_saved_law_is_chosen_by_its_file(tmp_path):
    law = Law("own", 1.5, 2.5, 0.5, 0.3, 0.4, units="nats a byte", vocab=257, draws=((1.0, 2.0, 0.5, 0.3, 0.4),),
              text=1000, warnings=("too few runs",))  # fmt: skip
    law.save(tmp_path / "law.json")
    assert law_named(str(tmp_path / "law.json")) == law


def test_the_law_of_experiments_is_of_bytes_and_passes():
    law = law_named(str(Path(__file__).parents[2] / "experiments/scaling/law.json"))
    assert (law.units, law.vocab) == ("nats a byte", 257)


def test_a_published_law_is_chosen_by_its_name():
    assert law_named("besiroglu").B == 2085.43


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ("[1", "holds no law"),
        ("[1]", "holds no law"),
        ('{"name": "x", "A": 1}', "holds no law (B: Field required)"),
        ("[" * 100_000, "holds no law"),
        ({"A": -1}, "A must be a number above zero"),
        ({"alpha": "NaN"}, "alpha must be a number above zero"),
        ({"draws": [[1, 2]]}, "draws.0.2: Field required"),
        ({"colour": 1}, "colour"),
        ({"units": None}, "units: Input should be a valid string"),
        ({"name": 5}, "name: Input should be a valid string"),
        ({"recipe": 5}, "recipe: Input should be a valid string"),
        ({"operations": [1]}, "operations.1: Field required"),
        ({"operations": []}, "operations.0: Field required"),
        ({"operations": [2, 1]}, "operations must be"),
        ({"operations": 7}, "holds no law"),
        ({"warnings": "abc"}, "warnings: Input should be a valid array"),
        ({"recipe": "; rm -rf /"}, "recipe must be overrides of gptx.train"),
        ({"context": "many"}, "context: Input should be a valid integer"),
        ({"text": -1}, "text must be a whole number, at least 0"),
        ({"warnings": [5]}, "warnings.0: Input should be a valid string"),
        ({"vocab": -1}, "vocab must be a whole number, at least 0"),
        ({"units": "nats a byte"}, "vocab is missing"),
        ({"deviations": [1]}, "deviations: Input should be an object"),
        ({"deviations": {"C": 1}}, "deviations must be"),
        ({"alpha": 0.01, "beta": 0.01}, "no best size"),
        ({"alpha": 1e-9, "beta": 1e-9}, "no best size"),
        ({"draws": [[1, 1e300, 1, 1e-3, 1e-3]]}, "a draw has no best size"),
    ],
)
def test_a_file_without_a_law_is_refused_in_one_line(tmp_path, facts, told):
    file = tmp_path / "law.json"
    PLAIN.save(file)
    file.write_text(facts if isinstance(facts, str) else json.dumps(json.loads(file.read_text()) | facts))
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        law_named(str(file))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("alpha", "drawn"), [(laws.FLATTEST, 0.3), (laws.STEEPEST, 0.3), (0.3, laws.FLATTEST)])
def test_a_law_whose_runs_follow_none_is_refused(tmp_path, alpha, drawn):
    """Fits wrote such files once: their exponents stand at an end of what was tried."""
    file, draws = tmp_path / "law.json", ((400.0, 400.0, 1.7, drawn, 0.3), (400.0, 400.0, 1.7, alpha, 0.3)) * 20
    laws.Law("old", A=400.0, B=400.0, E=1.7, alpha=alpha, beta=0.3, draws=draws).save(file)
    with pytest.raises(ValueError, match=r"holds no law \(its runs follow none: alpha at an end of what"):
        laws.law_named(str(file))


def test_an_unknown_law_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="besiroglu") as refused:
        law_named("besirolu")
    assert all(name in str(refused.value) for name in laws.PUBLISHED)
