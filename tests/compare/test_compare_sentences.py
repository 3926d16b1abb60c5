"""What the first screen says beside the headline: against what, how sure, at which best rate, and what is not known."""

import json
from dataclasses import replace

import pytest
from synthetic import HEADLINE, SIZE, ablation, adding, grid, star

from gptx.compare.effects import effects
from gptx.compare.outcomes import Comparison, Outcome, load_comparison
from gptx.compare.verdict import verdict
from gptx.config.paths import ROOT

EXPERIMENTS = [file for file in sorted(ROOT.glob("experiments/*/results.json")) if "metric" in json.loads(file.read_text())]  # fmt: skip
RATES = ["0.001", "0.003", "0.01"]
SCHEDULES = {"schedule": {name: dict(zip(("warmup", "cool-down"), there, strict=True)) for name, there in (
    ("constant", (False, False)), ("warmup", (True, False)), ("cosine", (True, True)), ("cosine_no_warmup", (False, True)))}}  # fmt: skip


def losses(rows: dict[str | tuple, tuple[float, ...]], factors: dict, **more) -> Comparison:
    """Results of seeds 0, 1, ... by the levels of the factors."""
    cells = [((name,) if isinstance(name, str) else name, values) for name, values in rows.items()]
    runs = [Outcome(dict(zip(factors, cell, strict=True)), seed, "finished", value)
            for cell, values in cells for seed, value in enumerate(values)]  # fmt: skip
    return Comparison("validation/loss", factors, runs, environment={"tokenizer": "bytes"}, **more)


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.parent.name)
def test_every_experiment_has_a_headline_of_at_most_25_words(file):
    assert len(verdict(load_comparison(file)).headline.split()) <= HEADLINE


def test_an_arm_and_a_trait_of_the_same_name_are_named_apart():
    four = grid({"schedule": list(SCHEDULES["schedule"])}, adding({"warmup": -0.2, "cosine": -0.2}), traits=SCHEDULES)
    assert verdict(four).headline.startswith("A warmup lowers the validation loss by 0.20 nats per byte")
    assert (
        verdict(four).sentences[0].startswith("Differences of having a warmup or a cool-down from not having it over 3")
    )
    two = verdict(grid({"schedule": ["cosine", "warmup"]}, adding({"warmup": -0.2})))
    assert two.headline == "Schedule warmup ends 0.20 nats per byte lower than cosine in validation loss."
    assert two.tables[0].rows[0][0] == "schedule warmup instead of cosine"


@pytest.fixture(scope="module")
def three():
    """By hand: noise of the seeds that cancels (Dunnett's half for 3 arms is wider than 0.001), one arm of its own."""
    noise = {"adamw": (0.0, 0.0, 0.0), "muon": (-0.2, -0.201, -0.199), "lion": (0.001, 0.0, 0.002), "soap": (0.0, 0.001, -0.001), "sgd": (0.3, -0.4, 0.25)}  # fmt: skip
    return losses({arm: tuple(2 + x for x in each) for arm, each in noise.items()}, {"optim": [*noise]})


def test_what_is_small_and_what_is_not_known_are_said_apart_and_by_name(three):
    said = verdict(three)
    assert said.sentences[0] == "Differences from adamw over 3 seeds, with 95 % intervals that hold together: 1 of 4 significant."  # fmt: skip
    assert said.sentences[1].startswith("Lower: muon -0.2000 (-0.20")
    assert said.sentences[2].startswith("Settled as small: soap (below 0.00")
    assert "; not known: sgd (anything from -" in said.sentences[2]


@pytest.mark.parametrize(("spread", "state"), [(0.001, "small"), (0.1, "unknown")])
def test_where_nothing_is_significant_small_is_below_a_hundredth_of_the_result(spread, state):
    """Base and arm differ by ±spread in three seeds: t of 2 degrees is 4.303, so the half is 2.48 spreads; 1 % is 0.02."""
    found = effects(losses({"adamw": (2.0, 2.0, 2.0), "lion": (2 - spread, 2.0, 2 + spread)}, {"optim": ["adamw", "lion"]}))  # fmt: skip
    assert found.effects[0].estimate.high == pytest.approx(4.303 * spread / 3**0.5, rel=1e-3)
    assert ("ettled as small: lion" in verdict(found.comparison).sentences[1]) == (state == "small")


def rated(**more) -> Comparison:
    """Three optimizers that are best inside the grid, but lion, which falls to the end of its own and is not settled."""
    worth = {"adamw": (0.1, 0.0, 0.1), "muon": (0.1, -0.2, 0.1), "lion": (0.4, 0.3, 0.2)}
    return grid({"optim": [*worth], "optim.lr": RATES},
                lambda levels: worth[levels["optim"]][RATES.index(levels["optim.lr"])], **more)  # fmt: skip


def test_each_arm_stands_beside_its_best_rate_and_a_bound_is_no_settled_comparison():
    said = verdict(rated())
    assert said.sentences[0] == ("Differences from adamw (learning rate 0.003) over 3 seeds, with 95 % intervals that hold "
                                 "together: 1 of 2 significant.")  # fmt: skip
    assert said.sentences[1].startswith("Lower: muon (learning rate 0.003) -0.20")
    open_ = "Not settled, as a better learning rate may lie beyond the grid: lion (learning rate 0.01) at most +0."
    assert said.sentences[2].startswith(open_)


def test_a_bound_of_the_arm_that_the_headline_names_is_in_the_headline_and_the_list():
    def falls(levels):
        return 0.1 * (levels["optim.lr"] != ("0.01" if levels["optim"] == "muon" else "0.003")) - 0.2 * (levels["optim"] == "muon")  # fmt: skip

    said = verdict(grid({"optim": ["adamw", "muon"], "optim.lr": RATES}, falls))
    assert said.headline.startswith("Muon ends at least 0.20 nats per byte lower than adamw")
    assert said.sentences[1].startswith("Lower: muon (learning rate 0.01) at least -0.20")


def test_where_none_is_better_what_is_not_settled_is_in_the_headline_too():
    worth = {"adamw": (0.1, 0.0, 0.1), "sgd": (0.4, 0.3, 0.4), "lion": (0.6, 0.5, 0.4), "soap": (0.1, 0.0, 0.1)}
    said = verdict(grid({"optim": [*worth], "optim.lr": RATES}, lambda at: worth[at["optim"]][RATES.index(at["optim.lr"])]))  # fmt: skip
    assert said.headline == ("No optimizer is significantly better than adamw in validation loss, and sgd is worse; lion not "
                             "settled, each at its best learning rate.")  # fmt: skip


def rules() -> Comparison:
    """At 768 both rules are the run of the base, to the last bit; at 3072 seeds differ ten times as much."""
    rows = {}
    for size, shift, noise in (("192", 0.0, 0.002), ("768", 0.0, 0.0), ("3072", 0.1, 0.05), ("12288", 0.2, 0.002)):
        rows |= {("unscaled", size): (2.0, 2.1, 2.2), ("sqrt", size): (2.0 + shift - noise, 2.1 + shift, 2.2 + shift + noise)}  # fmt: skip
    return losses(rows, {"batch.rule": ["unscaled", "sqrt"], "batch.tokens": ["192", "768", "3072", "12288"]},
                  question={"vary": "batch.rule", "per": "batch.tokens"})  # fmt: skip


def test_arms_that_are_the_same_run_are_no_comparison_and_a_wide_interval_has_its_reason():
    """By hand: residuals of two arms and three seeds are half of ±noise, so the spread is noise / sqrt(2): 0.035, 0.0014."""
    said = verdict(rules())
    assert said.headline == "Batch rule sqrt changes the validation loss in 1 of 3 settings; at tokens per step 12288, it ends 0.20 nats per byte higher than unscaled.".replace(" than unscaled", "")  # fmt: skip
    assert said.sentences[0] == "Differences from batch rule unscaled over 3 seeds, with 95 % intervals that hold together: 1 of 3 significant; at tokens per step 768 all arms are the same run."  # fmt: skip
    told = " ".join(said.sentences)
    assert "1 of 3 significant; at tokens per step 768 all arms are the same run." in told
    assert "Intervals are widest at tokens per step 3072, where seeds differ most: by 0.035 (sd, pooled over its arms), elsewhere usually by 0.0014." in told  # fmt: skip


def test_where_all_arms_are_the_same_run_the_headline_says_so():
    whole = losses({"store": (2.0, 2.1), "recompute": (2.0, 2.1)}, {"memory": ["store", "recompute"]})
    assert verdict(whole).headline == "No memory differs from store in validation loss, to the last bit."


def test_time_and_memory_are_told_where_they_differ_by_more_than_a_tenth_and_the_change_may_be_the_cause():
    costs = {
        "bf16": {"seconds": 43.2, "peak_bytes": SIZE * 3 // 4},
        "fp16": {"seconds": 600.0, "peak_bytes": SIZE * 1.05},
    }

    whole = grid({"precision": ["fp32", "bf16", "fp16"]}, adding({"bf16": -0.1}), facts=lambda at: costs.get(at["precision"], {}))  # fmt: skip
    line = "Time and memory, in multiples of the base's: bf16 ×0.72 time and ×0.75 memory"
    assert f"{line}, fp16 ×10.00 time." in verdict(whole).sentences
    imitated = replace(whole, environment={"imitated formats": "fp16", "tokenizer": "bytes"})
    assert f"{line}." in verdict(imitated).sentences
    uneven = replace(whole, outcomes=[replace(run, seconds=run.seconds * (1 + run.seed)) for run in whole.outcomes])
    assert "Time and memory, in multiples of the base's: bf16 ×0.75 memory." in verdict(uneven).sentences
    decay = ablation({"optim.weight_decay": ["0.1", "0"], "model.mlp": ["gelu", "swiglu"]}, {}, facts=lambda at: {"seconds": 90.0} if at["optim.weight_decay"] == "0" else {})  # fmt: skip
    assert not any("multiples" in text for text in verdict(decay).sentences)  # no cause of a longer time


STARS = [  # losses of some cells, which one is AdamW's best, its edge, the bound of lion's difference, and that
    ({"embeddings=3": 0.0, "all=1": 0.1}, {"all=1": 0.2}, "rate factor of embeddings 3", "", "", 0.2),
    ({"embeddings=9": 0.0, "all=1": 0.1}, {"all=1": 0.2}, "rate factor of embeddings 9", "embeddings", "at least", 0.2),
    ({"embeddings=9": 0.0, "all=1": 0.1}, {"all=1": -0.2}, "rate factor of embeddings 9", "embeddings", "at most", -0.2),
    ({"vectors=0.333": 0.0, "all=1": 0.1}, {"all=1": 0.2}, "rate factor of vectors 0.333", "vectors", "at least", 0.2),
    ({"all=1": 0.0}, {"all=1": 0.2}, "rate factor 1", "", "", 0.2),
    ({"all=3": 0.0, "all=1": 0.1}, {"all=1": 0.2}, "rate factor 3", "all", "at least", 0.2),
]  # fmt: skip


@pytest.mark.parametrize(("adamw", "lion", "best", "edge", "bound", "difference"), STARS)
def test_each_optimizer_is_taken_at_the_best_of_the_cells_it_has_though_the_grid_over_its_rates_is_no_full_one(
        adamw, lion, best, edge, bound, difference):  # fmt: skip
    commands = [f"python -m gptx.train --multirun optim=adamw parametrization.rates.{kind}=0.333,3,9 seed=0,1,2"
                for kind in ("embeddings", "vectors")] + ["python -m gptx.train --multirun optim=adamw,lion 'sweep.rates=[0.333,1,3]'"]  # fmt: skip
    whole = star(adamw, lion, commands=commands)
    found, said = effects(whole), verdict(whole)
    (effect,) = found.effects
    assert (effect.bound, *found.edges) == (bound, *[f"parametrization.rates.{edge}"] * bool(edge))
    assert effect.mean == pytest.approx(difference, abs=0.02)
    assert said.sentences[0].startswith(f"Differences from adamw ({best}) over 3 seeds")
    assert "lion (rate factor 1) " in said.sentences[1]
    assert said.tables[0].rows[0][said.tables[0].columns.index("best learning rate")] == "rate factor 1"
    assert "more tries find a better best: adamw at 9; lion at 3." in " ".join(said.warnings)
    if bound != "at most":
        assert said.headline.startswith(f"Lion ends {bound} 0.20".replace("  ", " ")) or "0.2" in said.headline
        assert said.headline.endswith("than adamw in validation loss, each at its best learning rate.")
    wider = {"": "", "embeddings": "optim=adamw parametrization.rates.embeddings=0.333,1,3,9,27 seed=0,1,2",
             "vectors": "optim=adamw parametrization.rates.vectors=0.111,0.333,1,3,9 seed=0,1,2",
             "all": "'sweep.rates=[0.333,1,3,9]'"}[edge]  # fmt: skip
    assert any(text.endswith(wider) for text in said.warnings)


def test_a_best_cell_is_named_by_what_is_not_usual_however_many_optimizers_have_a_grid_over_one_rate_alone():
    """With seven more, most cells are no longer at the usual rate of all kinds; but no other rate has as many."""
    whole = star({"embeddings=3": 0.0, "all=1": 0.1}, {"all=3": 0.2})
    more = [replace(run, levels=run.levels | {"optim": f"lion {i}"}) for i in range(7) for run in whole.outcomes if run.levels["optim"] == "lion"]  # fmt: skip
    optims = [*whole.factors["optim"], *(f"lion {i}" for i in range(7))]
    said = verdict(replace(whole, outcomes=whole.outcomes + more, factors=whole.factors | {"optim": optims}))
    assert said.sentences[0].startswith("Differences from adamw (rate factor of embeddings 3) over")
    assert "lion 3 (rate factor 3) at " in said.sentences[1]


def test_an_arm_of_other_seeds_is_the_only_one_that_is_unpaired():
    whole = grid({"optim": ["adamw", "muon", "lion"]}, adding({"muon": -0.2, "lion": -0.2}))
    apart = replace(whole, outcomes=[replace(run, seed=run.seed + 7 * (run.levels["optim"] == "lion")) for run in whole.outcomes])  # fmt: skip
    paired = {effect.things[0][1]: effect.estimate for effect in effects(apart).effects}
    assert {name: each.paired for name, each in paired.items()} == {"muon": True, "lion": False}
    assert paired["muon"].high - paired["muon"].low < 0.05 < paired["lion"].high - paired["lion"].low  # luck of 0.03
    assert "lion lacks seed 0, seed 1 and seed 2" in " ".join(verdict(apart).warnings)
