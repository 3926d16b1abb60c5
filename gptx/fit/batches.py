"""How long runs of several batch sizes and rates took to a target loss."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt
from typing_extensions import TypedDict

from gptx.compare.factors import confounded
from gptx.compare.outcomes import environment, together
from gptx.config.errors import ConfigError
from gptx.config.groups import decides
from gptx.fit.tradeoff import lowest
from gptx.runs import plain, schema
from gptx.runs.cells import Cell, find
from gptx.units.phrases import joined

KEYS = "batch.tokens", "optim.lr"  # what sets the runs apart, beside the seed and what follows from these
LARGEST = 100_000_000  # bytes of a fit.json
Positive = Annotated[float, Gt(0)]
ALIKE = {"validation windows": "observe.validation.windows", "data": "the text (by its digest)"}  # of an environment


@dataclass(frozen=True)
class Run:
    """One run: its updates to the target, between two validations along a line; None where it did not get there."""

    batch: Annotated[int, Gt(0)]
    rate: Positive
    seed: int
    updates: Positive | None


@dataclass(frozen=True)
class Noise:
    """The noise scale that a run ended with, in tokens, with its 90 % band."""

    batch: Annotated[int, Gt(0)]
    rate: Positive
    seed: int
    tokens: float
    low: float
    high: float


class Recorded(TypedDict):
    """What a fit.json has of the runs."""

    target: float
    runs: list[Run]
    noise_scale: list[Noise]
    environment: dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """The seeds of one batch size and rate."""

    runs: tuple[Run, ...]

    @property
    def rate(self) -> float:
        return self.runs[0].rate

    @property
    def measured(self) -> list[float]:
        """The updates of each seed that reached the target."""
        return [run.updates for run in self.runs if run.updates is not None]

    @property
    def updates(self) -> float:
        """The mean over seeds; infinite where one of them did not reach the target."""
        return sum(self.measured) / len(self.runs) if len(self.measured) == len(self.runs) else math.inf

    @property
    def reached(self) -> bool:
        return math.isfinite(self.updates)


@dataclass(frozen=True)
class Size:
    """The arms of one batch size, in the order of their rates."""

    batch: int
    arms: tuple[Arm, ...]

    @property
    def best(self) -> Arm:
        return min(self.arms, key=lambda arm: arm.updates)

    @property
    def reached(self) -> bool:
        """True if every seed of one of the rates reached the target."""
        return self.best.reached

    @property
    def updates(self) -> float:
        return self.best.updates

    @property
    def tokens(self) -> float:
        return self.updates * self.batch

    @property
    def near(self) -> tuple[Arm, ...]:
        """The best arm and its neighbours; fewer than three where it is at an edge of the grid, or beside an arm that
        did not reach the target."""
        at = self.arms.index(self.best)
        return tuple(arm for arm in self.arms[max(0, at - 1) : at + 2] if arm.reached)

    @property
    def edge(self) -> bool:
        """True if the best rate is the lowest or highest that was tried: a better one may lie beyond."""
        return self.best in (self.arms[0], self.arms[-1])

    @property
    def rate(self) -> float:
        """The best rate, between those that were tried where its neighbours say so."""
        near = self.near
        return lowest([arm.rate for arm in near], [arm.updates for arm in near]) if len(near) == 3 else self.best.rate

    def at(self, rate: float) -> float | None:
        """Updates at a rate, along a line in logs between two that were tried; None outside of those, and infinite
        beside one that did not reach the target."""
        logs = [math.log(arm.rate) for arm in self.arms]
        place = math.log(rate)
        if not logs[0] - 1e-9 <= place <= logs[-1] + 1e-9:
            return None
        for arm, there in zip(self.arms, logs, strict=True):
            if abs(place - there) < 1e-9:
                return arm.updates
        above = next(i for i, there in enumerate(logs) if there > place)
        part = (place - logs[above - 1]) / (logs[above] - logs[above - 1])
        return self.arms[above - 1].updates ** (1 - part) * self.arms[above].updates ** part


@dataclass(frozen=True)
class Sweep:
    """Runs to one target loss, by batch size in ascending order, and the noise scales that some of them measured."""

    target: float
    sizes: tuple[Size, ...]
    noise: tuple[Noise, ...]
    waiting: tuple[str, ...]  # names of runs that are not at their end, and are left out
    cells: tuple[Cell, ...]  # those of the runs whose folders were given
    environment: dict

    @property
    def runs(self) -> list[Run]:
        return [run for size in self.sizes for arm in size.arms for run in arm.runs]

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    def of(self, seed: int) -> "Sweep":
        """The runs of one seed alone."""
        return replace(self, sizes=grouped(run for run in self.runs if run.seed == seed))

    @property
    def rates(self) -> list[float]:
        """All that came to their end at one of the batch sizes."""
        return sorted({arm.rate for size in self.sizes for arm in size.arms})

    def unfinished(self, size: Size) -> bool:
        """True if other batch sizes tried rates beyond its best one, on a side where it tried none."""
        lowest, highest = size.best is size.arms[0], size.best is size.arms[-1]
        return (lowest and size.best.rate > self.rates[0]) or (highest and size.best.rate < self.rates[-1])

    @property
    def step(self) -> float:
        """The largest factor between neighbouring rates of the grid."""
        pairs = [(low.rate, high.rate) for size in self.sizes for low, high in zip(size.arms, size.arms[1:])]  # noqa: B905
        return max((high / low for low, high in pairs), default=1.0)


def read(places: Sequence[Path]) -> Sweep:
    """The runs in some folders, and those of earlier fits, whose fit.json is named; of two of the same batch size, rate
    and seed the first one counts.

    Raises ValueError where no run has a target, or not all the same one, or where they differ in something else.
    """
    files = [place for place in places if place.suffix == ".json"]
    folders = [place for place in places if place not in files]
    aimed = [cell for cell in find(folders) if target(cell) is not None] if folders else []
    earlier = [recorded(file) for file in files]
    if not aimed and not earlier:
        raise ValueError(f"{', '.join(map(str, places))}: no run there was trained to a target loss; such runs are "
                         "those of python -m gptx.train --multirun experiment=critical_batch")  # fmt: skip
    targets = sorted({*map(target, aimed), *(each.target for each in earlier)})  # type: ignore[type-var]
    if len(targets) > 1:
        raise ValueError(f"observe.target.loss is {joined([f'{each:g}' for each in targets], 'or')}: updates to "
                         "different losses do not compare; give runs to one of them")  # fmt: skip
    other = [told for told in confounded(aimed, KEYS) if decides(key := told.split()[0], "result") and key != "steps"]
    if other:
        raise ValueError(
            f"the runs differ in more than {joined(KEYS)}: {joined(other)}; give runs that are alike in it"
        )
    around = together([environment(aimed), *(each.environment for each in earlier)])
    for key, what in ALIKE.items():
        if isinstance(around.get(key), list):
            raise ValueError(f"{what} is {joined(map(str, around[key]), 'or')}: losses on different texts do not "
                             "compare; give runs of one")  # fmt: skip
    ended = [cell for cell in aimed if cell.state == "finished" or cell.record.get("diverged")]
    found: dict[tuple, Run] = {}
    for each in (*map(run, ended), *(one for fit in earlier for one in fit.runs)):
        found.setdefault((each.batch, each.rate, each.seed), each)
    return Sweep(
        target=targets[0],  # type: ignore[arg-type]
        sizes=grouped(each for _, each in sorted(found.items())),
        noise=(*(scale for cell in ended if (scale := noise(cell))), *(one for fit in earlier for one in fit.noise)),
        waiting=tuple(cell.name for cell in aimed if cell not in ended),
        cells=tuple(ended),
        environment=around,
    )


def recorded(file: Path) -> Sweep:
    """The runs that the fit.json of an earlier fit has. Raises ValueError for another file."""
    try:
        facts = schema.validated(plain.read_json(file, most=LARGEST), Recorded, file, strict=False)
    except FileNotFoundError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    except ConfigError as error:
        raise ValueError(f"{file}: no fit.json of python -m gptx fit critical_batch ({error})") from None
    runs = sorted(facts["runs"], key=lambda each: (each.batch, each.rate, each.seed))
    return Sweep(facts["target"], grouped(runs), tuple(facts["noise_scale"]), (), (), facts["environment"])


def grouped(runs: Iterable[Run]) -> tuple[Size, ...]:
    """The batch sizes of runs that come in the order of size, rate and seed."""
    by_arm: dict[int, dict[float, list[Run]]] = {}
    for each in runs:
        by_arm.setdefault(each.batch, {}).setdefault(each.rate, []).append(each)
    return tuple(Size(at, tuple(Arm(tuple(seeds)) for seeds in arms.values())) for at, arms in by_arm.items())


def target(cell: Cell) -> float | None:
    """The loss that a run was to reach; None of one that was not trained so."""
    return ((cell.config.get("observe") or {}).get("target") or {}).get("loss")


def batch(cell: Cell) -> int:
    return cell.config["batch"]["tokens"]


def rate(cell: Cell) -> float:
    return cell.config["optim"]["lr"]


def run(cell: Cell) -> Run:
    return Run(batch(cell), rate(cell), cell.seed, cell.metrics.last("target/step") or None)


def noise(cell: Cell) -> Noise | None:
    """What a run measured last; None of one that did not measure it."""
    ends = [cell.metrics.last(f"noise_scale/{name}") for name in ("tokens", "low", "high")]
    return Noise(batch(cell), rate(cell), cell.seed, *ends) if all(end is not None for end in ends) else None  # type: ignore[arg-type]
