"""The verdict says what the numbers say, no more, in words that a stranger understands."""

import math
from dataclasses import replace

import pytest
from synthetic import HEADLINE, ablation, adding, by_change, covers, grid, means

from gptx.compare.effects import effects
from gptx.compare.outcomes import Comparison, Outcome
from gptx.compare.verdict import verdict
from gptx.compare.words import where

TRAITS = {"constant": (False, False), "warmup": (True, False), "cosine": (True, True), "cosine_no_warmup": (False, True)}  # fmt: skip
SCHEDULES = {"schedule": {name: dict(zip(("warmup", "cool-down"), there, strict=True)) for name, there in TRAITS.items()}}  # fmt: skip
RATES = ["0.001", "0.003", "0.01"]
CHARS = {"environment": {"tokenizer": "chars"}}


def schedules(worth: dict[str, tuple[float, float]], **more) -> Comparison:
    """The four schedules at each rate, where a warmup and a cool-down lower the loss by what they are worth."""

    def loss(levels):
        there = zip(worth[levels.get("optim.lr", "")], TRAITS[levels["schedule"]], strict=True)
        return -sum(gain for gain, has in there if has)

    factors = {"schedule": list(TRAITS)} | ({"optim.lr": list(worth)} if "" not in worth else {})
    return grid(factors, loss, traits=SCHEDULES, baseline={"schedule": "constant"}, **more)


def square(constant: float, warmup: float, cosine_no_warmup: float, cosine: float, **more) -> Comparison:
    worth = {"constant": constant, "warmup": warmup, "cosine_no_warmup": cosine_no_warmup, "cosine": cosine}
    return grid({"schedule": list(worth)}, adding(worth), traits=SCHEDULES, **more)


def table(found, title: str):
    return next(each for each in found.tables if title in each.title)


def best_rate(levels: dict, best: str = "0.003") -> float:
    return 0.1 * (levels["optim.lr"] != best)


TWO = {"model.qk_norm": ["false", "true"], "model.mlp": ["gelu", "swiglu"]}
ADAMW = {"optim": ["adamw", "muon", "sgd"]}
RULES = {"batch.tokens": ["192", "768", "3072"], "batch.rule": ["unscaled", "sqrt"]}
HEADLINES = {
    "seeds": (lambda: Comparison("validation/loss", {}, [Outcome({}, seed, "finished", value) for seed, value in enumerate((2.48, 2.50, 2.52))], **CHARS), "The validation loss is 2.500 ± 0.020 nats per character (mean ± sd of 3 seeds)."),
    "a better level": (lambda: grid(ADAMW, adding({"muon": -0.2})),
                       "Muon ends 0.20 nats per byte lower than adamw in validation loss."),
    "worse levels": (lambda: grid(ADAMW, adding({"sgd": 0.3})), "No optimizer is significantly better than adamw in validation loss, and sgd is worse."),
    "no level": (lambda: grid(ADAMW, adding({})), "No optimizer differs significantly from adamw in validation loss."),
    "levels at their best rate": (lambda: grid(ADAMW | {"optim.lr": RATES}, lambda levels: best_rate(levels) - 0.2 * (levels["optim"] == "muon")),
                                  "Muon ends 0.20 nats per byte lower than adamw in validation loss, each at its best learning rate."),
    "levels at the edge": (lambda: grid({"optim": ["adamw", "lion"], "optim.lr": RATES}, lambda levels: best_rate(levels, "0.01" if levels["optim"] == "lion" else "0.003") + 0.3 * (levels["optim"] == "lion")),
                           "Lion ends at most 0.30 nats per byte higher than adamw in validation loss: a best learning rate is at the grid's edge."),
    "several levels at the edge": (lambda: grid(ADAMW | {"optim.lr": RATES}, lambda levels: best_rate(levels, "0.01") + 0.3 * (levels["optim"] != "adamw")),
                                   "Whether any optimizer is better than adamw is not settled: a best learning rate is at the edge of its grid."),
    "arms": (lambda: ablation(TWO | {"clip": ["global_norm", "none"]}, {"true": -0.2, "swiglu": -0.1}),
             "2 of 3 changes matter, model.qk_norm=true most: it lowers the validation loss by 0.20 nats per byte."),
    "no arms": (lambda: ablation(TWO | {"clip": ["global_norm", "none"]}, {}), "None of 3 changes makes a significant difference to the validation loss."),
    "factorial": (lambda: grid(TWO, adding({"true": -0.2})), "model.qk_norm=true lowers the validation loss by 0.20 nats per byte on average; 1 of 2 main effects is significant."),
    "depends": (lambda: square(0.0, 0.02, -0.5, 0.4), "The effect of a warmup on the validation loss depends on a cool-down."),
    "settings": (lambda: grid(RULES, lambda levels: 0.2 * (levels == {"batch.tokens": "768", "batch.rule": "sqrt"})),
                 "Batch rule sqrt changes the validation loss in 1 of 3 settings; at tokens per step 768, it ends 0.20 nats per byte higher."),
    "no settings": (lambda: grid(RULES, lambda levels: 0.0), "Batch rule sqrt changes the validation loss significantly in none of 3 settings."),
    "optimum": (lambda: grid({"model.width": ["32", "64"], "optim.lr": RATES}, best_rate, question={"vary": "optim.lr", "per": "model.width"}),
                "The best learning rate is 0.003 at every width."),
    "nothing": (lambda: grid(ADAMW, lambda levels: None), "No run has a validation loss to compare yet."),
    "one arm": (lambda: grid(ADAMW, lambda levels: None if levels["optim"] != "muon" else 0.0), "No two arms have a validation loss to compare."),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADLINES)
def test_a_headline_is_one_of_few_templates_with_at_most_25_words(kind):
    made, told = HEADLINES[kind]
    said = verdict(made())
    assert said.headline == told
    assert len(said.headline.split()) <= HEADLINE


def test_many_settings_and_long_names_do_not_make_a_headline_longer():
    factors = {"optim": ["adamw", "schedule_free"], "inject.documents": ["nothing", "shard"], "batch.tokens": ["1", "2", "3"], "parametrization.rates.matrices": RATES}  # fmt: skip

    def loss(levels):
        return 0.1 * (levels["parametrization.rates.matrices"] != "0.003") - 0.2 * (levels["optim"] != "adamw")

    for question in (
        {"vary": "optim"},
        {"vary": ["optim", "inject.documents"]},
        {"vary": ["optim", "inject.documents"], "per": []},
    ):
        assert len(verdict(grid(factors, loss, question=question)).headline.split()) <= HEADLINE
    optima = grid(factors, loss, question={"vary": "parametrization.rates.matrices", "per": ["optim", "inject.documents", "batch.tokens"]})  # fmt: skip
    assert verdict(optima).headline == "The best learning-rate factor of matrices is 0.003 in 12 settings."


def test_the_attribution_is_the_textbook_one_of_a_2_by_2():
    """Main effects average over the other's absence and presence; the interaction is the difference of differences."""
    found = by_change(effects(square(3.0, 2.6, 2.8, 2.1, noise=0.001)))
    assert found["warmup"].mean == pytest.approx(((2.6 - 3.0) + (2.1 - 2.8)) / 2, abs=0.002)
    assert found["cool-down"].mean == pytest.approx(((2.8 - 3.0) + (2.1 - 2.6)) / 2, abs=0.002)
    assert found["warmup x cool-down"].mean == pytest.approx((2.1 - 2.8) - (2.6 - 3.0), abs=0.004)
    said = verdict(square(3.0, 2.6, 2.8, 2.1))
    assert table(said, "contributed").rows[0][-1] == "a warmup"
    assert said.headline.startswith("A warmup lowers the validation loss by 0.55 nats per byte on average; 2 of 2")


@pytest.mark.parametrize(("cells", "more"), [
    ((0.0, -0.3, -0.1, -0.4), "a warmup"),
    ((0.0, -0.1, -0.3, -0.4), "a cool-down"),
    ((0.0, -0.3, -0.3, -0.6), "not significant"),                 # both are worth the same
    ((0.0, 0.0, 0.0, 0.0), "not significant"),
    ((0.0, 0.02, -0.5, 0.4), "each depends on the other"),
    ((0.0, 0.1, 0.1, 0.7), "each depends on the other"),          # two harms that make each other worse
    ((0.0, 0.3, 0.0, 0.3), "harm by a warmup"),
    ((0.0, -0.09, 0.04, -0.17 + 0.04), "a warmup"),                 # though cool-down depends on it
])  # fmt: skip
def test_of_two_things_the_one_that_lowers_the_loss_more_contributed_more(cells, more):
    said = verdict(square(*cells))
    assert table(said, "contributed").rows[0][-1] == more
    assert f"Contributed more: {more}." in said.sentences


def test_what_contributed_more_is_told_in_each_setting():
    found = verdict(
        schedules({"0.001": (0.0, 0.1), "0.01": (0.6, 0.1)}, question={"vary": "schedule", "per": "optim.lr"})
    )
    assert [(row[0], row[-1]) for row in table(found, "contributed").rows] == [
        ("at learning rate 0.001", "a cool-down"),
        ("at learning rate 0.01", "a warmup"),
    ]
    assert found.headline.endswith(
        "in 2 of 2 settings; at learning rate 0.01, a warmup lowers it by 0.60 nats per byte."
    )


def test_two_factors_of_two_levels_get_the_same_attribution_as_two_traits():
    factors = TWO | {"optim.lr": RATES}
    said = verdict(grid(factors, lambda levels: best_rate(levels) + adding({"true": -0.02, "swiglu": -0.2})(levels)))
    assert table(said, "contributed").rows[0][-1] == "model.mlp=swiglu"


@pytest.mark.parametrize("levels", [("constant", "warmup", "cosine"), ("constant", "warmup", "cosine", "cosine_no_warmup", "wsd")])  # fmt: skip
def test_there_is_no_attribution_unless_each_combination_is_there_once(levels):
    traits = {"schedule": SCHEDULES["schedule"] | {"wsd": {"warmup": True, "cool-down": True}}}
    found = verdict(grid({"schedule": list(levels)}, lambda levels: 0.0, traits=traits))
    assert not [each for each in found.tables if "contribute" in each.title]


def test_a_half_finished_2_by_2_is_answered_by_what_there_is():
    whole = schedules({"": (0.1, 0.4)})
    running = replace(whole, outcomes=[replace(run, value=None, state="running") if run.levels["schedule"] == "cosine_no_warmup" else run for run in whole.outcomes])  # fmt: skip
    found = by_change(effects(running))
    assert covers(found["cosine"], -0.5)
    assert covers(found["warmup"], -0.1)
    said = verdict(running)
    assert not [each for each in said.tables if "contribute" in each.title]
    assert "Of 12 runs, left out: 3 running." in said.warnings


def test_without_warmup_it_diverges_is_an_answer_too():
    said = verdict(square(math.nan, 0.0, math.nan, 0.0, baseline={"schedule": "cosine"}))
    assert said.headline == "No schedule differs significantly from cosine in validation loss."
    assert said.sentences[0] == "But 6 of 12 ended runs diverged (schedule constant and schedule cosine_no_warmup)."
    assert "A cell of the factorial has no mean" in " ".join(said.warnings)


def test_a_diverged_arm_has_no_mean_wins_nothing_and_is_named():
    found = verdict(grid({"precision": ["fp32", "bf16", "fp16"]}, adding({"fp16": math.nan})))
    row = next(row for row in table(found, "All arms").rows if row[0] == "fp16")
    assert row[1:] == ("diverged 3 of 3", "3", "3 failed")
    assert next(row for row in table(found, "What each").rows if "fp16" in row[0])[1] == "-"
    assert found.sentences[0] == "But 3 of 9 ended runs diverged (fp16)."
    assert any(text.startswith("fp16 diverged in 3 of 3 seeds") for text in found.warnings)


def test_one_diverged_seed_is_enough_to_lose_the_mean():
    whole = grid({"precision": ["fp32", "fp16"]}, adding({"fp16": -1.0}))
    whole.outcomes[3] = Outcome({"precision": "fp16"}, 0, "failed", math.nan)
    found = verdict(whole)
    assert table(found, "All arms").rows[1][1:] == ("diverged 1 of 3", "3", "1 failed, 2 finished")
    assert found.headline == "No two arms have a validation loss to compare."


def test_runs_under_way_are_counted_and_the_rest_is_compared():
    found = verdict(grid(ADAMW, lambda levels: {"adamw": 0.0, "muon": -0.5}.get(levels["optim"]), missing=["optim=lion,seed=0"]))  # fmt: skip
    assert "Of 10 runs, left out: 3 running; 1 not begun." in found.warnings
    assert found.headline.startswith("Muon ends 0.5")
    assert table(found, "All arms").rows[2][1:] == ("-", "0", "3 running")


def test_a_difference_within_the_noise_is_no_effect():
    found = verdict(grid({"precision": ["fp32", "bf16", "fp16"]}, lambda levels: 0.0))
    assert all("not significant" in row[1] for row in table(found, "What each").rows)
    assert (
        found.sentences[0]
        == "Differences from fp32 over 3 seeds, with 95 % intervals that hold together: 0 of 2 significant."
    )
    assert found.sentences[1].startswith("Settled as small: ")


def test_equal_bits_are_called_the_same():
    whole = grid({"memory": ["store", "recompute"]}, lambda levels: 0.0)
    whole = replace(whole, outcomes=[replace(run, value=whole.outcomes[run.seed].value) for run in whole.outcomes])
    assert [effect.kind for effect in effects(whole).effects] == ["same"]
    assert table(verdict(whole), "What each").rows[0][1] == "0.000 (the same)"


def test_a_single_seed_gets_no_interval_and_is_called_so():
    found = verdict(grid({"optim": ["adamw", "muon"]}, adding({"muon": -1.0}), seeds=1))
    assert found.headline == "One seed cannot say whether any optimizer differs from adamw in validation loss."
    assert table(found, "What each").rows[0][1].endswith("(single seed)")
    assert any(text.startswith("One seed an arm") for text in found.warnings)


def test_each_level_at_its_best_rate_is_compared_with_the_caveat():
    best = {("adamw", "0.01"): 1.9, ("muon", "0.001"): 1.3}
    found = verdict(grid(ADAMW | {"optim.lr": RATES}, lambda levels: best.get(tuple(levels.values()), 2.5)))
    shown = table(found, "What each optimizer does")
    assert shown.rows[0][0] == "muon instead of adamw"
    assert "0.001" in shown.rows[0]
    assert "flatters" in " ".join(found.sentences)
    assert "python -m gptx confirm" in " ".join(found.sentences)


def test_what_fresh_seeds_say_stands_beside_what_was_chosen():
    whole = grid(ADAMW | {"optim.lr": RATES}, lambda levels: best_rate(levels) - 0.2 * (levels["optim"] == "muon"))
    fresh = [replace(run, seed=run.seed + 10, value=run.value + 0.03) for run in whole.outcomes if run.levels["optim.lr"] == "0.003" and run.levels["optim"] != "sgd"]  # fmt: skip
    confirmed = replace(whole, confirmed=fresh)
    muon = by_change(effects(confirmed))["muon"]
    assert muon.fresh.mean == pytest.approx(muon.mean)
    assert by_change(effects(confirmed))["sgd"].fresh is None
    assert any(text.startswith("On 3 fresh seeds, which chose nothing: muon instead of adamw -0.2") for text in verdict(confirmed).sentences)  # fmt: skip


def test_the_best_of_each_column_is_marked():
    best = {("adamw", "0.01"): 1.9, ("muon", "0.001"): 1.3}
    found = verdict(grid({"optim": ["adamw", "muon"], "optim.lr": ["0.001", "0.01"]}, lambda levels: best.get(tuple(levels.values()), 2.5)))  # fmt: skip
    cells = {(row[0], i): cell for row in table(found, "by optim").rows for i, cell in enumerate(row)}
    marked = {place: float(cell.strip("*").split()[0]) for place, cell in cells.items() if cell.startswith("**")}
    assert marked == {("muon", 1): pytest.approx(3.8, abs=0.03), ("adamw", 2): pytest.approx(4.4, abs=0.03)}


@pytest.mark.parametrize("text", ["muon", "optim=muon", "optim=muon,optim.lr=1e-2"])
def test_the_baseline_may_be_named_by_level(text):
    found = verdict(grid({"optim": ["adamw", "muon"], "optim.lr": RATES}, lambda levels: 0.0), text)
    assert found.baseline["optim"] == "muon"
    assert found.baseline["optim.lr"] == ("0.01" if "1e-2" in text else "0.001")


@pytest.mark.parametrize(("text", "words"), [("lion", "no such level"), ("optim=0.01", "no such level"), ("1", "several factors")])  # fmt: skip
def test_a_baseline_that_is_none_is_refused_with_those_there_are(text, words):
    comparison = grid({"optim": ["adamw", "muon"], "steps": ["1", "2"], "model.depth": ["1", "2"]}, lambda levels: 0.0)
    with pytest.raises(ValueError, match=words) as error:
        verdict(comparison, text)
    assert "optim=adamw|muon" in str(error.value)


@pytest.mark.parametrize(("question", "words"), [
    ({"varied": "optim"}, "question.varied: no such key; there are vary, best_over, per, baseline, at"),
    ({"at": "speed"}, "at=speed: one of steps, tokens, flops, time, memory"),
])  # fmt: skip
def test_a_question_that_is_none_is_refused(question, words):
    with pytest.raises(ValueError, match=words):
        verdict(grid({"optim": ["adamw", "muon"]}, lambda levels: 0.0, question=question))


def test_nothing_but_seeds_and_one_run_and_none_finished_have_sentences():
    assert verdict(grid({}, lambda levels: 0.0, seeds=1)).headline.endswith(" nats per byte (1 seed).")
    assert verdict(grid({}, lambda levels: 0.0, seeds=1)).sentences == ["A single seed cannot say how much of the result is chance."]  # fmt: skip
    twice = grid({}, lambda levels: 0.0, seeds=1)
    twice.outcomes.append(replace(twice.outcomes[0], value=twice.outcomes[0].value + 1))
    assert effects(twice).arms[0].mean == pytest.approx(twice.outcomes[0].value + 0.5)
    assert verdict(grid({}, lambda levels: math.nan)).headline == "The run diverged in 3 of 3 seeds."
    assert verdict(Comparison("validation/loss", {}, [])).headline == "No run has a validation loss to compare yet."


def test_what_differs_beside_the_factors_and_how_runs_were_made_is_warned_of():
    around = {"commit": ["aaa", "bbb"], "threads": 1, "date": ["2026-01-01", "2026-01-02"], "uncommitted changes": [False, True]}  # fmt: skip
    found = verdict(grid({"optim": ["adamw", "muon"]}, lambda levels: 0.0, environment=around, confounded=["clip.max_norm is 1 or 2"]))  # fmt: skip
    assert found.warnings == [
        "The arms also differ elsewhere, which may be the cause of a difference: clip.max_norm is 1 or 2.",
        "The runs were not made alike: commit aaa or bbb.",
        "Some runs were made with uncommitted changes, which no commit names.",
    ]
    assert not any("differ elsewhere" in text for text in found.sentences)


def test_runs_of_different_data_are_not_to_be_compared():
    around = {"data": ["111", "222"], "tokenizer": ["bytes", "gpt2"]}
    found = verdict(grid({"data": ["stdlib", "text"]}, lambda levels: 0.0, environment=around))
    assert "different tokens (tokenizers bytes or gpt2" in found.warnings[0]
    assert "read different data (digests 111 or 222)" in found.warnings[1]
    assert "cannot be compared" in found.warnings[1]


def test_runs_that_were_validated_on_other_windows_are_not_to_be_compared():
    around = {"validation windows": [160, "all"]}
    found = verdict(grid({"optim": ["adamw", "muon"]}, lambda levels: 0.0, environment=around))
    assert found.headline == "These results cannot be compared: the runs are not of the same text."
    assert found.warnings == ["The runs were validated on 160 or all windows of the held-out text: their results cannot "
                              "be compared."]  # fmt: skip


@pytest.mark.parametrize(("tokenizer", "unit"), [("chars", "nats per character"), ("bytes", "nats per byte"), ("gpt2", "nats per token")])  # fmt: skip
def test_losses_have_the_unit_of_their_tokens(tokenizer, unit):
    found = verdict(grid({"optim": ["adamw", "muon"]}, lambda levels: 0.0, environment={"tokenizer": tokenizer}))
    assert unit in table(found, "All arms").note
    assert unit in table(found, "What each").note


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
    losses = grid(ADAMW, adding({"muon": 0.7}))
    found = Comparison("downstream/next_word_accuracy", losses.factors, losses.outcomes)
    assert verdict(found).headline == "Muon ends 0.70 higher than adamw in downstream next word accuracy."
    assert effects(found).settings[0].arms[0].levels == {"optim": "muon"}


def test_three_factors_stay_readable():
    factors = ADAMW | {"model": ["nano", "llama_nano", "modern_nano"], "optim.lr": RATES}
    found = verdict(grid(factors, lambda levels: best_rate(levels) - 0.3 * (levels["optim"] == "muon")))
    assert len(found.headline.split()) <= HEADLINE
    assert max(map(len, found.sentences)) < 400
    assert len(table(found, "All arms").rows) == 27
    assert all(len(row) == len(each.columns) for each in found.tables for row in each.rows)


def test_speed_and_memory_are_shown_by_what_may_change_them():
    rates = grid({"schedule": ["constant", "cosine"], "optim.lr": RATES}, lambda levels: 0.0)
    assert not [each for each in verdict(rates).tables if "Speed" in each.title]
    found = verdict(grid({"precision": ["fp32", "bf16"], "optim.lr": RATES}, lambda levels: 0.0))
    assert table(found, "Speed").rows == [("fp32", "12,000", "60.0", "100"), ("bf16", "12,000", "60.0", "100")]


def test_two_runs_of_one_arm_and_seed_count_once():
    whole = grid({"optim": ["adamw", "muon"]}, lambda levels: 0.0)
    again = replace(whole, outcomes=[*whole.outcomes, Outcome({"optim": "muon"}, 2, "finished", 3.0)])
    first = [run.value for run in whole.outcomes[3:]]
    assert effects(again).arms[1].mean == pytest.approx((first[0] + first[1] + (first[2] + 3.0) / 2) / 3)
    assert table(verdict(again), "All arms").rows[1][2:] == ("3", "4 finished")
    twice = "Several runs of the same arm and seed, which count as one, with their mean: muon, seed 2."
    assert twice in verdict(again).warnings
    assert means(whole, optim="muon") == pytest.approx(effects(whole).arms[1].mean)
