"""How often a page claims what is not there: 2,000 sweeps of a fixed seed without an effect, for each shape of sweep."""

import re
from itertools import product

import numpy
import pytest

from gptx.compare.effects import of_arms
from gptx.compare.outcomes import Arm, Comparison
from gptx.compare.sentences import answer
from gptx.compare.words import Words

SWEEPS, MOST = 2000, 0.065
WORDS = Words("validation loss", "nats per token", "lowest", 3, 6)
MORE = r"(more:|;) "  # what stands before something that is said to have contributed more
CLAIM = re.compile(r"\d (nats per token )?(higher|lower)|(?i:significantly) (higher|lower)|differ significantly"
                   rf"|{MORE}(warmup|cool-down|model\S+=1)|depends on|harm by")  # fmt: skip
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
    "2 levels x 4 sizes": {"batch.rule": ["none", "sqrt"], "batch.tokens": ["1", "2", "3", "4"]},
    "3 levels x 4 sizes": {"batch.rule": ["none", "sqrt", "linear"], "batch.tokens": ["1", "2", "3", "4"]},
    "4 levels x 4 sizes": {"batch.rule": ["none", "sqrt", "linear", "cube"], "batch.tokens": ["1", "2", "3", "4"]},
    "3 x 3 x 2": {"optim": OPTIMS[:3], "model.depth": ["1", "2", "3"], "optim.lr": RATES[:2]},
}  # fmt: skip


def pages(factors: dict, seeds: int, truth=lambda levels: 0.0, sweeps: int = SWEEPS):
    """The text of sweeps whose seeds are lucky in all arms alike, and each run a little by itself."""
    named = {"schedule": {k: dict(zip(("warmup", "cool-down"), v, strict=True)) for k, v in TRAITS.items()}}
    comparison = Comparison("validation/loss", factors, [], traits=named if "schedule" in factors else {})
    base = {name: levels[0] for name, levels in factors.items()} | ({"schedule": "cosine"} if named and "schedule" in factors else {})  # fmt: skip
    levels = [dict(zip(factors, each, strict=True)) for each in product(*factors.values())]
    draw = numpy.random.default_rng(seeds)
    luck = draw.normal(2.0, 0.05, (sweeps, 1, seeds)) + numpy.array([truth(each) for each in levels])[:, None]
    for sweep in luck + draw.normal(0, 0.01, (sweeps, len(levels), seeds)):
        found = [Arm(each, dict(enumerate(values))) for each, values in zip(levels, sweep.tolist(), strict=True)]
        yield " ".join(answer(of_arms(comparison, base, found), WORDS))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_any_effect_a_page_seldom_claims_one(shape, seeds, capsys):
    false = [text for text in pages(SHAPES[shape], seeds) if CLAIM.search(text)]
    with capsys.disabled():
        print(f"\n{shape}, {seeds} seeds: {len(false) / SWEEPS:.1%} of {SWEEPS} claim an effect")
    assert len(false) <= MOST * SWEEPS, false[:3]


BEST = {"the baseline has one good rate": ("adamw",), "all others have one good rate": tuple(OPTIMS[1:])}


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("tuned", BEST)
def test_choosing_the_best_of_several_rates_does_not_make_a_claim(tuned, seeds, capsys):
    """Each optimizer at its best is worth the same, but some have one such rate and others three to choose from."""
    factors = SHAPES["7 levels x 3 rates"]

    def truth(levels):
        return 0.5 * (levels["optim"] in BEST[tuned] and levels["optim.lr"] != "0.003")

    false = [text for text in pages(factors, seeds, truth) if CLAIM.search(text)]
    with capsys.disabled():
        print(f"\n{tuned}, {seeds} seeds: {len(false) / SWEEPS:.1%} of {SWEEPS} claim a difference")
    assert len(false) <= MOST * SWEEPS, false[:3]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("worth", "false"), [
    ((-0.05, 0.0), MORE + "cool-down|depends|harm by"),
    ((-0.05, -0.05), MORE + "(warmup|cool-down)|depends|harm by"),
])  # fmt: skip
def test_a_real_effect_does_not_let_a_page_claim_a_false_one(worth, false, seeds, capsys):
    def truth(levels):
        return sum(w for w, there in zip(worth, TRAITS[levels["schedule"]], strict=True) if there)

    shown = list(pages(SHAPES["2 x 2 of traits"], seeds, truth))
    wrong = [text for text in shown if re.search(false, text)]
    with capsys.disabled():
        print(f"\n2 x 2 of {worth}, {seeds} seeds: {len(wrong) / SWEEPS:.1%} claim what is not so, "
              f"{sum('lower' in text for text in shown) / SWEEPS:.0%} the effect of a warmup")  # fmt: skip
    assert len(wrong) <= MOST * SWEEPS, wrong[:3]


def test_an_effect_of_any_shape_is_claimed():
    """So that the pattern of a claim above knows all their words."""
    for factors in SHAPES.values():
        name, levels = next(iter(factors.items()))
        for away in (-1.0, 1.0):
            for text in pages(
                factors, 5, lambda arm, away=away, last=(name, levels[-1]): away * (last in arm.items()), sweeps=3
            ):
                assert CLAIM.search(text), text
