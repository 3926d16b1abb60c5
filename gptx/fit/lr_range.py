"""A peak rate from runs whose rate rose until the loss broke, and what it costs beside a grid of rates."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy
from numpy import ndarray

from gptx.compare.outcomes import Comparison, compare, environment, load
from gptx.config import paths
from gptx.fit.page import Fitted, asked, deliver
from gptx.fit.ranges import FLAT, SHARE, SMOOTH, Range, ended, middle, ranged, together
from gptx.runs.cells import Cell, find
from gptx.show import figures
from gptx.show.table import Table
from gptx.units.phrases import count

GRID = paths.ROOT / "experiments/warmup"
RATE = "optim.lr"


def lr_range(*folders: str, grid: str = "", out: str = "", readme: str = "") -> None:
    """Read a peak rate off runs whose rate rose until the loss broke, and say what it costs beside a grid of rates.

    FOLDERS hold such runs, those of experiment=lr_range. `grid` is a folder of runs at several rates, or an
    experiment's with its results.json; experiments/warmup if not given. `out` is a folder for fit.json and fit.png, or
    a figure's file (.png, .svg); the first of FOLDERS if not given. `readme` is an experiment's folder, such as
    experiments/lr_range, whose page is written.
    """
    place = asked(folders, out, readme, "lr_range")
    cells = ended([Path(folder) for folder in folders])
    deliver(fitted(cells, gridded(Path(grid or GRID))), place, readme, cells)


@dataclass(frozen=True)
class Checked:
    """A rate beside one row of a grid, such as its cosine schedule: the tried rate that is nearest, and the best."""

    row: str
    nearest: float
    reached: float  # mean final validation loss there; infinite where a seed diverged
    best: float
    lowest: float
    outside: bool  # below the lowest rate of the grid, or above the highest
    edge: bool  # the best is the lowest or the highest that the row has

    @property
    def cost(self) -> float:
        return self.reached - self.lowest

    @property
    def told(self) -> str:
        beyond = " (and it lies outside of the grid)" if self.outside else ""
        return (f"{self.cost:.4f} nats above the grid's best" if self.cost else "the grid's best") + beyond


def gridded(place: Path) -> Comparison:
    """The runs of a grid of rates, from an experiment's results.json or a folder of runs. Raises ValueError if they are
    all of one rate."""
    file = place / "results.json" if (place / "results.json").exists() else place
    comparison = load(file) if file.is_file() else compare(find([place]))
    if RATE not in comparison.factors:
        raise ValueError(f"grid={place}: its runs are of one rate; a grid has several of {RATE}")
    if not any(outcome.value is not None and math.isfinite(outcome.value) for outcome in comparison.outcomes):
        raise ValueError(f"grid={place}: none of its runs has ended with a loss, by which a rate is judged")
    if any(float(rate) <= 0 for rate in comparison.factors[RATE]):
        raise ValueError(f"grid={place}: has a run of {RATE}=0, which is nowhere on an axis of rates")
    return comparison


def checked(comparison: Comparison, rate: float) -> list[Checked]:
    """What the nearest rate of the grid costs in each of its rows, the row of the lowest loss first."""
    results: dict[str, dict[float, list[float]]] = {}
    for outcome in comparison.outcomes:
        row = ", ".join(level for name, level in outcome.levels.items() if name != RATE) or "all"
        if outcome.value is not None:
            seeds = results.setdefault(row, {}).setdefault(float(outcome.levels[RATE]), [])
            seeds.append(outcome.value if math.isfinite(outcome.value) else math.inf)
    found = []
    for row, by_rate in results.items():
        losses = {at: sum(values) / len(values) for at, values in by_rate.items()}
        nearest = min(losses, key=lambda at: abs(math.log(at / rate)))
        best = min(losses, key=lambda at: losses[at])
        outside, edge = not min(losses) <= rate <= max(losses), best in (min(losses), max(losses))
        found.append(Checked(row, nearest, losses[nearest], best, losses[best], outside, edge))
    return sorted(found, key=lambda each: each.lowest)


def fitted(cells: Sequence[Cell], comparison: Comparison) -> Fitted:
    """What range tests say beside a grid, as it is told. Raises ValueError for a run that is none."""
    found = [ranged(cell) for cell in cells]
    rows = checked(comparison, middle([each.proposed for each in found]))
    around = environment(list(cells))
    alike = around.get("data") == comparison.environment.get("data")
    return Fitted(
        headline=headline(found, rows[0]),
        sentences=list(sentences(found, comparison)),
        tables=tables(found, rows, comparison),
        facts=facts(found, rows, comparison),
        figure=lambda file: figures.save(
            file, "Training loss over a rising rate", lambda axis: draw(axis, found, rows)
        ),
        caption="smoothed training loss over the rate, with the proposal and the grid's best rate",
        warnings=[
            *["The grid's runs were of other data: its best rate need not be that of this recipe."] * (not alike),
            *[
                f"The grid's best rate, {rows[0].best:g} ({rows[0].row}), is the lowest or highest that was tried: a "
                f"better one may lie beyond it."
            ]
            * rows[0].edge,
        ],
        environment=around,
    )


def headline(found: Sequence[Range], first: Checked) -> str:
    return (
        f"The range test proposes a peak rate of {middle([each.proposed for each in found]):.2g}. The nearest rate of "
        f"the grid, {first.nearest:g}, ends at {first.reached:.4f} ({first.row}), {first.told}: {first.lowest:.4f} at "
        f"{first.best:g}."
    )


def sentences(found: Sequence[Range], comparison: Comparison) -> Iterator[str]:
    """How far runs agree, and what other readings of the same curves would have cost."""
    ends = [each.proposed for each in found]
    alone = sum(checked(comparison, rate)[0].cost == 0 for rate in ends)
    yield (
        f"The rule, fixed before the runs: {SHARE:g} of the rate of the lowest smoothed loss (fastai's minimum / 10), "
        f"the geometric mean over {count(len(found), 'run')}, which say {min(ends):.2g} to {max(ends):.2g}. Each for "
        f"itself, {alone} of {len(found)} would have chosen the grid's best rate."
    )
    if len(found) > 1:
        rate = together(found).proposed
        there = checked(comparison, rate)[0]
        yield f"The rule on the mean of the runs' curves: {rate:.2g}; nearest {there.nearest:g}, {there.told}."
    for name, rates in readings(found).items():
        lost = len(found) - len(rates)
        edge = f"in {lost} of {len(found)} at the edge of the curve: the test should begin lower" if lost else ""
        if not rates:
            yield f"{name}: {edge}."
            continue
        there = checked(comparison, middle(rates))[0]
        span = f"{min(rates):.2g} to {max(rates):.2g}"
        beside = f"; {edge}" if edge else ""
        yield f"{name}: {middle(rates):.2g} ({span}); nearest {there.nearest:g}, {there.told}{beside}."


def readings(found: Sequence[Range]) -> dict[str, list[float]]:
    """Other rates of the same curves that are taken for a peak, by what they are; none of a curve without it."""
    return {
        "The steepest fall (fastai's steep)": [each.steepest for each in found if each.steepest is not None],
        "Half way down the longest fall (fastai's valley)": [each.valley for each in found],
        "The lowest smoothed loss itself, from where it rises (arXiv:1506.01186)": [each.lowest for each in found],
    }


def tables(found: Sequence[Range], rows: Sequence[Checked], comparison: Comparison) -> list[Table]:
    """The rates that each run says, and what the proposal costs in each row of the grid."""
    runs: list[tuple[str, ...]] = []
    for each in found:
        there = checked(comparison, each.proposed)[0]
        steepest = "edge" if each.steepest is None else f"{each.steepest:.2g}"
        read = (f"{rate:.2g}" for rate in (each.valley, each.lowest, each.broken, each.proposed))
        flat = "{:.2g} to {:.2g}".format(*each.flat)
        runs.append((each.name, steepest, *read, flat, f"{there.nearest:g}", f"{there.cost:+.4f}"))
    flat_head = f"within {100 * FLAT:g} %"
    heads = ("run", "steepest", "valley", "lowest", "broke", "proposed", flat_head, "nearest of the grid", "cost")
    note = (
        f"Rates, of the training loss smoothed over log rate by a normal curve with a standard deviation of {SMOOTH:g} "
        "decades; edge: it falls about as fast where it begins; broke: where the run gave up "
        "(conf/observe/lr_range.yaml); within: from the first to the last rate with so little above the lowest loss; "
        f"cost: nats above the grid's best ({rows[0].row})."
    )
    costs: list[tuple[str, ...]] = [
        (row.row, f"{row.nearest:g}", f"{row.reached:.4f}", f"{row.best:g}", f"{row.lowest:.4f}", f"{row.cost:+.4f}")
        for row in rows
    ]
    heads_of_rows = ("row of the grid", "nearest", "loss there", "best", "lowest loss", "cost")
    note_of_rows = "Final validation loss in nats a token, mean over the grid's seeds; cost: of the nearest rate."
    return [
        Table("Each run", heads, runs, note),
        Table("The proposal in each row of the grid", heads_of_rows, costs, note_of_rows),
    ]


def facts(found: Sequence[Range], rows: Sequence[Checked], comparison: Comparison) -> dict:
    """Every number, and the curves, for fit.json."""
    read = ("name", "seed", "lowest", "steepest", "valley", "broken", "proposed", "flat")
    return {
        "proposed": middle([each.proposed for each in found]),
        "of_the_mean_curve": together(found).proposed,
        "rule": f"{SHARE:g} of the rate of the lowest smoothed loss, geometric mean over runs",
        "smoothed_decades": SMOOTH,
        "grid": [asdict(row) | {"cost": row.cost} for row in rows],
        "grid_environment": comparison.environment,
        "runs": [
            {name: getattr(each, name) for name in read}
            | {"rates": rounded(each.rates), "losses": rounded(each.losses), "smooth": rounded(each.smooth)}
            for each in found
        ],
    }


def rounded(values: ndarray) -> str:
    """Numbers in five digits as one text, so that a curve is a line of its file."""
    return " ".join(f"{value:.5g}" for value in values)


def draw(axis, found: Sequence[Range], rows: Sequence[Checked]) -> None:
    """The smoothed loss of each run over its rate, with what is read off it, on matplotlib axes."""
    from gptx.show import picture

    draw_runs(axis, found)
    lines = {
        "proposed": (middle([each.proposed for each in found]), picture.INK, "-"),
        f"grid's best ({rows[0].row})": (rows[0].best, picture.AXES, "--"),
    }
    for name, (rate, colour, dashes) in lines.items():
        axis.axvline(rate, color=colour, linestyle=dashes, linewidth=1.2, label=f"{name} {rate:.2g}")
    axis.set_xscale("log")
    axis.set_ylim(0.9 * min(each.smooth.min() for each in found), 1.05 * max(each.smooth[0] for each in found))
    axis.set_xlabel("rate", fontsize=8, color=picture.AXES)
    axis.set_ylabel("training loss, nats a token", fontsize=8, color=picture.AXES)
    picture.dress(axis)
    axis.legend(fontsize=7, frameon=False, labelcolor=picture.INK, loc="upper right")


def draw_runs(axis, found: Sequence[Range]) -> None:
    """Each run's loss and smoothed loss, with marks where it is lowest, where it broke and at the proposal."""
    from gptx.show import picture

    marks = {"proposed": ("o", "a seed's proposal"), "lowest": ("v", "lowest"), "broken": ("X", "broke")}
    for look, each in enumerate(found):
        colour = picture.COLOURS[look % len(picture.COLOURS)]
        dashes = picture.DASHES[look % len(picture.DASHES)]
        axis.plot(each.rates, each.losses, color=colour, linewidth=0.5, alpha=0.2)
        axis.plot(each.rates, each.smooth, color=colour, linestyle=dashes, label=f"seed {each.seed}")
        for what, (marker, _) in marks.items():
            rate = getattr(each, what)
            height = numpy.interp(math.log(rate), numpy.log(each.rates), each.smooth)
            axis.plot(rate, height, marker, color=colour, markersize=7)
    for marker, name in marks.values():
        axis.plot([], [], marker, color=picture.AXES, label=name)
