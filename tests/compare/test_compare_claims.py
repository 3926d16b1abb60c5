"""How often a page claims what is not there: 2,000 sweeps of a fixed seed without an effect, for each shape of sweep."""

import re
from itertools import product

import numpy
import pytest
from synthetic import HEADLINE

from gptx.compare.effects import Effects, effects
from gptx.compare.headline import headline
from gptx.compare.outcomes import Comparison, Outcome
from gptx.compare.sentences import reasons
from gptx.compare.words import words

SWEEPS, MOST = 2000, 0.065
CLAIM = re.compile(r"\d (nats per token )?(higher|lower)|(lowers|raises) the|matters?[:,]|is worse|are worse|depends on|changes? the \S+ \S+ in")  # fmt: skip
TRAITS = {"constant": (False, False), "warmup": (True, False), "cosine": (True, True), "cosine_no_warmup": (False, True)}  # fmt: skip
OPTIMS, RATES = ["adamw", "muon", "sgd", "lion", "adafactor", "soap", "sophia"], ["0.001", "0.003", "0.01", "0.03"]
SHAPES = {
    "7 levels": {"optim": OPTIMS},
    "1 level x 4 rates": {"optim.lr": RATES},
    "2 levels x 4 rates": {"optim": OPTIMS[:2], "optim.lr": RATES},
    "7 levels x 3 rates": {"optim": OPTIMS, "optim.lr": RATES[:3]},
    "2 x 2 of traits": {"schedule": list(TRAITS)},
    "2 x 2 of factors": {"model.qk_norm": ["0", "1"], "model.tied": ["0", "1"]},
    "2 x 2 of traits x 4 rates": {"schedule": list(TRAITS), "optim.lr": RATES},
    "3 levels x 4 sizes": {"batch.rule": ["none", "sqrt", "linear"], "batch.tokens": ["1", "2", "3", "4"]},
    "3 x 3 x 2": {"optim": OPTIMS[:3], "model.depth": ["1", "2", "3"], "optim.lr": RATES[:2]},
}  # fmt: skip


def answers(factors: dict, seeds: int, truth=lambda levels: 0.0, sweeps: int = SWEEPS):
    """The numbers of sweeps whose seeds are lucky in all arms alike, and each run a little by itself."""
    traits = {"schedule": {k: dict(zip(("warmup", "cool-down"), v, strict=True)) for k, v in TRAITS.items()}}
    base = {"schedule": "cosine"} if "schedule" in factors else {name: levels[0] for name, levels in factors.items()}
    levels = [dict(zip(factors, each, strict=True)) for each in product(*factors.values())]
    draw = numpy.random.default_rng(seeds)
    luck = draw.normal(2.0, 0.05, (sweeps, 1, seeds)) + numpy.array([truth(each) for each in levels])[:, None]
    for sweep in luck + draw.normal(0, 0.01, (sweeps, len(levels), seeds)):
        runs = [Outcome(each, seed, "finished", value) for each, values in zip(levels, sweep.tolist(), strict=True)
                for seed, value in enumerate(values)]  # fmt: skip
        traits = traits if "schedule" in factors else {}
        yield effects(Comparison("validation/loss", factors, runs, traits=traits, baseline=base))


def claims(found: Effects) -> list[str]:
    """What is claimed: by the numbers."""
    told = [str(effect.things) for effect in found.effects if effect.settled]
    return told + ["more"] * any(setting.lead is not None and setting.lead.significant for setting in found.settings)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_any_effect_a_page_seldom_claims_one(shape, seeds, capsys):
    false = [told for found in answers(SHAPES[shape], seeds) if (told := claims(found))]
    with capsys.disabled():
        print(f"\n{shape}, {seeds} seeds: {len(false) / SWEEPS:.1%} of {SWEEPS} claim an effect")
    assert len(false) <= MOST * SWEEPS, false[:3]


GOOD = "0.003"
TUNED = {  # whose other rates are bad, so that there is nothing to choose among
    "7 levels x 3 rates, the base": ("7 levels x 3 rates", lambda levels: levels["optim"] == "adamw"),
    "7 levels x 3 rates, all others": ("7 levels x 3 rates", lambda levels: levels["optim"] != "adamw"),
    "2 x 2 x 4 rates, those with warmup": ("2 x 2 of traits x 4 rates", lambda levels: TRAITS[levels["schedule"]][0]),
    "2 x 2 x 4 rates, all but the base": ("2 x 2 of traits x 4 rates", lambda levels: levels["schedule"] != "cosine"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("tuned", TUNED)
def test_choosing_the_best_of_several_rates_does_not_make_a_claim(tuned, seeds, capsys):
    """Each arm at its best is worth the same, but some have one such rate and others several to choose from."""
    shape, one = TUNED[tuned]
    found = answers(SHAPES[shape], seeds, lambda levels: 0.5 * (one(levels) and levels["optim.lr"] != GOOD))
    false = [told for each in found if (told := claims(each))]
    with capsys.disabled():
        print(f"\n{tuned}, {seeds} seeds: {len(false) / SWEEPS:.1%} of {SWEEPS} claim a difference")
    assert len(false) <= MOST * SWEEPS, false[:3]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("worth", "true"), [((-0.05, 0.0), {"warmup", "more"}), ((-0.05, -0.05), {"warmup", "cool-down"})])  # fmt: skip
def test_a_real_effect_does_not_let_a_page_claim_a_false_one(worth, true, seeds, capsys):
    def truth(levels):
        return sum(w for w, there in zip(worth, TRAITS[levels["schedule"]], strict=True) if there)

    known = {str((("", name),)) for name in true} | true
    shown = [claims(found) for found in answers(SHAPES["2 x 2 of traits"], seeds, truth)]
    wrong = [told for told in shown if not {*told} <= known]
    with capsys.disabled():
        print(f"\n2 x 2 of {worth}, {seeds} seeds: {len(wrong) / SWEEPS:.1%} claim what is not so")
    assert len(wrong) <= MOST * SWEEPS, wrong[:3]
    assert sum(str((("", "warmup"),)) in told for told in shown) >= 0.9 * SWEEPS


@pytest.mark.parametrize("shape", SHAPES)
def test_headline_and_sentences_claim_what_the_numbers_do_and_nothing_else(shape):
    """Effects about as large as their noise, so that some are claimed and some are not."""
    name, levels = next(iter(SHAPES[shape].items()))
    told = set()
    for away in (0.0, -0.03, 0.03, -0.5):
        for found in answers(SHAPES[shape], 3, lambda arm, away=away, last=(name, levels[-1]): away * (last in arm.items()), sweeps=12):  # fmt: skip
            said = words(found)
            text, mains = headline(found, said), [effect for effect in found.effects if effect.settled and not effect.interaction]  # fmt: skip
            unsettled = re.search("settled|at most", text)  # an edge of a grid
            assert unsettled or bool(CLAIM.search(text)) == bool(mains), text
            assert len(text.split()) <= HEADLINE, text
            sentences = " ".join(reasons(found, said))
            assert ("ower: " in sentences or "igher: " in sentences) == bool(mains), sentences
            assert "Contributed more: warmup" not in sentences or any(effect.mean < 0 for effect in mains)
            told.add(bool(mains))
    assert told == {True, False} or shape == "3 x 3 x 2"  # both of its rates are at an edge
