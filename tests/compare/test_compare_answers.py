"""Whom a page names as the best, how it counts, and what it says of runs that are missing, diverged or ended early."""

import math
import random
from dataclasses import replace

import pytest
from test_compare_claims import TRAITS, pages
from test_compare_verdict import SCHEDULES, compared, table

from gptx.compare.effects import ranked
from gptx.compare.outcomes import Comparison, Outcome, arms
from gptx.compare.verdict import verdict
from gptx.estimate.differences import difference

GAP = (0.001, -0.001, 0.0005)  # by seed: no difference is the same in all of them


def losses(factors, rows: dict, state: str = "failed") -> Comparison:
    """Runs by levels and seed; None has no result, and is in `state`."""
    names = [factors] if isinstance(factors, str) else factors
    outcomes = [
        Outcome(dict(zip(names, (key,) if isinstance(key, str) else key, strict=True)), seed, state if value is None else "finished", value)
        for key, values in rows.items() for seed, value in enumerate(values)
    ]  # fmt: skip
    levels = {name: list(dict.fromkeys(each.levels[name] for each in outcomes)) for name in names}
    return Comparison("validation/loss", levels, outcomes)


@pytest.mark.parametrize("state", ["failed", "running"])
def test_a_missing_hard_seed_does_not_make_an_arm_the_best(state):
    rows = {"0.001": (2.5, 2.6, 3.5), "0.0029": (2.02, 2.12, None), "0.003": (2.0, 2.11, 3.02)}
    found = verdict(losses("optim.lr", rows, state))
    assert found.headline.startswith("The lowest validation loss in common seeds is with learning rate 0.003, ")
    assert "learning rate 0.0029 lacks seed 2: arms are compared in the seeds that both have" in " ".join(
        found.warnings
    )


def test_the_best_is_never_above_the_baseline_that_it_is_compared_with():
    found = verdict(losses("schedule.warmup", {"1": (3.35, 3.45, 3.55), "2": (3.6, 3.7, 3.81), "3": (3.4, None, None)}))
    assert found.headline.startswith("The lowest validation loss in common seeds is with schedule.warmup=1; ")
    assert "the next, with schedule.warmup=3, is 0.050 nats per token higher than with schedule.warmup=1" in found.headline  # fmt: skip


def test_the_bold_cell_and_the_best_of_a_level_are_judged_in_shared_seeds_too():
    rows = {("adamw", "0.001"): (2.0, 2.1, 3.0), ("adamw", "0.01"): (2.1, 2.2, None), ("muon", "0.001"): (1.9, 2.0, 2.9),
            ("muon", "0.01"): (1.8, 1.9, 2.8), ("sgd", "0.001"): (1.95, 2.05, None), ("sgd", "0.01"): (2.6, 2.7, 3.6)}  # fmt: skip
    found = verdict(losses(["optim", "optim.lr"], rows))
    assert [row[1::-1] for row in table(found, "at its best").rows] == [("muon", "0.01"), ("sgd", "0.001"), ("adamw", "0.001")]  # fmt: skip
    cells = {row[0]: row[1:] for row in table(found, "by optim").rows}
    assert [name for name, row in cells.items() for cell in row if "**" in cell] == ["muon", "muon"]
    assert "adamw, learning rate 0.01 lacks seed 2; sgd, learning rate 0.001 lacks seed 2: arms" in " ".join(
        found.warnings
    )


def test_whatever_is_missing_who_beats_all_others_in_shared_seeds_wins_and_no_headline_contradicts_itself():
    draw = random.Random(1)
    for _ in range(300):
        luck = [draw.gauss(0, 1) for _ in range(4)]
        rows = {name: [None if draw.random() < 0.3 else draw.gauss(2, 0.1) + each for each in luck] for name in "abcde"}
        whole = losses("clip", rows)
        values = {arm.levels["clip"]: arm.values for arm in arms(whole) if arm.mean is not None}
        gaps = {(a, b): difference(values[a], values[b]).mean for a in values for b in values if a != b}
        order = ranked({arm.levels["clip"]: arm for arm in arms(whole)}, 1)
        for best in (a for a in values if all(gaps[a, b] < 0 for b in values if b != a)):
            assert order[0] == best
        headline = verdict(whole, "a").headline
        assert ("higher" if "; the next" not in headline else "lower") not in headline, headline


def test_arms_without_a_common_seed_are_compared_as_unpaired_and_it_is_said():
    found = verdict(losses("optim", {"adamw": (2.0, 2.1, 2.2, None, None), "muon": (None, None, None, 1.1, 1.2)}))
    assert "lower than with adamw (95 % interval -1.20 to -0.70, no seed in common)" in found.headline
    assert table(found, "Arms").rows[1][-1] == "-0.95 (-1.20 to -0.70, unpaired)"
    assert "as unpaired (Welch's t) if they share none" in " ".join(found.warnings)


def test_a_difference_has_the_digits_of_its_own_interval():
    base = (2.0, 1.0, 3.0)
    found = verdict(
        losses("optim", {"adamw": base, "muon": [x - 0.02 + gap for x, gap in zip(base, GAP, strict=True)]})
    )
    assert "with muon, 0.0198 nats per token lower than with adamw (95 % interval -0.0224 to -0.0172, 3 seeds)" in found.headline  # fmt: skip
    assert table(found, "Arms").rows[1][1:3] == ("2.0 ± 1.0", "3")
    slower = verdict(losses("optim", {"adamw": (20.0, 21.0), "muon": (11.0, 11.6)}))
    assert (
        "with muon, 9.2 nats per token lower than with adamw (95 % interval -11.7 to -6.7, 2 seeds)" in slower.headline
    )
    assert table(found, "Arms").rows[1][-1] == "-0.0198 (-0.0224 to -0.0172)"


@pytest.mark.parametrize("factors", [
    {"precision": ["fp32", "bf16", "fp16"]}, {"precision": ["fp32", "fp16"]},
    {"precision": ["fp32", "fp16"], "optim.lr": ["0.001", "0.01", "0.03"]},
    {"precision": ["fp32", "bf16", "fp16"], "optim.lr": ["0.001", "0.01", "0.03"]},
    {"precision": ["fp32", "fp16"], "memory": ["a", "b"]}, {"precision": ["fp32", "fp16"], "memory": ["a", "b"], "optim.lr": ["0.001", "0.01"]},
    {"precision": ["fp32", "bf16", "fp16"], "model.depth": ["1", "2"]}, {"precision": list("abcd"), "model.depth": ["1", "2"]},
    {"precision": ["fp32", "bf16", "fp16"], "model.depth": ["1", "2"], "optim.lr": ["0.001", "0.01"]},
])  # fmt: skip
def test_one_diverged_seed_of_any_arm_is_in_the_headline_of_any_shape(factors):
    whole = compared(factors, lambda levels: 2.0)
    for at in range(1, len(whole.outcomes), 3):
        lost = whole.outcomes[at]
        outcomes = [replace(each, value=math.nan, state="failed") if each is lost else each for each in whole.outcomes]
        headline = verdict(replace(whole, outcomes=outcomes)).headline
        assert f"1 of {len(outcomes)} ended runs diverged ({lost.levels['precision']})." in headline
        assert "does not diverge" not in headline


def test_where_a_corner_of_one_2_by_2_diverged_the_others_are_still_told():
    def loss(levels):
        return math.nan if levels == {"schedule": "constant", "optim.lr": "0.01"} else 2.0 + (not TRAITS[levels["schedule"]][0])  # fmt: skip

    found = verdict(compared({"schedule": list(TRAITS), "optim.lr": ["0.001", "0.01"]}, loss, traits=SCHEDULES))
    assert found.headline.endswith("1.00 nats per character lower at learning rate 0.001; but 3 of 24 ended runs diverged (constant).")  # fmt: skip


def test_many_diverged_arms_are_told_together():
    lost = compared({"precision": ["fp32", "fp16"], "optim.lr": ["0.001", "0.003", "0.01"]}, lambda levels: math.nan if levels["precision"] == "fp16" else 2.0)  # fmt: skip
    assert verdict(lost).headline.endswith("; but 9 of 18 ended runs diverged (fp16).")


def test_headline_and_attribution_are_the_same_estimate_and_never_contradict_each_other():
    """A small effect of one thing: before, one page in four said "no difference" and "contributed more" at once."""
    told = 0
    for text in pages({"schedule": list(TRAITS)}, 3, lambda levels: -0.05 * TRAITS[levels["schedule"]][0], sweeps=400):
        more, headline = "Contributed more: warmup" in text, text.split(". ")[0]
        told += more
        assert not (more and "not significant" in headline), text
        assert not more or ("With warmup" in headline and "lower" in headline)
    assert told > 100


def test_where_the_interaction_is_larger_than_a_main_effect_the_headline_says_that_it_depends():
    means = {"constant": 2.5, "warmup": 2.52, "cosine": 2.0, "cosine_no_warmup": 2.9}
    found = verdict(compared({"schedule": list(TRAITS)}, lambda levels: means[levels["schedule"]], traits=SCHEDULES))
    assert found.headline == ("The effect of warmup on the validation loss depends on cool-down: +0.018 (+0.002 to +0.035) "
                              "without it, -0.900 (-0.915 to -0.885) with it.")  # fmt: skip
    assert found.sentences[0] == "Contributed more: each depends on the other."
    assert table(found, "contribute").rows[0][-1] == "each depends on the other"


def test_repeated_runs_count_as_runs_and_once_as_seeds():
    whole = compared({"optim": ["adamw", "muon"]}, lambda levels: 2.0, seeds=2)
    again = replace(whole, outcomes=[*whole.outcomes, whole.outcomes[0], whole.outcomes[3]])
    assert "0 of 6 ended runs diverged." in verdict(again).sentences
    assert table(verdict(again), "Arms").rows[0][2:4] == ("2", "3 finished")


def test_of_runs_under_way_it_is_not_said_that_they_did_not_diverge():
    found = verdict(compared({"optim": ["adamw", "muon", "sgd"]}, lambda levels: None if levels["optim"] == "sgd" else 2.0))  # fmt: skip
    assert "0 of 6 ended runs diverged." in found.sentences


def test_runs_that_ended_early_are_named_in_warning_and_headline():
    whole = compared({"optim": ["adamw", "muon"]}, lambda levels: 2.0 - (levels["optim"] == "muon"))
    whole.outcomes[4] = replace(whole.outcomes[4], ended_at=80)
    found = verdict(whole)
    assert "Runs that ended early, and thus have fewer steps: muon, seed 1, at step 80." in found.warnings
    assert found.headline.endswith("; but 1 run ended early.")
    assert "ended early" not in verdict(replace(whole, metric="target/step")).headline


@pytest.mark.parametrize(("best", "edge"), [("0.001", True), ("0.003", False), ("0.01", True)])
def test_a_best_learning_rate_at_the_edge_of_its_grid_is_a_warning(best, edge):
    factors = {"optim": ["adamw", "muon"], "optim.lr": ["0.001", "0.003", "0.01"]}

    def loss(levels):
        return 2.0 - 0.1 * (levels["optim.lr"] == (best if levels["optim"] == "muon" else "0.003"))

    text = f"The best learning rate is at the edge of its grid, and a better one may lie beyond: muon, learning rate {best}."
    assert (text in verdict(compared(factors, loss)).warnings) == edge
    assert not edge or "may lie beyond: " in " ".join(verdict(compared({"optim.lr": factors["optim.lr"]}, lambda levels: loss({"optim": "muon"} | levels))).warnings)  # fmt: skip


def test_a_rate_beyond_the_best_one_that_diverged_or_has_not_ended_is_part_of_the_grid():
    for beyond in (math.nan, None):
        value = {"0.001": 2.0, "0.003": 1.5, "0.01": beyond}
        found = verdict(compared({"optim.lr": list(value)}, lambda levels, value=value: value[levels["optim.lr"]]))
        assert "edge" not in " ".join(found.warnings)


def test_what_several_comparisons_support_is_said_in_words():
    """At each of four learning rates a difference that is significant for itself, and none that is after correction."""
    gaps = (0.010, 0.0135, 0.0165)
    rows = {(optim, rate): [2.0 + (optim == "muon") * gap for gap in gaps] for rate in "1234" for optim in ("adamw", "muon")}  # fmt: skip
    found = verdict(losses(["optim", "optim.lr"], rows))
    assert found.headline == ("With muon instead of adamw, the validation loss is not significantly different at learning "
                              "rate 1, 2, 3 and 4 (after correction, 3 seeds).")  # fmt: skip
    assert "5 comparisons: 5 significant at 95 %, 0 after Holm correction." in found.sentences
    assert found.sentences[0] == ("With each optimizer at its best learning rate, no optimizer differs significantly from "
                                  "adamw in validation loss.")  # fmt: skip
    assert "4 comparisons: 4 significant at 95 %, 4 after Holm" not in table(found, "Arms").note


@pytest.mark.parametrize("seeds", [1, 3])
def test_where_all_arms_are_equal_none_is_the_best_and_no_rate_at_an_edge(seeds):
    rows = {(optim, rate): [2.0, 2.1, 2.3][:seeds] for optim in ("adamw", "muon", "sgd") for rate in "123"}
    found = verdict(losses(["optim", "optim.lr"], rows))
    assert found.headline == ("With each optimizer at its best learning rate, every optimizer has the same validation loss "
                              "as adamw at learning rate 1 in each common seed.")  # fmt: skip
    assert "**" not in str(found.tables)
    assert "edge" not in " ".join(found.warnings)


def test_of_a_sweep_under_way_no_rate_is_called_an_edge_before_the_next_one_has_ended():
    whole = losses("optim.lr", {"1": (2.0, 2.1), "2": (None, None), "3": (2.4, 2.5)}, "running")
    assert "edge" not in " ".join(verdict(whole).warnings)


@pytest.mark.parametrize(("size", "digits"), [(1e-4, "0.00010"), (1e-6, "0.0000010"), (1e-9, "0.0000000010")])
def test_a_significant_difference_is_never_printed_as_zero(size, digits):
    gaps = (0.9 * size, size, 1.1 * size)
    two = {"adamw": (2.0, 3.0, 1.0), "muon": [x - gap for x, gap in zip((2.0, 3.0, 1.0), gaps, strict=True)]}
    assert f"with muon, {digits} nats per token lower" in verdict(losses("optim", two)).headline
    rates = {(optim, rate): values for optim, values in two.items() for rate in "12"}
    assert f"ends {digits} nats per token lower" in verdict(losses(["optim", "optim.lr"], rates)).headline


@pytest.mark.parametrize("levels", [("adamw", "muon"), ("adamw", "muon", "sgd"), ("adamw", "muon", "sgd", "lion")])
def test_what_a_single_seed_shows_is_not_told_beside_what_several_do(levels):
    draw = random.Random(1)
    rows = {(optim, depth): [draw.gauss(2, 0.1) - (optim == "muon" and depth == "4"), *([None] * 2 if depth == "4" else [2.1, 2.2])]
            for optim in levels for depth in "1234"}  # fmt: skip
    found = verdict(losses(["optim", "model.depth"], rows))
    assert "lower" not in found.headline
    assert "significant" in found.headline
    assert "With muon instead of adamw, the validation loss has no interval at layers 4 (1 seed)." in found.sentences


def test_two_arms_with_rates_of_their_own_are_compared_at_their_best():
    rows = {("adamw", "1"): (2.0, 2.1, 2.2), ("adamw", "2"): (2.3, 2.4, 2.5), ("muon", "3"): (1.9, 2.01, 2.1), ("muon", "4"): (2.2, 2.3, 2.5)}  # fmt: skip
    headline = verdict(losses(["optim", "optim.lr"], rows)).headline
    assert headline.startswith("With each optimizer at its best learning rate, the lowest validation loss is 2.00 nats per "
                               "token with muon at learning rate 3, 0.097 nats per token lower than with adamw")  # fmt: skip


def test_runs_that_differ_in_their_seeds_alone_are_told_of_with_what_speaks_against_them():
    whole = compared({}, lambda levels: 2.0)
    whole.outcomes[1] = replace(whole.outcomes[1], ended_at=80)
    assert verdict(whole).headline.endswith("(mean ± sd of 3 seeds); but 1 run ended early.")
    other = replace(whole, environment={"validation windows": [10, 20]})
    assert verdict(other).headline == "These results cannot be compared: the runs are not of the same text."
