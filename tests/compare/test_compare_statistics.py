"""Intervals over few seeds hold what they promise, and what is missing or diverged follows the stated rule."""

import math
from itertools import combinations, product

import numpy
import pytest
from synthetic import covers

from gptx.compare.effects import effects
from gptx.compare.outcomes import Comparison, Outcome
from gptx.estimate.differences import Estimate, critical, difference, estimate, fit_blocks, quantile

SWEEPS = 2000
COVERED, ALARMS = 0.94, 0.065
NOISE = 0.01


def sweeps(seeds: int, effects: dict, noise: dict | None = None):
    """Losses by arm and seed: each seed is lucky or not in all arms alike, and each run a little by itself."""
    draw = numpy.random.default_rng(seeds)
    luck = draw.normal(2.0, 0.05, (SWEEPS, 1, seeds)) + numpy.array([*effects.values()])[:, None]
    spread = numpy.array([(noise or {}).get(arm, NOISE) for arm in effects])[:, None]
    for one in (luck + spread * draw.normal(0, 1, (SWEEPS, len(effects), seeds))).tolist():
        yield {arm: dict(enumerate(values)) for arm, values in zip(effects, one, strict=True)}


def arms_and_base(count: int):
    """Arms of which every other one has an effect, less their base."""
    worth = {arm: 0.05 * (-1) ** (arm // 2) * (arm % 2) for arm in range(count + 1)}
    return worth, [{arm: 1.0, 0: -1.0} for arm in range(1, count + 1)]


def factorial(count: int):
    """Main effects and interactions of all combinations of things that are each worth something else."""
    cells = [*product((-1, 1), repeat=count)]
    worth = {
        cell: sum(0.03 * (i - 1) * sign for i, sign in enumerate(cell)) + 0.02 * cell[0] * cell[1] for cell in cells
    }
    mains = [{cell: 2 * cell[i] / len(cells) for cell in cells} for i in range(count)]
    both = [{cell: 4 * cell[i] * cell[j] / len(cells) for cell in cells} for i, j in combinations(range(count), 2)]
    return worth, mains + both


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("design", ["5 arms", "10 arms", "3 factors", "4 factors"])
def test_intervals_that_are_judged_together_hold_together_and_have_the_right_sign_and_size(design, seeds, capsys):
    """An interval that misses the truth would, without an effect, be a false alarm: the noise knows of no effects."""
    count, kind = design.split()
    worth, contrasts = (arms_and_base if kind == "arms" else factorial)(int(count))
    truth = [sum(weight * worth[arm] for arm, weight in each.items()) for each in contrasts]
    missed = wrong = alarms = 0
    total = numpy.zeros(len(truth))
    for values in sweeps(seeds, worth):
        found = fit_blocks(values).family(contrasts)
        total += [each.mean for each in found]
        pairs = [*zip(found, truth, strict=True)]
        missed += any(not each.low <= true <= each.high for each, true in pairs)
        alarms += any(each.significant for each, true in pairs if abs(true) < 1e-9)
        wrong += any(each.significant and each.mean * true < -1e-9 for each, true in pairs)
    with capsys.disabled():
        print(
            f"\n{design}, {seeds} seeds: {1 - missed / SWEEPS:.1%} of {SWEEPS} covered, {alarms / SWEEPS:.1%} false alarms"
        )
    assert missed <= (1 - COVERED) * SWEEPS
    assert alarms <= ALARMS * SWEEPS
    assert wrong == 0
    assert total / SWEEPS == pytest.approx(truth, abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_an_arm_of_ten_times_the_spread_is_judged_by_its_own_and_the_others_keep_theirs(seeds, capsys):
    worth, contrasts = arms_and_base(5)
    own = others = told = 0
    for values in sweeps(seeds, worth, {1: 10 * NOISE}):
        first, *rest = fit_blocks(values).family(contrasts)
        own += first.low <= worth[1] <= first.high
        told += first.own
        others += all(each.low <= worth[arm] <= each.high for arm, each in enumerate(rest, 2))
    with capsys.disabled():
        print(
            f"\nA noisy arm, {seeds} seeds: {own / SWEEPS:.1%} covered ({told / SWEEPS:.0%} seen), others {others / SWEEPS:.1%}"
        )
    assert own >= 0.85 * SWEEPS
    assert others >= COVERED * SWEEPS
    assert told >= 0.7 * SWEEPS


RATES = ["0.001", "0.003", "0.01"]
GRIDS = {  # what another rate than the middle one costs, by optimizer
    "equal rates": {"adamw": 0.0, "muon": 0.0, "lion": 0.0},
    "nearly equal rates": {"adamw": NOISE / 2, "muon": NOISE / 2, "lion": NOISE / 2},
    "one good rate of the base": {"adamw": 0.5, "muon": 0.0, "lion": 0.0},
}


def _of_grid(draw: numpy.random.Generator, cost: dict, seeds: int):
    """A sweep over learning rates, trained again on fresh seeds, with what its cells and seeds are worth."""
    cells = [{"optim": optim, "optim.lr": rate} for optim in cost for rate in RATES]
    worth = [cost[cell["optim"]] * (cell["optim.lr"] != "0.003") - 0.05 * (cell["optim"] == "lion") for cell in cells]
    luck = draw.normal(2.0, 0.05, 2 * seeds)
    values = numpy.array(worth)[:, None] + luck + draw.normal(0, NOISE, (len(cells), 2 * seeds))
    runs = [[Outcome(cell, seed, "finished", value) for seed, value in enumerate(row)] for cell, row in zip(cells, values.tolist(), strict=True)]  # fmt: skip
    first, again = ([run for row in runs for run in row[part]] for part in (slice(seeds), slice(seeds, None)))
    found = effects(Comparison("validation/loss", {"optim": [*cost], "optim.lr": RATES}, first, confirmed=again))
    return found, {str(cell): each for cell, each in zip(cells, worth, strict=True)}, float(luck[:seeds].mean())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seeds"), [(name, 5 if name == "nearly equal rates" else 3) for name in GRIDS])
def test_the_best_of_a_grid_is_judged_as_chosen_and_is_flattered_by_what_the_page_says(name, seeds, capsys):
    draw = numpy.random.default_rng(1)
    covered = confirmed = alarms = 0
    bias, told = [], []
    for _ in range(SWEEPS):
        found, worth, luck = _of_grid(draw, GRIDS[name], seeds)
        truth = [worth[str(each.arm.levels)] - worth[str(each.against.levels)] for each in found.effects]
        covered += all(covers(each, true) for each, true in zip(found.effects, truth, strict=True))
        confirmed += all(
            each.fresh.low <= true <= each.fresh.high for each, true in zip(found.effects, truth, strict=True)
        )
        alarms += any(each.estimate.significant for each in found.effects if each.things == (("optim", "muon"),))
        bias += [worth[str(arm.levels)] + luck - arm.mean for arm in found.settings[0].arms]
        told.append(found.settings[0].flattered)
    with capsys.disabled():
        print(f"\n{name}, {seeds} seeds: {covered / SWEEPS:.1%} covered, {confirmed / SWEEPS:.1%} on fresh seeds, "
              f"flattered by {numpy.mean(bias):.4f}, of which {numpy.mean(told):.4f} are told")  # fmt: skip
    assert covered >= COVERED * SWEEPS
    assert confirmed >= COVERED * SWEEPS
    assert alarms <= ALARMS * SWEEPS
    assert numpy.mean(told) == pytest.approx(numpy.mean(bias), rel=0.3)


def test_what_one_rate_does_best_beyond_doubt_flatters_by_nothing():
    far, _, _ = _of_grid(numpy.random.default_rng(0), {"adamw": 0.5, "muon": 0.5, "lion": 0.5}, 3)
    assert far.settings[0].flattered == pytest.approx(0.0, abs=1e-4)


# Dunnett, Biometrics 20 (1964), two-sided 5 %: arms, degrees of freedom.
DUNNETT = {(1, 5): 2.57, (1, 10): 2.23, (2, 10): 2.57, (3, 5): 3.29, (9, 5): 3.97, (5, 20): 2.73, (9, 60): 2.77}


@pytest.mark.parametrize(("count", "degrees"), DUNNETT)
def test_critical_values_of_arms_against_a_base_are_those_of_dunnett_s_table(count, degrees):
    assert critical(count, degrees) == pytest.approx(DUNNETT[count, degrees], abs=0.006)


def test_critical_values_of_contrasts_that_are_not_correlated_are_between_none_and_bonferroni_s():
    """The studentized maximum modulus, by drawing it (also for one and two degrees of freedom, with long tails)."""
    from scipy.special import stdtrit

    draw = numpy.random.default_rng(0)
    for count, degrees in ((2, 1), (8, 1), (8, 2), (3, 5), (6, 14)):
        largest = abs(draw.normal(size=(200_000, count))).max(1) / numpy.sqrt(
            draw.chisquare(degrees, 200_000) / degrees
        )
        assert critical(count, degrees, 0.0) == pytest.approx(numpy.quantile(largest, 0.95), rel=0.03)
        assert quantile(degrees) < critical(count, degrees, 0.5) < critical(count, degrees, 0.0)
        assert critical(count, degrees, 0.0) <= stdtrit(degrees, 1 - 0.025 / count)


def test_arms_that_share_no_seeds_are_judged_as_scipy_does():
    from scipy.stats import dunnett

    draw = numpy.random.default_rng(0)
    base, *arms = [draw.normal(mean, 1, 5) for mean in (0, -2, -0.5, 0.1)]
    expected = dunnett(*arms, control=base)
    ends = expected.confidence_interval(0.95)
    values = {i: {10 * i + j: float(each) for j, each in enumerate(some)} for i, some in enumerate((base, *arms))}
    found = fit_blocks(values).family([{i: 1.0, 0: -1.0} for i in (1, 2, 3)])
    for each, p, low, high in zip(found, expected.pvalue, ends.low, ends.high, strict=True):
        assert (each.p, each.low, each.high) == pytest.approx((p, low, high), abs=2e-3)
        assert not each.paired


def test_pairing_by_seed_takes_out_the_luck_that_runs_of_a_seed_share():
    """By hand: the error of a difference over the residuals of arms and seeds, and none of the spread of the seeds."""
    worth, contrasts = arms_and_base(5)
    for values, _ in zip(sweeps(3, worth), range(20), strict=False):
        table = numpy.array([[*each.values()] for each in values.values()])
        rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
        half = critical(5, 10) * math.sqrt((rest**2).sum() / 10 * 2 / 3)
        fit = fit_blocks(values)
        for arm, each in enumerate(fit.family(contrasts), 1):
            mean = float((table[arm] - table[0]).mean())
            assert fit.strange or (each.mean, each.low, each.high) == pytest.approx(
                (mean, mean - half, mean + half), abs=1e-6
            )


def test_the_interval_and_the_p_value_of_a_worked_example():
    """Student's own ten patients: the sleep gained by one drug over the other (Biometrika 6, 1908)."""
    found = estimate([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert found.mean == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.7001, 2.4599), abs=1e-4)
    assert found.p == pytest.approx(0.00283, abs=1e-5)
    assert found.alone == pytest.approx((found.low, found.high), abs=1e-6)


def test_two_arms_of_the_same_seeds_are_a_paired_test():
    from scipy.stats import ttest_rel

    a, b = [2.5, 2.7, 2.9, 3.0], [2.0, 2.3, 2.4, 2.7]
    found, expected = difference(dict(enumerate(a)), dict(enumerate(b))), ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, low, high), abs=1e-6)
    assert (found.n, found.paired, found.own, found.disputed) == (4, True, False, False)


def test_one_seed_gives_a_difference_without_an_interval():
    found = difference({0: 2.5}, {0: 2.0, 1: 2.25})
    assert found == Estimate(pytest.approx(0.5), 1)
    assert not found.significant
    assert found.kind == "higher"


def test_of_two_arms_a_seed_that_one_lacks_is_left_out_and_n_says_so():
    whole = difference({0: 2.5, 1: 2.7}, {0: 2.0, 1: 2.1})
    for more in ({0: 2.0, 1: 2.1, 2: 9.0}, {1: 2.1, 0: 2.0, 3: 9.0}):
        found = difference({0: 2.5, 1: 2.7}, more)
        assert (found.mean, found.low, found.high, found.n) == pytest.approx((whole.mean, whole.low, whole.high, 2))


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_an_arm_with_a_run_that_diverged_has_no_difference_and_spoils_no_other(lost):
    assert difference({0: 2.5, 1: lost}, {0: 2.0, 1: 2.1}) is None
    assert difference({0: 2.5, 1: 2.4}, {0: 2.0, 1: lost}) is None
    fit = fit_blocks({"base": {0: 2.0, 1: 2.1}, "lost": {0: 2.5, 1: lost}, "arm": {0: 2.3, 1: 2.45}})
    lost, arm = fit.family([{"lost": 1.0, "base": -1.0}, {"arm": 1.0, "base": -1.0}])
    assert lost is None
    assert arm.mean == pytest.approx(0.325)


def test_arms_without_a_seed_in_common_are_compared_as_unpaired_and_those_without_a_result_not_at_all():
    from scipy.stats import ttest_ind

    a, b = [2.5, 2.7, 2.9, 3.0], [2.0, 2.2, 2.1]
    found = difference(dict(enumerate(a)), dict(enumerate(b, 4)))
    expected = ttest_ind(a, b)
    low, high = expected.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((expected.pvalue, low, high), abs=1e-6)
    assert not found.paired
    assert difference({0: 2.5}, {1: 2.0}) == Estimate(0.5, 1, paired=False)
    assert difference({}, {0: 2.0}) is None


def test_an_arm_that_shares_no_seed_is_unpaired_alone_and_the_others_stay_paired():
    """By hand: base and arm differ by 0.5 in each seed but for 0.1, whatever the seed's luck of 3; pairs of 3 seeds have
    two degrees of freedom. The stranger's difference bears that luck, by Student's pooled test of all three arms."""
    base, arm = {0: 2.0, 1: 5.0, 2: 8.0}, {0: 1.4, 1: 4.5, 2: 7.6}
    far = {7: 3.0, 8: 6.0, 9: 9.0}
    fit = fit_blocks({"base": base, "arm": arm, "far": far})
    near, away = fit.family([{"arm": 1.0, "base": -1.0}, {"far": 1.0, "base": -1.0}])
    half = critical(1, 2, 0.0, 2) * 0.1 / math.sqrt(3)  # of two families: each of its own spread
    assert near.paired
    assert (near.mean, near.low, near.high) == pytest.approx((-0.5, -0.5 - half, -0.5 + half))
    spread = math.sqrt((2 * 9 + 2 * 9.61 + 2 * 9) / 6)  # squares around each arm's mean: 5, 4.5 and 6
    half = critical(1, 6, 0.0, 2) * spread * math.sqrt(2 / 3)
    assert not away.paired
    assert (away.mean, away.low, away.high) == pytest.approx((1.0, 1.0 - half, 1.0 + half))
    assert fit.family([{"arm": 1.0, "base": -1.0}])[0].low == pytest.approx(-0.5 - quantile(2) * 0.1 / math.sqrt(3))  # fmt: skip


@pytest.mark.parametrize(("shift", "told", "p"), [(0.0, False, 1.0), (0.25, True, 0.0)])
def test_runs_that_differ_by_the_same_in_each_seed_leave_no_doubt(shift, told, p):
    found = difference({0: 2.0 + shift, 1: 3.0 + shift}, {0: 2.0, 1: 3.0})
    assert (found.low, found.high, found.p) == pytest.approx((shift, shift, p), abs=1e-9)
    assert (found.significant, found.kind) == (told, "higher" if told else "same")


def test_arms_that_repeat_another_to_the_last_bit_do_not_make_the_noise_look_smaller():
    """Four ways to save memory that change no bit: only base and the fifth arm tell of the noise."""
    draw = numpy.random.default_rng(3)
    base, arm = (dict(enumerate(draw.normal(2, 0.1, 3).tolist())) for _ in range(2))
    copies = {f"copy {i}": base for i in range(4)}
    found = fit_blocks({"base": base, "arm": arm, **copies}).family([{"arm": 1.0, "base": -1.0}])[0]
    alone = difference(arm, base)
    assert (found.mean, found.low, found.high) == pytest.approx((alone.mean, alone.low, alone.high), rel=0.7)
    assert found.high - found.low > 0.5 * (alone.high - alone.low)
    assert fit_blocks({"base": base, **copies}).family([{"copy 1": 1.0, "base": -1.0}])[0].kind == "same"
