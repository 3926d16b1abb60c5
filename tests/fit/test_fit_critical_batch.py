"""Critical batch sizes from runs whose law is known, and from runs that cannot say one."""

import json
import math

import numpy
import pytest
import yaml

from gptx.config import arguments
from gptx.fit.critical_batch import critical_batch
from gptx.fit.tradeoff import above_fewest, exponent, fit_tradeoff, lowest, without_each

SMIN, EMIN = 300.0, 1.2e6  # so that 4000 tokens an update are critical
BATCHES = [256, 512, 1024, 2048, 4096, 8192, 16384]


def law(batch):
    """Updates by (S / Smin - 1)(E / Emin - 1) = 1 with E = S B, solved as it stands by halving."""
    low, high = max(SMIN, EMIN / batch), SMIN + EMIN / batch + 1
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (middle / SMIN - 1) * (middle * batch / EMIN - 1) < 1 else (low, middle)
    return low


def test_the_fit_finds_the_constants_that_made_the_measurements():
    found = fit_tradeoff(BATCHES, [law(batch) for batch in BATCHES])
    assert found.fewest_steps == pytest.approx(SMIN, rel=1e-3)
    assert found.fewest_tokens == pytest.approx(EMIN, rel=1e-3)
    assert found.critical == pytest.approx(EMIN / SMIN, rel=1e-3)
    assert found.low <= found.critical <= found.high


def test_the_interval_holds_the_truth_in_about_95_of_100_noisy_sweeps():
    rng = numpy.random.default_rng(0)
    true = numpy.array([law(batch) for batch in BATCHES])
    found = [fit_tradeoff(BATCHES, true * numpy.exp(rng.normal(0, 0.1, len(true)))) for _ in range(200)]
    held = sum(each.low <= EMIN / SMIN <= each.high for each in found)
    assert 180 <= held <= 199  # 190 expected, sd 3


def test_an_interval_is_open_where_the_measurements_do_not_bound_it():
    rng = numpy.random.default_rng(1)
    small = [256, 512, 1024, 2048]  # below 4000, where updates fall nearly in proportion
    noisy = [law(batch) * math.exp(rng.normal(0, 0.1)) for batch in small]
    assert fit_tradeoff(small, noisy).high == math.inf


@pytest.mark.parametrize(
    ("updates", "told"),
    [
        ([EMIN / batch for batch in BATCHES], "add larger ones"),
        ([SMIN] * len(BATCHES), "add smaller ones"),
    ],
)
def test_steps_without_a_bend_have_no_critical_batch_size(updates, told):
    with pytest.raises(ValueError, match=told):
        fit_tradeoff(BATCHES, updates)


def test_three_batch_sizes_are_too_few():
    with pytest.raises(ValueError, match=r"3 batch sizes reached the target.* at least 4"):
        fit_tradeoff(BATCHES[:3], [law(batch) for batch in BATCHES[:3]])


def test_without_each_size_in_turn_exact_measurements_say_the_same():
    found = without_each(BATCHES, [law(batch) for batch in BATCHES])
    assert found == pytest.approx([EMIN / SMIN] * len(BATCHES), rel=1e-3)
    assert without_each(BATCHES[:4], [law(batch) for batch in BATCHES[:4]]) == []


def test_a_fifth_more_than_the_fewest_tokens_is_read_off_between_two_batch_sizes():
    assert above_fewest([100, 200, 400], [1000, 1000, 1440], 0.2) == pytest.approx(200 * math.sqrt(2))
    assert above_fewest([100, 200, 400, 800], [1500, 1400, 1000, 1100], 0.2) is None  # smaller batches do not count


def test_the_best_rate_between_rates_is_where_the_parabola_has_its_lowest_point():
    rates = [1e-3, 2e-3, 4e-3]
    true = 1.7e-3
    assert lowest(rates, [math.exp(math.log(rate / true) ** 2) for rate in rates]) == pytest.approx(true)


def test_exponents_are_recovered_and_the_grid_of_rates_says_how_well_they_can_be():
    power, doubt = exponent(BATCHES, [1e-4 * batch**0.5 for batch in BATCHES], step=2)
    assert power == pytest.approx(0.5)
    rng = numpy.random.default_rng(0)  # the same by rounding many rates to the grid
    powers = [exponent(BATCHES, 2 ** numpy.round(numpy.log2([batch**0.5 for batch in BATCHES]) + rng.uniform()), 2)[0]
              for _ in range(200)]  # fmt: skip
    shifted = [numpy.polyfit(numpy.log(BATCHES), rng.uniform(-0.5, 0.5, len(BATCHES)) * math.log(2), 1)[0]
               for _ in range(2000)]  # fmt: skip
    assert doubt == pytest.approx(2 * numpy.std(shifted), rel=0.1)
    assert abs(numpy.mean(powers) - 0.5) < doubt


def run(folder, updates, *, batch, rate, seed=0, state="finished", target=2.2, width=64, noise=None, windows=160):
    """A run as gptx.train leaves it; of one that did not get to the target `updates` is None."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"state": state, "choices": {"experiment": "critical_batch"}}))
    config = {"seed": seed, "batch": {"tokens": batch}, "optim": {"lr": rate}, "model": {"width": width},
              "observe": {"target": {"loss": target}, "validation": {"windows": windows}}}  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    last = {"step": 10} | ({"target/step": updates, "target/tokens": updates * batch} if updates else {})
    if noise:
        last |= {f"noise_scale/{name}": value for name, value in zip(("tokens", "low", "high"), noise, strict=True)}
    (folder / "metrics.jsonl").write_text(json.dumps(last) + "\n")


def sweep(root, *, exponent=0.5, seeds=(0, 1), batches=BATCHES):
    """Runs by the law at rates a factor two apart, whose best one grows with a power of the batch size."""
    for batch in batches:
        for rate in (5e-4 * 2.0**i for i in range(8)):
            best = 1e-3 * (batch / batches[0]) ** exponent
            for seed in seeds:
                away = math.exp(0.3 * math.log(rate / best) ** 2)
                run(root / f"{batch}_{rate}_{seed}", away * law(batch) * (0.99 + 0.02 * seed), batch=batch, rate=rate,
                    seed=seed)  # fmt: skip
    return root


def by_seed(root, exponents):
    """Seeds whose best rates grow with powers of their own."""
    for seed, power in enumerate(exponents):
        for batch in BATCHES:
            for rate in (5e-4 * 2.0**i for i in range(8)):
                away = math.exp(0.3 * math.log(rate / (1e-3 * (batch / BATCHES[0]) ** power)) ** 2)
                run(root / f"{batch}_{rate}_{seed}", away * law(batch) * (1 + 0.1 * seed), batch=batch, rate=rate,
                    seed=seed)  # fmt: skip
    return root


def told(capsys, *words):
    arguments.call(critical_batch, [*map(str, words)])
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_by_the_law_gives_its_critical_batch_size_and_the_rule_of_its_rates(tmp_path, capsys):
    shown = told(capsys, sweep(tmp_path / "runs"), f"out={tmp_path}")
    facts = json.loads((tmp_path / "fit.json").read_text())
    assert facts["critical_batch_tokens"] == pytest.approx(EMIN / SMIN, rel=0.02)
    assert facts["overhead_20_percent"]["law"] == pytest.approx(0.2 * EMIN / SMIN, rel=0.02)
    assert len(facts["runs"]) == len(BATCHES) * 8 * 2
    assert [each["between_rates"] for each in facts["best"]] == pytest.approx(
        [1e-3 * (batch / 256) ** 0.5 for batch in BATCHES], rel=0.01
    )
    assert "to the power 0.50 " in shown
    assert "which allows square root " in shown  # and neither of the other rules
    assert "0 of 112 runs did not reach the target" in shown
    assert (tmp_path / "fit.png").stat().st_size > 10_000


@pytest.mark.slow
def test_each_seed_is_told_beside_all_and_their_scatter_widens_the_power(tmp_path, capsys):
    shown = told(capsys, by_seed(tmp_path / "runs", (0.3, 0.5, 0.7)), f"out={tmp_path}")
    facts = json.loads((tmp_path / "fit.json").read_text())
    assert [each["seed"] for each in facts["seeds"]] == [0, 1, 2]
    for side in ("Below", "Above"):
        assert [each["powers"][side] for each in facts["seeds"]] == pytest.approx([0.3, 0.5, 0.7], abs=0.02)
    for each in facts["seeds"]:
        assert each["critical_batch_tokens"] == pytest.approx(EMIN / SMIN, rel=0.15)
        assert min(each["updates_by_rule"], key=lambda rule: each["updates_by_rule"][rule]) == "square root"
    scatter = 4.303 * 0.2 / math.sqrt(3)  # Student's t at 2 degrees of freedom, of three seeds 0.2 apart
    assert f"with {scatter:.2f} for chance by single seeds added" in shown
    assert "Seed by seed" in shown

    alone = told(capsys, sweep(tmp_path / "one", seeds=(0,)))
    assert "chance not counted" in alone
    assert "Seed by seed" not in alone


@pytest.mark.slow
def test_a_seed_that_says_nothing_of_its_own_has_dashes(tmp_path, capsys):
    sweep(tmp_path, seeds=(0,), batches=BATCHES[:5])
    for batch in BATCHES[:3]:
        run(tmp_path / f"{batch}_other", law(batch), batch=batch, rate=5e-4, seed=1)
    shown = told(capsys, tmp_path)
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["1"])
    assert row.split()[1:] == ["-", "-", "-", "-", "untried", "untried", "+0", "%"]


@pytest.mark.slow
def test_a_rate_counts_where_every_seed_reached_the_target(tmp_path, capsys):
    """Else a rate that gets there by luck would be the best one."""
    for batch in BATCHES[:5]:
        run(tmp_path / f"{batch}_slow", 2 * law(batch), batch=batch, rate=1e-3)
        run(tmp_path / f"{batch}_lucky", law(batch), batch=batch, rate=2e-3)
        run(tmp_path / f"{batch}_unlucky", None, batch=batch, rate=2e-3, seed=1)
        run(tmp_path / f"{batch}_under_way", None, batch=batch, rate=1e-3, seed=1, state="killed")
    shown = told(capsys, tmp_path)
    facts = json.loads((tmp_path / "fit.json").read_text())
    assert facts["smin_updates"] == pytest.approx(2 * SMIN, rel=0.01)
    assert "5 of 15 runs did not reach the target" in shown
    assert "Left out, since not at their end: 1024_under_way" in shown
    assert "the best learning rate is the first or last that was tried" in shown
    assert "fewer ended" not in shown


@pytest.mark.slow
def test_a_batch_size_whose_best_rate_may_be_untried_is_named_and_not_fitted(tmp_path, capsys):
    for batch in BATCHES[:6]:
        for rate in (1e-3, 2e-3, 4e-3)[: 1 if batch == 8192 else 3]:
            off = abs(math.log2(rate / 2e-3))
            run(tmp_path / f"{batch}_{rate}", law(batch) * (1 + 0.5 * off), batch=batch, rate=rate)
    shown = told(capsys, tmp_path)
    assert "Of 3 learning rates fewer ended at 8,192 (1) tokens per step." in shown
    assert "Not fitted, since the best learning rate may be one that only other sizes tried: 8,192." in shown
    assert json.loads((tmp_path / "fit.json").read_text())["smin_updates"] == pytest.approx(SMIN, rel=0.01)


@pytest.mark.slow
def test_the_noise_scale_of_a_run_among_them_stands_beside_the_critical_batch_size(tmp_path, capsys):
    runs = sweep(tmp_path / "runs", seeds=(0,))
    run(tmp_path / "noise/run", 5.0, batch=2048, rate=2e-3, noise=(2000.0, 1500.0, 3000.0))
    shown = told(capsys, runs, tmp_path / "noise")
    assert "is 2,000 tokens (90 % band 1,500 to 3,000), 0.5 times the critical batch size" in shown
    facts = json.loads((runs / "fit.json").read_text())
    assert facts["smin_updates"] == pytest.approx(SMIN, rel=0.02)  # the sweep's own run counts, not the odd one


@pytest.mark.slow
def test_an_earlier_fit_stands_for_its_runs(tmp_path, capsys):
    """A seed more, beside those whose runs are gone, says the same as all runs at once."""
    whole = by_seed(tmp_path / "all", (0.3, 0.5, 0.7))
    at_once = told(capsys, whole, f"out={tmp_path / 'at_once'}")
    (tmp_path / "earlier").mkdir()
    for one in [*whole.glob("*_0"), *whole.glob("*_1")]:
        one.rename(tmp_path / "earlier" / one.name)
    told(capsys, tmp_path / "earlier", f"out={tmp_path / 'first'}")
    pooled = told(capsys, whole, tmp_path / "first/fit.json", f"out={tmp_path / 'pooled'}")
    assert pooled.replace("pooled", "at_once") == at_once
    assert (tmp_path / "pooled/fit.json").read_text() == (tmp_path / "at_once/fit.json").read_text()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (None, "No such file"),
        ("[]", "no fit.json of python -m gptx fit critical_batch"),
        ({"target": 2.0}, "observe.target.loss is 2 or 2.2"),
        ({"environment": {"data": "another"}}, "the text .by its digest. is abc or another"),
        ({"runs": [{"batch": 256}]}, "no fit.json of"),
    ],
)
def test_an_earlier_fit_of_something_else_is_refused_in_one_line(tmp_path, facts, said):
    alike = {"target": 2.2, "runs": [], "noise_scale": [], "environment": {"data": "abc"}}
    first, file = tmp_path / "first.json", tmp_path / "fit.json"
    first.write_text(json.dumps(alike))
    if facts is not None:
        file.write_text(facts if isinstance(facts, str) else json.dumps(alike | facts))
    with pytest.raises(SystemExit, match=f"^error: [^\n]*{said}[^\n]*$"):
        arguments.call(critical_batch, [str(first), str(file), f"out={tmp_path / 'new'}"])
    with pytest.raises(SystemExit, match=r"first\.json: is a file; name a folder of runs before it, or out="):
        arguments.call(critical_batch, [str(first)])
    assert not (tmp_path / "new").exists()


def different(root):
    for batch in BATCHES:
        run(root / f"{batch}", law(batch), batch=batch, rate=1e-3, width=64 if batch < 1000 else 128)


def two_targets(root):
    for batch in BATCHES:
        run(root / f"{batch}", law(batch), batch=batch, rate=1e-3, target=2.2 if batch < 1000 else 2.0)


def other_windows(root):
    for batch in BATCHES:
        run(root / f"{batch}", law(batch), batch=batch, rate=1e-3, windows=8 if batch < 1000 else None)


def half_way(root):
    for batch in BATCHES[:5]:
        for rate in (1e-3, 2e-3, 4e-3)[: 3 if batch < 1000 else 1]:
            run(root / f"{batch}_{rate}", law(batch) * (1 + rate), batch=batch, rate=rate)


def none_reached(root):
    for batch in BATCHES:
        run(root / f"{batch}", None, batch=batch, rate=1e-3)


def scattered(root):
    for batch, updates in zip(BATCHES, (1000.0, 300.0, 800.0, 500.0), strict=False):
        run(root / f"{batch}", updates, batch=batch, rate=1e-3)


def no_target(root):
    run(root / "one", 10.0, batch=256, rate=1e-3, target=None)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda root: sweep(root, seeds=(0,), batches=BATCHES[:3]), "3 batch sizes reached the target.* at least 4"),
        (scattered, "do not determine a critical batch size: any size is inside its 95 % interval"),
        (none_reached, "no run reached the target, a validation loss of 2.2; raise observe.target.loss or steps"),
        (two_targets, "observe.target.loss is 2 or 2.2"),
        (other_windows, "observe.validation.windows is all or 8: losses on different texts"),
        (
            half_way,
            "the best learning rate is known at 2 batch sizes, and 4 are needed: at 1,024, 2,048 and 4,096 tokens per",
        ),
        (different, "more than batch.tokens and optim.lr: model.width is 64 or 128"),
        (no_target, "no run there was trained to a target loss"),
    ],
)
def test_runs_that_cannot_say_a_critical_batch_size_are_refused_in_one_line(tmp_path, make, told):
    make(tmp_path / "runs")
    with pytest.raises(SystemExit, match=f"^error: [^\n]*{told}[^\n]*$"):
        arguments.call(critical_batch, [str(tmp_path / "runs")])
    assert not list(tmp_path.rglob("fit.*"))
