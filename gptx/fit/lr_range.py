"""A peak learning rate from runs whose rate rose until the loss broke, and what it costs by a grid of rates."""

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import geometric_mean
from typing import Any, Generic, TypeVar

import numpy
from numpy import ndarray

from gptx.compare.collect import compare, environment
from gptx.compare.outcomes import Comparison, arms, contexts, load_comparison
from gptx.config import paths
from gptx.fit.batches import ended_by_itself
from gptx.fit.page import Fitted, deliver, framed, place_for, recorded_fit
from gptx.runs.run import Run, find
from gptx.show.plots import AXES, COLOURS, DASHES, INK, save
from gptx.show.table import Table
from gptx.units.phrases import count, joined

_RATE = "optim.lr"
_SMOOTH = 0.1  # decades of the rate: standard deviation of the weights with which the loss is averaged
_SHARE = 0.1  # of the rate of the lowest loss: the peak that is proposed (fastai's minimum / 10)
_RISING = 10.0  # factor by which the rate must rise for a run to be a range test
_FEWEST = 30  # steps before the break
_FLAT = 0.02  # of the lowest loss
_EDGE = 2 * _SMOOTH  # decades from an end of a curve within which no slope is read: weights are one-sided there
_STEEP = 0.8  # of the fastest fall: a curve that falls this fast at its edge may fall faster before it
_CURVES = ("rates", "losses", "smooth")
_Values = TypeVar("_Values")


def lr_range(*folders: str, grid: str = "", out: str = "", readme: str = "") -> None:
    """Read a peak learning rate off range tests, and say what it costs by a grid of runs.

      python -m gptx fit lr_range runs/lr_range grid=runs/warmup

    FOLDERS hold runs whose rate rose until the loss broke (experiment=lr_range), or are the fit.json of an earlier fit.

    Options:
    grid: runs at several learning rates, or an experiment with its results.json; experiments/warmup if empty
    out: a folder for fit.json and fit.png, or a figure (.png, .svg); the first of FOLDERS if empty
    readme: an experiment's folder, such as experiments/lr_range, whose page is written
    """
    place = place_for(folders, out, readme, "lr_range")
    found, mean, around, cells = read_ranges([Path(folder) for folder in folders])
    gridded = _gridded(Path(grid or paths.ROOT / "experiments/warmup"))
    deliver(_fitted(found, mean, around, gridded), place, readme, cells)


@dataclass(frozen=True)
class _Range(Generic[_Values]):
    """One run: the rates read off its curves, and losses over the rate up to the break; texts in a fit.json."""

    name: str
    seed: int
    lowest: float  # of the smoothed losses
    steepest: float | None
    valley: float  # half way through the longest fall (fastai's valley)
    broken: float  # where the run gave up: it lost a part of the fall again, or the loss became NaN
    proposed: float
    flat: tuple[float, float]  # the first and last rate whose smoothed loss is within _FLAT of the lowest
    rates: _Values
    losses: _Values
    smooth: _Values


def read_ranges(places: Sequence[Path]) -> tuple[list[_Range[ndarray]], float, dict, list[Run]]:
    """Range tests of folders or of a fit.json, what their mean curve proposes, their environment, the runs at hand.
    Raises ValueError where no run is at its end."""
    if len(places) == 1 and places[0].suffix == ".json":
        form = {"runs": list[_Range[str]], "of_the_mean_curve": float, "environment": dict}
        found = recorded_fit(places[0], form, "lr_range")
        arrays = [{key: numpy.array(getattr(run, key).split(), float) for key in _CURVES} for run in found["runs"]]
        runs = [_Range(**vars(run) | curves) for run, curves in zip(found["runs"], arrays, strict=True)]
        return runs, found["of_the_mean_curve"], found["environment"], []
    cells = find(list(places))
    ended = list(filter(ended_by_itself, cells))
    if not ended:
        states = joined([f"{cell.name} is {cell.state}" for cell in cells])
        raise ValueError(f"{', '.join(map(str, places))}: no run there is at its end ({states})")
    tests = [_range_of(cell) for cell in ended]
    return tests, _mean_proposal(tests), environment(ended), ended


def _range_of(cell: Run) -> _Range[ndarray]:
    """The range test of a run. Raises ValueError if it is none, or did not break, or broke too soon."""
    rates, losses = cell.metrics["train/lr"][1], cell.metrics["train/loss"][1]
    rises = len(rates) > 1 and (numpy.diff(rates) > 0).all() and rates[-1] >= _RISING * rates[0]
    if len(rates) != len(losses) or not rises:
        moved = f"goes from {rates[0]:.3g} to {rates[-1]:.3g}" if len(rates) else "is not recorded"
        raise ValueError(f"{cell.name}: no range test: its learning rate {moved} and does not rise at every step; "
                         "range tests are the runs of python -m gptx.train --multirun experiment=lr_range")  # fmt: skip
    end, broken, why = len(losses), cell.metrics.last("lr_range/broken"), "broke"
    if not (finite := numpy.isfinite(losses)).all():
        end, why = int(finite.argmin()), "is NaN"
        broken = float(rates[end])
    if broken is None:
        cure = f"raise the last rate: optim.lr={10 * rates[-1]:.3g}"
        raise ValueError(f"{cell.name}: the loss did not break up to a learning rate of {rates[-1]:.3g}; {cure}")
    if end < _FEWEST:
        raise ValueError(f"{cell.name}: the loss {why} after {count(end, 'step')}, at a learning rate of {broken:.3g}; "
                         f"{_FEWEST} are needed: lower schedule.floor, or raise steps")  # fmt: skip
    rates, losses = rates[:end], losses[:end]
    smooth = smoothed_loss(rates, losses)
    if not smooth.argmin():
        raise ValueError(f"{cell.name}: the loss only rises, from a rate of {rates[0]:.3g} on; lower schedule.floor")
    inside, lowest = rates[smooth <= (1 + _FLAT) * smooth.min()], float(rates[smooth.argmin()])
    flat, valley = (float(inside[0]), float(inside[-1])), float(rates[half_way_down(smooth)])
    return _Range(cell.name, cell.seed, lowest, steepest(rates, smooth), valley, float(broken), _SHARE * lowest, flat,
                 rates, losses, smooth)  # fmt: skip


def steepest(rates: ndarray, smooth: ndarray) -> float | None:
    """Where the loss falls fastest per decade (fastai's steep); None if it falls about as fast at the curve's edge."""
    places = numpy.log10(rates)
    between, falls = (places[1:] + places[:-1]) / 2, -numpy.diff(smooth) / numpy.diff(places)
    inside = numpy.flatnonzero((between >= places[0] + _EDGE) & (between <= places[-1] - _EDGE))
    if not len(inside):
        return None
    at = inside[falls[inside].argmax()]
    return float(10 ** between[at]) if falls[inside[0]] < _STEEP * falls[at] else None


def smoothed_loss(rates: ndarray, losses: ndarray) -> ndarray:
    """The loss by local linear regression over log rate with normal weights: neither lags nor is biased at an end."""
    places = numpy.log10(rates)
    away = places - places[:, None]  # (points, neighbours)
    weights = numpy.exp(-0.5 * (away / _SMOOTH) ** 2)
    first, second = (weights * away).sum(1), (weights * away**2).sum(1)
    weights *= second[:, None] - away * first[:, None]
    return weights @ losses / weights.sum(1)


def half_way_down(values: Sequence[float] | ndarray) -> int:
    """The place half a fall before its end, for the longest fall: the longest falling subsequence of the values."""
    ends: list[float] = []  # of falls of each length the highest last value, negated so that they ascend
    longest, last = 0, 0
    for place, value in enumerate(values):
        length = bisect.bisect_left(ends, -value)
        ends[length : length + 1] = [-value]
        if length + 1 > longest:
            longest, last = length + 1, place
    return last - longest + longest // 2


def _mean_proposal(found: Sequence[_Range[ndarray]]) -> float:
    low, high = max(each.rates[0] for each in found), min(each.rates[-1] for each in found)
    rates = found[0].rates[(found[0].rates >= low) & (found[0].rates <= high)]
    curves = [numpy.interp(numpy.log(rates), numpy.log(each.rates), each.smooth) for each in found]
    return _SHARE * float(rates[numpy.mean(curves, axis=0).argmin()])


@dataclass(frozen=True)
class _Checked:
    """A learning rate in one row of a grid, such as its cosine schedule: the nearest rate tried, and the best."""

    row: str
    nearest: float
    reached: float  # mean final validation loss there; infinite where a seed diverged
    best: float
    lowest: float
    outside: bool  # below the lowest rate of the grid, or above the highest
    edge: bool  # the best is the lowest or the highest that the row has
    cost: float  # of the nearest rate

    @property
    def told(self) -> str:
        beyond = " (and it lies outside of the grid)" if self.outside else ""
        return (f"{self.cost:.4f} nats above the grid's best" if self.cost else "the grid's best") + beyond


def _gridded(place: Path) -> Comparison:
    """The runs of a results.json or a folder. Raises ValueError where these cannot judge a learning rate."""
    file = place / "results.json" if (place / "results.json").exists() else place
    comparison = load_comparison(file) if file.is_file() else compare(find([place]))
    if _RATE not in comparison.factors:
        raise ValueError(f"grid={place}: its runs are of one learning rate; a grid has several of {_RATE}")
    if not comparison.drawable:
        raise ValueError(f"grid={place}: none of its runs has ended with a loss, by which a learning rate is judged")
    if any(float(rate) <= 0 for rate in comparison.factors[_RATE]):
        raise ValueError(f"grid={place}: has a run of {_RATE}=0, which has no place on a logarithmic axis")
    return comparison


def grid_costs(comparison: Comparison, rate: float) -> list[_Checked]:
    """What the nearest rate of the grid costs in each of its rows, the row of the lowest loss first."""
    found = []
    for levels, tried in contexts(arms(comparison), _RATE):
        known = [arm for arm in tried if arm.results]
        losses = {float(arm.levels[_RATE]): math.inf if arm.mean is None else arm.mean for arm in known}
        if not losses:
            continue
        nearest = min(losses, key=lambda at: abs(math.log(at / rate)))
        best, ends = min(losses, key=losses.__getitem__), (min(losses), max(losses))
        reached, lowest, outside = losses[nearest], losses[best], not ends[0] <= rate <= ends[1]
        row = ", ".join(levels.values()) or "all"
        found.append(_Checked(row, nearest, reached, best, lowest, outside, best in ends, reached - lowest))
    return sorted(found, key=attrgetter("lowest"))


def _fitted(found: Sequence[_Range[ndarray]], mean: float, around: dict, comparison: Comparison) -> Fitted:
    proposed = geometric_mean([each.proposed for each in found])
    rows = grid_costs(comparison, proposed)
    first, warnings = rows[0], []
    if around.get("data") != comparison.environment.get("data"):
        warnings.append("The grid's runs were of other data: its best learning rate need not be that of this recipe.")
    if first.edge:
        warnings.append(f"The grid's best learning rate, {first.best:g} ({first.row}), is the lowest or highest tried: "
                        "a better one may lie beyond it.")  # fmt: skip
    return Fitted(
        headline=f"The range test proposes a peak learning rate of {proposed:.2g}. The nearest one of the grid, "
        f"{first.nearest:g}, ends at {first.reached:.4f} ({first.row}), {first.told}: {first.lowest:.4f} at "
        f"{first.best:g}.",
        sentences=list(_sentences(found, mean, comparison)),
        tables=list(_tables(found, rows, comparison)),
        facts={
            "proposed": proposed,
            "of_the_mean_curve": mean,
            "rule": f"{_SHARE:g} of the rate of the lowest smoothed loss, geometric mean over runs",
            "smoothed_decades": _SMOOTH,
            "grid": [vars(row) for row in rows],
            "grid_environment": comparison.environment,
            "runs": [vars(x) | {k: " ".join(map("{:.5g}".format, getattr(x, k))) for k in _CURVES} for x in found],
        },
        figure=lambda file: save(file, "Training loss over a rising rate", lambda axis: _draw(axis, found, rows)),
        caption="smoothed training loss over the learning rate, with the proposal and the grid's best",
        warnings=warnings,
        environment=around,
    )


def _sentences(found: Sequence[_Range[ndarray]], mean: float, comparison: Comparison) -> Iterator[str]:
    ends = [each.proposed for each in found]
    alone = sum(grid_costs(comparison, rate)[0].cost == 0 for rate in ends)
    rule = f"{_SHARE:g} of the learning rate of the lowest smoothed loss (fastai's minimum / 10)"
    over = f"the geometric mean over {count(len(found), 'run')}, which say {min(ends):.2g} to {max(ends):.2g}"
    best = f"Alone, {alone} of {len(found)} would have chosen the grid's best."
    yield f"The rule, fixed before the runs: {rule}, {over}. {best}"
    readings = {
        "The rule on the mean of the runs' curves": [mean] * len(found),
        "The steepest fall (fastai's steep)": [each.steepest for each in found if each.steepest is not None],
        "Half way down the longest fall (fastai's valley)": [each.valley for each in found],
        "The lowest smoothed loss itself, from where it rises (arXiv:1506.01186)": [each.lowest for each in found],
    }
    for name, rates in readings.items():
        lost = len(found) - len(rates)
        said = [f"in {lost} of {len(found)} at the edge of the curve: the test should begin lower"] * bool(lost)
        if rates:
            there = grid_costs(comparison, geometric_mean(rates))[0]
            span = f" ({min(rates):.2g} to {max(rates):.2g})" if len({*rates}) > 1 else ""
            said.insert(0, f"{geometric_mean(rates):.2g}{span}; nearest {there.nearest:g}, {there.told}")
        yield f"{name}: {'; '.join(said)}."


def _tables(found: Sequence[_Range[ndarray]], rows: Sequence[_Checked], comparison: Comparison) -> Iterator[Table]:
    runs: list[tuple[str, ...]] = []
    for each in found:
        there = grid_costs(comparison, each.proposed)[0]
        rates = (f"{rate:.2g}" for rate in (each.valley, each.lowest, each.broken, each.proposed))
        steepest, flat = f"{each.steepest:.2g}" if each.steepest else "edge", "{:.2g} to {:.2g}".format(*each.flat)
        runs.append((each.name, steepest, *rates, flat, f"{there.nearest:g}", f"{there.cost:+.4f}"))
    heads = ("steepest", "valley", "lowest", "broke", "proposed", f"within {100 * _FLAT:g} %", "nearest", "cost")
    read = f"Read off the loss, smoothed over {_SMOOTH:g} decades; edge: it falls about as fast where it begins"
    other = f"broke: where the run gave up; nearest: of the grid; cost: nats above the grid's best ({rows[0].row})"
    yield Table("Each run", ("run", *heads), runs, f"{read}; {other}; within: this close to the lowest loss.")
    form = "{0.nearest:g} {0.reached:.4f} {0.best:g} {0.lowest:.4f} {0.cost:+.4f}"
    costs = [(row.row, *form.format(row).split()) for row in rows]
    columns = ("row of the grid", "nearest", "loss there", "best", "lowest loss", "cost")
    note = "Final validation loss in nats a token, mean over the grid's seeds; cost: of the nearest rate."
    yield Table("The proposal in each row of the grid", columns, costs, note)


def _draw(axis: Any, found: Sequence[_Range[ndarray]], rows: Sequence[_Checked]) -> None:
    marks = {"proposed": ("o", "a seed's proposal"), "lowest": ("v", "lowest"), "broken": ("X", "broke")}
    for look, each in enumerate(found):
        colour, dashes = COLOURS[look % len(COLOURS)], DASHES[look % len(DASHES)]
        axis.plot(each.rates, each.losses, color=colour, linewidth=0.5, alpha=0.2)
        axis.plot(each.rates, each.smooth, color=colour, linestyle=dashes, label=f"seed {each.seed}")
        for what, (marker, _) in marks.items():
            rate = getattr(each, what)
            height = numpy.interp(math.log(rate), numpy.log(each.rates), each.smooth)
            axis.plot(rate, height, marker, color=colour, markersize=7)
    for marker, name in marks.values():
        axis.plot([], [], marker, color=AXES, label=name)
    proposed, best = geometric_mean([each.proposed for each in found]), rows[0].best
    axis.axvline(proposed, color=INK, linewidth=1.2, label=f"proposed {proposed:.2g}")
    axis.axvline(best, color=AXES, linestyle="--", linewidth=1.2, label=f"grid's best ({rows[0].row}) {best:.2g}")
    axis.set_ylim(0.9 * min(each.smooth.min() for each in found), 1.05 * max(each.smooth[0] for each in found))
    framed(axis, "", "learning rate", "training loss, nats a token", "x")
