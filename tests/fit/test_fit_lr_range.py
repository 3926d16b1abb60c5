"""Peak rates from range tests whose curve is known, and from runs that are none."""

import json
import math
from itertools import combinations

import numpy
import pytest
import yaml

from gptx.compare.outcomes import Comparison, Outcome
from gptx.config import arguments
from gptx.fit.lr_range import grid_costs, half_way_down, lr_range, smoothed_loss
from gptx.fit.lr_range import steepest as steepest_of

RATES = numpy.geomspace(1e-5, 1, 1000)


def curve(lowest, *, noise=0.0, seed=0):
    """Losses that fall to their lowest at a rate, by the square of its distance in decades, and rise again."""
    away = numpy.log10(RATES / lowest)
    return 2.4 + 0.2 * away**2 + numpy.random.default_rng(seed).normal(0, noise, len(RATES))


def run(folder, losses, *, rates=RATES, seed=0, broken=True):
    """A range test as gptx.train leaves it, which ended at a rate of 0.3 unless it did not break."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"state": "finished", "data": {"digest": "abc"}}))
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed}))
    kept = int((rates <= 0.3).sum()) if broken else len(rates)
    rows = [{"step": i + 1, "train/lr": rates[i], "train/loss": losses[i]} for i in range(kept)]
    if broken:
        rows[-1]["lr_range/broken"] = rates[kept - 1]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def grid(file, results):
    """A grid's results.json, from the final losses of each rate's seeds."""
    outcomes = [Outcome({"optim.lr": f"{rate:g}"}, seed, "finished", loss)
                for rate, losses in results.items() for seed, loss in enumerate(losses)]  # fmt: skip
    levels = {"optim.lr": [f"{rate:g}" for rate in results]}
    Comparison("validation/loss", levels, outcomes, environment={"data": "abc"}).save(file)
    return file


def test_smoothing_neither_lags_behind_nor_bends_a_line():
    line = 3 - numpy.log10(RATES)
    assert smoothed_loss(RATES, line) == pytest.approx(line, abs=1e-6)  # at the ends too
    noisy = smoothed_loss(RATES, curve(0.02, noise=0.05))
    assert RATES[noisy.argmin()] == pytest.approx(0.02, rel=0.3)


FEWER = RATES[::3]
PLACES = numpy.log10(FEWER)
NOISE = numpy.random.default_rng(0).normal(0, 0.05, len(FEWER))


def steepest(losses):
    return steepest_of(FEWER, smoothed_loss(FEWER, losses))


def test_the_steepest_fall_is_found_where_a_curve_has_it():
    for true in (1e-4, 1e-3, 1e-2):
        falls = 3 - numpy.tanh(2 * (PLACES - math.log10(true)))
        assert steepest(falls) == pytest.approx(true, rel=0.02)
        assert steepest(falls + NOISE) == pytest.approx(true, rel=0.5)


def test_a_curve_that_falls_steadily_from_the_first_step_on_has_no_steepest_place():
    line, floored, slower = -PLACES, -numpy.minimum(PLACES, -3), numpy.exp(-0.5 * (PLACES + 5))
    for losses in (line, floored, floored + NOISE, slower, 3 * slower + NOISE):
        assert steepest(losses) is None


def test_half_way_down_is_found_as_by_trying_every_fall():
    rng = numpy.random.default_rng(0)
    for _ in range(20):
        values = rng.permutation(9)
        falls = [places for n in range(1, 10) for places in combinations(range(9), n)
                 if (numpy.diff(values[list(places)]) < 0).all()]  # fmt: skip
        longest = max(map(len, falls))
        ends = min(places[-1] for places in falls if len(places) == longest)
        assert half_way_down(values) == ends - longest + longest // 2


def test_the_proposal_is_checked_against_the_nearest_rate_of_each_row_of_a_grid():
    losses = {("cosine", 1e-3): [2.1], ("cosine", 3e-3): [1.9, 2.0], ("constant", 1e-3): [2.0],
              ("constant", 3e-3): [math.nan]}  # fmt: skip
    outcomes = [Outcome({"schedule": row, "optim.lr": f"{rate:g}"}, seed, "finished", loss)
                for (row, rate), seeds in losses.items() for seed, loss in enumerate(seeds)]  # fmt: skip
    levels = {"schedule": ["cosine", "constant"], "optim.lr": ["0.001", "0.003"]}
    comparison = Comparison("validation/loss", levels, outcomes)
    cosine, constant = grid_costs(comparison, 1.6e-3)  # 1.6 times the one, and 1.9 times less than the other
    assert (cosine.row, cosine.nearest, cosine.best) == ("cosine", 1e-3, 3e-3)
    assert cosine.cost == pytest.approx(2.1 - 1.95)
    assert (constant.row, constant.best, constant.cost) == ("constant", 1e-3, 0)
    assert grid_costs(comparison, 2.5e-3)[1].cost == math.inf  # a seed diverged there
    assert grid_costs(comparison, 1.8e-3)[0].nearest == 3e-3  # 1.7 times less; in numbers it is nearer to 1e-3
    assert grid_costs(comparison, 1e-2)[0].outside
    assert not cosine.outside


@pytest.mark.slow
def test_a_tenth_of_the_rate_of_the_lowest_loss_is_proposed_and_what_it_costs_is_said(tmp_path, capsys):
    for seed, lowest in enumerate((0.02, 0.04)):
        run(tmp_path / f"runs/seed={seed}", curve(lowest, noise=0.02, seed=seed), seed=seed)
    beside = grid(tmp_path / "results.json", {1e-3: [2.1, 2.3], 3e-3: [2.0, 2.05], 1e-2: [1.9, 2.0]})
    arguments.call(lr_range, [str(tmp_path / "runs"), f"grid={beside}", f"out={tmp_path}"])
    shown, facts = capsys.readouterr().out, json.loads((tmp_path / "fit.json").read_text())
    assert facts["proposed"] == pytest.approx(0.1 * math.sqrt(0.02 * 0.04), rel=0.2)
    assert [each["broken"] for each in facts["runs"]] == pytest.approx([0.3, 0.3], rel=0.02)
    assert "nearest one of the grid, 0.003, ends at 2.0250 (all), 0.0750 nats above the grid's best: 1.9500" in shown
    assert "warning: The grid's best learning rate, 0.01 (all), is the lowest or highest tried" in shown
    assert shown.count("warning") == 1
    assert (tmp_path / "fit.png").stat().st_size > 10_000
    arguments.call(lr_range, [str(tmp_path / "fit.json"), f"grid={beside}", f"out={tmp_path / 'again'}"])
    assert json.loads((tmp_path / "again/fit.json").read_text()) == facts  # which stands for its runs


def test_a_loss_that_is_no_number_is_where_it_broke(tmp_path, capsys):
    losses = curve(0.02)
    losses[800:] = math.nan
    run(tmp_path / "runs/one", losses, broken=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gptx.fit.lr_range.save", lambda *_: None)
        arguments.call(
            lr_range, [str(tmp_path / "runs"), f"grid={grid(tmp_path / 'results.json', {1e-3: [2], 3e-3: [1.9]})}"]
        )
    [one] = json.loads((tmp_path / "runs/fit.json").read_text())["runs"]
    assert one["broken"] == pytest.approx(RATES[800])
    assert one["lowest"] == pytest.approx(0.02, rel=0.05)


NAN_SOON = numpy.where(numpy.arange(1000) < 5, 4.0, math.nan)


@pytest.mark.parametrize(
    ("losses", "kept", "told"),
    [
        (
            curve(0.02),
            {"rates": numpy.full(1000, 1e-3)},
            "one: no range test: its learning rate goes from 0.001 to 0.001",
        ),
        (curve(10.0), {"broken": False}, r"one: the loss did not break up to a learning rate of 1; .*optim.lr=10"),
        (NAN_SOON, {"broken": False}, "one: the loss is NaN after 5 steps, at a learning rate of .*schedule.floor"),
        (curve(1e-6), {}, "one: the loss only rises, from a rate of 1e-05 on; lower schedule.floor"),
    ],
)
def test_a_run_that_is_no_range_test_or_did_not_break_is_refused_in_one_line(tmp_path, losses, kept, told):
    run(tmp_path / "runs/one", losses, **kept)
    with pytest.raises(SystemExit, match=f"^error: [^\n]*{told}[^\n]*$"):
        arguments.call(
            lr_range, [str(tmp_path / "runs"), f"grid={grid(tmp_path / 'results.json', {1e-3: [2], 3e-3: [1.9]})}"]
        )


def test_a_grid_none_of_whose_runs_has_ended_is_refused(tmp_path):
    run(tmp_path / "runs/one", curve(0.02))
    under_way = [Outcome({"optim.lr": rate}, 0, "running", None) for rate in ("0.001", "0.003")]
    file = tmp_path / "results.json"
    Comparison("validation/loss", {"optim.lr": ["0.001", "0.003"]}, under_way).save(file)
    with pytest.raises(SystemExit, match=r"^error: grid=\S+: none of its runs has ended with a loss[^\n]*$"):
        arguments.call(lr_range, [str(tmp_path / "runs"), f"grid={file}"])


def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_fitted(tmp_path, capsys):
    run(tmp_path / "runs/one", curve(0.02))
    with pytest.raises(SystemExit, match=r"out=fit.html: the name must end in .png, .svg, or be a folder"):
        arguments.call(lr_range, [str(tmp_path / "runs"), "out=fit.html"])
    assert not capsys.readouterr().out


def test_a_grid_of_one_rate_is_refused(tmp_path):
    run(tmp_path / "runs/one", curve(0.02))
    file = tmp_path / "results.json"
    Comparison("validation/loss", {"schedule": ["a", "b"]}, [Outcome({"schedule": "a"}, 0, "finished", 2.0)]).save(file)
    with pytest.raises(SystemExit, match="its runs are of one learning rate; a grid has several"):
        arguments.call(lr_range, [str(tmp_path / "runs"), f"grid={file}"])
