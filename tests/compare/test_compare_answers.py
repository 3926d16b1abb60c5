"""Whom a page names as the best, how it counts, and what it says of runs that are missing, diverged or ended early."""

import math
import random
from dataclasses import replace

import pytest
from synthetic import adding, by_change, covers, grid
from test_compare_verdict import RATES, SCHEDULES, TRAITS, best_rate, table

from gptx.compare.effects import effects
from gptx.compare.optimum import ranked
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


def best(comparison: Comparison) -> dict[str, str]:
    return effects(comparison).settings[0].arms[0].levels


@pytest.mark.parametrize("state", ["failed", "running"])
def test_a_missing_hard_seed_does_not_make_an_arm_the_best(state):
    """0.0029 has the lowest mean over its own seeds, and is worse in both of them."""
    whole = losses(
        "optim.lr", {"0.001": (2.5, 2.6, 3.5), "0.0029": (2.02, 2.12, None), "0.003": (2.0, 2.11, 3.02)}, state
    )
    found = by_change(effects(whole))
    assert best(whole) == {"optim.lr": "0.003"}
    assert found["0.003"].mean < found["0.0029"].mean < 0
    assert found["0.0029"].mean == pytest.approx(-0.47, abs=0.02)  # the mean of its seeds lies 0.8 below the base
    assert "learning rate 0.0029 lacks seed 2: arms are compared by least squares" in " ".join(verdict(whole).warnings)


def test_the_best_is_never_above_the_base_that_it_is_compared_with():
    """3 has one lucky seed: a lower mean than the base, in whose seed it is worse."""
    whole = losses("schedule.warmup", {"1": (3.35, 3.45, 3.55), "2": (3.6, 3.7, 3.81), "3": (3.4, None, None)})
    assert best(whole) == {"schedule.warmup": "1"}
    assert by_change(effects(whole))["3"].mean == pytest.approx(0.05, abs=0.005)


def test_the_bold_cell_and_the_best_of_a_level_are_judged_in_shared_seeds_too():
    rows = {("adamw", "0.001"): (2.0, 2.1, 3.0), ("adamw", "0.01"): (2.1, 2.2, None), ("muon", "0.001"): (1.9, 2.0, 2.9),
            ("muon", "0.01"): (1.8, 1.9, 2.8), ("sgd", "0.001"): (1.95, 2.05, None), ("sgd", "0.01"): (2.6, 2.7, 3.6)}  # fmt: skip
    found = losses(["optim", "optim.lr"], rows)
    assert [[*arm.levels.values()] for arm in effects(found).settings[0].arms] == [["muon", "0.01"], ["sgd", "0.001"], ["adamw", "0.001"]]  # fmt: skip
    cells = {row[0]: row[1:] for row in table(verdict(found), "by optim").rows}
    assert [name for name, row in cells.items() for cell in row if "**" in cell] == ["muon", "muon"]
    assert "adamw, learning rate 0.01 lacks seed 2; sgd, learning rate 0.001 lacks seed 2: arms" in " ".join(verdict(found).warnings)  # fmt: skip


def test_whatever_is_missing_who_beats_all_others_in_shared_seeds_wins():
    draw = random.Random(1)
    for _ in range(300):
        luck = [draw.gauss(0, 1) for _ in range(4)]
        rows = {name: [None if draw.random() < 0.3 else draw.gauss(2, 0.1) + each for each in luck] for name in "abcde"}
        values = {arm.levels["clip"]: arm.values for arm in arms(losses("clip", rows)) if arm.mean is not None}
        gaps = {(a, b): difference(values[a], values[b]).mean for a in values for b in values if a != b}
        order = ranked({arm.levels["clip"]: arm for arm in arms(losses("clip", rows))}, 1)
        for first in (a for a in values if all(gaps[a, b] < 0 for b in values if b != a)):
            assert order[0] == first


def test_arms_without_a_common_seed_are_compared_as_unpaired_and_it_is_said():
    found = verdict(losses("optim", {"adamw": (2.0, 2.1, 2.2, None, None), "muon": (None, None, None, 1.1, 1.2)}))
    assert table(found, "What each").rows[0][1] == "-0.95 (-1.22 to -0.68, unpaired)"  # Student's: 3.18 x 0.085
    assert "or as unpaired where arms share no seed" in " ".join(found.warnings)


def test_a_difference_has_the_digits_of_its_own_interval():
    base = (2.0, 1.0, 3.0)
    near = losses("optim", {"adamw": base, "muon": [x - 0.02 + gap for x, gap in zip(base, GAP, strict=True)]})
    assert table(verdict(near), "What each").rows[0][1] == "-0.0198 (-0.0224 to -0.0172)"
    assert verdict(near).headline == "Muon ends 0.020 nats per token lower than adamw in validation loss."
    assert table(verdict(near), "All arms").rows[1][1:3] == ("2.0 ± 1.0", "3")
    slower = verdict(losses("optim", {"adamw": (20.0, 21.0), "muon": (11.0, 11.6)}))
    assert table(slower, "What each").rows[0][1] == "-9.2 (-11.7 to -6.7)"


@pytest.mark.parametrize("factors", [
    {"precision": ["fp32", "bf16", "fp16"]}, {"precision": ["fp32", "fp16"]},
    {"precision": ["fp32", "fp16"], "optim.lr": RATES}, {"precision": ["fp32", "bf16", "fp16"], "optim.lr": RATES},
    {"precision": ["fp32", "bf16", "fp16"], "model.depth": ["1", "2"]},
    {"precision": ["fp32", "bf16", "fp16"], "model.depth": ["1", "2"], "optim.lr": RATES},
])  # fmt: skip
def test_one_diverged_seed_of_any_arm_is_told_first_in_any_shape(factors):
    whole = grid(factors, lambda levels: 0.0)
    for at in range(1, len(whole.outcomes), 3):
        lost = whole.outcomes[at]
        outcomes = [replace(each, value=math.nan, state="failed") if each is lost else each for each in whole.outcomes]
        first = verdict(replace(whole, outcomes=outcomes)).sentences[0]
        assert first == f"But 1 of {len(outcomes)} ended runs diverged ({lost.levels['precision']})."


def test_where_a_corner_of_one_2_by_2_diverged_the_others_are_still_told():
    def loss(levels):
        gone = levels == {"schedule": "constant", "optim.lr": "0.01"}
        return math.nan if gone else 1.0 * (not TRAITS[levels["schedule"]][0])

    whole = grid({"schedule": list(TRAITS), "optim.lr": ["0.001", "0.01"]}, loss, traits=SCHEDULES,
                 baseline={"schedule": "cosine"}, question={"vary": "schedule", "per": "optim.lr"})  # fmt: skip
    first, second = effects(whole).settings
    assert (first.whole, second.whole) == (True, False)
    assert covers(next(effect for effect in first.effects if effect.things == (("", "warmup"),)), -1.0)
    assert covers(
        next(effect for effect in second.effects if effect.things == (("schedule", "cosine_no_warmup"),)), 1.0
    )
    assert verdict(whole).sentences[0] == "But 3 of 24 ended runs diverged (schedule constant)."


def test_repeated_runs_count_as_runs_and_once_as_seeds():
    whole = grid({"optim": ["adamw", "muon"]}, lambda levels: 0.0, seeds=2)
    again = replace(whole, outcomes=[*whole.outcomes, whole.outcomes[0], whole.outcomes[3]])
    assert table(verdict(again), "All arms").rows[0][2:4] == ("2", "3 finished")
    assert [effect.estimate for effect in effects(again).effects] == [
        effect.estimate for effect in effects(whole).effects
    ]


def test_the_point_of_a_target_is_no_run_that_ended_early():
    whole = grid({"optim": ["adamw", "muon"]}, adding({"muon": -1.0}))
    whole.outcomes[4] = replace(whole.outcomes[4], ended_at=80)
    assert verdict(whole).sentences[0] == "But 1 run ended early."
    assert "ended early" not in " ".join(verdict(replace(whole, metric="target/step")).sentences)


@pytest.mark.parametrize(("best", "edge"), [("0.001", True), ("0.003", False), ("0.01", True)])
def test_a_best_learning_rate_at_the_edge_of_its_grid_is_a_warning(best, edge):
    factors = {"optim": ["adamw", "muon"], "optim.lr": RATES}
    found = verdict(grid(factors, lambda levels: best_rate(levels, best if levels["optim"] == "muon" else "0.003")))
    text = f"The best learning rate is at the edge of its grid, and a better one may lie beyond: muon, learning rate {best}."
    assert (text in found.warnings) == edge


def test_a_rate_beyond_the_best_one_that_diverged_or_has_not_ended_is_part_of_the_grid():
    for beyond in (math.nan, None):
        value = {"0.001": 0.5, "0.003": 0.0, "0.01": beyond}
        optims = {"optim": ["adamw", "muon"], "optim.lr": list(value)}
        found = verdict(grid(optims, lambda levels, value=value: value[levels["optim.lr"]]))
        assert "edge" not in " ".join([found.headline, *found.warnings])


def test_of_a_sweep_under_way_no_rate_is_called_an_edge_before_the_next_one_has_ended():
    rows = {(optim, rate): values for optim in ("adamw", "muon") for rate, values in {"1": (2.0, 2.1), "2": (None, None), "3": (2.4, 2.5)}.items()}  # fmt: skip
    assert "edge" not in " ".join(verdict(losses(["optim", "optim.lr"], rows, "running")).warnings)


def test_what_own_seeds_alone_would_say_otherwise_is_told_with_its_setting():
    """At each of four sizes a difference that its own seeds show, and of which the many comparisons leave nothing."""
    gaps = (0.010, 0.0135, 0.0165)
    rows = {
        (rule, size): [2.0 + (rule == "sqrt") * gap for gap in gaps] for size in "1234" for rule in ("none", "sqrt")
    }
    whole = losses(["batch.rule", "batch.tokens"], rows)
    found = effects(whole)
    assert all(effect.estimate.disputed and effect.estimate.alone[0] > 0 for effect in found.effects)
    assert not any(effect.settled for effect in found.effects)
    said = verdict(whole)
    assert said.headline == "Batch rule sqrt changes the validation loss significantly in none of 4 settings."
    assert said.sentences[0] == "Differences from batch rule none over 3 seeds, with 95 % intervals that hold together: 0 of 4 significant."  # fmt: skip
    assert "without correction, these would be judged otherwise: batch rule sqrt at tokens per step 1; " in " ".join(said.warnings)  # fmt: skip


@pytest.mark.parametrize("seeds", [1, 3])
def test_where_all_arms_are_equal_none_is_the_best_and_no_cell_is_bold(seeds):
    rows = {(optim, rate): [2.0, 2.1, 2.3][:seeds] for optim in ("adamw", "muon", "sgd") for rate in "123"}
    found = losses(["optim", "optim.lr"], rows)
    assert {effect.kind for effect in effects(found).effects} <= {"same", "unsure"}
    assert not any(effect.mean for effect in effects(found).effects)
    assert "**" not in str(verdict(found).tables)


@pytest.mark.parametrize(("size", "digits"), [(1e-4, "0.00010"), (1e-6, "0.0000010"), (1e-9, "0.0000000010")])
def test_a_significant_difference_is_never_printed_as_zero(size, digits):
    gaps = (0.9 * size, size, 1.1 * size)
    two = {"adamw": (2.0, 3.0, 1.0), "muon": [x - gap for x, gap in zip((2.0, 3.0, 1.0), gaps, strict=True)]}
    found = verdict(losses("optim", two))
    assert f"Muon ends {digits} nats per token lower" in found.headline
    assert table(found, "What each").rows[0][1].startswith(f"-{digits}")


def test_what_a_single_seed_shows_is_not_claimed_beside_what_several_do():
    draw = random.Random(1)
    rows = {(optim, depth): [draw.gauss(2, 0.1) - (optim == "muon" and depth == "4"), *([None] * 2 if depth == "4" else [2.1, 2.2])]
            for optim in ("adamw", "muon", "sgd") for depth in "1234"}  # fmt: skip
    whole = losses(["optim", "model.depth"], rows)
    found = [effect for setting, effect in effects(whole).each if setting.context == {"model.depth": "4"}]
    assert [effect.estimate.p for effect in found] == [None, None]
    assert not any(effect.settled for effect in found)
    assert verdict(whole).headline == "The optimizer changes the validation loss significantly in none of 4 settings."


def test_two_arms_with_rates_of_their_own_are_compared_at_their_best():
    rows = {("adamw", "1"): (2.0, 2.1, 2.2), ("adamw", "2"): (2.3, 2.4, 2.5), ("muon", "3"): (1.9, 2.01, 2.1), ("muon", "4"): (2.2, 2.3, 2.5)}  # fmt: skip
    (effect,) = effects(losses(["optim", "optim.lr"], rows)).effects
    assert (effect.arm.levels, effect.against.levels) == ({"optim": "muon", "optim.lr": "3"}, {"optim": "adamw", "optim.lr": "1"})  # fmt: skip
    assert effect.mean == pytest.approx(-0.0967, abs=1e-4)
    assert effect.bound == "open"  # both are the lowest of their grids


def test_runs_that_differ_in_their_seeds_alone_are_told_of_with_what_speaks_against_them():
    whole = grid({}, lambda levels: 0.0)
    whole.outcomes[1] = replace(whole.outcomes[1], ended_at=80)
    assert verdict(whole).headline.endswith("(mean ± sd of 3 seeds).")
    assert verdict(whole).sentences == ["But 1 run ended early."]
    other = replace(whole, environment={"validation windows": [10, 20]})
    assert verdict(other).headline == "These results cannot be compared: the runs are not of the same text."
