"""A peak learning rate from runs whose rate rose until the loss broke, and what it costs by a grid of rates."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy
from numpy import ndarray

from gptx.compare.outcomes import Comparison, arms, compare, contexts, load_comparison
from gptx.config import paths
from gptx.fit.page import Fitted, deliver, framed, place_for
from gptx.fit.ranges import CURVES, FLAT, SHARE, SMOOTH, Range, read_ranges
from gptx.runs.run import find
from gptx.show.plots import AXES, COLOURS, DASHES, INK, save
from gptx.show.table import Table
from gptx.units.phrases import count

_GRID = paths.ROOT / "experiments/warmup"
_RATE = "optim.lr"
_Test = Range[ndarray]


def lr_range(*folders: str, grid: str = "", out: str = "", readme: str = "") -> None:
    """Read a peak learning rate off range tests, and say what it costs by a grid of runs.

      python -m gptx fit lr_range runs/lr_range grid=runs/warmup

    FOLDERS hold runs whose learning rate rose until the loss broke, as those of experiment=lr_range. The fit.json of an
    earlier fit stands for its runs.

    Options:
    grid: runs at several learning rates, or an experiment with its results.json; experiments/warmup if empty
    out: a folder for fit.json and fit.png, or a figure (.png, .svg); the first of FOLDERS if empty
    readme: an experiment's folder, such as experiments/lr_range, whose page is written
    """
    place = place_for(folders, out, readme, "lr_range")
    found, mean, around, cells = read_ranges([Path(folder) for folder in folders])
    deliver(_fitted(found, mean, around, _gridded(Path(grid or _GRID))), place, readme, cells)


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
    """The runs of a grid of rates, from an experiment's results.json or a folder of runs. Raises ValueError for runs by
    which a rate cannot be judged."""
    file = place / "results.json" if (place / "results.json").exists() else place
    comparison = load_comparison(file) if file.is_file() else compare(find([place]))
    if _RATE not in comparison.factors:
        raise ValueError(f"grid={place}: its runs are of one learning rate; a grid has several of {_RATE}")
    if not any(outcome.value is not None and math.isfinite(outcome.value) for outcome in comparison.outcomes):
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


def _fitted(found: Sequence[_Test], mean: float, around: dict, comparison: Comparison) -> Fitted:
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
            "rule": f"{SHARE:g} of the rate of the lowest smoothed loss, geometric mean over runs",
            "smoothed_decades": SMOOTH,
            "grid": [vars(row) for row in rows],
            "grid_environment": comparison.environment,
            "runs": [
                vars(each) | {key: " ".join(map("{:.5g}".format, getattr(each, key))) for key in CURVES}
                for each in found
            ],
        },
        figure=lambda file: save(file, "Training loss over a rising rate", lambda axis: _draw(axis, found, rows)),
        caption="smoothed training loss over the learning rate, with the proposal and the grid's best",
        warnings=warnings,
        environment=around,
    )


def _sentences(found: Sequence[_Test], mean: float, comparison: Comparison) -> Iterator[str]:
    """How far runs agree, and what other readings of the same curves would have cost."""
    ends = [each.proposed for each in found]
    alone = sum(grid_costs(comparison, rate)[0].cost == 0 for rate in ends)
    yield (
        f"The rule, fixed before the runs: {SHARE:g} of the learning rate of the lowest smoothed loss (fastai's "
        f"minimum / 10), the geometric mean over {count(len(found), 'run')}, which say {min(ends):.2g} to "
        f"{max(ends):.2g}. Alone, {alone} of {len(found)} would have chosen the grid's best."
    )
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


def _tables(found: Sequence[_Test], rows: Sequence[_Checked], comparison: Comparison) -> Iterator[Table]:
    runs: list[tuple[str, ...]] = []
    for each in found:
        there = grid_costs(comparison, each.proposed)[0]
        rates = (f"{rate:.2g}" for rate in (each.valley, each.lowest, each.broken, each.proposed))
        steepest, flat = f"{each.steepest:.2g}" if each.steepest else "edge", "{:.2g} to {:.2g}".format(*each.flat)
        runs.append((each.name, steepest, *rates, flat, f"{there.nearest:g}", f"{there.cost:+.4f}"))
    heads = ("steepest", "valley", "lowest", "broke", "proposed", f"within {100 * FLAT:g} %", "nearest", "cost")
    note = (
        f"Learning rates, of the training loss smoothed over log rate with a standard deviation of {SMOOTH:g} decades; "
        "edge: it falls about as fast where it begins; broke: where the run gave up (conf/observe/lr_range.yaml); "
        "within: the first and last rate this close to the lowest loss; nearest: of the grid; cost: nats above the "
        f"grid's best ({rows[0].row})."
    )
    yield Table("Each run", ("run", *heads), runs, note)
    costs: list[tuple[str, ...]] = [
        (row.row, f"{row.nearest:g}", f"{row.reached:.4f}", f"{row.best:g}", f"{row.lowest:.4f}", f"{row.cost:+.4f}")
        for row in rows
    ]
    columns = ("row of the grid", "nearest", "loss there", "best", "lowest loss", "cost")
    note = "Final validation loss in nats a token, mean over the grid's seeds; cost: of the nearest rate."
    yield Table("The proposal in each row of the grid", columns, costs, note)


def _draw(axis: Any, found: Sequence[_Test], rows: Sequence[_Checked]) -> None:
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
