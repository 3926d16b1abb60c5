"""The verdict says what the numbers say, no more, in words that a stranger understands."""

import math
from dataclasses import replace
from itertools import product

import pytest

from gptx.compare.outcomes import Comparison, Outcome
from gptx.compare.verdict import verdict
from gptx.compare.words import where

NOISE = (0.004, -0.003, 0.001, -0.002, 0.003, -0.004, 0.002)  # of runs, in turn: no two arms get the same
TRAITS = {"constant": (False, False), "warmup": (True, False), "cosine": (True, True), "cosine_no_warmup": (False, True)}  # fmt: skip
SCHEDULES = {"schedule": {name: dict(zip(("warmup", "cool-down"), there, strict=True)) for name, there in TRAITS.items()}}  # fmt: skip
RATES = ("0.001", "0.01")


def compared(factors: dict, loss, seeds: int = 3, noise: float = 1.0, **more) -> Comparison:
    """Runs of every combination, `loss(levels)` with a little noise; None has not ended, NaN diverged."""
    outcomes, shake = [], iter(NOISE * 1000)
    for levels in product(*factors.values()):
        named = dict(zip(factors, levels, strict=True))
        for seed in range(seeds):
            value = loss(named)
            state = "running" if value is None else "finished"
            value = None if value is None else value + 0.02 * seed + noise * next(shake)
            outcomes.append(Outcome(named, seed, state, value, 60.0, 12_000.0, 10**8))
    facts = {"environment": {"tokenizer": "chars"}} | more
    return Comparison("validation/loss", {k: list(v) for k, v in factors.items()}, outcomes, **facts)


def schedules(worth: dict[str, tuple[float, float]], **more) -> Comparison:
    """The four schedules at each rate, where a warmup and a cool-down lower the loss by what they are worth."""

    def loss(levels):
        return 2.5 - sum(w for w, there in zip(worth[levels["optim.lr"]], TRAITS[levels["schedule"]], strict=True) if there)  # fmt: skip

    return compared({"schedule": list(TRAITS), "optim.lr": list(worth)}, loss, traits=SCHEDULES, **more)


def table(found, title: str):
    return next(each for each in found.tables if title in each.title)


def test_the_headline_says_how_much_worse_it_is_without_warmup_and_where_nothing_can_be_told():
    found = verdict(schedules({"0.001": (0.0, 0.1), "0.01": (0.6, 0.1)}))
    assert found.baseline["schedule"] == "cosine"
    turned = "With warmup, averaged over runs with and without cool-down, the validation loss"
    assert found.headline == f"{turned} ends 0.60 nats per character lower at learning rate 0.01."
    assert found.sentences[0] == f"{turned} is not significantly different at learning rate 0.001 (3 seeds)."
    assert found.sentences[1] == "Contributed more: cool-down at learning rate 0.001; warmup at learning rate 0.01."


def test_the_attribution_is_the_textbook_one_of_a_2_by_2():
    """Main effects average over the other's absence and presence; the interaction is the difference of differences."""
    means = {"constant": 3.0, "warmup": 2.6, "cosine": 2.1, "cosine_no_warmup": 2.8}
    factors = {"schedule": list(TRAITS)}
    found = verdict(compared(factors, lambda levels: means[levels["schedule"]], noise=0.0, traits=SCHEDULES))
    row = table(found, "contribute").rows[0]
    shown = [float(cell.split()[0]) for cell in row[1:4]]
    assert shown == pytest.approx([((2.6 - 3.0) + (2.1 - 2.8)) / 2, ((2.8 - 3.0) + (2.1 - 2.6)) / 2, (2.1 - 2.8) - (2.6 - 3.0)])  # fmt: skip
    assert row[-1] == "warmup"
    assert "ends 0.55 nats per character lower" in found.headline


def test_nothing_contributed_more_where_no_effect_is_told():
    losses = {"constant": (2.0, 2.01, 2.02), "warmup": (2.011, 2.021, 2.031), "cosine_no_warmup": (2.051, 2.061, 2.071),
              "cosine": (2.3, 1.85, 2.05)}  # fmt: skip
    outcomes = [Outcome({"schedule": name}, seed, "finished", value) for name, values in losses.items()
                for seed, value in enumerate(values)]  # fmt: skip
    found = verdict(Comparison("validation/loss", {"schedule": list(TRAITS)}, outcomes, traits=SCHEDULES))
    assert table(found, "contribute").rows[0][-1] == "not significant"


def test_two_harms_that_make_each_other_worse_are_not_called_a_gain():
    means = {("adamw", "0"): 2.0, ("sgd", "0"): 2.1, ("adamw", "1"): 2.1, ("sgd", "1"): 2.7}
    factors = {"optim": ["adamw", "sgd"], "optim.weight_decay": ["0", "1"]}
    found = verdict(compared(factors, lambda levels: means[tuple(levels.values())], noise=0.0))
    assert found.headline == ("The effect of sgd on the validation loss depends on weight decay 1: +0.100 (+0.100 to +0.100) "
                              "without it, +0.600 (+0.600 to +0.600) with it.")  # fmt: skip
    assert found.sentences[0] == "Contributed more: each depends on the other."


def test_a_rule_is_asked_about_at_each_size_and_not_at_its_best_one():
    factors = {"batch.tokens": ["192", "768", "3072"], "batch.rule": ["unscaled", "sqrt"]}
    worse = {"batch.tokens": "768", "batch.rule": "sqrt"}
    found = verdict(compared(factors, lambda levels: 2.0 + 0.2 * (levels == worse)))
    assert "0.20 nats per character higher at tokens per step 768" in found.headline
    assert not any("at its best" in each.title for each in found.tables)


def test_which_contributed_more_is_not_told_where_both_are_worth_the_same():
    found = verdict(schedules({"0.01": (0.3, 0.3)}))
    assert table(found, "contribute").rows[0][-1] == "not significant"
    assert found.sentences[0] == "Contributed more: not significant at learning rate 0.01."


def test_two_factors_of_two_levels_get_the_same_attribution():
    factors = {"model.qk_norm": ["false", "true"], "model.mlp": ["gelu", "swiglu"], "optim.lr": RATES}
    gains = {"true": 0.02, "swiglu": 0.2}
    found = verdict(compared(factors, lambda levels: 2 - sum(gains.get(level, 0) for level in levels.values())))
    rows = table(found, "contribute").rows
    assert [row[0] for row in rows] == ["at learning rate 0.001", "at learning rate 0.01"]
    assert {row[-1] for row in rows} == {"model.mlp=swiglu"}


@pytest.mark.parametrize("levels", [("constant", "warmup", "cosine"), ("constant", "warmup", "cosine", "cosine_no_warmup", "wsd")])  # fmt: skip
def test_there_is_no_attribution_unless_each_combination_is_there_once(levels):
    traits = {"schedule": SCHEDULES["schedule"] | {"wsd": {"warmup": True, "cool-down": True}}}
    found = verdict(compared({"schedule": levels}, lambda levels: 2.0, traits=traits))
    assert not [each for each in found.tables if "contribute" in each.title]


def test_a_half_finished_2_by_2_is_answered_by_what_there_is():
    worth = {"constant": 2.5, "warmup": 2.4, "cosine": 2.0}
    found = verdict(compared({"schedule": list(TRAITS), "optim.lr": RATES}, lambda levels: worth.get(levels["schedule"]), traits=SCHEDULES))  # fmt: skip
    assert "the lowest validation loss is 2.0" in found.headline
    assert "with cosine at learning rate" in found.headline
    assert not [each for each in found.tables if "contribute" in each.title]


def test_what_makes_the_loss_higher_is_said_to_do_harm():
    found = verdict(schedules({"0.001": (0.0, -0.1), "0.01": (0.6, 0.1)}))
    assert [row[-1] for row in table(found, "contribute").rows] == ["harm by cool-down", "warmup"]
    assert "Contributed more: harm by cool-down at learning rate 0.001; warmup at learning rate 0.01." in found.sentences  # fmt: skip


def test_a_diverged_arm_has_no_mean_wins_nothing_and_is_named():
    low = {"fp32": 2.0, "bf16": 2.01, "fp16": math.nan}
    found = verdict(compared({"precision": list(low)}, lambda levels: low[levels["precision"]]))
    row = next(row for row in table(found, "Arms").rows if row[0] == "fp16")
    assert row[1] == "diverged 3 of 3"
    assert row[-1] == "-"
    assert found.headline.endswith("; but 3 of 9 ended runs diverged (fp16).")
    assert any(text.startswith("fp16 diverged in 3 of 3 seeds") for text in found.warnings)


def test_one_diverged_seed_is_enough_to_lose_the_mean():
    whole = compared({"precision": ["fp32", "fp16"]}, lambda levels: 2.0 if levels["precision"] == "fp32" else 1.0)
    whole.outcomes[3] = Outcome({"precision": "fp16"}, 0, "failed", math.nan)
    found = verdict(whole)
    assert table(found, "Arms").rows[1][1:] == ("diverged 1 of 3", "3", "1 failed, 2 finished", "-")
    assert "only fp32" in found.headline.lower()


def test_a_baseline_that_diverged_is_said_where_the_difference_would_stand():
    found = verdict(compared({"precision": ["fp32", "bf16", "fp16"]}, lambda levels: math.nan if levels["precision"] == "fp32" else 2.0))  # fmt: skip
    assert {row[-1] for row in table(found, "Arms").rows} == {"baseline", "-"}
    assert table(found, "Arms").rows[0][1] == "diverged 3 of 3"
    assert "the baseline, fp32, has no mean" in found.headline


def test_without_warmup_it_diverges_is_an_answer_too():
    found = verdict(compared({"schedule": list(TRAITS)}, lambda levels: 2.0 if TRAITS[levels["schedule"]][0] else math.nan, traits=SCHEDULES))  # fmt: skip
    assert found.headline == ("No schedule differs significantly from cosine in validation loss; but 6 of 12 ended runs diverged "
                              "(constant and cosine_no_warmup).")  # fmt: skip
    assert table(found, "contribute").rows[0][-1] == "2 arms diverged"


def test_runs_under_way_are_counted_and_the_rest_is_compared():
    found = verdict(compared({"optim": ["adamw", "muon", "sgd"]}, lambda levels: {"adamw": 2.0, "muon": 1.5}.get(levels["optim"]), missing=["optim=lion,seed=0"]))  # fmt: skip
    assert "Of 10 runs, left out: 3 running; 1 not begun." in found.warnings
    assert found.headline.startswith("The lowest validation loss is 1.519 nats per character with muon, 0.50")
    assert table(found, "Arms").rows[2][1:4] == ("-", "0", "3 running")


def test_a_difference_within_the_noise_is_no_effect():
    found = verdict(compared({"precision": ["fp32", "bf16", "fp16"]}, lambda levels: 2.0))
    assert found.headline.startswith("No precision differs significantly from fp32 in validation loss")
    assert all("not significant" in row[-1] for row in table(found, "Arms").rows[1:])


def test_equal_bits_are_called_the_same():
    found = verdict(compared({"memory": ["store", "recompute"]}, lambda levels: 2.0, noise=0.0))
    assert found.headline == "Every memory has the same validation loss as store in each common seed."


def test_a_single_seed_gets_no_interval_and_is_called_so():
    found = verdict(compared({"optim": ["adamw", "muon"]}, lambda levels: 2.0 - (levels["optim"] == "muon"), seeds=1))
    assert "lower than with adamw (no interval, 1 seed)" in found.headline
    assert table(found, "Arms").rows[1][-1].endswith("(single seed)")
    assert any(text.startswith("One seed an arm") for text in found.warnings)


def test_each_level_at_its_best_rate_is_compared_with_the_caveat():
    best = {("adamw", "0.01"): 1.9, ("muon", "0.001"): 1.3}
    factors = {"optim": ["adamw", "muon", "sgd"], "optim.lr": RATES}
    found = verdict(compared(factors, lambda levels: best.get(tuple(levels.values()), 2.5)))
    shown = table(found, "at its best")
    assert [row[1::-1] for row in shown.rows][:2] == [("muon", "0.001"), ("adamw", "0.01")]
    assert "flatters" in shown.note
    best = "With each optimizer at its best learning rate, the lowest validation loss is 1.3"
    assert found.headline.startswith(best)
    assert "with muon at learning rate 0.001, 0.5980" in found.headline
    assert "lower than with adamw at learning rate 0.01" in found.headline


def test_the_best_of_each_column_is_marked():
    best = {("adamw", "0.01"): 1.9, ("muon", "0.001"): 1.3}
    found = verdict(compared({"optim": ["adamw", "muon"], "optim.lr": RATES}, lambda levels: best.get(tuple(levels.values()), 2.5)))  # fmt: skip
    cells = {(row[0], i): cell for row in table(found, "by optim").rows for i, cell in enumerate(row)}
    marked = {place: float(cell.strip("*").split()[0]) for place, cell in cells.items() if cell.startswith("**")}
    assert marked == {("muon", 1): pytest.approx(1.3, abs=0.03), ("adamw", 2): pytest.approx(1.9, abs=0.03)}


@pytest.mark.parametrize("text", ["muon", "optim=muon", "optim=muon,optim.lr=1e-2"])
def test_the_baseline_may_be_named_by_level(text):
    found = verdict(compared({"optim": ["adamw", "muon"], "optim.lr": RATES}, lambda levels: 2.0), text)
    assert found.baseline["optim"] == "muon"
    assert found.baseline["optim.lr"] == ("0.01" if "1e-2" in text else "0.001")


@pytest.mark.parametrize(("text", "words"), [("lion", "no such level"), ("optim=0.01", "no such level"), ("1", "several factors")])  # fmt: skip
def test_a_baseline_that_is_none_is_refused_with_those_there_are(text, words):
    comparison = compared({"optim": ["adamw", "muon"], "steps": ["1", "2"], "model.depth": ["1", "2"]}, lambda levels: 2.0)  # fmt: skip
    with pytest.raises(ValueError, match=words) as error:
        verdict(comparison, text)
    assert "optim=adamw|muon" in str(error.value)


def test_nothing_but_seeds_and_one_run_and_none_finished_have_sentences():
    assert verdict(compared({}, lambda levels: 2.0)).headline.startswith("The validation loss is 2.02")  # fmt: skip
    assert verdict(compared({}, lambda levels: 2.0, seeds=1)).headline.startswith("The validation loss is 2.004")  # fmt: skip
    twice = compared({}, lambda levels: 2.0, seeds=1)
    twice.outcomes.append(replace(twice.outcomes[0], value=3.0))
    assert verdict(twice).headline.startswith("The validation loss is 2.502")
    assert "(mean of 2 runs, 1 seed)" in verdict(twice).headline
    assert verdict(compared({}, lambda levels: None)).headline == "No run has a validation loss to compare yet."
    assert verdict(compared({}, lambda levels: math.nan)).headline == "The run diverged in 3 of 3 seeds."
    assert verdict(Comparison("validation/loss", {}, [])).headline == "No run has a validation loss to compare yet."


def test_what_differs_beside_the_factors_and_how_runs_were_made_is_warned_of():
    around = {"commit": ["aaa", "bbb"], "threads": 1, "date": ["2026-01-01", "2026-01-02"], "uncommitted changes": [False, True]}  # fmt: skip
    found = verdict(compared({"optim": ["adamw", "muon"]}, lambda levels: 2.0, environment=around, confounded=["clip.max_norm is 1 or 2"]))  # fmt: skip
    assert found.warnings == [
        "The arms differ in more than optimizer: clip.max_norm is 1 or 2. This may be the cause of a difference.",
        "The runs were not made alike: commit aaa or bbb.",
        "Some runs were made with uncommitted changes, which no commit names.",
    ]


def test_runs_of_different_data_are_not_to_be_compared():
    around = {"data": ["111", "222"], "tokenizer": ["bytes", "gpt2"]}
    found = verdict(compared({"data": ["stdlib", "text"]}, lambda levels: 2.0, environment=around))
    assert "different tokens (tokenizers bytes or gpt2" in found.warnings[0]
    assert "read different data (digests 111 or 222)" in found.warnings[1]
    assert "cannot be compared" in found.warnings[1]


def test_runs_that_were_validated_on_other_windows_are_not_to_be_compared():
    around = {"validation windows": [160, "all"]}
    found = verdict(compared({"optim": ["adamw", "muon"]}, lambda levels: 2.0, environment=around))
    assert found.headline == "These results cannot be compared: the runs are not of the same text."
    assert found.warnings == ["The runs were validated on 160 or all windows of the held-out text: their results cannot "
                              "be compared."]  # fmt: skip


@pytest.mark.parametrize(("tokenizer", "unit"), [("chars", "nats per character"), ("bytes", "nats per byte"), ("gpt2", "nats per token")])  # fmt: skip
def test_losses_have_the_unit_of_their_tokens(tokenizer, unit):
    found = verdict(compared({"optim": ["adamw", "muon"]}, lambda levels: 2.0, environment={"tokenizer": tokenizer}))
    assert unit in table(found, "Arms").note


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ({"optim.lr": "0.01"}, "at learning rate 0.01"),
        ({"model": "nano", "batch.tokens": "768"}, "with nano and at tokens per step 768"),
        ({"optim": "muon"}, "with muon"),
        ({"guard": "none"}, "with no guard"),
        ({"inject.documents": "nothing"}, "with inject.documents=nothing"),
        ({}, ""),
    ],
)
def test_a_setting_is_said_as_a_place_of_numbers_or_with_an_ingredient(levels, told):
    assert where(levels) == told


def test_more_is_better_for_an_accuracy():
    losses = compared({"optim": ["adamw", "muon", "sgd"]}, lambda levels: {"muon": 0.9}.get(levels["optim"], 0.2))
    found = verdict(Comparison("downstream/next_word_accuracy", losses.factors, losses.outcomes))
    assert found.headline.startswith(
        "The highest downstream next word accuracy is 0.919 with muon, 0.698 higher than with adamw"
    )


def test_three_factors_stay_readable():
    factors = {"optim": ["adamw", "muon", "sgd"], "model": ["nano", "llama_nano", "modern_nano"], "optim.lr": ["1", "2", "3"]}  # fmt: skip
    found = verdict(compared(factors, lambda levels: 2.0 - 0.3 * (levels["optim"] == "muon")))
    assert len(found.headline) < 250
    assert max(map(len, found.sentences), default=0) < 400
    assert len(table(found, "Arms").rows) == 27
    assert all(len(row) == len(each.columns) for each in found.tables for row in each.rows)


def test_speed_and_memory_are_shown_by_what_may_change_them():
    rates = compared({"schedule": ["constant", "cosine"], "optim.lr": RATES}, lambda levels: 2.0)
    assert not [each for each in verdict(rates).tables if "Speed" in each.title]
    found = verdict(compared({"precision": ["fp32", "bf16"], "optim.lr": RATES}, lambda levels: 2.0))
    assert table(found, "Speed").rows == [("fp32", "12,000", "60.0", "100"), ("bf16", "12,000", "60.0", "100")]


def test_two_runs_of_one_arm_and_seed_count_once():
    whole = compared({"optim": ["adamw", "muon"]}, lambda levels: 2.0)
    again = Comparison(whole.metric, whole.factors, [*whole.outcomes, Outcome({"optim": "muon"}, 2, "finished", 3.0)])
    row = table(verdict(again), "Arms").rows[1]
    assert row[2] == "3"
    expected = (whole.outcomes[3].value + whole.outcomes[4].value + (whole.outcomes[5].value + 3.0) / 2) / 3
    assert float(row[1].split(" ± ")[0]) == pytest.approx(expected, abs=0.01)
    assert any(
        "Several runs of the same arm and seed, which count as one, with their mean: muon, seed 2." in text
        for text in verdict(again).warnings
    )
