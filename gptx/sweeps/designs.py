"""Ways to sweep: which arms the lists of a command line mean. One class a design, one YAML of conf/sweep each."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

RATES = "parametrization.rates.all"  # multiplies the learning rate of any preset
_Lists = Mapping[str, Sequence[str]]  # key -> its values, as typed


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: its values, those by which it leaves the base (None in a product) and those that are crossed
    with every arm, and the length of a base that is trained longer or shorter than the arms."""

    values: dict[str, str]
    changed: dict[str, str] | None = None
    crossed: dict[str, str] = field(default_factory=dict)
    length: float = 1.0

    @property
    def arm(self) -> str | None:
        """What it changes, as typed; "" for the base, None in a product."""
        return None if self.changed is None else " ".join(f"{key}={value}" for key, value in self.changed.items())


def _list(values: Sequence[float]) -> str:
    return f"[{','.join(map('{:g}'.format, values))}]"


class Product:
    """Every combination of the listed values. `cross`: keys that a design crosses with every arm and does not ask
    about; `rates`: every arm also at these multiples of its own preset's learning rate; `lengths`: the base also at
    these multiples of its steps, to which the speed-up of an arm is read."""

    def __init__(self, *, cross: list[str], rates: list[float], lengths: list[float]):
        if rates and (len({*rates}) < 2 or len({*rates}) < len(rates) or min(rates) <= 0):
            raise ValueError(f"sweep.rates={_list(rates)}: at least two different multiples above 0, such as [0.3,1,3]")
        if lengths and (len({*lengths}) < 2 or 1 not in lengths or min(lengths) <= 0):
            raise ValueError(f"sweep.lengths={_list(lengths)}: multiples of the steps, 1 among them, such as [0.5,1,2]")
        self.cross, self.rates, self.lengths = cross, rates, lengths

    @property
    def design(self) -> str:
        return ""

    def cells(self, lists: _Lists) -> Iterator[Cell]:
        """The runs, arms before what is crossed with them. Raises ValueError for lists that do not fit the design."""
        if self.lengths:
            raise ValueError(f"sweep.lengths={_list(self.lengths)}: a product has no base; take sweep=ablate")
        whole = self._with_rates(lists)
        yield from (Cell(dict(zip(whole, values, strict=True))) for values in itertools.product(*whole.values()))

    def _with_rates(self, lists: _Lists) -> dict[str, Sequence[str]]:
        if self.rates and RATES in lists:
            raise ValueError(f"{RATES} is listed, and sweep.rates lists it too; leave one of them out")
        return {**lists, **({RATES: [f"{rate:g}" for rate in self.rates]} if self.rates else {})}


class Ablation(Product):
    """The first value of each list is the base recipe's; every further value is an arm that changes this key alone."""

    def cells(self, lists: _Lists) -> Iterator[Cell]:
        whole = self._with_rates(lists)
        crossed = {key: values for key, values in whole.items() if key in (*self.cross, *[RATES] * bool(self.rates))}
        asked = {key: values for key, values in whole.items() if key not in crossed}
        if not asked:
            aside = f" but {', '.join(crossed)}, which every arm is trained at (sweep.cross)" * bool(crossed)
            raise ValueError(f"sweep={self.design}: nothing to compare{aside}; list values such as optim=adamw,muon")
        for values, changed in self.arms(asked):
            for length in sorted({*self.lengths, 1}) if not changed else (1,):
                for levels in itertools.product(*crossed.values()):
                    also = dict(zip(crossed, levels, strict=True))
                    yield Cell(values | also, changed, also, length)

    @property
    def design(self) -> str:
        return "ablate"

    def arms(self, lists: _Lists) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        """The values of each arm, the base first, and those by which it leaves the base."""
        base = {key: values[0] for key, values in lists.items()}
        yield base, {}
        for key, values in lists.items():
            yield from ((base | {key: value}, {key: value}) for value in values[1:])

    def _two(self, lists: _Lists) -> tuple[dict[str, str], dict[str, str]]:
        """The first and the last value of each list, which must be two."""
        for key, values in lists.items():
            if len(values) != 2:
                raise ValueError(f"{key}={','.join(values)}: sweep={self.design} takes two values of a key")
        return {key: values[0] for key, values in lists.items()}, {key: values[1] for key, values in lists.items()}


class Cumulative(Ablation):
    """From the first values to the last, one key after another, each added to those before."""

    @property
    def design(self) -> str:
        return "cumulative"

    def arms(self, lists: _Lists) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        values, last = self._two(lists)
        yield values, {}
        for count in range(1, len(last) + 1):
            added = dict(itertools.islice(last.items(), count))
            yield values | added, added


class LeaveOut(Ablation):
    """The last values together are the recipe; of each key in turn the first value is taken back."""

    @property
    def design(self) -> str:
        return "leave_out"

    def arms(self, lists: _Lists) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        first, whole = self._two(lists)
        yield whole, {}
        yield from ((whole | {key: value}, {key: value}) for key, value in first.items())


class Factorial(Ablation):
    """All combinations of two values of each key: main effects and interactions."""

    @property
    def design(self) -> str:
        return "factorial"

    def arms(self, lists: _Lists) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
        two = self._two(lists)
        for corner in self.corners(len(lists)):
            changed = {key: two[1][key] for key, there in zip(lists, corner, strict=True) if there}
            yield two[0] | changed, changed

    def corners(self, count: int) -> Iterator[tuple[int, ...]]:
        """Which keys have their second value, in each arm; the base, which has none, first."""
        yield from itertools.product((0, 1), repeat=count)


class Fraction(Factorial):
    """Half of a factorial, I = AB...K (Box, Hunter & Hunter, chapter 6): the product of all signs is positive."""

    @property
    def design(self) -> str:
        return "fraction"

    def corners(self, count: int) -> Iterator[tuple[int, ...]]:
        if count < 4:
            raise ValueError(f"sweep=fraction: {count} keys; main effects of fewer than 4 are mixed up with "
                             "interactions; take sweep=factorial")  # fmt: skip
        yield from (corner for corner in super().corners(count) if math.prod(1 - 2 * x for x in corner) == 1)
