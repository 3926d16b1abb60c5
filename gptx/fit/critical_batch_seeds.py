"""What each seed of a sweep over batch sizes says alone: how much of the answer is chance."""

import math
from dataclasses import dataclass

from gptx.compare.estimates import estimate
from gptx.fit.batches import Size, Sweep
from gptx.fit.critical_batch_tables import percent
from gptx.fit.tradeoff import RULES, Tradeoff, exponent, fit
from gptx.show.table import Table

SIDES = "Below", "Above"  # the critical batch size


@dataclass(frozen=True)
class Alone:
    """One seed; None stands for what its runs cannot say."""

    seed: int
    law: Tradeoff | None
    powers: dict[str, float | None]  # of the batch size in the best rate, by side
    costs: dict[str, float | None]  # by rule: the largest ratio of updates to the best rate's, up to the critical size

    def facts(self) -> dict:
        """For fit.json."""
        costs = {rule: "target not reached" if cost == math.inf else cost for rule, cost in self.costs.items()}
        law = {"critical_batch_tokens": self.law.critical, "misfit": self.law.misfit} if self.law else {}
        return {"seed": self.seed, **law, "powers": self.powers, "updates_by_rule": costs}


def seeds(sweep: Sweep, critical: float) -> list[Alone]:
    """Every seed, with the sides of the critical batch size that all have together; none where there is one seed."""
    return [alone(sweep.of(seed), seed, critical) for seed in sweep.seeds] if len(sweep.seeds) > 1 else []


def alone(own: Sweep, seed: int, critical: float) -> Alone:
    """What the runs of one seed say."""
    found = [size for size in own.sizes if size.reached and not own.unfinished(size)]
    powers = {side: power(here, own.step) for side, here in sides(found, critical).items()}
    small = [size for size in found if size.batch <= critical]
    try:
        law = fit([size.batch for size in found], [size.updates for size in found])
    except ValueError:
        law = None
    return Alone(seed, law, {side: each and each[0] for side, each in powers.items()},
                 {rule: worst(small, expected) for rule, expected in RULES.items()})  # fmt: skip


def sides(found: list[Size], critical: float) -> dict[str, list[Size]]:
    """The sizes on either side of the critical one whose best rate lies inside the grid of rates."""
    inside = [size for size in found if not size.edge]
    parts = [size for size in inside if size.batch <= critical], [size for size in inside if size.batch > critical]
    return dict(zip(SIDES, parts, strict=True))


def power(here: list[Size], step: float) -> tuple[float, float] | None:
    """The exponent of the batch size in the best rate, and what the grid of rates leaves open; None of one size."""
    return exponent([size.batch for size in here], [size.rate for size in here], step) if len(here) > 1 else None


def chance(each: list[Alone], side: str) -> float | None:
    """Half the 95 % interval of the mean power over seeds, Student's t; None of fewer than two."""
    known = [power for one in each if (power := one.powers[side]) is not None]
    found = estimate(known)
    return found.high - found.mean if found and found.high is not None else None


def worst(small: list[Size], expected: float) -> float | None:
    """The largest ratio of updates at a rule's rate, from the smallest size's best, to those at the best rate; infinite
    where the target was not reached, None where a rate was not tried."""
    start = small[0] if small else None
    needed = [(size, size.at(start.best.rate * (size.batch / start.batch) ** expected)) for size in small if start]
    ratios = [updates / size.updates for size, updates in needed if updates is not None]
    return max(ratios) if ratios and len(ratios) == len(needed) else None


def table(each: list[Alone], critical: float) -> Table:
    """The seeds beside each other."""
    rows: list[tuple[str, ...]] = [
        (
            str(one.seed),
            f"{one.law.critical:,.0f}" if one.law else "-",
            f"{100 * one.law.misfit:.0f} %" if one.law else "-",
            *map(spelt, (one.powers[side] for side in SIDES)),
            *map(said, one.costs.values()),
        )
        for one in each
    ]
    heads = (
        "seed", "critical size", "off the law", "power below", "power above",
        *(f"{name} costs" for name in RULES),
    )  # fmt: skip
    note = (
        f"Powers: of the batch size in the best rate, below and above the {critical:,.0f} tokens of all seeds "
        "together. Costs: how many more updates a rule takes than the best rate tried, at most, up to that size, from "
        "the seed's own best rate at the smallest."
    )
    return Table("Seed by seed", heads, rows, note)


def spelt(power: float | None) -> str:
    """A power in two digits, without a negative zero."""
    return "-" if power is None else f"{round(power, 2) + 0.0:.2f}"


def said(cost: float | None) -> str:
    """What a rule costs, in words."""
    if cost is None:
        return "untried"
    return "target not reached" if math.isinf(cost) else percent(cost)
