"""Sweeps with known effects get the right answer: which ingredient matters, by how much, and how sure that is."""

import math
from dataclasses import replace
from itertools import product

import numpy
import pytest
from synthetic import SIZE, ablation, adding, by_change, covers, grid, means, sweep

from gptx.compare.collect import with_earlier
from gptx.compare.effects import effects
from gptx.compare.outcomes import Outcome
from gptx.compare.speed import speed_up
from gptx.compare.target import steps_to
from gptx.compare.trend import trends
from gptx.compare.verdict import as_numbers, verdict
from gptx.estimate.differences import critical, quantile

FIVE = {"optim": ["adamw", "muon"], "clip": ["global_norm", "none"], "schedule": ["cosine", "warmup"],
        "model.qk_norm": ["false", "true"], "optim.weight_decay": ["0.1", "0"]}  # fmt: skip
WORTH = {"muon": -0.2, "none": 0.0, "warmup": 0.1, "true": -0.03, "0": 0.03}
THREE = {name: FIVE[name] for name in ("optim", "clip", "model.qk_norm")}
CUBE = {"muon": -0.20, "none": 0.01, "true": -0.03}
RATES = ["0.001", "0.003", "0.01"]
COMMAND = "python -m gptx.train --multirun optim=adamw,lion optim.lr=0.001,0.003,0.01 seed=0,1,2"


def test_five_arms_of_one_key_each_are_five_effects_of_the_right_size():
    sweep = ablation(FIVE, WORTH)
    found = effects(sweep)
    assert (found.question.design, found.baseline) == ("arms", {name: levels[0] for name, levels in FIVE.items()})
    assert {name: effect.settled for name, effect in by_change(found).items()} == {"muon": True, "true": True, "none": False, "0": True, "warmup": True}  # fmt: skip
    for name, effect in by_change(found).items():
        ((factor, _),) = effect.things
        base = means(sweep, **{each.replace(".", "__"): FIVE[each][0] for each in FIVE})
        assert effect.estimate.mean == pytest.approx(means(sweep, **{factor.replace(".", "__"): name}) - base)
        assert covers(effect, WORTH[name])
    assert [effect.mean for effect in found.effects] == sorted(effect.mean for effect in found.effects)
    assert verdict(sweep).headline == ("4 of 5 changes matter, muon instead of adamw most: it lowers the validation loss by "
                                       "0.20 nats per byte.")  # fmt: skip


def test_the_intervals_of_arms_are_dunnett_s_over_a_pooled_spread():
    """By hand: residuals of arms and seeds, 10 degrees of freedom, and Dunnett's 3.07 for 5 arms."""
    found = effects(ablation(FIVE, WORTH))
    table = numpy.array([[*arm.values.values()] for arm in found.arms])
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    error = math.sqrt((rest**2).sum() / 10 * 2 / 3)
    assert critical(5, 10) == pytest.approx(3.0, abs=0.07)
    for effect in found.effects:
        assert effect.estimate.high - effect.estimate.mean == pytest.approx(critical(5, 10) * error, rel=1e-4)
    assert "(Dunnett)" in verdict(ablation(FIVE, WORTH)).tables[0].note
    assert "(Dunnett)" not in verdict(grid(THREE, adding(CUBE))).tables[0].note


def test_the_third_factor_of_a_cube_is_there_and_main_effects_are_averages_over_the_others():
    cube = grid(THREE, adding(CUBE))
    found = by_change(effects(cube))
    assert {*found} == {"muon", "none", "true", "muon x none", "muon x true", "none x true"}
    for name, worth in CUBE.items():
        factor = next(key for key, levels in THREE.items() if name in levels).replace(".", "__")
        with_it, without = (means(cube, **{factor: level}) for level in THREE[factor.replace("__", ".")][::-1])
        assert found[name].estimate.mean == pytest.approx(with_it - without)
        assert covers(found[name], worth)
        assert found[name].settled
    assert not any(effect.settled for name, effect in found.items() if " x " in name)
    assert verdict(cube).headline.startswith("Muon instead of adamw lowers the validation loss by 0.20 nats per byte on average; 3 of 3")  # fmt: skip


def test_an_interaction_of_a_cube_is_how_much_more_a_thing_does_with_the_other():
    cube = grid(THREE, lambda levels: adding(CUBE)(levels) - 0.06 * ({"muon", "true"} <= {*levels.values()}))
    found = by_change(effects(cube))
    assert covers(found["muon x true"], -0.06)
    assert covers(found["muon"], -0.23)  # -0.20 in one half, -0.26 in the other
    assert [name for name, effect in found.items() if " x " in name and effect.settled] == ["muon x true"]


def edge(adamw: list[float], lion: list[float], **more):
    """Two optimizers, each with a loss at each of three learning rates."""
    worth = {"adamw": dict(zip(RATES, adamw, strict=True)), "lion": dict(zip(RATES, lion, strict=True))}
    factors = {"optim": ["adamw", "lion"], "optim.lr": RATES}
    return grid(factors, lambda levels: worth[levels["optim"]][levels["optim.lr"]], commands=[COMMAND], **more)


@pytest.mark.parametrize(("adamw", "lion", "bound", "settled", "difference"), [
    ([0.1, 0.0, 0.1], [0.4, 0.2, 0.1], "at most", False, 0.1),     # worse, but its grid goes on falling
    ([0.1, 0.0, 0.1], [0.1, 0.0, -0.1], "at least", True, -0.1),
    ([0.2, 0.1, 0.0], [0.2, -0.1, 0.2], "at most", False, -0.1),   # better, but than a base that may do better
    ([0.2, 0.1, 0.0], [0.4, 0.2, 0.3], "at least", True, 0.2),
    ([0.2, 0.1, 0.0], [0.3, 0.2, 0.1], "open", False, 0.1),
    ([0.1, 0.0, 0.1], [0.3, 0.2, 0.3], "", True, 0.2),
])  # fmt: skip
def test_a_best_rate_at_the_edge_makes_the_answer_a_bound(adamw, lion, bound, settled, difference):
    found = effects(edge(adamw, lion))
    (effect,) = found.effects
    assert (effect.bound, effect.settled) == (bound, settled)
    assert covers(effect, difference)
    assert bool(found.edges) == bool(bound)
    said = verdict(edge(adamw, lion))
    assert settled or "edge" in said.headline
    assert not settled or (bound in said.headline and "lower" * (difference < 0) in said.headline)


def test_the_command_that_extends_the_grid_stands_beside_the_edge():
    warnings = verdict(edge([0.1, 0.0, 0.1], [0.4, 0.2, 0.1])).warnings
    assert len(warnings) == 1
    assert "may lie beyond: lion, learning rate 0.01." in warnings[0]
    assert warnings[0].endswith("optim=adamw,lion optim.lr=0.001,0.003,0.01,0.0333 seed=0,1,2")


def test_main_effects_of_arms_at_the_edge_of_their_grid_are_bounds_too():
    two = {"optim": ["adamw", "muon"], "clip": ["global_norm", "none"], "optim.lr": RATES}

    def found(falls: tuple[str, ...]):
        """A good middle rate, but cells of `falls` are best at the highest one."""

        def loss(levels):
            best = "0.01" if levels["optim"] in falls else "0.003"
            return 0.2 * (levels["optim.lr"] != best) - 0.1 * (levels["optim"] == "muon") + 0.05 * (levels["clip"] == "none")  # fmt: skip

        return by_change(effects(grid(two, loss)))

    assert {name: effect.bound for name, effect in found(()).items()} == {"muon": "", "none": "", "muon x none": ""}
    assert found(("muon",))["muon"].bound == "at least"
    assert found(("adamw",))["muon"].bound == "at most"
    assert found(("muon",))["none"].bound == "open"
    assert not found(("muon",))["none"].settled


def test_where_the_best_rate_is_at_each_width_is_answered_for_each_parametrization():
    best = {("standard", "32"): 0.01, ("standard", "64"): 0.006, ("standard", "128"): 0.003}
    factors = {"parametrization": ["standard", "mup"], "model.width": ["32", "64", "128"], "optim.lr": [*RATES, "0.03"]}

    def loss(levels):
        at = best.get((levels["parametrization"], levels["model.width"]), 0.003)
        return 0.06 * math.log(float(levels["optim.lr"]) / at) ** 2 - float(levels["model.width"]) / 400

    whole = grid(factors, loss, question={"vary": "optim.lr", "per": ["parametrization", "model.width"]})
    found = effects(whole)
    assert found.question.design == "optimum"
    for one in found.optima:
        at = best.get(tuple(one.context.values()), 0.003)
        assert one.low <= at <= one.high
        assert one.rate == pytest.approx(at, rel=0.05)
        assert not one.edge
    assert [one.level for one in found.optima] == ["0.01", "0.01", "0.003", "0.003", "0.003", "0.003"]
    assert verdict(whole).headline == ("With standard, the best learning rate moves from 0.01 to 0.003 as width grows; with "
                                       "mup, it is 0.003 at every width.")  # fmt: skip
    assert verdict(whole).sentences[0] == "Over 3 seeds, at 95 % in each setting, all others are significantly worse."
    noisy = grid(factors, loss, noise=0.01, question=whole.question)  # the second best is 0.013 worse, the others 0.06
    assert [one.unsure for one in effects(noisy).optima] == [(), ("0.003",), (), (), (), ()]
    assert (
        verdict(noisy)
        .sentences[0]
        .endswith("not significantly worse than the best: 0.003 with standard and at width 64.")
    )


def test_half_a_factorial_of_four_has_main_effects_and_no_interactions_that_cannot_be_told_apart():
    four = {name: FIVE[name] for name in ("optim", "clip", "schedule", "model.qk_norm")}
    signs = [signs for signs in product((0, 1), repeat=4) if sum(signs) % 2 == 0]  # the product of the four is positive
    cells = [tuple(levels[i] for levels, i in zip(four.values(), each, strict=True)) for each in signs]
    half = sweep(four, cells, adding(WORTH))
    found = by_change(effects(half))
    assert effects(half).question.design == "factorial"
    assert {*found} == {"muon", "none", "warmup", "true"}
    assert all(covers(effect, WORTH[name]) for name, effect in found.items())
    assert found["muon"].estimate.mean == pytest.approx(means(half, optim="muon") - means(half, optim="adamw"))
    assert not found["none"].settled


def test_of_a_recipe_from_which_one_thing_is_taken_at_a_time_the_whole_is_the_base():
    whole = {name: levels[::-1] for name, levels in FIVE.items()}  # the recipe comes first, as base
    out = ablation(whole, WORTH, design="leave_out", baseline={name: levels[1] for name, levels in FIVE.items()})
    found = effects(out)
    assert found.question.design == "arms"
    assert found.baseline == {"optim": "muon", "clip": "none", "schedule": "warmup", "model.qk_norm": "true", "optim.weight_decay": "0"}  # fmt: skip
    lost = {"adamw": 0.2, "global_norm": 0.0, "cosine": -0.1, "false": 0.03, "0.1": -0.03}
    assert all(covers(effect, lost[name]) for name, effect in by_change(found).items())
    assert by_change(found)["adamw"].settled


def test_what_is_added_one_after_another_is_compared_with_the_step_before():
    factors, turned = [*THREE.values()], [tuple(levels[j < i] for j, levels in enumerate(THREE.values())) for i in range(4)]  # fmt: skip
    found = effects(sweep(THREE, turned, adding(CUBE), design="cumulative", noise=0.002, baseline={name: levels[0] for name, levels in THREE.items()}))  # fmt: skip
    assert found.question.design == "cumulative"
    assert [effect.things[0][1] for effect in found.effects] == [levels[1] for levels in factors]
    assert [tuple(effect.against.levels.values()) for effect in found.effects] == turned[:3]
    assert all(covers(effect, CUBE[name]) for name, effect in by_change(found).items())


def test_a_factorial_that_lacks_a_cell_has_no_main_effects_and_says_so():
    gone = ("muon", "none", "true")
    hole = sweep(THREE, [cell for cell in product(*THREE.values()) if cell != gone], adding(CUBE))
    running = grid(THREE, lambda levels: None if tuple(levels.values()) == gone else adding(CUBE)(levels))
    for whole in (hole, running):
        found = effects(whole)
        assert not any(effect.interaction for effect in found.effects)
        assert all(covers(effect, sum(CUBE[level] for _, level in effect.things)) for effect in found.effects if effect.estimate)  # fmt: skip
    assert "A cell of the factorial has no mean" in " ".join(verdict(running).warnings)


def test_a_missing_seed_of_one_arm_shifts_no_effect():
    """The missing seed is a hard one: a mean over the other two would flatter the arm by 0.5."""
    whole = ablation(FIVE, WORTH)
    shifted = [replace(run, value=run.value + 1.5 * (run.seed == 2)) for run in whole.outcomes]
    fewer = replace(whole, outcomes=[run for run in shifted if run.seed < 2 or run.levels["optim"] == "adamw"])
    muon = by_change(effects(fewer))["muon"]
    assert covers(muon, -0.2)
    assert muon.estimate.high - muon.estimate.low < 0.04
    assert "muon, global_norm, schedule cosine, model.qk_norm=false, weight decay 0.1 lacks seed 2" in " ".join(verdict(fewer).warnings)  # fmt: skip


def test_runs_that_ended_early_count_and_are_named():
    whole = ablation(FIVE, WORTH)
    whole.outcomes[4] = replace(whole.outcomes[4], ended_at=800)
    said = verdict(whole)
    assert said.sentences[0] == "But 1 run ended early."
    assert "seed 1, at step 800" in " ".join(said.warnings)
    assert len(effects(whole).effects) == 5


def test_one_seed_gives_differences_without_intervals_and_claims_nothing():
    one = ablation(FIVE, WORTH, seeds=1)
    found = effects(one)
    assert all(
        effect.estimate.p is None and effect.estimate.low is None and not effect.settled for effect in found.effects
    )
    said = verdict(one)
    assert said.headline == "One seed cannot say whether any of 5 changes matters to the validation loss."
    assert any(warning.startswith("One seed an arm") for warning in said.warnings)
    assert by_change(found)["muon"].mean == pytest.approx(-0.2, abs=0.03)


def test_two_seeds_and_eight_comparisons_are_judged_by_the_spread_of_all_arms():
    """By itself and corrected (Bonferroni), each would need a t of 102; Dunnett's for 8 arms and 8 degrees is 3.4."""
    levels = {"optim": ["adamw", *"abcdefgh"]}
    found = effects(grid(levels, lambda at: -0.05 * (at["optim"] == "a"), seeds=2))
    a = by_change(found)["a"]
    assert a.settled
    assert covers(a, -0.05)
    assert [name for name, effect in by_change(found).items() if effect.settled] == ["a"]
    assert a.estimate.high - a.estimate.mean < 0.03
    assert critical(8, 8) == pytest.approx(3.4, abs=0.1)


def test_a_diverged_arm_has_no_effect_and_wins_nothing():
    worth = WORTH | {"warmup": math.nan}
    lost = ablation(FIVE, worth)
    found, said = effects(lost), verdict(lost)
    assert by_change(found)["warmup"].estimate is None
    assert found.effects[-1].things == (("schedule", "warmup"),)
    assert all(covers(effect, worth[name]) for name, effect in by_change(found).items() if name != "warmup")
    assert said.sentences[0] == "But 3 of 18 ended runs diverged (schedule warmup)."
    assert "such an arm has no mean and cannot win" in " ".join(said.warnings)


def test_a_base_that_diverged_is_said():
    said = verdict(grid({"precision": ["fp32", "bf16", "fp16"]}, adding({"fp32": math.nan})))
    assert said.headline == "The base (fp32) has no mean validation loss to compare others with."


def test_an_arm_that_leaves_the_base_in_two_keys_is_named_by_both():
    also = [("muon", "global_norm", "cosine", "true", "0.1")]
    two = ablation(FIVE, WORTH, also=also)
    found = effects(two)
    assert {name for name in by_change(found) if " x " in name} == {"muon x true"}
    assert covers(by_change(found)["muon x true"], -0.23)
    rows = verdict(two).tables[0].rows
    assert [row[0] for row in rows].count("muon instead of adamw and model.qk_norm=true") == 1
    assert not any("baseline" in " ".join(row) for row in rows)
    assert "no key can be named as the cause: muon instead of adamw and model.qk_norm=true." in " ".join(
        verdict(two).warnings
    )


def test_what_equal_time_says_otherwise_is_one_line():
    """Muon is better at equal steps, but twice as slow: at the time that all reached it is not."""

    def facts(levels):
        return {"seconds": 120.0 if levels["optim"] == "muon" else 60.0}

    whole = ablation(FIVE, WORTH, facts=facts, budgets={"steps": 1000.0, "time": 60.0})
    slow = [replace(run, at={"time": run.value + 0.4 * (run.levels["optim"] == "muon"), "steps": run.value}) for run in whole.outcomes]  # fmt: skip
    whole = replace(whole, outcomes=slow)
    assert by_change(effects(whole))["muon"].costs == {"seconds": 2.0, "peak_bytes": 1.0}
    assert covers(by_change(effects(whole, at="time"))["muon"], 0.2)
    lines = [text for text in verdict(whole).sentences if text.startswith("At equal time")]
    assert len(lines) == 1
    assert "muon instead of adamw +0.2" in lines[0]
    assert "warmup" not in lines[0]
    read = verdict(whole, at="time").sentences
    assert read[0] == "But this is at equal time."
    assert not any("At equal time" in text for text in read)
    with pytest.raises(ValueError, match="at=flops: not every finished run recorded its flops"):
        effects(whole, at="flops")
    with pytest.raises(ValueError, match="at=speed: one of steps, tokens, flops, time, memory"):
        effects(whole, at="speed")


def test_at_equal_memory_what_needs_more_of_it_is_not_compared():
    whole = ablation(FIVE, WORTH, facts=lambda levels: {"peak_bytes": SIZE * (3 if levels["optim"] == "muon" else 1)})
    found = by_change(effects(whole, at="memory"))
    assert {name for name, effect in found.items() if effect.estimate is None} == {"muon"}
    assert found["muon"].costs["peak_bytes"] == 3.0
    assert covers(found["warmup"], 0.1)


def law(steps: float) -> float:
    """The loss of the base after so many steps."""
    return 2.0 + 8.0 * steps**-0.4


LUCK = (0.03, -0.01, -0.02)


def lengths(*steps: int) -> list[Outcome]:
    return [
        Outcome({}, seed, "finished", law(each) + luck, steps=each) for each in steps for seed, luck in enumerate(LUCK)
    ]


@pytest.mark.parametrize(("times", "close"), [(0.5, 1e-6), (0.7, 0.03), (1.0, 1e-6), (1.4, 0.03), (1.8, 0.03), (2.0, 1e-6)])  # fmt: skip
def test_an_arm_is_worth_as_many_times_the_steps_as_the_base_needs_for_its_loss(times, close):
    """Between lengths the law is a little bent on the axis of logarithms, hence 3 %."""
    arm = {seed: law(1000 * times) + luck for seed, luck in enumerate(LUCK)}
    found = speed_up(arm, lengths(500, 1000, 2000), 1000, 1)
    assert found.times == pytest.approx(times, rel=close)
    assert found.bound == ""
    assert found.low - 1e-9 <= found.times <= found.high + 1e-9


@pytest.mark.parametrize(("times", "bound", "end"), [(4.0, ">", 2.0), (0.2, "<", 0.5)])
def test_a_speed_up_is_not_extrapolated_beyond_the_lengths_of_the_base(times, bound, end):
    arm = {seed: law(1000 * times) + luck for seed, luck in enumerate(LUCK)}
    found = speed_up(arm, lengths(500, 1000, 2000), 1000, 1)
    assert (found.bound, found.times, found.low, found.high) == (bound, pytest.approx(end), None, None)


def test_the_interval_of_a_speed_up_is_student_s_over_the_seeds_in_the_logarithm():
    times = [1.2, 1.4, 1.5]
    arm = {seed: law(1000 * each) + luck for seed, (each, luck) in enumerate(zip(times, LUCK, strict=True))}
    found = speed_up(arm, lengths(*range(500, 2001, 50)), 1000, 1)  # so many that the bend does not matter
    logs = numpy.log(times)
    half = quantile(2) * float(numpy.std(logs, ddof=1)) / math.sqrt(3)
    expected = [math.exp(float(logs.mean()) + x) for x in (0, -half, half)]
    assert [found.times, found.low, found.high] == pytest.approx(expected, rel=0.005)


def test_the_speed_up_of_an_arm_stands_in_its_effect_if_the_base_was_trained_at_other_lengths():
    base = {name: levels[0] for name, levels in THREE.items()}
    worth = {"muon": law(1800) - law(1000), "none": law(700) - law(1000)}
    whole = ablation(THREE, worth, noise=0.0, lengths=[])
    middle = {run.seed: run.value for run in whole.outcomes if run.levels == base}
    other = [Outcome(base, seed, "finished", value + law(steps) - law(1000), steps=steps) for steps in (500, 2000) for seed, value in middle.items()]  # fmt: skip
    found = by_change(effects(replace(whole, lengths=other)))
    assert found["muon"].speed.times == pytest.approx(1.8, rel=0.03)
    assert found["none"].speed.times == pytest.approx(0.7, rel=0.03)
    assert all(effect.speed is None for effect in effects(whole).effects)
    row = next(row for row in as_numbers(verdict(replace(whole, lengths=other)))["effects"] if row["changes"] == [["optim", "muon"]])  # fmt: skip
    assert row["speed_up"]["times"] == pytest.approx(1.8, rel=0.03)


def test_a_target_is_reached_at_the_first_common_step_at_which_the_mean_is_surely_below_it():
    """One-sided t, p < 0.01: with 3 seeds the mean must be 6.965 standard errors below."""
    spread = (-0.01, 0.0, 0.01)  # a standard error of 0.01 / sqrt(3)
    needed = 6.965 * 0.01 / math.sqrt(3)
    at = {100: 1.9, 200: 1.8 - needed + 0.001, 300: 1.8 - needed - 0.001, 400: 1.7}
    curves = {seed: {step: mean + away for step, mean in at.items()} for seed, away in enumerate(spread)}
    assert steps_to(1.8, curves, 1) == 300
    assert steps_to(1.6, curves, 1) is None
    less = {
        seed: {step: value for step, value in curve.items() if step != 300 or seed} for seed, curve in curves.items()
    }
    assert steps_to(1.8, less, 1) == 400  # 300 is not common to all
    assert steps_to(-1.8, {seed: {step: -value for step, value in curve.items()} for seed, curve in curves.items()}, -1) == 300  # fmt: skip
    assert steps_to(1.8, {0: at}, 1) is None
    assert steps_to(1.8, curves | {3: {300: math.nan, 400: math.nan}}, 1) is None


SIZES = {"gpt_40k": 40_000, "gpt_100k": 100_000, "gpt_225k": 225_000, "gpt_485k": 485_000}


def over_sizes(slope: float, **more):
    """Muon is worth -0.1 at 100,000 parameters and `slope` more for ten times as many; qk_norm is worth -0.05 at each."""
    factors = {"optim": ["adamw", "muon"], "model.qk_norm": ["false", "true"], "model": [*SIZES]}
    cells = [(*arm, size) for size in SIZES for arm in (("adamw", "false"), ("muon", "false"), ("adamw", "true"))]

    def loss(levels):
        gain = -0.1 + slope * math.log10(SIZES[levels["model"]] / 100_000)
        return gain * (levels["optim"] == "muon") - 0.05 * (levels["model.qk_norm"] == "true")

    return sweep(factors, cells, loss, facts=lambda levels: {"parameters": SIZES[levels["model"]]},
                 question={"vary": ["optim", "model.qk_norm"], "per": ["model"]}, **more)  # fmt: skip


def test_an_effect_that_shrinks_with_the_model_has_a_slope_per_tenfold_and_predicts_the_size_held_out():
    whole = over_sizes(0.1, noise=0.001)
    found = {trend.things[0][1]: trend for trend in trends(effects(whole))}
    muon, norm = found["muon"], found["true"]
    assert muon.sizes == tuple(SIZES.values())
    assert muon.slope.low <= 0.1 <= muon.slope.high
    assert muon.slope.significant
    truth = -0.1 + 0.1 * math.log10(4.85)
    assert muon.predicted.low <= truth <= muon.predicted.high
    assert muon.measured.mean == pytest.approx(truth, abs=0.003)
    assert norm.slope.low <= 0 <= norm.slope.high
    said = verdict(whole)
    assert said.headline == ("1 of 2 effects changes with size: that of muon instead of adamw shrinks by 0.10 nats per byte per "
                             "tenfold parameters.")  # fmt: skip
    assert muon.slope.high - muon.slope.low < 0.7 * (muon.slope.alone[1] - muon.slope.alone[0])  # pooled over the arms
    assert not muon.missed.significant
    assert not any("extrapolated" in text for text in said.sentences)


def test_an_effect_that_leaves_the_line_of_the_smaller_sizes_is_not_extrapolated():
    whole = over_sizes(0.1, noise=0.001)
    bent = [replace(each, value=each.value + 0.05 * ("muon" in each.levels.values() and "gpt_485k" in each.levels.values()))
            for each in whole.outcomes]  # fmt: skip
    muon = next(trend for trend in trends(effects(replace(whole, outcomes=bent))) if trend.things[0][1] == "muon")
    assert muon.missed.low <= 0.05 <= muon.missed.high
    assert muon.missed.significant
    said = verdict(replace(whole, outcomes=bent)).sentences
    assert [text for text in said if "does not hold, and cannot be extrapolated" in text and "muon" in text]


def test_an_effect_that_does_not_change_with_the_model_is_not_said_to():
    assert verdict(over_sizes(0.0)).headline == "None of 2 effects on the validation loss changes significantly with the model's size."  # fmt: skip


def test_numbers_for_programs_have_a_row_an_effect_and_are_those_of_the_page():
    whole = ablation(FIVE, WORTH)
    rows = as_numbers(verdict(whole))["effects"]
    assert [(row["changes"][0][1], row["difference"]) for row in rows] == [(name, effect.mean) for name, effect in by_change(effects(whole)).items()]  # fmt: skip
    assert {row["kind"] for row in rows} == {"lower", "unsure", "higher"}
    assert all(row["low"] <= row["difference"] <= row["high"] and row["seeds"] == 3 for row in rows)


def test_further_seeds_join_an_earlier_comparison_and_leave_its_confirmations_and_lengths():
    old = ablation(THREE, CUBE)
    base = old.outcomes[0].levels
    fresh, short, long = Outcome(base, 9, "finished", 2.4), *(Outcome(base, 0, "finished", 3 - steps / 1e3, steps=steps) for steps in (500, 2000))  # fmt: skip
    later = [replace(run, seed=run.seed + 1, value=run.value + 1) for run in old.outcomes]  # seeds 1 to 3
    both = with_earlier(replace(old, outcomes=later, lengths=[long]), replace(old, confirmed=[fresh], lengths=[short]))
    assert both.outcomes == [*(run for run in old.outcomes if run.seed == 0), *later]
    assert (both.confirmed, both.lengths) == ([fresh], [short, long])
